"""The cached calls of one function: read an entry, or run the function and store what it returns.

Nothing here talks to a server by itself.
"""

from .cached_calls import CachedCalls
from .checks import (
    check_background,
    check_choice,
    check_flags,
    check_key,
    check_manager,
    check_setup,
    check_several,
    check_times,
)
from .dependencies import Standing, routes_of
from .entries import Entries, Factory
from .exchange import EXCHANGE, Exchange, Rendering, Scope
from .handles import Handles
from .invalidating import InvalidatingCalls
from .methods import CachedMethod, attach, unwrapped
from .misplaced import is_endpoint
from .reading import Hit, Reader, Store
from .running import as_coroutine_function
from .types import CacheDecorator, Decorator
from .wishes import Wish

__all__ = [
    "EXCHANGE",
    "CacheDecorator",
    "CachedCalls",
    "CachedMethod",
    "Decorator",
    "Entries",
    "Exchange",
    "Factory",
    "Handles",
    "Hit",
    "InvalidatingCalls",
    "Reader",
    "Rendering",
    "Scope",
    "Standing",
    "Store",
    "Wish",
    "as_coroutine_function",
    "attach",
    "check_background",
    "check_choice",
    "check_flags",
    "check_key",
    "check_manager",
    "check_setup",
    "check_several",
    "check_times",
    "is_endpoint",
    "routes_of",
    "unwrapped",
]

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
    is_endpoint,
)
from .dependencies import UNSEEN, Standing, reaches, routes_of, standing
from .entries import Entries
from .exchange import EXCHANGE, Exchange, Rendering, Scope
from .handles import Handles
from .holdings import subtree
from .invalidating import InvalidatingCalls
from .keeping import Exceptions, Lifetime
from .made import Made, decorators_above, made_of, made_with, note_made
from .methods import CachedMethod, attach, unwrapped
from .reading import Hit, Reader
from .running import as_coroutine_function
from .single_steps import SingleSteps
from .types import CacheDecorator, Decorator, Store
from .wishes import Wish

__all__ = [
    "EXCHANGE",
    "UNSEEN",
    "CacheDecorator",
    "CachedCalls",
    "CachedMethod",
    "Decorator",
    "Entries",
    "Exceptions",
    "Exchange",
    "Handles",
    "Hit",
    "InvalidatingCalls",
    "Lifetime",
    "Made",
    "Reader",
    "Rendering",
    "Scope",
    "SingleSteps",
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
    "decorators_above",
    "is_endpoint",
    "made_of",
    "made_with",
    "note_made",
    "reaches",
    "routes_of",
    "standing",
    "subtree",
    "unwrapped",
]

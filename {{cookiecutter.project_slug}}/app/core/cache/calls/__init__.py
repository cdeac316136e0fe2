"""The cached calls of one function: read an entry, or run the function and store what it returns.

Nothing here talks to a server by itself.
"""

from .cached_calls import CachedCalls
from .checks import (
    check_background,
    check_flags,
    check_key,
    check_manager,
    check_several,
    check_times,
)
from .dependencies import routes_of
from .entries import Entries, Factory
from .handles import Handles
from .invalidating import InvalidatingCalls
from .methods import CachedMethod, attach, unwrapped
from .misplaced import is_endpoint
from .reading import Reader
from .response_capture import ResponseCapture
from .running import as_coroutine_function
from .types import CacheDecorator, Decorator

__all__ = [
    "CacheDecorator",
    "CachedCalls",
    "CachedMethod",
    "Decorator",
    "Entries",
    "Factory",
    "Handles",
    "InvalidatingCalls",
    "Reader",
    "ResponseCapture",
    "as_coroutine_function",
    "attach",
    "check_background",
    "check_flags",
    "check_key",
    "check_manager",
    "check_several",
    "check_times",
    "is_endpoint",
    "routes_of",
    "unwrapped",
]

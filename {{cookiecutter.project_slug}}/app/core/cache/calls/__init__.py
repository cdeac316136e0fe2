"""The cached calls of one function: read an entry, or run the function and store what it returns.

Nothing here talks to a server by itself.
"""

from .cached_calls import CachedCalls
from .checks import check_background, check_manager, check_several, check_times
from .dependencies import routes_of
from .entries import LEFT_OUT, Entry, Factory, Reader, Standing, called, standing
from .handles import Handles
from .methods import CachedMethod, attach, unwrapped
from .misplaced import is_endpoint
from .response_capture import ResponseCapture
from .running import as_coroutine_function

__all__ = [
    "LEFT_OUT",
    "CachedCalls",
    "CachedMethod",
    "Entry",
    "Factory",
    "Handles",
    "Reader",
    "ResponseCapture",
    "Standing",
    "as_coroutine_function",
    "attach",
    "called",
    "check_background",
    "check_manager",
    "check_several",
    "check_times",
    "is_endpoint",
    "routes_of",
    "standing",
    "unwrapped",
]

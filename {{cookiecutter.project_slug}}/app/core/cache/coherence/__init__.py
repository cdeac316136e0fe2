"""One computation for each key, and never an old value after an invalidation.

Nothing here knows of functions, requests or responses.
"""

from .exceptions import TELLING, without_own_frames
from .fence import LOCK_TIMEOUT, Fence, Fill, Found, How, Made, computes_here
from .freshness import Freshness, is_failure, is_of_the_server
from .journal import InvalidationEvent, Journal, Listener
from .leases import AWAY, TAG_MS
from .status import CacheStatusMiddleware, Outcome, current_slot, note
from .walks import Walks

__all__ = [
    "AWAY",
    "LOCK_TIMEOUT",
    "TAG_MS",
    "TELLING",
    "CacheStatusMiddleware",
    "Fence",
    "Fill",
    "Found",
    "Freshness",
    "How",
    "InvalidationEvent",
    "Journal",
    "Listener",
    "Made",
    "Outcome",
    "Walks",
    "computes_here",
    "current_slot",
    "is_failure",
    "is_of_the_server",
    "note",
    "without_own_frames",
]

"""One computation for each key, and never an old value after an invalidation.

Nothing here knows of functions, requests or responses.
"""

from .call import Cached, Computed
from .exceptions import TELLING, without_own_frames
from .fence import Fence
from .fills import Fill, Result
from .freshness import Freshness, freshness_of, is_failure, is_of_the_server
from .invalidation import Invalidations
from .looks import Look
from .outcome import Outcome
from .pending import InvalidationEvent, Listener

__all__ = [
    "TELLING",
    "Cached",
    "Computed",
    "Fence",
    "Fill",
    "Freshness",
    "InvalidationEvent",
    "Invalidations",
    "Listener",
    "Look",
    "Outcome",
    "Result",
    "freshness_of",
    "is_failure",
    "is_of_the_server",
    "without_own_frames",
]

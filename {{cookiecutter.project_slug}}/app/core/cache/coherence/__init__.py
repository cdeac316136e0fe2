"""One computation for each key, and never an old value after an invalidation.

Nothing here knows of functions, requests or responses.
"""

from .call import Cached, Computed, Outcome
from .exceptions import TELLING, holds_only_data, is_plain, without_own_frames
from .fence import Fence
from .fills import Fill, Result
from .freshness import Freshness, freshness_of, is_answer, is_failure, is_of_the_server
from .invalidation import Invalidations, Removal
from .leases import is_lease
from .looks import TAG_MS, Look, Looks
from .pending import InvalidationEvent, Listener

__all__ = [
    "TAG_MS",
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
    "Looks",
    "Outcome",
    "Removal",
    "Result",
    "freshness_of",
    "holds_only_data",
    "is_answer",
    "is_failure",
    "is_lease",
    "is_of_the_server",
    "is_plain",
    "without_own_frames",
]

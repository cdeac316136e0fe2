"""Routes whose hits are sent as they were sent before.

The rest of the cache works without this room.
"""

from .route import CachedRoute

__all__ = [
    "CachedRoute",
]

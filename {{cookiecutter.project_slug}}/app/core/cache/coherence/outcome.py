"""The outcome of a call of a cached function."""

from enum import Enum


class Outcome(Enum):
    """Where a result came from; the values are the words in the log."""

    HIT = "hit"
    STALE = "stale"
    """The entry was there, and is due to be computed again."""
    SHARED = "shared"
    """Another caller of this process computed it."""
    STORED = "stored"
    """The call computed it, and it is stored now."""
    NOT_STORED = "not stored"
    """The call computed it, and it is not stored."""
    AWAY = "not stored, the backend is away"
    OVERTAKEN = "not stored, it was overtaken"
    """Since it began, an invalidation, or somebody who waited long enough, changed the key."""
    BYPASS = "bypass"
    """The call ran as if there were no cache."""

"""What became of a call, and the request that it belongs to."""

from contextvars import ContextVar
from enum import Enum


class Outcome(Enum):
    """What became of one call of a cached function: its name in the log, and in `Cache-Status`."""

    HIT = "hit", "hit"
    STALE = "hit, and due to be computed anew", "hit"
    SHARED = "shared", "fwd=miss; collapsed"
    STORED = "stored", "fwd=miss; stored"
    NOT_STORED = "not stored", "fwd=miss"
    BYPASS = "bypassed", "fwd=bypass"

    def __init__(self, name: str, parameters: str) -> None:
        self.in_log, self.parameters = name, parameters


class Slot:
    """What a request is told of its cached calls. Where there are several, the last to end counts.

    That is the endpoint itself where it is cached. It is one object that both the request and the
    call see, so it does not matter that the call may run in a copy of the context.
    """

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome: Outcome | None = None


slot: ContextVar[Slot | None] = ContextVar("cache_status", default=None)
"""That of the request that is being answered."""
current_slot = slot.get


def note(outcome: Outcome) -> None:
    """Note what became of a call. Outside a request this does nothing."""
    here = current_slot()
    if here is not None:
        here.outcome = outcome

"""The outcome of a call of a cached function, and the slot of a request that holds it.

A middleware opens a slot around a request, and the decorator notes the outcome there. Both see the
same object, even if the endpoint runs in another thread or in a copy of the context.
"""

from contextvars import ContextVar
from enum import Enum
from typing import Self

from ..loops import reset


class Outcome(Enum):
    """Where a result came from: the word in the log, and that in `Cache-Status` (RFC 9211)."""

    HIT = "hit", "hit"
    STALE = "stale", "hit"
    """The entry was there, and is due to be computed again."""
    SHARED = "shared", "fwd=miss; collapsed"
    """Another caller of this process computed it."""
    STORED = "stored", "fwd=miss; stored"
    """The call computed it, and it is stored now."""
    NOT_STORED = "not stored", "fwd=miss"
    """The call computed it, and it is not stored."""
    BYPASS = "bypass", "fwd=bypass"
    """The call ran as if there were no cache."""

    def __init__(self, word: str, status: str) -> None:
        self.word, self.status = word, status


class Slot:
    """Holds the outcome for one request: `with Slot() as slot`, around all that answers it."""

    __slots__ = ("_token", "outcome")

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        """`None` as long as no cached function took part."""

    def __enter__(self) -> Self:
        self._token = _slot.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        reset(_slot, self._token)


_slot: ContextVar[Slot | None] = ContextVar("cache_status", default=None)
current_slot = _slot.get
"""Returns the slot of the request that is being answered, or `None`."""


def note(outcome: Outcome) -> None:
    """Note the outcome of a call. Where several cached functions ran, the last to end counts.

    That is the endpoint itself where it is cached. Outside a request this does nothing.
    """
    slot = current_slot()
    if slot is not None:
        slot.outcome = outcome

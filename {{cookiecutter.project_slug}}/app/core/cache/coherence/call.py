"""One call for a key, as the fence knows it: how it reads a record, computes one, and ends."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from ..base import Nonces


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


@dataclass(slots=True, eq=False, repr=False)
class Computed:
    """What a call computed: the result, the record to store, if any, and for how long."""

    value: Any
    data: bytes | None
    ms: int
    keep: bool = True
    """Whether the record may be stored; if not, it is only shared with those who wait for it."""
    later: Callable[[], bytes | None] | None = None
    """Makes the record now; given if the caller usually makes it later (see `Fill`)."""


class Cached:
    """What a record holds, and whether it is due to be computed again."""

    __slots__ = ("due", "nonces", "tags", "value")

    def __init__(
        self,
        value: Any,
        due: bool = False,
        tags: tuple[str, ...] = (),
        nonces: Nonces = (),
    ) -> None:
        self.value = value
        self.due = due
        self.tags = tags
        """Further tags, which only the record knows."""
        self.nonces = nonces
        """The nonces that these tags must have."""


class Call(Protocol):
    """One call for a key: how to read a record, how to compute one."""

    in_background: bool
    """Whether a record that is due is computed in a task of its own."""
    is_private: bool
    """Whether what its function raised is for this caller only."""
    has_refused: bool
    """Whether it would not have a record that is of use to others."""
    owner: object
    """Calls with the same owner share exceptions: those of one function."""

    def read(self, data: bytes, nonces: Nonces) -> Cached | None:
        """Return what a record holds, or `None` if it is of no use."""

    def is_answer(self, error: BaseException) -> bool:  # pyright: ignore[reportReturnType]
        """Whether an exception is an answer, which replaces an old value, and no failure."""

    def failed(self, value: Any) -> bool:  # pyright: ignore[reportReturnType]
        """Whether a result is a failure, so that an old one is better."""

    def note(self, outcome: Outcome | None) -> None:
        """Tell how a run of the function in the background has ended."""

    async def compute(self, nonces: Nonces) -> Computed:  # pyright: ignore[reportReturnType]
        """Run the function. Followers get its exceptions, too, unless they are private."""

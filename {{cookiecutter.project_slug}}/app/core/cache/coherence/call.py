"""One call for a key, as the fence knows it: how it reads a record, and how it computes one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..base import Nonces


@dataclass(frozen=True, slots=True)
class Computed:
    """What a call computed: the result, the record to store, if any, and for how long."""

    value: Any
    data: bytes | None
    ms: int
    keep: bool = True
    """Whether the record may be stored, and not only be shared with those who wait for it."""
    later: Callable[[], bytes | None] | None = None
    """Where the caller brings the record when it has seen more (see `Fill`): what makes one now."""


@dataclass(slots=True)
class Cached:
    """What a record holds, and whether it is due to be computed anew."""

    value: Any
    due: bool = False
    tags: tuple[str, ...] = ()
    """Further tags, which only the record knows."""
    nonces: Nonces = ()
    """What their nonces have to be."""


class Call(Protocol):
    """One call for a key: how to read a record, how to compute one."""

    in_background: bool
    """Whether a record that is due is computed in a task of its own."""
    is_private: bool
    """Whether what its function raised is for this caller only."""
    owner: object
    """Whose calls share an exception: those of one function."""

    def read(self, data: bytes, nonces: Nonces) -> Cached | None:
        """Return what a record holds, or `None` if it is of no use."""

    def failed(self, value: Any) -> bool:
        """Whether a result tells of a failure, so that an old one is better."""

    async def compute(self, nonces: Nonces) -> Computed:
        """Run the function. Its exceptions are its followers', too, unless they are private."""

"""One call for a key, as the fence knows it: how it reads a record, and how it computes one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..base import Nonces


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


@dataclass(slots=True, eq=False, repr=False)
class Cached:
    """What a record holds, and whether it is due to be computed again."""

    value: Any
    due: bool = False
    tags: tuple[str, ...] = ()
    """Further tags, which only the record knows."""
    nonces: Nonces = ()
    """The nonces that these tags must have."""


class Call(Protocol):
    """One call for a key: how to read a record, how to compute one."""

    in_background: bool
    """Whether a record that is due is computed in a task of its own."""
    is_private: bool
    """Whether what its function raised is for this caller only."""
    owner: object
    """Calls with the same owner share exceptions: those of one function."""

    def read(self, data: bytes, nonces: Nonces) -> Cached | None:
        """Return what a record holds, or `None` if it is of no use."""

    def failed(self, value: Any) -> bool:
        """Whether a result is a failure, so that an old one is better."""

    async def compute(self, nonces: Nonces) -> Computed:
        """Run the function. Followers get its exceptions, too, unless they are private."""

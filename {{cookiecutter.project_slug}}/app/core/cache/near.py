"""What a near cache is, as those know it who read it: see `backends/near.py`."""

from collections.abc import Collection, Iterable
from typing import Any, Protocol

from .keys import KeyPattern


class NearEntry(Protocol):
    """One entry of a near cache."""

    data: bytes
    memo: Any
    """What the reader decoded from `data`, so that this is done once."""


class NearCache(Protocol):
    """The entries that a backend keeps in this process: see `backends/near.py`."""

    def get(self, key: str, /) -> NearEntry | None:
        """Return the entry of `key`, or `None` if there is none that is surely current."""

    def nonces(self, tags: Collection[str], /) -> "tuple[bytes, ...] | None":
        """Return the nonces at the keys `tags`, or `None` if not all of them are here."""

    def remember(self, key: str, kept: Any, memo: object, size: int, /) -> None:
        """Keep with an entry what its reader decoded from it, which takes about `size` bytes."""

    def changed(self, keys: Iterable[str], /) -> None:
        """Remove `keys`, because their entries have changed."""

    def forget(self, patterns: Collection[KeyPattern], /) -> None:
        """Remove what this process invalidates; discard replies to reads that were sent before."""

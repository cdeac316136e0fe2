"""What `CacheBackend` does for those who write six methods, and how time to live is counted."""

from datetime import timedelta
from typing import Any

import pytest

from ... import CacheManager
from ...expiry import milliseconds
from ..conftest import SixMethods


async def test_six_methods_store_bytes_with_their_time_to_live() -> None:
    """What a decorator stores lives as long as it says; a value that was set by hand is JSON."""
    lives: list[object] = []

    class Noting(SixMethods):
        async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
            lives.append(expire)
            return await super().set(key, value, expire)

    backend = Noting()
    assert await backend.set_bytes("key", b"\x00\xff", expire=7) is True
    assert lives == [7]
    assert await backend.get_bytes("key") == b"\x00\xff"
    await backend.set("key", 7)
    assert await backend.get_bytes("key") == b"7"


async def test_what_others_hold_is_not_known_without_asking() -> None:
    """Unless a backend says so: it can be told from what is not there."""
    backend = SixMethods()
    await backend.set_bytes("key", b"1")
    assert backend.read_now("key") is None
    assert backend.read_now("none") is None


async def test_p9_bytes_that_are_no_value_are_none(our_manager: CacheManager) -> None:
    """`get` does not read what a decorator stored, and `get_bytes` does."""
    backend, key = our_manager.backend, f"{our_manager.key_prefix}:key"
    await backend.set_bytes(key, b"\xff")
    assert await backend.get(key) is None
    assert await backend.get_bytes(key) == b"\xff"


@pytest.mark.parametrize(
    ("expire", "ms"),
    [
        (timedelta(milliseconds=2500), 2500),
        (timedelta(microseconds=1999), 1),
        (timedelta(microseconds=999), 0),
        (timedelta(microseconds=-1), 0),
        (timedelta.max, 100 * 365 * 86_400_000),
    ],
)
def test_expire_counts_in_whole_milliseconds(expire: timedelta, ms: int) -> None:
    """Parts of one are cut off, and so is what lies beyond a hundred years."""
    assert milliseconds(expire) == ms

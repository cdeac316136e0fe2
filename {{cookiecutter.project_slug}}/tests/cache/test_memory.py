"""The memory backend: its bounds, its clock, and that readers get copies."""

import asyncio
from datetime import timedelta

import pytest

from app.core.cache import CacheManager, MemoryBackend


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_an_entry_lives_until_its_time_is_over() -> None:
    """It is there in the last moment and gone in the next."""
    clock = Clock()
    backend = MemoryBackend(clock=clock)
    await backend.set("key", 1, expire=timedelta(seconds=10))
    clock.now += 9.999
    assert await backend.get("key") == 1
    clock.now += 0.001
    assert await backend.get("key") is None
    assert await backend.exists("key") is False
    assert await backend.delete("key") is False


async def test_without_expire_an_entry_stays() -> None:
    """The backend itself knows no default time to live."""
    clock = Clock()
    backend = MemoryBackend(clock=clock)
    await backend.set("key", 1)
    clock.now += 10**9
    assert await backend.get("key") == 1


async def test_the_entry_that_was_used_longest_ago_leaves_first() -> None:
    """Reading an entry keeps it."""
    backend = MemoryBackend(max_entries=2)
    await backend.set("one", 1)
    await backend.set("two", 2)
    await backend.get("one")
    await backend.set("three", 3)
    assert [await backend.get(key) for key in ("one", "two", "three")] == [1, None, 3]


async def test_bytes_are_bounded() -> None:
    """Entries leave until there is room, and what is larger than all the room is not stored."""
    backend = MemoryBackend(max_bytes=100)
    assert await backend.set("one", "x" * 40) is True
    assert await backend.set("two", "x" * 40) is True
    assert await backend.set("three", "x" * 40) is True
    assert [await backend.exists(key) for key in ("one", "two", "three")] == [False, True, True]
    assert await backend.set("two", "x" * 200) is False
    assert await backend.exists("two") is False
    for number in range(100):  # replacing and deleting give the room back
        assert await backend.set("four", number) is True
        await backend.delete("four")
    assert await backend.exists("three") is True


async def test_close_forgets_everything() -> None:
    """A closed backend is an empty one."""
    backend = MemoryBackend()
    await backend.set("key", 1)
    await backend.close()
    assert await backend.get("key") is None
    assert await backend.set("key", 2) is True


async def test_p7_clear_spares_other_prefixes() -> None:
    """Two managers may share a backend: `clear` removes what is below one prefix."""
    backend = MemoryBackend()
    ours, theirs = CacheManager(backend), CacheManager(backend, key_prefix="app2")
    await ours.set("key", 1)
    await theirs.set("key", 2)
    assert await ours.clear() is True
    assert await ours.get("key") is None
    assert await theirs.get("key") == 2
    assert await backend.clear() is True
    assert await theirs.get("key") == 2


async def test_threads_share_it() -> None:
    """Loops in several threads may use one backend at once."""
    backend = MemoryBackend(max_entries=50)

    async def use(number: int) -> None:
        for each in range(500):
            await backend.set(f"{number}:{each % 60}", each)
            await backend.get(f"{number}:{(each + 30) % 60}")
            await backend.delete(f"{number}:{(each + 7) % 60}")

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, use(number)) for number in range(4)))
    await backend.clear()
    for number in range(4):
        for each in range(60):
            await backend.delete(f"{number}:{each}")
    assert backend._bytes == 0


def test_bounds_below_one_are_an_error() -> None:
    """A backend that can hold nothing is a mistake."""
    with pytest.raises(ValueError, match=r"max_entries=0 .* must be 1 or more"):
        MemoryBackend(max_entries=0)
    with pytest.raises(ValueError, match=r"max_bytes=-1 must be 1 or more"):
        MemoryBackend(max_bytes=-1)

"""The memory backend: its bounds, its clock, and that readers get copies."""

import asyncio
import sys
from datetime import timedelta

import pytest

from ... import CacheManager, MemoryBackend


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("seconds", "moment"), [(10, 0.001), (1.5, 0.1)])
async def test_an_entry_lives_until_its_time_is_over(seconds: float, moment: float) -> None:
    """It is there in the last moment and gone in the next; a second has fractions."""
    clock = Clock()
    backend = MemoryBackend(clock=clock)
    await backend.set("key", 1, expire=timedelta(seconds=seconds))
    clock.now += seconds - moment
    assert await backend.get("key") == 1
    clock.now += moment
    assert await backend.get("key") is None
    assert await backend.exists("key") is False
    assert await backend.delete("key") is False


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("delete", False),
        ("exists", False),
        ("get", None),
        ("get_bytes", None),
    ],
)
async def test_an_entry_whose_time_is_over_was_not_there(method: str, answer: object) -> None:
    """Whichever method is the first to notice; its room is free for others."""
    clock = Clock()
    backend = MemoryBackend(max_entries=2, clock=clock)
    await backend.set("older", 1)
    await backend.set("key", 2, expire=1)
    clock.now += 1
    assert await getattr(backend, method)("key") is answer
    await backend.set("newer", 3)
    assert await backend.get("older") == 1


async def test_without_expire_an_entry_stays() -> None:
    """The backend itself knows no default time to live."""
    clock = Clock()
    backend = MemoryBackend(clock=clock)
    await backend.set("key", 1)
    clock.now += 10**9
    assert await backend.get("key") == 1


@pytest.mark.parametrize("method", ["get", "get_bytes", "look"])
async def test_the_entry_that_was_used_longest_ago_leaves_first(method: str) -> None:
    """Reading an entry keeps it."""
    backend = MemoryBackend(max_entries=2)
    await backend.set("one", 1)
    await backend.set("two", 2)
    await getattr(backend, method)("one")
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


async def test_the_bounds_are_reached_and_not_passed() -> None:
    """Keys count as well as values, in bytes, to the last one."""
    backend = MemoryBackend(max_bytes=10)
    for key in ("key1", "k\u00fc1"):
        assert await backend.set_bytes(key, b"123456") is True
        assert await backend.exists(key) is True
        assert await backend.set_bytes(key, b"1234567") is False
    assert await backend.set_bytes("a", b"1234") is True
    assert await backend.set_bytes("b", b"1234") is True
    assert [await backend.exists("a"), await backend.exists("b")] == [True, True]
    assert await backend.set_bytes("c", b"") is True
    assert [await backend.exists("a"), await backend.exists("b")] == [False, True]


async def has_exactly(backend: MemoryBackend, free: int) -> bool:
    """Whether there is room for so many bytes and for not one more; what was in it may leave."""
    await backend.set_bytes("a", bytes(free - 1))
    fits = await backend.exists("a")
    await backend.set_bytes("b", b"")
    return fits and not await backend.exists("a")


async def test_close_gives_the_room_back() -> None:
    """All of it."""
    backend = MemoryBackend(max_bytes=100)
    for _ in range(3):
        await backend.set("key", "x" * 50)
        await backend.close()
    assert await has_exactly(backend, free=100)


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
    """Loops in several threads may use one backend, at whatever step each of them is."""
    backend = MemoryBackend(max_entries=50, max_bytes=100_000)

    async def use(number: int) -> None:
        for each in range(2000):
            await backend.set(f"{each % 60}", number)
            await backend.get(f"{(each + 30) % 60}")
            await backend.delete(f"{(each + 7) % 60}")
            if each % 5 == 0:
                await backend.clear()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # as often as the interpreter can
    try:
        await asyncio.gather(*(asyncio.to_thread(asyncio.run, use(n)) for n in range(4)))
    finally:
        sys.setswitchinterval(interval)
    for each in range(60):
        await backend.delete(f"{each}")
    assert await has_exactly(backend, free=100_000)


def test_bounds_below_one_are_an_error() -> None:
    """A backend that can hold nothing is a mistake."""
    with pytest.raises(ValueError, match=r"max_entries=0 .* must be 1 or more"):
        MemoryBackend(max_entries=0)
    with pytest.raises(ValueError, match=r"max_bytes=-1 must be 1 or more"):
        MemoryBackend(max_bytes=-1)


async def test_what_is_there_can_be_read_without_waiting() -> None:
    """What is read counts as used, and what has expired is not there."""
    clock = Clock()
    backend = MemoryBackend(max_entries=2, clock=clock)
    await backend.set_bytes("key", b"1", expire=10)
    await backend.set_bytes("other", b"2", expire=10)
    assert backend.read_now("key") == (b"1", ())
    await backend.set_bytes("newer", b"3", expire=10)
    assert backend.read_now("key", ["other"]) == (b"1", (None,))
    clock.now += 10
    assert backend.read_now("key") == (None, ())

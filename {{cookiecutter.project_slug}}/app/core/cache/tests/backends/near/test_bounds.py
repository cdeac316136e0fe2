"""The near cache is bounded in entries and in bytes."""

import tracemalloc
from dataclasses import dataclass

from .... import (
    CacheManager,
)
from ....backends.near import NearCache
from ....keys.patterns import KeyPattern
from ....testing.redis_server import RedisServer
from ...conftest import redis_backend
from ...faults import eventually
from .scene import Wire, near_of


@dataclass(slots=True)
class Trusted:
    """A connection that is trusted for ever."""

    trusted_until: float = float("inf")
    renew_at: float = float("inf")

    def prove(self, key: str) -> None:
        """Need none."""


def filled(near: NearCache, source: Trusted, count: int, size: int = 10) -> NearCache:
    """Keep so many entries."""
    for number in range(count):
        near.keep(f"{number}", bytes(size), float("inf"), source, near.epoch)
    return near


def kept(near: NearCache, count: int) -> list[int]:
    """Return the numbers of those that are there."""
    return [number for number in range(count) if f"{number}" in near._entries]


def test_it_holds_so_many_entries() -> None:
    """Who was not read for longest leaves first, and reading is what counts."""
    source = Trusted()
    near = filled(NearCache(3, 10**6), source, 3)
    assert near.get("0") is not None
    near.keep("3", b"", float("inf"), source, near.epoch)
    assert kept(near, 4) == [0, 2, 3]
    near.keep("0", b"again", float("inf"), source, near.epoch)
    assert len(near) == 3


def test_it_holds_so_many_bytes() -> None:
    """Keys and what an entry itself takes are counted, and nothing is counted twice."""
    source = Trusted()
    near = filled(NearCache(10**6, 100_000), source, 1000, size=1000)
    assert 50 < len(near) < 90
    assert near.size <= 100_000
    size = near.size
    for _ in range(10):
        near.keep("999", bytes(1000), float("inf"), source, near.epoch)
    assert near.size == size
    near.forget([KeyPattern(("", ""))])
    assert (len(near), near.size) == (0, 0)


def test_what_is_remembered_is_counted() -> None:
    """It makes room for itself, and leaves with its entry; one that has left is not counted."""
    source = Trusted()
    near = filled(NearCache(100, 100_000), source, 10)
    size, first, last = near.size, near.get("0"), near.get("9")
    assert first is not None
    assert last is not None
    near.remember("9", last, "memo", 1000)
    assert (last.memo, near.size) == ("memo", size + 1000)
    near.remember("9", last, "another", 99_000)
    assert kept(near, 10) == []
    assert near.size == 0
    near.remember("0", first, "memo", 1000)
    assert (first.memo, near.size) == ("memo", 0)


def test_what_is_too_large_puts_nobody_out() -> None:
    """One that would take more than an eighth of all is not kept."""
    source = Trusted()
    near = filled(NearCache(100, 100_000), source, 10)
    near.keep("large", bytes(13_000), float("inf"), source, near.epoch)
    assert (kept(near, 10), near.get("large")) == (list(range(10)), None)
    near.keep("small", bytes(12_000), float("inf"), source, near.epoch)
    assert near.get("small") is not None


def test_its_bytes_are_about_those_of_memory() -> None:
    """What counts is at least two thirds of what the interpreter takes, and at most twice that."""
    source, count = Trusted(), 5000
    near = NearCache(count, 10**9)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(count):
            near.keep(f"app:family:{number:32}", bytes(200), 1.5 + number, source, 0)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 2 / 3 < near.size / (after - before) < 2


async def test_the_settings_bound_it(redis_server: RedisServer) -> None:
    """As they bound it for a manager."""
    for bound in ({"near_size": 5}, {"near_size": 1000, "near_bytes": 4000}):
        manager = CacheManager(redis_backend(redis_server, **bound))
        values = {f"{number}": number for number in range(20)}
        await manager.set_many(values)
        assert await manager.get_many(list(values)) == values
        assert 0 < len(near_of(manager)) <= 12
        await manager.clear()
        await manager.close()


async def test_what_a_lost_connection_has_read_is_given_up(
    manager: CacheManager, wire: Wire
) -> None:
    """Its memory is free, not only untrusted."""
    values = {f"{number}": number for number in range(20)}
    await manager.set_many(values)
    assert await manager.get_many(list(values)) == values
    assert len(near_of(manager)) == 20
    wire.drop()
    await eventually(lambda: not len(near_of(manager)))
    assert near_of(manager).size == 0
    assert await manager.get_many(list(values)) == values

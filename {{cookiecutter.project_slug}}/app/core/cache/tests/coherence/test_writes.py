"""Writes by hand against invalidations: what is older than an invalidation is not served after it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from ... import CacheManager, MemoryBackend, cache_response
from ...testing.redis_server import RedisServer
from ..conftest import SixMethods, redis_backend
from ..faults import PATIENT, eventually, manager_behind, soon
from ..proxy.fault_proxy import Fault, FaultProxy


class Slow(SixMethods):
    """Somebody's backend whose methods wait before they do what they do."""

    async def get(self, key: str) -> Any | None:
        found = await super().get(key)
        await turns()
        return found

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        await turns()
        return await super().set(key, value, expire)


async def turns() -> None:
    """Let others run for a few turns of the event loop."""
    for _ in range(5):
        await asyncio.sleep(0)


def cached(manager: CacheManager, **options: Any) -> Any:
    """Return a cached function."""

    @cache_response(manager, "data", key="it", **options)
    async def function() -> str:
        return "computed"

    return function


Write = Callable[[CacheManager], Awaitable[object]]
WRITES: dict[str, Write] = {
    "set": lambda manager: manager.set("data:it", "written"),
    "set with tags": lambda manager: manager.set("data:it", "written", tags=["tag"]),
    "f.set": lambda manager: cached(manager).set("written"),
    "f.set with tags": lambda manager: cached(manager, tags=["tag"]).set("written"),
    "touch": lambda manager: manager.touch("data:it", 100),
}
INVALIDATIONS: dict[str, Write] = {
    "delete": lambda manager: manager.delete("data:it"),
    "invalidate": lambda manager: manager.invalidate("data:*"),
    "clear": lambda manager: manager.clear(),
}


@pytest.mark.parametrize("invalidation", INVALIDATIONS)
@pytest.mark.parametrize("write", WRITES)
async def test_p3_an_invalidation_that_begins_later_wins(
    manager: CacheManager, write: str, invalidation: str
) -> None:
    """Wherever the write is when it begins: once it has returned, nothing older is there."""
    for steps in range(12):
        await manager.set("data:it", "old")
        writing = asyncio.ensure_future(WRITES[write](manager))
        for _ in range(steps + 1):
            await asyncio.sleep(0)
        is_under_way = not writing.done()
        await INVALIDATIONS[invalidation](manager)
        at_once = await manager.get("data:it")
        await soon(writing)
        assert at_once is None or not is_under_way
        assert await manager.get("data:it") is None


@pytest.mark.parametrize("invalidation", INVALIDATIONS)
@pytest.mark.parametrize("write", [*WRITES, "incr", "add"])
async def test_p3_six_methods_undo_what_was_overtaken(write: str, invalidation: str) -> None:
    """In one process, whatever the backend waits for."""
    manager = CacheManager(Slow())
    writes: dict[str, Write] = {
        **WRITES,
        "incr": lambda manager: manager.incr("data:it"),
        "add": lambda manager: manager.add("data:it", "written"),
    }
    for steps in range(40):
        if write != "add":
            await manager.set("data:it", 1 if write == "incr" else "old")
        writing = asyncio.ensure_future(writes[write](manager))
        for _ in range(steps + 1):
            await asyncio.sleep(0)
        if writing.done():
            break
        await INVALIDATIONS[invalidation](manager)
        await soon(writing)
        assert await manager.get("data:it") is None
    assert steps > 4


async def test_p4_six_methods_count_and_add_one_by_one() -> None:
    """In one process: of ten who add one has, and ten counts are ten."""
    manager = CacheManager(Slow())
    assert sum(await asyncio.gather(*[manager.add("one", number) for number in range(10)])) == 1
    counts = await asyncio.gather(*[manager.incr("hits") for _ in range(10)])
    assert sorted(each or 0 for each in counts) == [*range(1, 11)]


@pytest.mark.parametrize("near", [0, 100])
@pytest.mark.parametrize("write", WRITES)
async def test_p6_a_write_that_is_cancelled_leaves_nothing_old(
    proxy: FaultProxy, redis_server: RedisServer, write: str, near: int
) -> None:
    """A client that hangs up in the middle of it, while Redis hangs, loses no invalidation."""
    if write == "touch":
        return  # it changes no value
    manager = manager_behind(proxy, redis_server, near_size=near)
    other = CacheManager(redis_backend(redis_server, key_prefix=manager.key_prefix, **PATIENT))
    await manager.set("data:it", "old")
    assert await manager.get("data:it") == "old"
    proxy.silence()
    writing = asyncio.ensure_future(WRITES[write](manager))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert await manager.get("data:it") != "old"
    proxy.heal()
    await eventually(lambda: not manager.invalidations.pending.is_open)
    for each in (manager, other):
        assert await each.get("data:it") != "old"
        await each.clear()
        await each.close()


async def test_p3_a_lease_of_a_write_that_died_holds_nobody_up(
    proxy: FaultProxy, redis_server: RedisServer, redis_client: Redis
) -> None:
    """If a process ends between the lease and the value, the lease ends by itself."""
    manager = manager_behind(proxy, redis_server, **PATIENT)
    proxy.inject(Fault("stall", command=b"EVALSHA", to="request", times=1))
    writing = asyncio.ensure_future(manager.set("key", 1, tags=["tag"]))
    await eventually(lambda: proxy.done["stall"])
    left = redis_client.pttl(f"{manager.key_prefix}:key")
    assert 0 < left <= 3000
    proxy.heal()
    proxy.drop()
    await soon(asyncio.gather(writing, return_exceptions=True))
    await manager.clear()
    await manager.close()


class Forgetful(MemoryBackend):
    """An invalidation comes while it stores, cannot be delivered, and nothing can be removed."""

    is_away = True
    manager: CacheManager

    async def replace(self, key: str, over: bytes, data: bytes, ms: int) -> bool:
        stored = await super().replace(key, over, data, ms)
        if self.is_away:
            self.manager.defer("data:*")
        return stored

    async def delete_many(self, keys: Sequence[str]) -> int:
        if self.is_away:
            raise ConnectionError("it is away")
        return await super().delete_many(keys)


async def test_p5_a_fill_that_cannot_be_taken_back_disturbs_no_caller() -> None:
    """He gets his value; it is not served, and goes when that can be done."""
    backend = Forgetful()
    manager = backend.manager = CacheManager(backend)
    runs: list[int] = []

    @cache_response(manager, "data", key="it")
    async def function() -> int:
        runs.append(1)
        return len(runs)

    assert await function() == 1
    assert await manager.get("data:it") is None
    backend.is_away = False
    await eventually(lambda: not manager.invalidations.pending.is_open)
    assert await manager.get("data:it") is None
    assert await function() == 2
    await manager.close()

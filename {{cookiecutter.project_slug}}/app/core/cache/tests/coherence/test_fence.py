"""The fence on real backends: one computation, and nothing stale (promises P3, P4 and P5)."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis import Redis

from ... import CacheManager, MemoryBackend, cache_response, invalidate_cache
from ...coherence.leases import is_lease
from ...testing.redis_server import RedisServer
from ..conftest import SixMethods, redis_backend
from ..faults import WITHIN
from ..internals import joined
from .fence_scenes import Source

INVALIDATIONS: dict[str, Callable[[CacheManager], Awaitable[object]]] = {
    "exact key": lambda manager: manager.invalidate("source:value:7"),
    "delete": lambda manager: manager.delete("source:value:7"),
    "pattern": lambda manager: manager.invalidate("source*"),
    "tag": lambda manager: manager.invalidate_tags("value:7"),
    "clear": lambda manager: manager.clear(),
    "decorator": lambda manager: invalidate_cache(manager, "source:*")(asyncio.sleep)(0),
    "decorator with a tag": lambda manager: tagged(manager)(7),
}


BY_TAG = {"tag", "decorator with a tag"}


has_tags = pytest.mark.parametrize(
    ("how", "tags"),
    [(how, True) for how in INVALIDATIONS]
    + [(how, False) for how in INVALIDATIONS if how not in BY_TAG],
    ids=lambda value: value if isinstance(value, str) else "tags" if value else "",
)
"""Runs a test with each invalidation, of an entry with tags and of one without."""


def tagged(manager: CacheManager) -> Any:
    """Make a function that invalidates a tag by its argument."""

    async def write(number: int) -> int:
        return number

    return invalidate_cache(manager, tags=["value:{number}"])(write)


@has_tags
async def test_p3_a_fill_that_was_overtaken_is_not_stored(
    manager: CacheManager, how: str, *, tags: bool
) -> None:
    """Its own caller has it; whoever reads after the invalidation gets the new value."""
    source = Source()
    read = source.cached(manager, tags=tags)
    overtaken = asyncio.create_task(read(7))
    await source.reading.wait()
    source.value = "new"
    assert await INVALIDATIONS[how](manager) is not False
    late = asyncio.create_task(read(7))
    for _ in range(20):
        await asyncio.sleep(0)
    source.go_on.set()
    assert await overtaken == "old"
    assert await late == "new"
    assert await read(7) == "new"
    assert source.reads == 2


@has_tags
async def test_p3_a_stored_entry_is_gone(manager: CacheManager, how: str, *, tags: bool) -> None:
    """However it is invalidated."""
    source = Source()
    source.go_on.set()
    read = source.cached(manager, tags=tags)
    assert [await read(7), await read(7)] == ["old", "old"]
    source.value = "new"
    await INVALIDATIONS[how](manager)
    assert [await read(7), await read(7)] == ["new", "new"]
    assert source.reads == 2


@has_tags
async def test_p3_another_process_is_fenced_too(
    redis_server: RedisServer, how: str, *, tags: bool
) -> None:
    """Who fills and who invalidates know nothing of each other but what stands in Redis."""
    one = CacheManager(redis_backend(redis_server))
    two = CacheManager(redis_backend(redis_server, key_prefix=one.key_prefix))
    source = Source()
    read_one, read_two = source.cached(one, tags=tags), source.cached(two, tags=tags)
    overtaken = asyncio.create_task(read_one(7))
    await source.reading.wait()
    source.value = "new"
    await INVALIDATIONS[how](two)
    late = [asyncio.create_task(read(7)) for read in (read_one, read_two)]
    source.go_on.set()
    assert await overtaken == "old"
    assert await asyncio.gather(*late) == ["new", "new"]
    assert await read_one(7) == await read_two(7) == "new"
    for manager in (one, two):
        await manager.clear()
        await manager.close()


async def test_p4_callers_of_one_process_share_one_computation(manager: CacheManager) -> None:
    """Each has a value of its own."""
    runs: list[int] = []
    started, go_on = asyncio.Event(), asyncio.Event()

    @cache_response(manager, "data")
    async def function(number: int) -> list[int]:
        runs.append(number)
        started.set()
        await go_on.wait()
        return [number]

    callers = [asyncio.create_task(function(1)) for _ in range(200)]
    await started.wait()
    callers += [asyncio.create_task(function(1)) for _ in range(200)]
    go_on.set()
    values = await asyncio.gather(*callers)
    assert values == [[1]] * 400
    assert len({id(value) for value in values}) == 400
    assert runs == [1]


async def met(
    manager: CacheManager, result: Callable[[int], object]
) -> tuple[Callable[[], Awaitable[object]], list[object], list[int]]:
    """Have five callers meet in one run of a function, which is told the number of each run.

    Return the function, what each caller got of it, and its runs.
    """
    runs: list[int] = []
    started, go_on = asyncio.Event(), asyncio.Event()

    @cache_response(manager, "data")
    async def function() -> object:
        runs.append(1)
        started.set()
        await go_on.wait()
        return result(len(runs))

    callers = [asyncio.create_task(function()) for _ in range(5)]
    await started.wait()
    await joined(manager, 4)
    go_on.set()
    return function, await asyncio.gather(*callers, return_exceptions=True), runs


async def test_p4_callers_share_the_exception(manager: CacheManager) -> None:
    """And the next caller runs the function again."""

    def result(run: int) -> object:
        raise LookupError(f"run {run}")

    function, errors, _ = await met(manager, result)
    assert [str(error) for error in errors] == ["run 1"] * 5
    with pytest.raises(LookupError, match="run 2"):
        await function()


async def test_p4_what_is_nobody_elses_is_not_shared(manager: CacheManager) -> None:
    """Callers that waited for a result that must not be stored compute their own."""
    _, values, runs = await met(manager, lambda _: object())
    assert [type(value) for value in values] == [object] * 5
    assert len({id(value) for value in values}) == 5
    assert len(runs) == 5


async def test_p4_a_cancelled_follower_disturbs_nobody(manager: CacheManager) -> None:
    """The others have the value."""
    source = Source()
    read = source.cached(manager)
    leader = asyncio.create_task(read(7))
    await source.reading.wait()
    followers = [asyncio.create_task(read(7)) for _ in range(3)]
    await joined(manager, 3)
    followers[0].cancel()
    source.go_on.set()
    results = await asyncio.gather(leader, *followers, return_exceptions=True)
    assert [str(result) for result in results] == ["old", "", "old", "old"]
    assert source.reads == 1


async def test_p4_a_cancelled_leader_hands_over(manager: CacheManager) -> None:
    """A follower runs the function with its own arguments, and nothing is left behind."""
    source = Source()
    read = source.cached(manager)
    leader = asyncio.create_task(read(7, "the leader's"))
    await source.reading.wait()
    followers = [asyncio.create_task(read(7, "a follower's")) for _ in range(3)]
    await joined(manager, 3)
    source.reading.clear()
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    await asyncio.wait_for(source.reading.wait(), 10)
    source.go_on.set()
    assert await asyncio.gather(*followers) == ["old"] * 3
    assert source.reads == 2


async def test_p4_a_leader_that_is_cancelled_alone_leaves_nothing(
    redis_manager: CacheManager, redis_client: Redis
) -> None:
    """Its lease is gone before its time."""
    source = Source()
    leader = asyncio.create_task(source.cached(redis_manager)(7))
    await source.reading.wait()
    key = f"{redis_manager.key_prefix}:source:value:7"
    standing = redis_client.get(key)
    assert isinstance(standing, bytes)
    assert is_lease(standing)
    leader.cancel()
    deadline = time.monotonic() + 2.5  # less than a lease lives
    while redis_client.exists(key):
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


async def test_p4_recursion_does_not_deadlock(manager: CacheManager) -> None:
    """A function that calls itself with the same arguments runs itself."""
    depth: list[int] = []

    @cache_response(manager, "data")
    async def function(number: int) -> int:
        depth.append(number)
        return number if len(depth) > 3 else await function(number)

    assert await asyncio.wait_for(function(1), 10) == 1
    assert len(depth) == 4


async def test_p3_a_refresh_that_asks_for_itself_does_not_get_what_it_replaces(
    manager: CacheManager,
) -> None:
    """What stands there until then is old; what the function calls besides may be a hit."""
    depth: list[int] = []

    @cache_response(manager, "other")
    async def other() -> int:
        return len(depth)

    @cache_response(manager, "data")
    async def function(number: int) -> list[int]:
        depth.append(number)
        return [await other()] if len(depth) % 2 else await function(number)

    assert await function(1) == [1]
    assert await function.refresh(1) == [1]
    assert len(depth) == 3


async def test_p4_functions_that_wait_for_each_other_do_not_deadlock(
    manager: CacheManager,
) -> None:
    """Each of two is computed by one who needs the other."""
    begun = asyncio.Barrier(2)
    runs: list[str] = []

    @cache_response(manager, "one")
    async def one(depth: int = 0) -> str:
        runs.append("one")
        if len(runs) <= 2:
            await begun.wait()
            return "one " + await two()
        return "one"

    @cache_response(manager, "two")
    async def two() -> str:
        runs.append("two")
        if len(runs) <= 2:
            await begun.wait()
            return "two " + await one()
        return "two"

    values = await asyncio.wait_for(asyncio.gather(one(), two()), 20)
    assert all(value.startswith(name) for name, value in zip(("one", "two"), values, strict=True))


class Gone(SixMethods):
    """A backend that cannot be reached."""

    async def get(self, key: str) -> Any | None:
        raise ConnectionError("refused")


async def test_p4_without_a_backend_one_computation_a_process_holds() -> None:
    """Callers share the flight although nothing can be stored."""
    manager = CacheManager(Gone())
    source = Source()
    read = source.cached(manager)
    callers = [asyncio.create_task(read(7)) for _ in range(50)]
    await source.reading.wait()
    source.go_on.set()
    assert await asyncio.gather(*callers) == ["old"] * 50
    assert source.reads == 1


async def test_p3_without_a_backend_this_process_is_fenced() -> None:
    """Who starts after an invalidation does not join what began before it."""
    manager = CacheManager(Gone())
    source = Source()
    read = source.cached(manager)
    early = asyncio.create_task(read(7))
    await source.reading.wait()
    source.value = "new"
    await manager.invalidate("source*")
    late = asyncio.create_task(read(7))
    for _ in range(20):
        await asyncio.sleep(0)
    source.go_on.set()
    assert [await early, await late] == ["old", "new"]


async def test_p5_a_broken_backend_breaks_no_call() -> None:
    """Whatever its methods raise, the function's result or exception is what the caller gets."""

    class Broken(SixMethods):
        async def get(self, key: str) -> Any | None:
            return None

        async def set(self, key: str, value: Any, expire: Any = None) -> bool:
            raise AttributeError("transport")

        async def delete(self, key: str) -> bool:
            raise TypeError("transport")

    manager = CacheManager(Broken())

    @cache_response(manager, "data", tags=["tag"])
    async def function(number: int) -> int:
        return 10 // number

    assert await function(5) == 2
    with pytest.raises(ZeroDivisionError):
        await function(0)


async def test_p4_processes_share_one_computation(redis_server: RedisServer) -> None:
    """The second waits for the first one's lease to become a record."""
    one = CacheManager(redis_backend(redis_server))
    two = CacheManager(redis_backend(redis_server, key_prefix=one.key_prefix))
    source = Source()
    callers = [asyncio.create_task(source.cached(one)(7))]
    await source.reading.wait()
    callers += [asyncio.create_task(source.cached(two)(7)) for _ in range(20)]
    for _ in range(200):
        await asyncio.sleep(0)
    source.go_on.set()
    assert await asyncio.gather(*callers) == ["old"] * 21
    assert source.reads == 1
    for manager in (one, two):
        await manager.clear()
        await manager.close()


def test_p5_close_ends_although_what_was_left_has_just_been_done() -> None:
    """From Python 3.12 on, `gather` returns at once then, and nothing else runs in between."""

    async def close() -> None:
        manager = CacheManager(MemoryBackend())
        manager.fence.leases.tasks.start(asyncio.sleep(0))
        await asyncio.sleep(0)
        closing = asyncio.create_task(manager.close())  # it begins when the task has ended
        await closing

    thread = threading.Thread(target=asyncio.run, args=[close()], daemon=True)
    thread.start()
    thread.join(WITHIN)
    assert not thread.is_alive()

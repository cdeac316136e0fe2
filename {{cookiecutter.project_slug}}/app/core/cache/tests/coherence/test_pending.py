"""Invalidations that do not reach Redis are kept, and delivered late (promises P3 and P6)."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis

from ... import CacheManager
from ...coherence.pending import SLOTS, InvalidationEvent
from ...errors import UnavailableError
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..faults import BUDGET, How, eventually, manager_behind, without_redis
from ..package import NAME
from ..proxy.fault_proxy import FaultProxy
from .pending_scenes import KINDS, OF_ALL_NUMBERS, WAYS, Entries, delivered


@pytest.fixture
async def manager(proxy: FaultProxy, redis_server: RedisServer) -> AsyncIterator[CacheManager]:
    """Lend a manager that goes through the proxy, with the budget that a service has."""
    manager = manager_behind(proxy, redis_server)
    yield manager
    proxy.heal()
    await eventually(manager.clear)
    await manager.close()


@pytest.fixture
def standing(manager: CacheManager, redis_client: Redis) -> Callable[[str], Any]:
    """Return what shows, past the manager, what stands at a key of its own."""
    return lambda key: redis_client.get(f"{manager.key_prefix}:{key}")


@contextmanager
def undeliverable(manager: CacheManager) -> Iterator[None]:
    """Let invalidations fail, and nothing else."""

    async def fail(*_: Any) -> Any:
        raise UnavailableError("not now")

    with pytest.MonkeyPatch.context() as patch:
        for step in ("delete_many", "delete_matching", "invalidate_tag_keys", "set_bytes"):
            patch.setattr(manager.backend, step, fail)
        yield


@pytest.mark.parametrize("way", WAYS)
async def test_p6_what_is_to_be_invalidated_is_neither_served_nor_stored(
    manager: CacheManager, standing: Callable[[str], Any], way: str
) -> None:
    """Until that has been delivered; all the rest is served, and stored, meanwhile."""
    entries = Entries(manager)
    invalidate, covered = WAYS[way]
    await entries.store([1, 2])
    before = {kind: standing(f"{kind}:1") for kind in KINDS}
    with undeliverable(manager):
        assert not await invalidate(entries, 1)
        entries.source = "new"
        for kind in covered:
            assert await entries.read(kind, 1) <= {None, "new"}
        assert {kind: standing(f"{kind}:1") for kind in KINDS} == before
        if way not in OF_ALL_NUMBERS:
            runs = entries.runs
            for kind in KINDS:
                assert await entries.read(kind, 2) <= {"old", "exists"}
            assert entries.runs == runs
            assert await manager.get_or_set("fresh", entries.compute) == "new"
            assert await manager.get("fresh") == "new"
    while len(manager.invalidations.pending):
        await asyncio.sleep(0)
        for kind in covered:
            assert "old" not in await entries.read(kind, 1)
    for kind in covered:
        assert "old" not in await entries.read(kind, 1)
        assert standing(f"{kind}:1") != before[kind]


@pytest.mark.parametrize("how", ["refused", "hung", "stopped"])
async def test_p6_invalidations_outlive_an_outage(
    manager: CacheManager,
    proxy: FaultProxy,
    redis_server: RedisServer,
    standing: Callable[[str], Any],
    how: How,
) -> None:
    """Each is delivered before Redis, which still has the old value, is asked for anything."""
    entries = Entries(manager)
    ways = [WAYS[way] for way in WAYS if way not in OF_ALL_NUMBERS]
    await entries.store([*range(len(ways)), 99])
    covered = [(kind, number) for number, (_, kinds) in enumerate(ways) for kind in kinds]
    before = {entry: standing("{}:{}".format(*entry)) for entry in covered}
    with without_redis(how, proxy, redis_server):
        for number, (invalidate, _) in enumerate(ways):
            assert not await invalidate(entries, number)
        entries.source = "new"
        for entry in covered:
            assert await entries.read(*entry) <= {None, "new"}
    while await manager.get("set:99") is None:
        await asyncio.sleep(0)
        for entry in covered:
            assert "old" not in await entries.read(*entry)
    assert len(manager.invalidations.pending) == 0
    runs = entries.runs
    assert await entries.read("function", 99) == await entries.read("made", 99) == {"old"}
    assert entries.runs == runs
    for entry in covered:
        assert "old" not in await entries.read(*entry)
        assert standing("{}:{}".format(*entry)) != before[entry]


async def test_p6_other_processes_see_it_when_it_is_delivered(
    manager: CacheManager, proxy: FaultProxy, redis_server: RedisServer
) -> None:
    """Not before: they could reach Redis all the while, and know nothing of it."""
    other = CacheManager(redis_backend(redis_server, key_prefix=manager.key_prefix))
    await manager.set("key", "old")
    with without_redis("refused", proxy, redis_server):
        assert await manager.delete("key") is False
        assert await other.get("key") == "old"
    await eventually(lambda: _is(other.get("key"), None))
    await other.close()


async def _is(value: Awaitable[object], expected: object) -> bool:
    return await value == expected


@pytest.mark.parametrize("way", ["a key", "a tag", "a pattern", "clear"])
async def test_p6_a_fill_that_is_overtaken_is_not_stored_and_not_joined(
    manager: CacheManager, standing: Callable[[str], Any], way: str
) -> None:
    """Although it has its lease, as the invalidation has not reached Redis."""
    source, runs = "old", 0
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def compute() -> str:
        nonlocal runs
        value, runs = source, runs + 1
        begun.set()
        await go_on.wait()
        return value

    async def read() -> Any:
        return await manager.get_or_set("made:1", compute, tags=["tag:1"])

    overtaken = asyncio.create_task(read())
    await begun.wait()
    assert standing("made:1").startswith(b"lease/1 ")
    with undeliverable(manager):
        assert not await WAYS[way][0](Entries(manager), 1)
        source = "new"
        late = [asyncio.create_task(read()) for _ in range(3)]
        await eventually(lambda: runs == 2)
        go_on.set()
        assert await overtaken == "old"
        assert await asyncio.gather(*late) == ["new"] * 3
        assert await read() == "new"
    while len(manager.invalidations.pending):
        await asyncio.sleep(0)
        assert await read() == "new"
    assert await read() == "new"
    assert b"old" not in standing("made:1")


async def test_p6_a_fill_is_overtaken_while_redis_hangs(
    manager: CacheManager, proxy: FaultProxy
) -> None:
    """Its lease is still there when Redis goes on, and so is the chance to store it."""
    source = "old"
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def compute() -> str:
        value = source
        begun.set()
        await go_on.wait()
        return value

    overtaken = asyncio.create_task(manager.get_or_set("key", compute))
    await begun.wait()
    proxy.silence()
    assert await manager.delete("key") is False
    source = "new"
    proxy.heal()
    go_on.set()
    assert await overtaken == "old"
    assert await manager.get_or_set("key", compute) == "new"
    await delivered(manager)
    assert await manager.get_or_set("key", compute) == "new"


async def test_p6_an_invalidation_whose_caller_is_cancelled_is_kept(
    manager: CacheManager, proxy: FaultProxy, standing: Callable[[str], Any]
) -> None:
    """It may have reached Redis, and it may not."""
    await manager.set("key", "old")
    proxy.silence()
    caller = asyncio.create_task(manager.delete("key"))
    for _ in range(5):
        await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    assert caller.cancelled()
    assert standing("key") == b'"old"'
    proxy.heal()
    assert await manager.get("key") is None
    await delivered(manager)
    assert standing("key") is None


@pytest.mark.parametrize(
    ("kept", "later"),
    [
        (lambda manager: manager.delete("key"), lambda manager: manager.set("key", "new")),
        (lambda manager: manager.delete("key"), lambda manager: manager.delete("key")),
        (lambda manager: manager.delete("key"), lambda manager: manager.clear()),
        (lambda manager: manager.set("key", "new"), lambda manager: manager.set("key", "new")),
        (lambda manager: manager.invalidate("k*"), lambda manager: manager.invalidate("k*")),
        (lambda manager: manager.invalidate("k*"), lambda manager: manager.clear()),
        (
            lambda manager: manager.invalidate_tags("tag"),
            lambda manager: manager.invalidate_tags("tag"),
        ),
        (lambda manager: manager.invalidate_tags("tag"), lambda manager: manager.clear()),
    ],
)
async def test_p6_a_later_one_that_is_delivered_settles_it(
    manager: CacheManager,
    kept: Callable[[CacheManager], Awaitable[object]],
    later: Callable[[CacheManager], Awaitable[object]],
) -> None:
    """What was put off is not done once more: it would remove what has been stored since."""
    await manager.set("key", "old")
    with undeliverable(manager):
        assert not await kept(manager)
    assert len(manager.invalidations.pending) > 0
    await later(manager)
    assert len(manager.invalidations.pending) == 0
    await manager.set("key", "new")
    assert await manager.get("key") == "new"


async def test_p6_a_later_one_of_less_does_not_settle_it(manager: CacheManager) -> None:
    """Nor does one of something else."""
    await manager.set("key", "old")
    with undeliverable(manager):
        await manager.invalidate("k*")
        await manager.invalidate_tags("tag")
    await manager.set("key", "new")
    await manager.delete("other")
    await manager.invalidate("ke*")
    await manager.invalidate_tags("another")
    assert manager.invalidations.pending.covers(f"{manager.key_prefix}:key")
    assert await manager.get("key") is None
    await delivered(manager)
    assert await manager.get("key") is None


async def test_p6_close_makes_a_last_attempt(
    manager: CacheManager, proxy: FaultProxy, standing: Callable[[str], Any]
) -> None:
    """Past the breaker, which is still open."""
    await manager.set("key", "old")
    proxy.refuse()
    proxy.drop()
    for _ in range(3):
        assert await manager.get("key") is None
    assert await manager.delete("key") is False
    proxy.heal()
    assert await manager.health_check() is False
    await manager.close()
    assert standing("key") is None
    assert len(manager.invalidations.pending) == 0


@pytest.mark.parametrize("how", ["refused", "hung", "blackholed"])
async def test_p6_what_is_lost_when_it_is_closed_is_told(
    manager: CacheManager,
    proxy: FaultProxy,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    how: How,
) -> None:
    """After no more than a budget or two; a manager that is used again has kept it all the same."""
    events: list[InvalidationEvent] = []
    manager.on_event = events.append
    await manager.set("key", "old")
    with without_redis(how, proxy, redis_server):
        assert await manager.delete_many(["key", "other"]) == 0
        begun = time.monotonic()
        await manager.close()
        assert time.monotonic() - begun < 10 * BUDGET
        assert events == [InvalidationEvent("deferred", 2), InvalidationEvent("lost", 2)]
        [error] = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert "closed with 2 invalidations that could not be delivered" in error.getMessage()
    while len(manager.invalidations.pending):
        assert await manager.get("key") is None
        await asyncio.sleep(0)
    assert await manager.get("key") is None
    assert events[2:] == [InvalidationEvent("delivered", 2)]


async def test_p6_the_log_and_a_listener_tell_of_it(
    manager: CacheManager,
    proxy: FaultProxy,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once when it begins and once when it is over, with how many there were."""
    events: list[InvalidationEvent] = []
    manager.on_event = events.append
    for _ in range(2):
        with without_redis("refused", proxy, redis_server):
            for number in range(10):
                await manager.delete(f"key:{number}")
        await delivered(manager)
        await eventually(manager.health_check)
    assert events == [InvalidationEvent("deferred", 1), InvalidationEvent("delivered", 10)] * 2
    lines = [r.getMessage() for r in caplog.records if r.name == f"{NAME}.manager"]
    assert len(lines) == 4
    assert "could not be delivered; it is kept" in lines[2]
    assert lines[3] == "invalidations were delivered late: 10"


async def test_p6_a_listener_that_fails_harms_nobody(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Its exception is logged, and everything goes on."""

    def fail(_: InvalidationEvent) -> None:
        raise LookupError("of the listener")

    manager.on_event = fail
    with undeliverable(manager):
        assert await manager.delete("key") is False
    await delivered(manager)
    assert len([record for record in caplog.records if record.exc_info]) == 2


async def test_p6_too_many_become_one_of_everything(
    manager: CacheManager, proxy: FaultProxy, redis_server: RedisServer, redis_client: Redis
) -> None:
    """Memory is bounded; the next prefix is none of its business."""
    sibling = f"{manager.key_prefix}2:key"
    redis_client.set(sibling, "theirs")
    try:
        await manager.set("key", "old")
        with without_redis("refused", proxy, redis_server):
            for number in range(SLOTS):
                await manager.delete(f"{number}")
            assert len(manager.invalidations.pending) == SLOTS
            assert not manager.invalidations.pending.covers(f"{manager.key_prefix}:key")
            await manager.delete("one more")
            assert len(manager.invalidations.pending) == 1
            assert manager.invalidations.pending.covers(f"{manager.key_prefix}:key")
            assert not manager.invalidations.pending.covers(sibling)
        await delivered(manager)
        assert await manager.exists("key") is False
        assert redis_client.exists(sibling) == 1
    finally:
        redis_client.unlink(sibling)


async def test_p6_a_tag_counts_once(manager: CacheManager) -> None:
    """The tag of all tags, which is kept with each other one, is not the caller's."""
    events: list[InvalidationEvent] = []
    manager.on_event = events.append
    with undeliverable(manager):
        assert await manager.invalidate_tags("one") is False
        assert await manager.invalidate_tags("one", "other") is False
    await delivered(manager)
    assert events == [InvalidationEvent("deferred", 1), InvalidationEvent("delivered", 3)]


async def test_p3_what_a_tag_has_invalidated_does_not_exist(manager: CacheManager) -> None:
    """`exists` agrees with `get`."""
    await manager.get_or_set("key", lambda: 1, tags=["tag"])
    assert await manager.exists("key") is True
    assert await manager.invalidate_tags("tag") is True
    assert await manager.get("key") is None
    assert await manager.exists("key") is False

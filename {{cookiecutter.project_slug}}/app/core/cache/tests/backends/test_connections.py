"""Connections: nobody is refused one, nobody gets another one's reply, none is left over."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, cast

import pytest
from redis import Redis

from ... import CacheManager, RedisBackend, cache_response
from ...backends.wire import pipeline
from ...stored.record import is_record
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..faults import (
    BUDGET,
    PATIENT,
    Make,
    eventually,
    hold_up,
    making,
    manager_behind,
    soon,
    swept,
)
from ..proxy.fault_proxy import Fault, FaultProxy, Kind

BROKEN: Final[dict[str, Fault]] = {
    "nothing": Fault("cut"),
    "half a reply": Fault("cut", after=5),
    "a reset": Fault("reset", after=5),
    "garbage": Fault("garbage"),
    "noise": Fault("noise"),
    "two replies": Fault("duplicate"),
    "half a request": Fault("cut", after=9, to="request"),
    "silence": Fault("stall", after=5),
}


class Function:
    """A cached function of a number; it counts its runs."""

    def __init__(self, manager: CacheManager, **options: Any) -> None:
        self.runs = 0

        @cache_response(manager, "function", **options)
        async def function(number: int) -> dict[str, int]:
            self.runs += 1
            return {"number": number}

        self.function = function

    async def __call__(self, number: int) -> bool:
        """Call it; return whether the value is right."""
        return await self.function(number) == {"number": number}

    async def warm(self, numbers: range) -> None:
        """Have a value stored for each number; so many at once as are done in good time."""
        for start in range(0, len(numbers), 50):
            assert all(await asyncio.gather(*map(self, numbers[start : start + 50])))
        assert self.runs == len(numbers)
        self.runs = 0


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """Lend a proxy in front of Redis."""
    with FaultProxy(redis_server.host, redis_server.port, seed=5) as proxy:
        yield proxy


@pytest.fixture
async def make(redis_server: RedisServer) -> AsyncIterator[Make]:
    """Lend what makes managers that have time; nothing of them is left afterwards."""

    def new(**changes: Any) -> CacheManager:
        return CacheManager(redis_backend(redis_server, **{**PATIENT, **changes}))

    async with making(redis_server, new) as make:
        yield make


@pytest.fixture
async def behind(proxy: FaultProxy, redis_server: RedisServer) -> AsyncIterator[Make]:
    """Lend what makes such managers that go through the proxy."""
    new = partial(manager_behind, proxy, redis_server, **PATIENT)
    async with making(redis_server, new) as behind:
        yield behind
        proxy.heal()


async def test_p5_connections_of_another_generation_are_left(
    make: Make, ours: Callable[[], set[str]]
) -> None:
    """All that there were: they may lead to a server that is not the master any more."""
    manager = make()

    async def use() -> None:
        assert await manager.set("key", 1) is True
        assert await manager.get("key") == 1
        assert await manager.get_or_set("other", lambda: 2) == 2

    await use()
    before = ours()
    topology: Any = cast("RedisBackend", manager.backend)._topology
    topology._server.renew()
    await manager.delete("other")
    await use()
    await eventually(lambda: not ours() & before)


@pytest.mark.parametrize("connections", [4, 3, 2, 1])
async def test_p5_connections_that_are_left_make_room(
    behind: Make, proxy: FaultProxy, ours: Callable[[], set[str]], connections: int
) -> None:
    """Those in use, too, and what waits there or in line goes over new ones: never over more."""
    manager = behind(max_connections=connections)
    assert await manager.get("0") is None
    proxy.inject(Fault("stall", command=b"EVALSHA"), Fault("stall", command=b"UNLINK"))
    deletes = [asyncio.create_task(manager.delete(str(number))) for number in range(6)]
    await eventually(lambda: proxy.done["stall"])
    before = ours()
    proxy.heal()
    topology: Any = cast("RedisBackend", manager.backend)._topology
    topology._server.renew()
    assert await soon(manager.get("0")) is None
    await eventually(lambda: len(ours()) <= connections)
    assert await soon(asyncio.gather(*deletes)) == [False] * len(deletes)
    assert not ours() & before
    assert len(ours()) <= connections


@pytest.mark.parametrize("connections", [10, 1])
async def test_p5_a_thousand_callers_share_a_few_connections(
    make: Make, ours: Callable[[], set[str]], connections: int
) -> None:
    """With every key warm the function never runs, and all are answered in good time."""
    function = Function(make(max_connections=connections))
    numbers = range(1000)
    await function.warm(numbers)
    begun = time.thread_time()  # of which a machine that is busy with something else takes no part
    assert all(await asyncio.gather(*map(function, numbers)))
    took = time.thread_time() - begun
    assert function.runs == 0
    assert took < 2.0
    assert len(ours()) <= connections


@pytest.mark.parametrize(("connections", "used"), [(10, 2), (3, 2), (2, 2), (1, 1)])
async def test_p5_many_fills_share_a_few_connections(
    make: Make, ours: Callable[[], set[str]], connections: int, used: int
) -> None:
    """Their reads have one, their leases and records another; and each is stored."""
    function = Function(make(max_connections=connections))
    numbers = range(300)
    assert all(await asyncio.gather(*map(function, numbers)))
    assert len(ours()) == used
    assert all(await asyncio.gather(*map(function, numbers)))
    assert function.runs == len(numbers)


async def test_p5_a_hit_waits_for_no_fill(behind: Make, proxy: FaultProxy) -> None:
    """A server may hold writes back, and answer reads: before a failover that is planned, for one."""
    function = Function(behind())
    await function.warm(range(1))
    proxy.inject(Fault("stall", command=b"SET", to="request", times=1))
    filling = asyncio.create_task(function(1))
    await eventually(lambda: proxy.done["stall"])
    assert all(await soon(asyncio.gather(*[function(0) for _ in range(20)])))
    assert function.runs == 0
    proxy.drop()
    assert await soon(filling)
    assert await function(1)
    assert function.runs == 1


async def test_p5_a_fill_waits_for_no_large_one(behind: Make, proxy: FaultProxy) -> None:
    """What is large goes over a connection of its own."""
    manager = behind()
    function = Function(manager)
    await function.warm(range(1))

    @cache_response(manager, "large")
    async def large() -> str:
        return random.randbytes(200_000).hex()

    proxy.inject(Fault("stall", command=b"EVALSHA", to="request", times=1))
    filling = asyncio.create_task(large())
    await eventually(lambda: proxy.done["stall"])
    assert await soon(function(1))
    assert await function(1)
    assert function.runs == 1
    proxy.drop()
    assert await soon(filling) == await large()


async def test_p4_who_is_cancelled_leaves_no_lease(make: Make, redis_client: Redis) -> None:
    """Whatever his fill was about to do; else the next one would wait until the lease ends."""
    manager = make()
    function = Function(manager)
    await function.warm(range(1))
    chance = random.Random(7)

    async def cancel(number: int) -> None:
        task = asyncio.create_task(function(number))
        for _ in range(chance.randrange(chance.choice((20, 20, 500)))):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    for start in range(0, 2000, 50):
        await asyncio.gather(*map(cancel, range(start, start + 50)))
    await manager.fence.leases.tasks.settle()
    keys = list(redis_client.scan_iter(f"{manager.key_prefix}:*", count=1000))
    for key in keys:
        data = redis_client.get(key)
        assert isinstance(data, bytes)
        assert is_record(data)
    assert 0 < function.runs < 2000


async def test_p5_cancellations_give_nobody_a_wrong_value(
    make: Make, ours: Callable[[], set[str]]
) -> None:
    """Ten thousand, at random moments; afterwards everything works over no more connections."""
    manager = make()
    function = Function(manager)
    keys = [f"key:{number}" for number in range(100)]
    await function.warm(range(100))
    assert await manager.set_many({key: key for key in keys}) is True
    right: list[bool] = []

    async def use(number: int) -> None:
        match number % 4:
            case 0 | 1:
                right.append(await function(number % 100))
            case 2:
                right.append(await manager.get(keys[number % 100]) == keys[number % 100])
            case 3:  # of which one that is cancelled counts as an invalidation
                await manager.set(f"set:{number % 10}", number % 10)
                right.append(await manager.get(f"set:{number % 10}") in {None, number % 10})

    cancelled: list[int] = []

    async def cancel_many(seed: int) -> None:
        chance, numbers = random.Random(seed), itertools.count(seed, 49)
        while len(cancelled) < 10_000:
            task = asyncio.create_task(use(next(numbers)))
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            cancelled.extend([1] if task.cancelled() else [])
            if chance.random() < 0.1:
                await use(next(numbers))  # in the midst of the others

    await asyncio.gather(*map(cancel_many, range(50)))
    assert len(right) > 500
    assert right.count(False) == 0
    assert function.runs == 0
    await eventually(lambda: len(manager.invalidations.pending) == 0)
    assert all(await asyncio.gather(*map(function, range(100))))
    assert await manager.get_many(keys) == dict(zip(keys, keys, strict=True))
    assert await manager.set_many({f"set:{number}": number for number in range(10)}) is True
    assert function.runs == 0
    await eventually(lambda: len(ours()) <= 10)
    await manager.close()
    await eventually(lambda: not ours())


@pytest.mark.parametrize("fault", BROKEN)
async def test_p5_a_broken_reply_gives_nobody_a_wrong_value(
    behind: Make, proxy: FaultProxy, fault: str
) -> None:
    """Whatever it is broken like; every caller is answered, and afterwards everything works."""
    hangs = BROKEN[fault].kind == "stall"
    manager = behind(operation_timeout=BUDGET) if hangs else behind()
    function = Function(manager, tags=["tag"])
    for number in range(20):
        assert await function(number)
        await eventually(partial(manager.set, f"key:{number}", f"value:{number}"))
    broken = replace(BROKEN[fault], chance=0.05)
    proxy.inject(broken)

    async def use(number: int) -> bool:
        values = await manager.get_many([f"key:{number}", f"key:{(number + 1) % 20}"])
        return (
            await function(number)
            and await manager.get(f"key:{number}") in {None, f"value:{number}"}
            and values.items() <= {f"key:{n}": f"value:{n}" for n in range(20)}.items()
        )

    for _ in range(2 if hangs else 10):
        assert all(await asyncio.gather(*map(use, range(20))))
    assert all([await use(number) for number in range(20)])
    assert proxy.done[broken.kind] > 0
    proxy.heal()
    await eventually(lambda: manager.set("key", "value"))
    await eventually(lambda: _is(manager.get("key"), "value"))


async def _is(value: Awaitable[object], expected: object) -> bool:
    return await value == expected


@pytest.mark.parametrize("at_once", [1, 50])
async def test_p5_most_calls_are_hits_although_replies_break(
    behind: Make, proxy: FaultProxy, at_once: int
) -> None:
    """At least 95 % of them with 3 % of the replies broken, one way or another."""
    function = Function(behind())
    await function.warm(range(at_once))
    kinds = [fault for fault in BROKEN.values() if fault.kind != "stall" and fault.to == "reply"]
    proxy.inject(
        *(replace(fault, command=b"GET", chance=0.03 / len(kinds)) for fault in kinds),
    )
    rounds = 1000 // at_once
    for _ in range(rounds):
        assert all(await asyncio.gather(*map(function, range(at_once))))
    assert sum(proxy.done.values()) >= 10
    assert function.runs <= 0.05 * rounds * at_once


@pytest.mark.parametrize("at_once", [2, 50])
async def test_p5_one_reply_too_many_costs_no_hit(
    behind: Make, proxy: FaultProxy, at_once: int
) -> None:
    """It is one fault, however many replies it makes stray: all are asked again."""
    function = Function(behind())
    await function.warm(range(at_once))
    proxy.inject(Fault("duplicate", command=b"GET", times=1))
    for _ in range(3):
        assert all(await asyncio.gather(*map(function, range(at_once))))
    assert proxy.done == {"duplicate": 1}
    assert function.runs == 0


async def test_p3_a_reply_from_before_an_invalidation_is_not_served(
    behind: Make, proxy: FaultProxy
) -> None:
    """It answers the question before, names the right key, and is a value from before."""
    source = 1
    manager = behind()

    @cache_response(manager, "data")
    async def function() -> int:
        return source

    assert [await function(), await function()] == [1, 1]
    proxy.inject(Fault("shift", command=b"GET", times=1))
    assert [await function(), await function()] == [1, 1]
    assert proxy.done == {"shift": 1}
    source = 2
    assert await function.invalidate()
    assert await function() == 2


async def test_p5_time_that_this_process_took_opens_no_breaker(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was under way while the loop was held up is stored nonetheless."""
    monkeypatch.setattr(pipeline, "STALL_GRACE_SECONDS", 1.0)  # so that Redis may be slow here
    manager = make(operation_timeout=BUDGET)
    values = {f"key:{number}": number for number in range(5)}
    await eventually(lambda: manager.set_many(values))
    storing = asyncio.create_task(manager.set_many(values))
    for _ in range(2):
        await asyncio.sleep(0)
    hold_up(BUDGET + 1.1)
    assert await storing is True
    assert await manager.health_check() is True


@pytest.mark.parametrize("kind", ["cut", "reset", "garbage"])
async def test_p5_a_write_whose_connection_breaks_is_made_again(
    behind: Make, proxy: FaultProxy, kind: Kind
) -> None:
    """Once, over another one: it may have been the only one that was broken."""
    manager = behind()
    assert await manager.set("key", 1) is True
    proxy.inject(Fault(kind, command=b"SET", times=1))
    assert await manager.set("key", 2) is True
    assert proxy.done == {kind: 1}
    assert await manager.get("key") == 2


async def test_p5_connections_that_died_unused_cost_no_hit(
    make: Make, redis_client: Redis, ours: Callable[[], set[str]]
) -> None:
    """They are replaced before anybody asks over them, or his question is asked again."""
    manager = make()
    function = Function(manager)
    numbers = range(50)
    await function.warm(numbers)

    def kill() -> None:
        for number in ours():
            redis_client.client_kill_filter(_id=number)

    for _ in range(5):
        kill()
        assert all(await asyncio.gather(*map(function, numbers)))
        kill()
        assert await manager.set_many({f"key:{number}": number for number in numbers}) is True
    assert function.runs == 0


async def test_p5_hits_resume_after_a_restart(make: Make, redis_server: RedisServer) -> None:
    """Of fifty callers nobody has an error meanwhile; each key is computed once afterwards."""
    function = Function(make(operation_timeout=8 * BUDGET))
    numbers = range(50)
    await function.warm(numbers)
    redis_server.stop()
    try:
        assert all(await asyncio.gather(*map(function, numbers)))
    finally:
        redis_server.start()

    async def hits() -> bool:
        runs = function.runs
        assert all(await asyncio.gather(*map(function, numbers)))
        return function.runs == runs

    await eventually(hits)


async def test_a_closed_manager_can_be_used_again(make: Make, ours: Callable[[], set[str]]) -> None:
    """As often as one likes; each time nothing of it is left."""
    manager = make()
    function = Function(manager)
    for _ in range(3):
        assert all(await asyncio.gather(*map(function, range(20))))
        assert await manager.get("function") is None
        await manager.close()
        await eventually(lambda: not ours())
    assert function.runs == 20


def test_loops_of_every_kind_may_use_one_manager(
    redis_server: RedisServer, ours: Callable[[], set[str]]
) -> None:
    """One after another, the one that the service has among them; nothing is left in any."""
    manager = CacheManager(redis_backend(redis_server, **PATIENT))
    function = Function(manager)
    factories: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
    if find_spec("uvloop"):
        factories.append(import_module("uvloop").new_event_loop)

    async def use() -> None:
        assert all(await asyncio.gather(*map(function, range(100))))
        assert await manager.set("key", "value") is True
        await manager.close()
        await eventually(lambda: not ours())

    for factory in factories * 2:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(use())
        assert function.runs == 100
    asyncio.run(swept(redis_server, [manager]))


async def test_p4_loops_of_threads_share_what_they_compute(make: Make) -> None:
    """At once: each value is right, and each is computed once, by whichever of them."""
    manager = make()
    function = Function(manager)

    async def use() -> None:
        for _ in range(5):
            assert all(await asyncio.gather(*map(function, range(50))))
        await manager.close()

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, use()) for _ in range(4)))
    assert function.runs == 50

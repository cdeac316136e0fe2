"""The budget of an operation: nobody waits longer, whatever has become of Redis (promise P5)."""

import asyncio
import gc
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from .... import CacheManager
from ....backends.wire.multiplexed import MultiplexedConnection
from ....backends.wire.requests import Sealed
from ....resilience.breaker import FAILURES_IN_A_ROW
from ....testing.redis_server import RedisServer
from ...faults import (
    BUDGET,
    PATIENT,
    WAYS,
    How,
    Make,
    eventually,
    soon,
    without_redis,
)
from ...proxy.fault_proxy import Fault, FaultProxy, Kind
from .calls import (
    CALLS,
    COMPUTED,
    FOREVER,
    LOOSE,
    Function,
    Lost,
    cost_one_budget,
    due,
    plain,
    tagged,
    waiting,
)


@pytest.mark.parametrize("how", WAYS)
async def test_p5_the_first_calls_cost_a_budget_and_the_others_nothing(
    make: Make, proxy: FaultProxy, redis_server: RedisServer, lost: list[Lost], how: How
) -> None:
    """Whatever has become of Redis; hits resume by themselves soon after it is back."""
    manager = make()
    runs: list[str] = []

    async def computed(value: str) -> str:
        runs.append(value)
        return value

    function, took = plain(manager, computed), []
    await eventually(lambda: is_hit(function, runs))
    lost.clear()
    with without_redis(how, proxy, redis_server):
        for _ in range(200):
            begun = time.perf_counter()
            assert await function("1") == "1"
            took.append(time.perf_counter() - begun)
    assert 0 < len(lost) <= FAILURES_IN_A_ROW
    assert all(cost_one_budget([each]) for each in lost)
    assert statistics.median(took) < 0.001
    await eventually(lambda: is_hit(function, runs))


async def is_hit(function: Function, runs: list[str]) -> bool:
    """Call a function; return whether it did not run."""
    before = len(runs)
    assert await function("1") == "1"
    return len(runs) == before


@pytest.mark.parametrize("is_open", [False, True], ids=["", "over an open connection"])
@pytest.mark.parametrize("call", CALLS)
async def test_p5_a_call_costs_no_more_than_one_budget(
    manager: CacheManager, proxy: FaultProxy, lost: list[Lost], call: str, *, is_open: bool
) -> None:
    """However much it does: what follows a failure is not even tried."""
    assert not is_open or await manager.health_check()
    proxy.silence()
    do, expected = CALLS[call]
    assert await do(manager) == expected
    assert cost_one_budget(lost)


@pytest.mark.parametrize(("cached", "value"), [(plain, "2"), (tagged, "2"), (due, "1")])
async def test_p5_a_server_that_hangs_while_a_function_runs_costs_one_budget(
    manager: CacheManager,
    proxy: FaultProxy,
    lost: list[Lost],
    cached: Callable[[CacheManager, Function], Any],
    value: str,
) -> None:
    """Whether its result is new, or takes the place of an older one."""
    runs: list[str] = []

    async def hangs(value: str) -> str:
        runs.append(value)
        if len(runs) == 2:
            proxy.silence()
        return value

    function = cached(manager, hangs)
    assert await function("1") == "1"
    lost.clear()
    assert await function(value) == value
    assert runs == ["1", value]
    assert cost_one_budget(lost)


@pytest.mark.parametrize("kind", ["reset", "garbage"])
async def test_p5_who_asks_again_has_the_time_that_is_left(
    manager: CacheManager,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    kind: Kind,
) -> None:
    """When a connection breaks, the budget of the operation began when it was asked first."""
    function, ask = plain(manager), MultiplexedConnection.ask
    deadlines: list[float] = []

    async def noted(
        line: MultiplexedConnection, sealed: Sealed, deadline: float, *more: Any
    ) -> Any:
        deadlines.append(deadline)
        return await ask(line, sealed, deadline, *more)

    assert await function("1") == "1"
    monkeypatch.setattr(MultiplexedConnection, "ask", noted)
    proxy.inject(Fault(kind, command=b"GET", times=1))
    begun = time.monotonic()
    assert await function("1") == "1"
    (deadline,) = deadlines
    assert begun < deadline - BUDGET < time.monotonic()


async def test_p5_who_waits_for_another_process_spends_one_budget(
    manager: CacheManager, other: CacheManager, proxy: FaultProxy, lost: list[Lost]
) -> None:
    """When Redis does not tell any more what becomes of the other one, he computes himself."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await go_on.wait()
        return "the other one's"

    leader = asyncio.create_task(other.get_or_set("shared", slow))
    await soon(begun.wait())
    waits = waiting(manager)
    follower = asyncio.create_task(manager.get_or_set("shared", lambda: "his own"))
    await soon(waits.wait())
    proxy.silence()
    assert await soon(follower) == "his own"
    assert cost_one_budget(lost)
    go_on.set()
    assert await leader == "the other one's"


async def test_p5_callers_spend_their_budgets_at_once(
    manager: CacheManager, proxy: FaultProxy, lost: list[Lost]
) -> None:
    """However many they are: they do not wait for each other's budgets to be over."""
    proxy.silence()
    await asyncio.gather(
        *(manager.get(f"key:{number}") for number in range(200)),
        *(manager.set(f"key:{number}", number) for number in range(200)),
    )
    assert len(lost) == 400
    assert cost_one_budget(lost)


async def test_p5_the_log_counts_what_callers_went_without(
    manager: CacheManager, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """And no probes, of which there may be many."""
    proxy.refuse()
    for _ in range(10):
        assert await manager.get("key") is None
    proxy.silence()
    probes = proxy.connections
    await eventually(lambda: proxy.connections >= probes + 3)
    proxy.heal()
    await eventually(lambda: "works again" in caplog.text)
    assert "without it meanwhile: 10 reads" in caplog.text


async def test_p5_the_event_loop_is_never_held_up(
    manager: CacheManager, proxy: FaultProxy, redis_server: RedisServer
) -> None:
    """Neither by connecting nor by what fifty callers lose."""
    longest = 0.0
    for how in ("refused", "hung", "blackholed"):
        with without_redis(how, proxy, redis_server):
            callers = asyncio.gather(*(manager.get(f"key:{number}") for number in range(50)))
            last = time.monotonic()
            while not callers.done():
                await asyncio.sleep(0)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
        await eventually(manager.health_check)
    assert longest < 1.0  # a call that blocks would go on for as long as nobody answers


@pytest.mark.parametrize("shorter", ["operation_timeout", "timeout"])
@pytest.mark.parametrize("how", ["hung", "blackholed"])
async def test_p5_the_shorter_timeout_is_the_budget(
    make: Make, proxy: FaultProxy, redis_server: RedisServer, how: How, shorter: str
) -> None:
    """Be it `CACHE_OPERATION_TIMEOUT` or `REDIS_TIMEOUT`."""
    timeouts = {"operation_timeout": FOREVER, "timeout": FOREVER, shorter: 0.05}
    manager = make(**timeouts)
    with without_redis(how, proxy, redis_server):
        for call in (manager.get("key"), manager.set("key", 1)):
            begun = time.monotonic()
            assert not await call
            assert 0.04 < time.monotonic() - begun < FOREVER / LOOSE


@pytest.mark.parametrize("connections", [1, 10])
@pytest.mark.parametrize("where", ["send_packed_command", "read_response", "connect", "can_read"])
async def test_p5_whatever_the_client_raises_reaches_nobody(
    make: Make, monkeypatch: pytest.MonkeyPatch, connections: int, where: str
) -> None:
    """On CPython 3.13.0 a transport that closes at the wrong moment raises what nobody expects."""
    manager = make(max_connections=connections, **PATIENT)
    assert await manager.set("key", "value") is True
    kinds = itertools.cycle([TypeError, AttributeError])

    async def broken(*_: Any, **__: Any) -> Any:
        raise next(kinds)("NoneType")

    with monkeypatch.context() as patch:
        patch.setattr(AbstractConnection, where, broken)
        for do, expected in CALLS.values():
            result = await do(manager)
            assert result == expected or expected not in COMPUTED
    await eventually(manager.health_check)
    await eventually(lambda: len(manager.invalidations.pending) == 0)
    assert await manager.set("key", "value") is True
    assert await manager.get("key") == "value"


async def test_p5_nothing_is_left_of_an_outage(
    make: Make, proxy: FaultProxy, redis_server: RedisServer
) -> None:
    """After `close` no task, no connection, no error that nobody saw."""
    before = asyncio.all_tasks()
    for how in ("refused", "hung", "blackholed"):
        manager = make()
        with without_redis(how, proxy, redis_server):
            calls = [do(manager) for do, _ in CALLS.values()]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert not any(isinstance(result, BaseException) for result in results)
            await manager.close()
            assert asyncio.all_tasks() == before
        gc.collect()

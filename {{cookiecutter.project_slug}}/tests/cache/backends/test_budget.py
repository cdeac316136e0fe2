"""The budget of an operation: nobody waits longer, whatever has become of Redis (promise P5)."""

import asyncio
import gc
import itertools
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final, NamedTuple

import pytest
from redis.asyncio.connection import AbstractConnection

from app.core.cache import CacheManager, cache_response, invalidate_cache
from app.core.cache.backends.wire.multiplexed import MultiplexedConnection
from app.core.cache.backends.wire.requests import Sealed
from app.core.cache.backends.wire.server import Server
from app.core.cache.base import UnavailableError
from app.core.cache.keys.tags import Tag
from app.core.cache.resilience.breaker import FAILURES_IN_A_ROW
from tests.cache.conftest import redis_backend
from tests.cache.fault_proxy import Fault, FaultProxy, Kind
from tests.cache.faults import (
    BUDGET,
    PATIENT,
    WAYS,
    WITHIN,
    How,
    eventually,
    manager_behind,
    soon,
    swept,
    without_redis,
)
from tests.cache.internals import always_due
from tests.redis_server import RedisServer

LOOSE: Final = 10
"""A busy machine may make a call take so many times what it may take."""
FOREVER: Final = 60.0
"""A budget that no test can wait for."""

Call = Callable[[CacheManager], Awaitable[object]]
Make = Callable[..., CacheManager]
Function = Callable[[str], Awaitable[str]]


class Lost(NamedTuple):
    """When an exchange that came to nothing began, and when it was given up."""

    begun: float
    ended: float


async def computed(value: str) -> str:
    """Compute a value."""
    return value


def plain(manager: CacheManager, function: Function = computed) -> Any:
    """Make a cached function."""
    return cache_response(manager, f"plain:{function.__name__}", key="{value}")(function)


def tagged(manager: CacheManager, function: Function = computed) -> Any:
    """Make one that has tags, of which one is derived from its result."""
    tags: list[Tag] = ["tag", "tag:{value}", lambda value: [f"derived:{value}"]]
    return cache_response(manager, f"tagged:{function.__name__}", key="{value}", tags=tags)(
        function
    )


def due(manager: CacheManager, function: Function = computed) -> Any:
    """Make one whose entries are always due to be computed anew."""
    decorator = cache_response(
        manager, f"due:{function.__name__}", key="{value}", stale=60, early_refresh=1.0
    )
    return always_due(decorator(function))


def writing(manager: CacheManager) -> Any:
    """Make a function that invalidates a lot."""
    keys = ["a*", "b*", "c:{value}", "d:{value}*", "e"]
    return invalidate_cache(manager, keys, tags=["tag", "tag:{value}"])(computed)


async def loaded(keys: list[str]) -> dict[str, str]:
    """Compute a value for each key."""
    return dict.fromkeys(keys, "1")


CALLS: Final[dict[str, tuple[Call, object]]] = {
    "get": (lambda manager: manager.get("key"), None),
    "get, with a default": (lambda manager: manager.get("key", 7), 7),
    "get_many": (lambda manager: manager.get_many(["key", "other"]), {}),
    "set": (lambda manager: manager.set("key", 1), False),
    "set, for no time": (lambda manager: manager.set("key", 1, expire=0), False),
    "set_many": (lambda manager: manager.set_many({"a": 1, "b": 2, "c": 3}), False),
    "delete": (lambda manager: manager.delete("key"), False),
    "delete_many": (lambda manager: manager.delete_many(["key", "other"]), 0),
    "exists": (lambda manager: manager.exists("key"), False),
    "clear": (lambda manager: manager.clear(), False),
    "invalidate": (lambda manager: manager.invalidate("key*"), False),
    "invalidate_tags": (lambda manager: manager.invalidate_tags("tag", "other"), False),
    "health_check": (lambda manager: manager.health_check(), False),
    "get_or_set": (lambda manager: manager.get_or_set("new", lambda: "1", tags=["tag"]), "1"),
    "get_or_set_many": (
        lambda manager: manager.get_or_set_many(["new", "newer"], loaded),
        {"new": "1", "newer": "1"},
    ),
    "a cached function": (lambda manager: plain(manager)("1"), "1"),
    "one with tags": (lambda manager: tagged(manager)("1"), "1"),
    "one that is due": (lambda manager: due(manager)("1"), "1"),
    "its refresh": (lambda manager: plain(manager).refresh("1"), "1"),
    "its invalidation": (lambda manager: plain(manager).invalidate("1"), False),
    "that of all its calls": (lambda manager: plain(manager).invalidate_all(), False),
    "invalidate_cache": (lambda manager: writing(manager)("1"), "1"),
}
"""What can be done, and what comes of it without Redis."""
COMPUTED: Final = ["1", {"new": "1", "newer": "1"}]
"""What comes of it in any case."""


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """Fail if there are tasks left afterwards, or was an error that nobody saw."""
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    before = len(asyncio.all_tasks())
    yield
    await eventually(lambda: len(asyncio.all_tasks()) <= before)
    assert unseen == []


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """Lend a proxy in front of Redis."""
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


@pytest.fixture
async def make(proxy: FaultProxy, redis_server: RedisServer) -> AsyncIterator[Make]:
    """Lend what makes managers that go through the proxy; nothing of them is left afterwards."""
    made: list[CacheManager] = []

    def make(**changes: Any) -> CacheManager:
        made.append(manager_behind(proxy, redis_server, **changes))
        return made[-1]

    yield make
    proxy.heal()
    await swept(redis_server, made)


@pytest.fixture
async def other(redis_server: RedisServer) -> AsyncIterator[CacheManager]:
    """Lend a manager as another process has it: it reaches Redis all the while, and has time."""
    other = CacheManager(redis_backend(redis_server, **PATIENT))
    yield other
    await swept(redis_server, [other])


@pytest.fixture
async def manager(make: Make, other: CacheManager) -> CacheManager:
    """Lend a manager that goes through the proxy, with entries."""
    assert await other.set("key", "value") is True
    for function in (plain, tagged, due):
        assert await function(other)("1") == "1"
    return make(key_prefix=other.key_prefix)


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[Lost]:
    """Note each exchange that came to nothing, without those that were turned away."""
    execute, noted = Server.execute, []

    async def timed(server: Server, *args: Any) -> list[Any]:
        turned_away, begun = server.breaker.is_open, time.monotonic()
        try:
            return await execute(server, *args)
        except UnavailableError:
            if not turned_away:
                noted.append(Lost(begun, time.monotonic()))
            raise

    read_nowait = MultiplexedConnection.read_nowait

    def timed_read(line: MultiplexedConnection, *args: Any) -> "asyncio.Future[Any] | None":
        begun, answer = time.monotonic(), read_nowait(line, *args)

        def note(answer: "asyncio.Future[Any]") -> None:
            if not answer.cancelled() and isinstance(answer.exception(), TimeoutError):
                noted.append(Lost(begun, time.monotonic()))

        if answer is not None:
            answer.add_done_callback(note)
        return answer

    monkeypatch.setattr(Server, "execute", timed)
    monkeypatch.setattr(MultiplexedConnection, "read_nowait", timed_read)
    return noted


def cost_one_budget(lost: list[Lost]) -> bool:
    """Whether what came to nothing was under way at the same time, and not for too long."""
    first, last = min(each.begun for each in lost), max(each.ended for each in lost)
    at_once = max(each.begun for each in lost) <= min(each.ended for each in lost)
    return at_once and last - first < BUDGET * LOOSE


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


def waiting(manager: CacheManager) -> asyncio.Event:
    """Return what is set when the manager begins to wait for what another process computes."""
    wait_for_change, begun = manager.backend.wait_for_change, asyncio.Event()

    async def noted(key: str, standing: bytes) -> bytes | None:
        begun.set()
        return await wait_for_change(key, standing)

    manager.backend.wait_for_change = noted  # type: ignore[method-assign]
    return begun


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


async def connecting(manager: CacheManager, proxy: FaultProxy) -> None:
    """Let no connection be opened."""
    await manager.close()
    proxy.ignore()


async def asking(manager: CacheManager, proxy: FaultProxy) -> None:
    """Let no answer come."""
    await manager.exists("key")
    proxy.silence()


@pytest.mark.parametrize("stage", [connecting, asking])
async def test_p5_who_is_cancelled_goes_at_once(
    make: Make,
    proxy: FaultProxy,
    stage: Callable[[CacheManager, FaultProxy], Awaitable[None]],
) -> None:
    """Whatever he has called, and whatever he waits for."""
    manager = make(max_connections=100, operation_timeout=FOREVER, timeout=FOREVER)
    await stage(manager, proxy)
    callers = [
        asyncio.ensure_future(do(manager))
        for call, (do, _) in CALLS.items()
        if call != "invalidate_cache"
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    for caller in callers:
        await gone(caller)


async def gone(caller: asyncio.Future[Any]) -> None:
    """Cancel a caller, and see him go at once."""
    assert not caller.done()
    caller.cancel()
    await asyncio.wait([caller], timeout=WITHIN)
    assert caller.cancelled()


async def test_p5_who_is_cancelled_in_line_goes_at_once(make: Make, proxy: FaultProxy) -> None:
    """While the only connection is somebody else's."""
    manager = make(max_connections=1, operation_timeout=FOREVER, timeout=FOREVER)
    await asking(manager, proxy)
    callers = [asyncio.create_task(manager.get(f"key:{number}")) for number in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    for caller in reversed(callers):
        await gone(caller)


async def test_p5_who_is_cancelled_while_he_computes_goes_at_once(
    manager: CacheManager, other: CacheManager, proxy: FaultProxy
) -> None:
    """And so does who waits for him in this process or in another, or stores what he has."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> int:
        begun.set()
        await go_on.wait()
        proxy.silence()
        return 1

    leader = asyncio.create_task(manager.get_or_set("shared", slow))
    await soon(begun.wait())
    follower = asyncio.create_task(manager.get_or_set("shared", slow))
    await eventually(lambda: manager.fence.flights.followers() == 1)
    waits = waiting(other)
    elsewhere = asyncio.create_task(other.get_or_set("shared", slow))
    await soon(waits.wait())
    await gone(follower)
    await gone(elsewhere)
    await gone(leader)
    begun.clear()
    leader = asyncio.create_task(manager.get_or_set("another", slow))
    await soon(begun.wait())
    go_on.set()
    await asyncio.sleep(0)
    await gone(leader)


async def test_p6_who_is_cancelled_while_he_invalidates_goes_when_that_is_kept(
    manager: CacheManager, proxy: FaultProxy
) -> None:
    """At the latest after the budget: what he changed is invalidated, or will be."""
    await asking(manager, proxy)
    caller = asyncio.ensure_future(writing(manager)("1"))
    for _ in range(5):
        await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller], timeout=WITHIN)
    assert caller.cancelled()
    for key in ("a1", "b1", "c:1", "d:1", "e"):
        assert manager.invalidations.pending.covers(f"{manager.key_prefix}:{key}")
    assert not manager.invalidations.pending.covers(f"{manager.key_prefix}:f")


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

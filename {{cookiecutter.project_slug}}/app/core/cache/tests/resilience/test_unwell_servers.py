"""What a server that is unwell costs, and which of its answers open the breaker (promise P5)."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis import Redis

from ... import CacheManager, cache_response
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..faults import eventually, manager_behind, without_redis
from ..package import NAME
from ..proxy.fault_proxy import Fault, FaultProxy

SECRET = "correct horse battery staple"


FOREVER = 60.0
"""A budget that no test can wait for."""


@pytest.fixture
async def manager(proxy: FaultProxy, redis_server: RedisServer) -> AsyncIterator[CacheManager]:
    """Lend a manager that goes through the proxy, connected."""
    manager = manager_behind(proxy, redis_server)
    assert await manager.set("key", "value") is True
    assert await manager.get("key") == "value"
    yield manager
    proxy.heal()
    await eventually(manager.clear)
    await manager.close()


async def lose(manager: CacheManager, proxy: FaultProxy) -> None:
    """Have connections refused until the breaker is open."""
    proxy.refuse()
    proxy.drop()
    for _ in range(3):
        assert await manager.get("key") is None


@pytest.mark.parametrize("closed", [True, False])
def test_p5_a_probe_that_was_lost_with_its_loop_is_sent_from_another(
    proxy: FaultProxy, redis_server: RedisServer, *, closed: bool
) -> None:
    """Who is turned away there sends it."""
    manager = manager_behind(proxy, redis_server)

    async def use() -> None:
        await lose(manager, proxy)
        if closed:
            await manager.close()

    async def use_again() -> None:
        assert await manager.get("key") is None
        await eventually(lambda: manager.set("key", "value"))
        await manager.clear()
        await manager.close()

    asyncio.run(use())
    proxy.heal()
    asyncio.run(use_again())


async def _is(value: Awaitable[object], expected: object) -> bool:
    return await value == expected


async def test_p5_while_it_is_open_calls_cost_next_to_nothing(
    manager: CacheManager, proxy: FaultProxy, redis_server: RedisServer
) -> None:
    """Less than a millisecond, where a look at a refused port costs about one, and no connection."""
    runs: list[int] = []

    @cache_response(manager, "data", tags=["tag"])
    async def function() -> str:
        runs.append(1)
        return "value"

    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: manager.get("key"),
        lambda: manager.set("key", "value"),
        lambda: manager.exists("key"),
        function,
    ]
    await lose(manager, proxy)
    proxy.silence()
    connections = proxy.connections
    slow = []
    for _ in range(5):  # another process may have the processor for a while
        took = []
        for _ in range(50):
            for call in calls:
                begun = time.perf_counter()
                await call()
                took.append(time.perf_counter() - begun)
        slow.append(sorted(took)[len(took) * 99 // 100])
    assert min(slow) < 0.001
    assert proxy.connections < connections + 10  # those of probes
    assert len(runs) == 250


async def test_p5_the_health_is_told_at_once(proxy: FaultProxy, redis_server: RedisServer) -> None:
    """A server that is known to be unwell is not asked."""
    manager = manager_behind(proxy, redis_server, operation_timeout=FOREVER, timeout=FOREVER)
    await lose(manager, proxy)
    proxy.silence()
    assert await asyncio.wait_for(manager.health_check(), FOREVER / 10) is False
    await manager.close()


async def test_p5_one_computation_goes_on_while_it_is_open(
    manager: CacheManager, proxy: FaultProxy
) -> None:
    """Callers of one process share a flight although there is no server."""
    runs: list[int] = []
    go_on = asyncio.Event()

    @cache_response(manager, "data")
    async def function() -> int:
        runs.append(1)
        await go_on.wait()
        return len(runs)

    await lose(manager, proxy)
    callers = [asyncio.create_task(function()) for _ in range(50)]
    await eventually(lambda: manager.fence.flights.followers() == 49)
    go_on.set()
    assert await asyncio.gather(*callers) == [1] * 50


@pytest.mark.parametrize(
    "reply",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
    ],
    ids=lambda reply: reply[1:].split()[0].decode(),
)
async def test_p5_a_server_that_is_unwell_opens_it(
    manager: CacheManager, proxy: FaultProxy, reply: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers, but not what it was asked, and is asked no more until it does."""
    proxy.inject(Fault("garbage", junk=reply))
    for _ in range(3):
        assert await manager.get("key") is None
    asked = proxy.done["garbage"]
    assert await manager.get("key") is None
    assert await manager.set("key", 1) is False
    assert proxy.done["garbage"] == asked
    proxy.heal()
    await eventually(manager.health_check)
    lines = [record.getMessage() for record in caplog.records if "redis at" in record.getMessage()]
    assert len(lines) == 2
    assert "fails, going on without it" in lines[0]


async def test_p5_a_server_that_asks_for_a_password_opens_it(
    redis_server: RedisServer, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A real one, to which a client without one comes."""
    manager = CacheManager(redis_backend(redis_server, password=None))
    redis_client.config_set("requirepass", SECRET)
    try:
        for _ in range(3):
            assert await manager.get("key") is None
        connections = redis_client.info("stats")["total_connections_received"]
        assert [await manager.get("key") for _ in range(100)] == [None] * 100
        assert redis_client.info("stats")["total_connections_received"] < connections + 10
        assert await manager.health_check() is False
    finally:
        redis_client.config_set("requirepass", redis_server.password or "")
    await manager.close()
    [line] = [record.getMessage() for record in caplog.records]
    assert "AuthenticationError" in line


async def test_p5_a_replica_that_serves_nothing_opens_it(
    manager: CacheManager, proxy: FaultProxy, redis_client: Redis
) -> None:
    """A real one, whose master is not there, until it is a master again."""
    redis_client.config_set("replica-serve-stale-data", "no")
    redis_client.replicaof("127.0.0.1", 1)
    try:
        for _ in range(3):
            assert await manager.get("key") is None
        assert await manager.health_check() is False
    finally:
        redis_client.replicaof("NO", "ONE")
        redis_client.config_set("replica-serve-stale-data", "yes")
    await eventually(lambda: _is(manager.get("key"), "value"))


def fill_up(client: Redis) -> Callable[[], object]:
    """Leave the server no memory; return how to undo that."""
    names = ("maxmemory", "maxmemory-policy")
    before = {name: str(client.config_get(name)[name]) for name in names}
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    return lambda: [client.config_set(name, value) for name, value in before.items()]


def make_replica(client: Redis) -> Callable[[], object]:
    """Make the server a replica of none that there is; return how to undo that."""
    client.replicaof("127.0.0.1", 1)
    return lambda: client.replicaof("NO", "ONE")


def want_replicas(client: Redis) -> Callable[[], object]:
    """Let the server write only if it has a replica; return how to undo that."""
    client.config_set("min-replicas-to-write", 1)
    return lambda: client.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize(
    ("refuse_writes", "removals"),
    [(fill_up, True), (make_replica, False), (want_replicas, False)],
    ids=["OOM", "READONLY", "NOREPLICAS"],
)
async def test_p5_a_server_that_takes_no_writes_is_read_from(
    redis_client: Redis,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    refuse_writes: Callable[[Redis], Callable[[], object]],
    *,
    removals: bool,
) -> None:
    """Writes are not even tried for a while, and are tried again then; a full one still removes."""
    monkeypatch.setattr(f"{NAME}.backends.wire.server.QUIET_SECONDS", 0.0)
    manager = CacheManager(redis_backend(redis_server))
    await manager.set("key", "value")
    await manager.set("other", "value")
    allow_writes = refuse_writes(redis_client)
    try:
        assert await manager.set("new", 1) is False
        await eventually(lambda: len(manager.invalidations.pending) == 0 if removals else True)
        redis_client.config_resetstat()
        assert [await manager.set(f"new:{n}", 1) for n in range(100)] == [False] * 100
        assert await manager.delete("other") is removals
        assert await manager.get("key") == "value"
        stats = redis_client.info("commandstats")
        assert stats.get("cmdstat_set", {}).get("rejected_calls", 0) <= 1
        assert await manager.health_check() is True
    finally:
        allow_writes()
    await eventually(lambda: manager.set("new", 1))
    await eventually(lambda: len(manager.invalidations.pending) == 0)
    assert await manager.get("key") == "value"
    assert await manager.get("other") is None
    await manager.clear()
    await manager.close()
    assert "redis at" in caplog.text


@pytest.mark.parametrize(
    "put",
    [
        lambda client, key: client.rpush(key, "a", "b"),
        lambda client, key: client.set(key, b"\x80\x04\x95\x05"),
        lambda client, key: client.set(key, b""),
        lambda client, key: client.set(key, b"cache/2 "),
        lambda client, key: client.set(key, b"cache/2 0 0 0 0 value 1 {}\n1"),
    ],
    ids=["another type", "bytes", "no bytes", "half a record", "a record of another key"],
)
async def test_p5_a_bad_entry_does_not_open_it(
    redis_manager: CacheManager,
    redis_client: Redis,
    caplog: pytest.LogCaptureFixture,
    put: Callable[[Redis, str], object],
) -> None:
    """However many there are, one after the other; who computes it replaces it."""

    @cache_response(redis_manager, "data", key="{number}")
    async def function(number: int) -> int:
        return number

    for number in range(50):
        put(redis_client, f"{redis_manager.key_prefix}:{number}")
        assert await redis_manager.get(str(number)) is None
        assert await redis_manager.get_many([str(number)]) == {}
        put(redis_client, f"{redis_manager.key_prefix}:data:{number}")
        assert await function(number) == number
        assert is_record(redis_client.get(f"{redis_manager.key_prefix}:data:{number}"))
    assert await redis_manager.health_check() is True
    assert caplog.records == []


def is_record(data: object) -> bool:
    """Whether this is a whole record."""
    return isinstance(data, bytes) and re.match(rb"cache/2 \w{16} \w{16} ", data) is not None


async def test_p5_stray_replies_do_not_open_it(manager: CacheManager, proxy: FaultProxy) -> None:
    """Each costs a connection, and the answer comes over the next one."""
    for stray in range(1, 11):
        proxy.inject(Fault("duplicate", command=b"GET", times=1))
        assert await manager.get("key") == "value"
        assert proxy.done["duplicate"] == stray
    assert await manager.health_check() is True


@pytest.mark.parametrize(
    "refusal",
    [
        f"-ERR unknown command 'GET', with args beginning with: '{SECRET}' '{SECRET}' \r\n",
        "-NOPERM User app has no permissions to run the 'get' command\r\n",
    ],
    ids=["unknown", "not permitted"],
)
async def test_p5_a_command_that_is_refused_does_not_open_it(
    manager: CacheManager, proxy: FaultProxy, caplog: pytest.LogCaptureFixture, refusal: str
) -> None:
    """One line of log says which, and nothing of its arguments."""
    proxy.inject(Fault("garbage", command=b"GET", junk=refusal.encode()))
    assert [await manager.get("key") for _ in range(10)] == [None] * 10
    assert proxy.done["garbage"] == 20  # each is asked once more by a request that is judged
    assert await manager.health_check() is True
    [line] = [record.getMessage() for record in caplog.records]
    assert "refuses a command: " in line
    assert "get" in line.lower()
    assert SECRET not in line


async def test_p5_the_log_shows_neither_keys_nor_values(
    redis_server: RedisServer, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even in an outage during which everything is tried."""
    manager = manager_behind(proxy, redis_server)
    with without_redis("refused", proxy, redis_server):
        await manager.set(f"key {SECRET}", SECRET)
        await manager.get(f"key {SECRET}")
        await manager.delete(f"key {SECRET}")
        await manager.invalidate(f"{SECRET}*")
        await manager.invalidate_tags(SECRET)
        await manager.get_or_set(SECRET, lambda: SECRET)
    await eventually(lambda: len(manager.invalidations.pending) == 0)
    await manager.close()
    assert len(caplog.records) >= 2
    assert SECRET not in caplog.text

"""Redis itself: what stands in it, what is spared, and what happens when it is away."""

import asyncio
import gc
import logging
import re
import socket
import time
import traceback
import uuid
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from ... import CacheManager, RedisBackend, cache_response
from ...backends.wire.multiplexed import MultiplexedConnection
from ...backends.wire.pipeline import LARGE_BYTES
from ...backends.wire.requests import Get
from ...coherence.leases import LEASE_MS
from ...errors import UnavailableError
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..package import NAME

SECRET = "correct horse battery staple"


async def test_a_value_is_plain_json(redis_manager: CacheManager, redis_client: Redis) -> None:
    """A person who looks into Redis reads what was set, at the key with its prefix."""
    await redis_manager.set("user:123", {"name": "John", "email": "john@example.com"}, expire=300)
    key = f"{redis_manager.key_prefix}:user:123"
    assert redis_client.get(key) == b'{"name":"John","email":"john@example.com"}'
    assert 290 <= redis_client.ttl(key) <= 300


@pytest.mark.parametrize(
    ("expire", "ms"),
    [
        (None, 300_000),
        (60, 60_000),
        (timedelta(milliseconds=2500), 2500),
        (10**15, 100 * 365 * 86_400_000),
    ],
)
async def test_expire_is_the_time_to_live(
    redis_manager: CacheManager, redis_client: Redis, expire: int | timedelta | None, ms: int
) -> None:
    """Seconds or a timedelta; the default where there is none; a hundred years at the most."""
    assert await redis_manager.set("key", 1, expire=expire) is True
    left = redis_client.pttl(f"{redis_manager.key_prefix}:key")
    assert ms - 10_000 < left <= ms


async def test_a_value_expires(redis_manager: CacheManager) -> None:
    """A value is there until its time is over, and then it is not."""
    await redis_manager.set("key", 1, expire=timedelta(milliseconds=200))
    deadline = time.monotonic() + 10
    while await redis_manager.exists("key"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0)
    assert await redis_manager.get("key") is None


async def test_p7_clear_spares_other_prefixes(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    """`clear` removes the keys below its own prefix, not those of a sibling that begins alike."""
    ours = CacheManager(redis_backend(redis_server, key_prefix="test-*[a]?"))
    siblings = ["test-*[a]?2:key", "test-xa?:key", "test-*[a]?", "test-a:key"]
    for sibling in siblings:
        redis_client.set(sibling, "theirs")
    try:
        for number in range(2500):  # more than one step of a walk
            redis_client.set(f"test-*[a]?:{number}", "ours")
        assert await ours.clear() is True
        assert list(redis_client.scan_iter("test-\\*\\[a\\]\\?:*", 1000)) == []
        assert redis_client.exists(*siblings) == len(siblings)
    finally:
        redis_client.unlink(*siblings)
        await ours.close()


async def test_p7_the_backends_own_clear_spares_other_prefixes(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    """It is the method of the contract, below no manager."""
    backend = redis_backend(redis_server)
    sibling = f"{backend.key_prefix}2:key"
    redis_client.set(sibling, "theirs")
    try:
        await backend.set(f"{backend.key_prefix}:key", 1)
        assert await backend.clear() is True
        assert await backend.exists(f"{backend.key_prefix}:key") is False
        assert redis_client.exists(sibling) == 1
    finally:
        redis_client.unlink(sibling)
        await backend.close()


async def test_an_exact_key_is_removed_without_a_walk(
    redis_manager: CacheManager, redis_client: Redis
) -> None:
    """However many keys there are in Redis."""
    await redis_manager.set("key", 1)
    redis_client.config_resetstat()
    assert await redis_manager.invalidate("key")
    assert "cmdstat_scan" not in redis_client.info("commandstats")


@pytest.mark.parametrize("data", [b"", b"{", b"\x80\x04\x95\x05", b"cache/2 x value\n1", b"NaN"])
async def test_p9_bytes_that_are_not_ours_are_a_miss(
    redis_manager: CacheManager, redis_client: Redis, data: bytes
) -> None:
    """Whatever somebody else wrote at a key is no value, and can be replaced."""
    redis_client.set(f"{redis_manager.key_prefix}:key", data)
    assert await redis_manager.get("key") is None
    assert await redis_manager.set("key", 1) is True
    assert await redis_manager.get("key") == 1


async def test_p9_bytes_of_others_are_no_outage(
    redis_manager: CacheManager, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """They are told from a server that fails: nothing is logged."""
    redis_client.set(f"{redis_manager.key_prefix}:key", b"\x80\x04\x95\x05")
    assert await redis_manager.get("key") is None
    assert await redis_manager.backend.get(f"{redis_manager.key_prefix}:key") is None
    assert caplog.records == []


async def test_p9_a_key_of_another_type_is_a_miss(
    redis_manager: CacheManager, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A list at our key is no value, no outage either, and is replaced."""
    redis_client.rpush(f"{redis_manager.key_prefix}:key", "a", "b")
    assert await redis_manager.get("key") is None
    assert caplog.records == []
    assert await redis_manager.set("key", 1) is True
    assert await redis_manager.get("key") == 1


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Lend a port that refuses connections: it is taken, but nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def test_p5_a_closed_port_costs_little(
    closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Every method answers within half a second, as the contract says, and little is logged."""
    manager = CacheManager(RedisBackend(host="127.0.0.1", port=closed_port))
    calls: list[tuple[Callable[[], Awaitable[object]], object]] = [
        (lambda: manager.get("key"), None),
        (lambda: manager.set("key", 1), False),
        (lambda: manager.set("key", 1, expire=0), False),
        (lambda: manager.delete("key"), False),
        (lambda: manager.exists("key"), False),
        (manager.clear, False),
        (lambda: manager.invalidate("key*"), (False, None)),
        (lambda: manager.add("key", 1), False),
        (lambda: manager.incr("key"), None),
        (lambda: manager.touch("key"), False),
        (lambda: manager.ttl("key"), None),
        (manager.health_check, False),
        (manager.close, None),
    ]
    for call, expected in calls:
        start = time.monotonic()
        assert await call() == expected
        assert time.monotonic() - start < 0.5
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert "fails, going on without it: ConnectionError: " in lines[0]
    assert "an invalidation could not be delivered" in lines[1]
    assert "closed with 3 invalidations that could not be delivered" in lines[2]


async def test_p5_a_silent_server_costs_no_more_than_the_timeout() -> None:
    """A server that accepts and never answers is given up after `timeout` seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        backend = RedisBackend(host="127.0.0.1", port=silent.getsockname()[1], timeout=0.2)
        manager = CacheManager(backend)
        start = time.monotonic()
        assert await manager.get("key") is None
        assert time.monotonic() - start < 2
        await manager.close()


@pytest.mark.parametrize("reply", [b"-LOADING not yet\r\n", b"$9999\r\nshort", b"garbage\r\n", b""])
async def test_p5_no_reply_reaches_the_caller_as_an_error(reply: bytes) -> None:
    """Errors, truncated replies, garbage and hung-up connections are a miss."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(reply)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        manager = CacheManager(RedisBackend(host="127.0.0.1", port=port, timeout=2))
        assert await manager.get("key") is None
        assert await manager.set("key", 1) is False
        await manager.close()


async def test_p5_an_answer_that_is_an_error_is_an_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """That a server is full, or forbids the command, stands in the log."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"-OOM command not allowed\r\n" * 5)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        manager = CacheManager(RedisBackend(host="127.0.0.1", port=port, timeout=2))
        assert await manager.get("key") is None
        await manager.close()
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"redis at 127.0.0.1:{port} fails, going on without it: ")
    assert "command not allowed" in line


async def test_p5_an_outage_is_two_lines_of_log(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One when Redis goes, one when it is back, with the number of operations that failed."""
    manager = CacheManager(redis_backend(redis_server))
    caplog.set_level(logging.INFO, NAME)
    assert await manager.set("key", 1) is True
    redis_server.stop()
    try:
        assert [await manager.get("key") for _ in range(20)] == [None] * 20
        assert await manager.health_check() is False
    finally:
        redis_server.start()
    deadline = time.monotonic() + 10
    while not await manager.health_check():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)  # the probe is sent in the background
    assert await manager.set("key", 2) is True
    assert await manager.get("key") == 2
    await manager.close()
    lines = [record.getMessage() for record in caplog.records if NAME in record.name]
    assert len(lines) == 2
    assert "going on without it" in lines[0]
    assert re.search(r"works again after \d+\.\d s; without it meanwhile: \d+ reads", lines[1])


async def test_the_pool_makes_callers_wait(redis_server: RedisServer) -> None:
    """With one connection for fifty callers nobody is refused."""
    manager = CacheManager(redis_backend(redis_server, max_connections=1))
    stored = await asyncio.gather(*(manager.set(f"key:{n}", n) for n in range(50)))
    assert stored == [True] * 50
    await manager.clear()
    await manager.close()


async def test_close_closes_every_connection(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    """After `close` Redis has no client left of ours."""
    before = {client["id"] for client in redis_client.client_list()}
    manager = CacheManager(redis_backend(redis_server))
    await asyncio.gather(*(manager.set(f"key:{n}", n) for n in range(20)))
    assert len(redis_client.client_list()) > len(before)
    await manager.clear()
    await manager.close()
    deadline = time.monotonic() + 10
    while {client["id"] for client in redis_client.client_list()} - before:
        assert time.monotonic() < deadline


def test_one_manager_serves_event_loops_one_after_another(redis_server: RedisServer) -> None:
    """A manager that was made before any loop works in a second one after the first has ended."""
    manager = CacheManager(redis_backend(redis_server))

    async def use(number: int) -> None:
        assert await manager.set("key", number) is True
        assert await manager.get("key") == number
        await manager.clear()
        await manager.close()

    for number in range(3):
        asyncio.run(use(number))


async def test_one_manager_serves_event_loops_at_once(redis_server: RedisServer) -> None:
    """Each thread's loop has connections of its own, and closes its own."""
    manager = CacheManager(redis_backend(redis_server))

    async def use(number: int) -> None:
        for _ in range(20):
            assert await manager.set(f"key:{number}", number) is True
            assert await manager.get(f"key:{number}") == number
        await manager.close()

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, use(number)) for number in range(4)))
    await manager.clear()
    await manager.close()


def test_loops_that_take_turns_keep_their_connections(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    """A loop that rests has not ended."""
    manager = CacheManager(redis_backend(redis_server))
    before = {client["id"] for client in redis_client.client_list()}
    with asyncio.Runner() as one, asyncio.Runner() as other:
        for runner in (one, other, one, other):
            assert runner.run(manager.exists("key")) is False
        assert len({client["id"] for client in redis_client.client_list()} - before) == 2
        for runner in (one, other):
            runner.run(manager.close())


def test_loops_that_ended_are_let_go(closed_port: int) -> None:
    """At the latest when another one comes, and at once after `close`.

    One may be kept for its connections, and one for the next probe of a server that is away.
    """
    manager = CacheManager(RedisBackend(host="127.0.0.1", port=closed_port))
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def use(*, close: bool) -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await manager.exists("key")
        if close:
            await manager.close()

    def kept() -> int:
        gc.collect()
        return len([loop for loop in loops if loop() is not None])

    asyncio.run(manager.exists("key"))  # the log keeps an outage's first error, which has a loop
    for _ in range(3):
        asyncio.run(use(close=False))
    assert kept() <= 2
    asyncio.run(use(close=True))
    assert kept() == 0


async def test_the_password_is_used_and_never_shown(
    redis_server: RedisServer, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """It opens the server, and stands in no repr, no log line and no traceback."""
    caplog.set_level(logging.DEBUG, NAME)
    shown = []
    redis_client.config_set("requirepass", SECRET)
    try:
        right = CacheManager(redis_backend(redis_server, password=SECRET))
        wrong = CacheManager(redis_backend(redis_server, password=f"not {SECRET}"))
        assert await right.set("key", 1) is True
        assert await wrong.set("key", 1) is False
        for manager in (right, wrong):
            shown += [repr(manager), repr(manager.backend), repr(vars(manager.backend))]
        failing = [wrong.backend.get_many_bytes(["key"]), right.backend.get_many_bytes([None])]  # type: ignore[list-item]
        for call, kind in zip(failing, (UnavailableError, AttributeError), strict=True):
            with pytest.raises(kind) as raised:
                await call
            # A report of an error with its local variables.
            report = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
            shown += report.format()
        await right.clear()
    finally:
        redis_client.config_set("requirepass", redis_server.password or "")
    await right.close()
    await wrong.close()
    shown += [record.getMessage() for record in caplog.records]
    assert len(shown) > 10
    assert [text for text in shown if SECRET in text] == []


async def test_a_hit_ends_what_began_with_an_error_of_another_kind(
    redis_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells of it, however the hit was found."""
    function = cache_response(redis_manager, "data", key="{number}")(computed)
    assert [await function(1), await function(1)] == [1, 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_manager.backend, "acquire", fails)
        assert await function(2) == 2
    assert "works again" not in caplog.text
    assert await function(1) == 1
    assert "works again" in caplog.text


@pytest.mark.parametrize("standing", ["a list", "a text", "a lease"])
async def test_p9_what_others_put_at_a_key_is_no_hit(
    redis_manager: CacheManager, redis_client: Redis, standing: str
) -> None:
    """The function runs, whatever stands there; nobody sees an error."""
    function = cache_response(redis_manager, "data", key="{number}")(computed)
    assert await function(1) == 1
    name = f"{redis_manager.key_prefix}:data:2"
    if standing == "a list":
        redis_client.rpush(name, "item")
    else:
        redis_client.set(
            name, "lease/1 of a leader of old times" if "lease" in standing else "text"
        )
    assert await function(2) == 2
    assert await function(2) == 2


async def computed(number: int) -> int:
    """Compute a value."""
    return number


async def fails(*_: object) -> None:
    """Fail as nobody expects it."""
    raise RuntimeError("a bug")


async def test_large_values_do_not_hold_up_small_ones(
    redis_manager: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once known to be large, a value is not read over the connection that all reads share."""
    shared: list[bytes] = []
    for name in ("ask", "read_nowait"):
        method: Any = getattr(MultiplexedConnection, name)

        def noted(
            multiplexed: MultiplexedConnection, sent: Any, *rest: Any, method: Any = method
        ) -> Any:
            shared.append(sent.packed)
            return method(multiplexed, sent, *rest)

        monkeypatch.setattr(MultiplexedConnection, name, noted)
    large = "x" * 2 * LARGE_BYTES
    await redis_manager.set("large", large)
    await redis_manager.set("small", 1)
    for times in (1, 1, 1):
        assert await redis_manager.get("large") == large
        assert len([packed for packed in shared if b":large" in packed]) == times
    for times in (1, 2, 3):
        assert await redis_manager.get("small") == 1
        assert len([packed for packed in shared if b":small" in packed]) == times


async def test_large_results_do_not_hold_up_small_ones(
    redis_manager: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are looked for over the shared connection once, and small ones each time."""
    shared: list[bytes] = []
    read_nowait = MultiplexedConnection.read_nowait

    def noted(multiplexed: MultiplexedConnection, get: Get, *rest: Any) -> Any:
        shared.append(get.name.rpartition(b":")[2])
        return read_nowait(multiplexed, get, *rest)

    @cache_response(redis_manager, "data", key="{size}")
    async def function(size: int) -> str:
        return "x" * size

    for size in (10, 2 * LARGE_BYTES):
        assert len(await function(size)) == size
    monkeypatch.setattr(MultiplexedConnection, "read_nowait", noted)
    for _ in range(3):
        for size in (10, 2 * LARGE_BYTES):
            assert len(await function(size)) == size
    assert Counter(shared) == {b"10": 3, str(2 * LARGE_BYTES).encode(): 1}


@pytest.mark.parametrize("missing", ["evalsha", "getrange"])
async def test_p5_who_may_run_no_script_waits_for_no_lease(
    redis_server: RedisServer, redis_client: Redis, missing: str
) -> None:
    """A user without the permission stores nothing, and leaves no leases that others wait for."""
    user, runs = f"test-{uuid.uuid4().hex}", 0
    redis_client.acl_setuser(
        user, enabled=True, passwords=["+pw"], keys="*", commands=["+@all", f"-{missing}"]
    )
    manager = CacheManager(redis_backend(redis_server, username=user, password="pw"))
    try:

        @cache_response(manager, "data")
        async def function() -> int:
            nonlocal runs
            runs += 1
            return runs

        start = time.monotonic()
        assert [await function() for _ in range(5)] == [1, 2, 3, 4, 5]
        assert time.monotonic() - start < LEASE_MS / 1000
        await manager.close()
    finally:
        redis_client.acl_deluser(user)

"""The near cache: what this process keeps itself is as good as what stands in Redis (promise P3).

The wire is a fault proxy in front of a real Redis. What does harm to messages of changes does it on
the way, as a network would.
"""

import asyncio
import threading
import time
import tracemalloc
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final, cast

import pytest
from redis import Redis

from app.core.cache import (
    CacheManager,
    RedisBackend,
    cache_response,
    invalidate_cache,
)
from app.core.cache.backends import redis
from app.core.cache.backends.near import NearCache
from app.core.cache.backends.wire.multiplexed import MultiplexedConnection
from app.core.cache.backends.wire.tracking import TRUST_SECONDS
from app.core.cache.base import UnavailableError
from app.core.cache.coherence import leases
from app.core.cache.keys.patterns import KeyPattern
from app.core.cache.stored.record import is_record_of
from tests.cache.backends.test_own_keys import failures, printed
from tests.cache.conftest import redis_backend
from tests.cache.fault_proxy import Direction, Fault, FaultProxy, Kind
from tests.cache.faults import WITHIN, eventually, manager_behind
from tests.redis_server import RedisServer

KEY: Final = "family:item:1"
Read = Callable[[], Coroutine[Any, Any, Any]]


class Wire(FaultProxy):
    """A proxy that counts what is asked, and loses messages of changes while it is `deaf`."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.asked: Counter[bytes] = Counter()
        self.deaf = False

    def choose(self, direction: Direction, command: bytes) -> Fault | None:
        if direction == "request":
            self.asked[command] += 1
        elif self.deaf and not command:
            return Fault("garbage", junk=b"")
        return super().choose(direction, command)


@dataclass(slots=True)
class Source:
    """What is cached: a version, and how often it was read."""

    version: int = 1
    runs: int = 0

    async def read(self, item: int = 1) -> dict[str, Any]:
        """Return the version that there is."""
        self.runs += 1
        return {"item": item, "version": self.version, "more": [1, 2]}

    def __cache_key__(self) -> str:
        """Return what it is, whatever has been counted."""
        return "the source"


@pytest.fixture
def wire(redis_server: RedisServer) -> Iterator[Wire]:
    """Lend a wire to Redis."""
    with Wire(redis_server.host, redis_server.port) as wire:
        yield wire


@pytest.fixture
def prefix() -> str:
    """Return a prefix that several managers can share."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
async def manager(
    wire: Wire, redis_server: RedisServer, prefix: str
) -> AsyncIterator[CacheManager]:
    """Lend a manager with a near cache, at the end of the wire."""
    manager = manager_behind(
        wire, redis_server, near_size=1000, key_prefix=prefix, operation_timeout=5.0
    )
    yield manager
    await left(manager, wire)


@pytest.fixture
async def hasty(wire: Wire, redis_server: RedisServer, prefix: str) -> AsyncIterator[CacheManager]:
    """Lend one that waits for Redis no longer than a service does."""
    manager = manager_behind(wire, redis_server, near_size=1000, key_prefix=prefix)
    yield manager
    await left(manager, wire)


@pytest.fixture
async def other(redis_server: RedisServer, prefix: str) -> AsyncIterator[CacheManager]:
    """Lend the manager of what might be another process, which goes straight to Redis."""
    manager = CacheManager(redis_backend(redis_server, key_prefix=prefix))
    yield manager
    await manager.close()


@pytest.fixture
def source() -> Source:
    """Lend a source."""
    return Source()


async def left(manager: CacheManager, wire: Wire) -> None:
    """See to it that nothing is left of a manager, whatever became of its wire."""
    wire.heal()
    wire.deaf = False
    await eventually(manager.clear)
    await manager.close()
    assert len(near_of(manager)) == 0
    assert near_of(manager).size == 0


def backend_of(manager: CacheManager) -> RedisBackend:
    """Return the backend of a manager."""
    return cast("RedisBackend", manager.backend)


def near_of(manager: CacheManager) -> NearCache:
    """Return the near cache of a manager."""
    near = manager.backend.near
    assert isinstance(near, NearCache)
    return near


def connection_of(manager: CacheManager) -> MultiplexedConnection:
    """Return the connection that reads share, in the running event loop."""
    topology: Any = backend_of(manager)._topology
    shared: MultiplexedConnection = topology._server._here().reads
    return shared


def at_once(call: Coroutine[Any, Any, Any]) -> Any:
    """Return what a call returns that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as end:
        return end.value
    call.close()
    raise AssertionError("it waits for something")


async def brought_near(read: Read, wire: Wire) -> Any:
    """Read until nothing is asked of Redis for it; return what was read."""
    deadline = time.monotonic() + WITHIN
    while True:
        before = wire.asked.total()
        found = await read()
        if wire.asked.total() == before:
            return found
        assert time.monotonic() < deadline


def readers(manager: CacheManager, source: Source) -> dict[str, Read]:
    """Return the ways to read what is cached."""

    def function(family: str, **options: Any) -> Read:
        cached = cache_response(manager, family, key="item:{item}", **options)(source.read)
        return partial(cached, 1)

    return {
        "a function": function("plain"),
        "tags": function("tags", tags=["item:{item}", "items"]),
        "derived tags": function(
            "derived", tags=["items", lambda found: [f"item:{found['item']}", "others"]]
        ),
        "stale": function("stale", expire=60, stale=60, early_refresh=0.001),
        "get_or_set": lambda: manager.get_or_set("one", source.read),
        "get_or_set, tags": lambda: manager.get_or_set("two", source.read, tags=["items", "two"]),
        "get_or_set_many": lambda: manager.get_or_set_many(["three", "four"], loader(source)),
        "get": lambda: manager.get("five"),
        "get_many": lambda: manager.get_many(["five", "one", "two", "three", "four"]),
    }


READERS: Final = tuple(readers(CacheManager(RedisBackend()), Source()))


def loader(source: Source) -> Callable[[list[str]], Awaitable[dict[str, Any]]]:
    """Return what reads a source for several keys."""

    async def load(keys: list[str]) -> dict[str, Any]:
        return {key: await source.read() for key in keys}

    return load


# --- a hit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", READERS)
async def test_p3_a_near_hit_asks_nothing_of_redis(
    manager: CacheManager, wire: Wire, source: Source, reader: str
) -> None:
    """It does not even wait, and what it returns is equal and its caller's own."""
    ways = readers(manager, source)
    assert await manager.set("five", await source.read())
    for fill in ("get_or_set", "get_or_set, tags", "get_or_set_many"):
        await ways[fill]()
    read = ways[reader]
    found = await brought_near(read, wire)
    asked, runs, wanted = wire.asked.total(), source.runs, repr(found)
    for _ in range(3):
        spoil(found)
        found = at_once(read())
        assert repr(found) == wanted
    assert (wire.asked.total(), source.runs) == (asked, runs)


def spoil(value: Any) -> None:
    """Change what a caller was given, all of it."""
    if isinstance(value, dict):
        for each in value.values():
            spoil(each)
        value.clear()
    elif isinstance(value, list):
        value.append("spoilt")


async def test_p3_what_is_not_there_is_asked_for_each_time(
    manager: CacheManager, other: CacheManager
) -> None:
    """That a key is missing is not kept: it may come into being without a message."""
    for _ in range(3):
        assert await manager.get(KEY) is None
    await other.set(KEY, 1)
    assert await manager.get(KEY) == 1


# --- what this process invalidates ---------------------------------------------------------------


def have_been(wire: Wire, delays: int) -> bool:
    """Whether so many replies were held up, or are."""
    return wire.done["delay"] == delays


@dataclass(slots=True)
class Own:
    """A cached function, and every way in which its own process can invalidate it."""

    manager: CacheManager
    source: Source
    read: Any = field(init=False)

    def __post_init__(self) -> None:
        self.read = cache_response(self.manager, "family", key="item:{item}", tags=["item:{item}"])(
            self.source.read
        )

    async def version(self) -> Any:
        """Read the version through the cache."""
        return (await self.read(1))["version"]

    def ways(self) -> dict[str, Callable[[], Awaitable[object]]]:
        """Return the ways to invalidate it."""
        manager = self.manager

        def decorated(**options: Any) -> Callable[[], Awaitable[object]]:
            @invalidate_cache(manager, **options)
            async def write(item: int) -> None:
                pass

            return partial(write, 1)

        return {
            "delete": lambda: manager.delete(KEY),
            "delete_many": lambda: manager.delete_many([KEY, "another"]),
            "set": lambda: manager.set(KEY, 1),
            "set_many": lambda: manager.set_many({KEY: 1, "another": 1}),
            "set for no time": lambda: manager.set(KEY, 1, expire=0),
            "set what cannot be stored": lambda: manager.set(KEY, object()),
            "invalidate": lambda: manager.invalidate(KEY),
            "a pattern": lambda: manager.invalidate("fam*:1"),
            "clear": manager.clear,
            "a tag": lambda: manager.invalidate_tags("item:1"),
            "f.invalidate": lambda: self.read.invalidate(1),
            "f.invalidate_all": self.read.invalidate_all,
            "f.refresh": lambda: self.read.refresh(1),
            "invalidate_cache by key": decorated(keys="family:item:{item}"),
            "invalidate_cache by pattern": decorated(keys=["family:*"]),
            "invalidate_cache by tag": decorated(tags=["item:{item}"]),
        }


WAYS: Final = tuple(Own(CacheManager(RedisBackend()), Source()).ways())
READ_FIRST: Final = {
    *("a pattern", "clear", "f.invalidate_all", "f.refresh", "invalidate_cache by pattern")
}
"""What asks, before it changes anything, on the connection on which the reply is held up."""


@pytest.mark.parametrize("first", ["the reader", "the reply"])
@pytest.mark.parametrize("way", WAYS)
async def test_p3_what_this_process_invalidates_is_gone_at_once(
    manager: CacheManager, wire: Wire, source: Source, way: str, first: str
) -> None:
    """Without any message, and a reply that is on its way at that moment is not kept."""
    own = Own(manager, source)
    full, tag = f"{manager.key_prefix}:{KEY}", f"{manager.key_prefix}:~tag:item:1"
    for trial in range(20):
        wire.deaf = False
        assert await brought_near(own.version, wire) == source.version
        wire.deaf = True
        # What this asks is what a reader asks.
        wire.inject(Fault("delay", seconds=0.1, command=b"GET", times=1))
        late, delays = asyncio.create_task(backend_of(manager).look(full, [tag])), trial + 1
        await eventually(partial(have_been, wire, delays))
        source.version += 1
        await own.ways()[way]()
        was_late = not late.done() or way in READ_FIRST
        if first == "the reply":
            await late
        assert await own.version() == source.version
        await late
        assert await own.version() == source.version
        if was_late:
            return
    pytest.fail("the invalidation always came after the reply")


async def test_p3_what_was_invalidated_late_is_not_near_when_that_is_done(
    manager: CacheManager, wire: Wire, source: Source
) -> None:
    """An invalidation that did not reach Redis at first takes what was read meanwhile with it."""
    read = readers(manager, source)["get_or_set, tags"]
    assert (await brought_near(read, wire))["version"] == 1
    wire.inject(Fault("garbage", junk=b"-NOPERM not now\r\n", command=b"SET"))
    source.version = 2
    assert await manager.invalidate_tags("two") is False
    assert not await manager.exists("two")
    tag = f"{manager.key_prefix}:~tag:two"
    assert await manager.backend.get_many_bytes([tag]) != (None,)  # the nonce that is near then
    wire.heal()
    assert (await read())["version"] == 2
    wire.deaf = True
    await eventually(lambda: not len(manager.invalidations.pending))
    assert (await read())["version"] == 2


async def test_p3_what_is_held_back_makes_nothing_near(
    manager: CacheManager, wire: Wire, source: Source
) -> None:
    """As long as an invalidation is to be delivered, every read asks Redis or the source."""
    own = Own(manager, source)
    assert await brought_near(own.version, wire) == 1
    wire.inject(Fault("garbage", junk=b"-NOPERM not now\r\n", command=b"UNLINK"))
    assert await manager.invalidate("something else") is False
    for _ in range(2):
        before = wire.asked.total()
        assert await own.version() == 1
        assert wire.asked.total() > before
    wire.heal()
    await eventually(lambda: not len(manager.invalidations.pending))
    assert await brought_near(own.version, wire) == 1


# --- what another process invalidates ------------------------------------------------------------


@pytest.mark.parametrize("way", ["delete", "set", "a pattern", "clear", "a tag"])
@pytest.mark.parametrize("reader", ["a function", "tags", "derived tags", "get_or_set, tags"])
async def test_p3_another_process_is_heard(
    manager: CacheManager, other: CacheManager, wire: Wire, source: Source, reader: str, way: str
) -> None:
    """Whatever it does to an entry or its tags, the next value is the new one."""
    read, others = readers(manager, source)[reader], readers(other, source)[reader]
    key = {"a function": "plain", "tags": "tags", "derived tags": "derived"}.get(reader)
    key = f"{key}:item:1" if key else "two"
    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "delete": lambda: other.delete(key),
        "set": lambda: other.set(key, {"version": source.version}),
        "a pattern": lambda: other.invalidate(f"{key[:-1]}*"),
        "clear": other.clear,
        "a tag": lambda: other.invalidate_tags("items"),
    }
    for _ in range(3):
        await brought_near(read, wire)
        source.version += 1
        await ways[way]()
        if way == "a tag" and reader == "a function":
            await others()
            assert (await read())["version"] == source.version - 1
            source.version -= 1
            continue
        await eventually(lambda: is_of(read, source))


async def is_of(read: Read, source: Source) -> bool:
    """Whether what is read is of the newest version."""
    found = await read()
    return bool(found["version"] == source.version)


async def test_p3_a_message_in_the_middle_of_a_reply_counts(
    manager: CacheManager, wire: Wire, redis_client: Redis
) -> None:
    """What is changed after its value was read, but before its time was, is not kept."""
    full = f"{manager.key_prefix}:{KEY}"
    await manager.set(KEY, 1)
    await manager.get("another")
    wire.inject(Fault("delay", seconds=0.2, command=b"PTTL", to="request", times=1))
    reading = asyncio.create_task(manager.get(KEY))
    await eventually(lambda: wire.done["delay"])
    redis_client.set(full, b"2")
    assert await reading == 1
    wire.deaf = True
    assert await manager.get(KEY) == 2


FAULTS: Final = ("delayed", "slow", "silenced", "reset", "killed", "stopped", "held up")


@asynccontextmanager
async def harmed(
    fault: str, manager: CacheManager, wire: Wire, server: RedisServer, client: Redis
) -> AsyncIterator[None]:
    """Keep messages from a manager, in one of these ways."""
    match fault:
        case "delayed":
            wire.inject(Fault("delay", seconds=5))
        case "slow":
            wire.inject(Fault("delay", seconds=2))
        case "silenced":
            wire.silence()
        case "reset":
            wire.drop()
        case "killed":
            for each in trackers(client):
                client.client_kill_filter(_id=each)
        case "stopped":
            server.pause()
        case "held up":
            until = connection_of(manager).trusted_until + 0.01
            while time.monotonic() < until:  # as a function does that computes for long
                pass
    try:
        yield
    finally:
        if fault == "stopped":
            server.resume()
        wire.heal()


def trackers(client: Redis) -> list[str]:
    """Return the connections that are told of changes."""
    found: list[dict[str, str]] = client.client_list()
    return [each["id"] for each in found if "t" in each["flags"]]


@pytest.mark.parametrize("fault", FAULTS)
async def test_p3_nothing_is_served_for_longer_than_it_is_trusted(
    hasty: CacheManager,
    manager: CacheManager,
    other: CacheManager,
    wire: Wire,
    source: Source,
    redis_server: RedisServer,
    redis_client: Redis,
    fault: str,
) -> None:
    """Whatever keeps messages away, a second after another process's write nobody has the old one."""
    if fault == "slow":  # and not given up
        hasty = manager
    own = Own(hasty, source)
    assert await brought_near(own.version, wire) == 1
    if fault == "held up":
        source.version = 2
        redis_client.unlink(f"{hasty.key_prefix}:{KEY}")
    began = time.monotonic()
    last_old = began
    async with harmed(fault, hasty, wire, redis_server, redis_client):
        if fault not in {"stopped", "held up"}:
            source.version = 2
            await other.delete(KEY)
            began = time.monotonic()
        source.version = 2
        while time.monotonic() < began + 1.2 * TRUST_SECONDS:
            asked = time.monotonic()
            if await own.version() == 1:
                last_old = asked
            await asyncio.sleep(0.005)
    assert last_old < began + TRUST_SECONDS
    if fault == "held up":
        assert last_old == began
    await eventually(lambda: is_of(partial(own.read, 1), source))


async def test_p3_a_silent_death_is_found_by_those_who_read(
    hasty: CacheManager, wire: Wire, source: Source
) -> None:
    """Near hits ask for a proof in the background: nobody waits for it, and it does not come."""
    own = Own(hasty, source)
    assert await brought_near(own.version, wire) == 1
    line, asked, deadline = connection_of(hasty), wire.asked.total(), time.monotonic() + WITHIN
    wire.silence()
    while not line.is_over:
        assert time.monotonic() < deadline
        if len(near_of(hasty)) and time.monotonic() < line.trusted_until - 0.01:
            assert at_once(own.version()) == 1
        await asyncio.sleep(0.002)
    assert len(near_of(hasty)) == 0
    assert wire.asked.total() - asked <= 4
    wire.heal()
    assert await brought_near(own.version, wire) == 1


async def test_p3_who_reads_keeps_it_near(
    manager: CacheManager, wire: Wire, source: Source
) -> None:
    """For three times as long as it is trusted without a proof, at the cost of a few commands."""
    own = Own(manager, source)
    assert await brought_near(own.version, wire) == 1
    asked, until = wire.asked.copy(), time.monotonic() + 3 * TRUST_SECONDS
    while time.monotonic() < until:
        assert at_once(own.version()) == 1
        await asyncio.sleep(0.01)
    more = wire.asked - asked
    assert more[b"GET"] == 0
    assert 2 <= more[b"PING"] <= 7
    assert source.runs == 1


async def test_p3_what_nobody_read_for_long_is_trusted_again(
    manager: CacheManager, wire: Wire, source: Source
) -> None:
    """After a pause the first reader asks Redis, and the next ones need not."""
    own = Own(manager, source)
    assert await brought_near(own.version, wire) == 1
    line = connection_of(manager)
    await eventually(lambda: time.monotonic() > line.trusted_until)
    before = wire.asked[b"GET"]
    assert await own.version() == 1
    assert wire.asked[b"GET"] > before
    assert await brought_near(own.version, wire) == 1
    assert source.runs == 1


# --- time to live --------------------------------------------------------------------------------

SHORT: Final = timedelta(milliseconds=400)


@pytest.mark.parametrize("late", [False, True])
async def test_p3_nothing_outlives_its_entry(
    manager: CacheManager, wire: Wire, *, late: bool
) -> None:
    """Even if no message tells that it has expired, or the answer came late."""
    await manager.get("another")
    await manager.set(KEY, 1, SHORT)
    end = time.monotonic() + SHORT.total_seconds()
    wire.deaf = True
    if late:
        wire.inject(Fault("delay", seconds=0.1, command=b"GET", times=1))
    assert await brought_near(lambda: manager.get(KEY), wire) == 1
    last = 0.0
    while time.monotonic() < end + 0.1:
        asked = time.monotonic()
        if await manager.get(KEY) == 1:
            last = asked
        await asyncio.sleep(0.002)
    assert end - 0.2 < last < end + 0.005  # Redis counts in whole milliseconds


async def test_p3_what_has_no_end_stays(
    manager: CacheManager, wire: Wire, redis_client: Redis
) -> None:
    """An entry that somebody made persistent is near until a message comes."""
    redis_client.set(f"{manager.key_prefix}:{KEY}", b"1")
    assert await brought_near(lambda: manager.get(KEY), wire) == 1
    assert at_once(manager.get(KEY)) == 1
    redis_client.unlink(f"{manager.key_prefix}:{KEY}")
    await eventually(lambda: has(manager, None))


async def has(manager: CacheManager, value: object) -> bool:
    """Whether this is what is read."""
    return bool(await manager.get(KEY) == value)


async def test_p3_what_is_due_is_computed_anew(
    manager: CacheManager, wire: Wire, source: Source
) -> None:
    """A stale entry is not served from here as if it were fresh: one caller refreshes it."""
    expire = timedelta(milliseconds=100)
    read = cache_response(manager, "ageing", expire, key="it", ignore=("item",), stale=60)(
        source.read
    )
    assert (await brought_near(read, wire))["version"] == 1
    source.version = 2
    await eventually(lambda: is_of(read, source))
    assert source.runs == 2


# --- bounds --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("end", ["unlink", "pexpire"])
@pytest.mark.parametrize("reader", ["tags", "derived tags", "get_or_set, tags"])
async def test_p3_a_tag_that_redis_lost_makes_a_miss(
    manager: CacheManager,
    wire: Wire,
    source: Source,
    redis_client: Redis,
    reader: str,
    end: str,
) -> None:
    """Its nonce was evicted or has expired: whoever asks gets another one."""
    read = readers(manager, source)[reader]
    tag = {"tags": "item:1", "derived tags": "others", "get_or_set, tags": "two"}[reader]
    await brought_near(read, wire)
    source.version = 2
    if end == "unlink":
        redis_client.unlink(f"{manager.key_prefix}:~tag:{tag}")
    else:
        redis_client.pexpire(f"{manager.key_prefix}:~tag:{tag}", 20)
    await eventually(lambda: is_of(read, source))
    assert source.runs == 2


# --- a server that does not tell -----------------------------------------------------------------


class AsUser:
    """Makes managers of a user of Redis who may do what the documentation has, and these things more."""

    def __init__(self, server: RedisServer, client: Redis) -> None:
        self._server, self._client = server, client
        self._name, self._prefix = f"{uuid.uuid4()}", f"test-{uuid.uuid4().hex}"

    def __call__(self, *more: str, near_size: int = 100) -> CacheManager:
        own = {"app": self._name, ">password": ">secret", "~app:*": f"~{self._prefix}:*"}
        words = [own.get(word, word) for word in printed()] + [f"+{each}" for each in more]
        if self._server.db:
            words.append("+select")
        cast("Any", self._client).execute_command(*words)
        return CacheManager(
            redis_backend(
                self._server,
                username=self._name,
                password="secret",
                key_prefix=self._prefix,
                near_size=near_size,
            )
        )

    def remove(self) -> None:
        """Remove the user."""
        self._client.acl_deluser(self._name)


@pytest.fixture
def as_user(redis_server: RedisServer, redis_client: Redis) -> Iterator[AsUser]:
    """Lend what makes managers of a user."""
    user = AsUser(redis_server, redis_client)
    yield user
    user.remove()


async def test_p7_the_near_cache_needs_two_permissions_more(
    as_user: AsUser, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that the documentation names: with them it works, and nothing is refused."""
    manager = as_user("client|tracking", "pttl")
    own = Own(manager, source)
    await eventually(lambda: is_near(own))
    assert await failures(manager, "key") == []
    assert caplog.records == []


async def is_near(own: Own) -> bool:
    """Whether a read needs nobody."""
    await own.version()
    try:
        at_once(own.version())
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("more", "refused"), [((), "client"), (("pttl",), "client"), (("client|tracking",), "pttl")]
)
async def test_p5_where_the_server_refuses_it_is_off(
    as_user: AsUser, caplog: pytest.LogCaptureFixture, more: tuple[str, ...], refused: str
) -> None:
    """Everything else works, nothing is kept in vain, and the log says so once."""
    manager = as_user(*more)
    assert await failures(manager, "key") == []
    for _ in range(3):
        assert await manager.get_or_set("key", lambda: 1, tags=["tag"]) == 1
        await manager.set("plain", 1)
        assert await manager.get("plain") == 1
        if refused == "client":
            assert len(near_of(manager)) == 0
        await manager.close()
    told = [record.getMessage() for record in caplog.records]
    about = [line for line in told if f"'{refused}" in line]
    assert len(about) == 1
    assert set(told) - set(about) <= {line for line in told if "'pttl" in line}


# --- waiting for another process -----------------------------------------------------------------

NEAR_OR_NOT: Final = pytest.mark.parametrize("near_size", [0, 100], ids=["", "near"])


@pytest.fixture
def told_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody look who was not told."""
    monkeypatch.setattr(redis, "POLL_SECONDS", 1000.0)
    monkeypatch.setattr(redis, "_LONGEST_WAIT_SECONDS", 1000.0)


class Leader:
    """Another process that computes an entry until it may go on."""

    def __init__(self, manager: CacheManager) -> None:
        self._manager, self.go_on, self._computes = manager, asyncio.Event(), asyncio.Event()

    async def begun(self) -> "asyncio.Task[Any]":
        """Begin, and return when it computes."""
        task = asyncio.create_task(self._manager.get_or_set(KEY, self._compute))
        await self._computes.wait()
        return task

    async def _compute(self) -> str:
        self._computes.set()
        await self.go_on.wait()
        return "the leader's"


def waiting(manager: CacheManager, count: int = 5) -> "list[asyncio.Task[Any]]":
    """Let so many callers wait for the leader."""
    return [asyncio.create_task(manager.get_or_set(KEY, lambda: "own")) for _ in range(count)]


def watched(manager: CacheManager) -> int:
    """Return how many keys somebody watches."""
    return len(connection_of(manager).tracker._watched)


@asynccontextmanager
async def three(
    wire: Wire, server: RedisServer, prefix: str, near_size: int
) -> AsyncIterator[list[CacheManager]]:
    """Lend three managers, as of three processes."""
    managers = [
        manager_behind(wire, server, key_prefix=prefix, near_size=near_size, operation_timeout=5.0)
        for _ in range(3)
    ]
    yield managers
    for manager in managers:
        await manager.clear()
        await manager.close()


@NEAR_OR_NOT
@pytest.mark.usefixtures("told_only")
async def test_p4_waiters_are_told(
    wire: Wire, redis_server: RedisServer, prefix: str, other: CacheManager, near_size: int
) -> None:
    """As soon as the leader has stored, also if it computes for longer than a lease lasts."""
    leader = Leader(other)
    async with three(wire, redis_server, prefix, near_size) as managers:
        for manager in managers:
            await manager.get("connect")
        leading, asked = await leader.begun(), wire.asked.copy()
        waiters = [task for manager in managers for task in waiting(manager)]
        await eventually(lambda: [watched(manager) for manager in managers] == [1] * 3)
        leader.go_on.set()
        async with asyncio.timeout(WITHIN):
            assert await asyncio.gather(leading, *waiters) == ["the leader's"] * 16
        spent = wire.asked - asked
        # All look; one of a process watches; who is told looks, and then the others do.
        assert spent[b"GET"] <= 3 * (5 + 2 + 5)
        assert spent[b"CLIENT"] <= (0 if near_size else 2 * 3)
        await eventually(lambda: [watched(manager) for manager in managers] == [0] * 3)


@NEAR_OR_NOT
@pytest.mark.usefixtures("told_only")
async def test_p4_waiters_are_told_that_a_lease_is_over(
    wire: Wire,
    redis_server: RedisServer,
    redis_client: Redis,
    prefix: str,
    near_size: int,
) -> None:
    """A leader that was killed leaves a lease that expires; one of them computes then."""
    lease = b"lease/1 0123456789abcdef " + leases._digest(())
    async with three(wire, redis_server, prefix, near_size) as managers:
        redis_client.set(f"{prefix}:{KEY}", lease, px=300)
        async with asyncio.timeout(WITHIN):
            for manager in managers:
                await manager.get("connect")
            found = await asyncio.gather(*(task for each in managers for task in waiting(each)))
        assert found == ["own"] * 15
        await eventually(lambda: [watched(manager) for manager in managers] == [0] * 3)


@NEAR_OR_NOT
async def test_p4_waiters_look_when_a_message_is_lost(
    wire: Wire, redis_server: RedisServer, prefix: str, other: CacheManager, near_size: int
) -> None:
    """After a while, and nobody watches any more when they have seen it."""
    leader = Leader(other)
    async with three(wire, redis_server, prefix, near_size) as (manager, *_):
        await manager.get("connect")
        leading = await leader.begun()
        waiters = waiting(manager)
        await eventually(lambda: watched(manager))
        wire.deaf = True
        leader.go_on.set()
        async with asyncio.timeout(WITHIN):
            assert await asyncio.gather(leading, *waiters) == ["the leader's"] * 6
        await eventually(lambda: watched(manager) == 0)


@NEAR_OR_NOT
async def test_p4_waiters_look_again_when_their_connection_breaks(
    wire: Wire,
    redis_server: RedisServer,
    prefix: str,
    other: CacheManager,
    monkeypatch: pytest.MonkeyPatch,
    near_size: int,
) -> None:
    """At once, and on the next one they watch again; nothing is left of the first."""
    monkeypatch.setattr(redis, "_LONGEST_WAIT_SECONDS", 1000.0)
    leader = Leader(other)
    async with three(wire, redis_server, prefix, near_size) as (manager, *_):
        await manager.get("connect")
        leading = await leader.begun()
        waiters, first = waiting(manager), connection_of(manager)
        await eventually(lambda: watched(manager))
        wire.drop()
        await eventually(lambda: connection_of(manager) is not first and watched(manager))
        leader.go_on.set()
        async with asyncio.timeout(WITHIN):
            assert await asyncio.gather(leading, *waiters) == ["the leader's"] * 6
        await eventually(lambda: watched(manager) == 0)
        assert not first.tracker._watched


@pytest.mark.parametrize("more", [(), ("client|tracking",), ("client|caching",)], ids=str)
async def test_p4_waiters_look_from_time_to_time_who_may_not_be_told(
    as_user: AsUser,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
) -> None:
    """Both permissions that the documentation names are needed to be told; else they look."""
    monkeypatch.setattr(redis, "_LONGEST_WAIT_SECONDS", 1000.0)
    manager = as_user(*more, near_size=0)
    leader = Leader(CacheManager(redis_backend(redis_server, key_prefix=manager.key_prefix)))
    await manager.get("connect")
    leading = await leader.begun()
    waiters = waiting(manager)
    await eventually(lambda: manager.fence.leases._waits)
    leader.go_on.set()
    async with asyncio.timeout(WITHIN):
        assert await asyncio.gather(leading, *waiters) == ["the leader's"] * 6
    await manager.clear()
    await manager.close()
    await leader._manager.close()


@pytest.mark.usefixtures("told_only")
async def test_p4_waiters_who_may_be_told_are(as_user: AsUser, redis_server: RedisServer) -> None:
    """With the two permissions that the documentation names, and no others, they need not look."""
    manager = as_user("client|tracking", "client|caching", near_size=0)
    leader = Leader(CacheManager(redis_backend(redis_server, key_prefix=manager.key_prefix)))
    await manager.get("connect")
    leading = await leader.begun()
    waiters = waiting(manager)
    await eventually(lambda: watched(manager))
    leader.go_on.set()
    async with asyncio.timeout(WITHIN):
        assert await asyncio.gather(leading, *waiters) == ["the leader's"] * 6
    await manager.clear()
    await manager.close()
    await leader._manager.close()


# --- when Redis is unwell ------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["it hears", "it is silenced"])
async def test_p3_an_open_breaker_does_not_make_it_serve_what_it_cannot_prove(
    hasty: CacheManager, other: CacheManager, wire: Wire, source: Source, then: str
) -> None:
    """Where only the other connections fail, and where then the one that reads does."""
    own = Own(hasty, source)
    assert await brought_near(own.version, wire) == 1
    wire.inject(Fault("reset", command=b"SET"))
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await hasty.backend.acquire(f"{hasty.key_prefix}:another", b"lease", 1000)
    assert not len(hasty.invalidations.pending)
    topology: Any = backend_of(hasty)._topology
    assert topology._server.breaker.is_open
    if then == "it is silenced":
        wire.silence()
    source.version = 2
    await other.delete(KEY)
    began = last_old = time.monotonic()
    while time.monotonic() < began + 1.2 * TRUST_SECONDS:
        asked = time.monotonic()
        if await own.version() == 1:
            last_old = asked
        await asyncio.sleep(0.01)
    assert last_old < began + TRUST_SECONDS


# --- replies that cannot be right ----------------------------------------------------------------

NUMBERS: Final = range(8)
KINDS: Final[tuple[Kind, ...]] = ("garbage", "noise", "duplicate", "shift", "cut")


@pytest.mark.parametrize("command", [b"GET", b"PTTL", b"PING", b""], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
async def test_p9_what_is_near_is_what_stands_there(
    manager: CacheManager,
    wire: Wire,
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
    kind: Kind,
    command: bytes,
) -> None:
    """However replies are harmed, nothing gets under the wrong key, and no value is wrong."""

    @cache_response(manager, "of", key="{number}", tags=["of:{number}"])
    async def record(number: int) -> int:
        return number

    async def read(number: int) -> None:
        assert await record(number) == number
        assert await manager.get_or_set(f"or_set:{number}", lambda: number) == number
        assert await manager.get(f"by hand:{number}") in {number, None}

    await manager.set_many({f"by hand:{number}": number for number in NUMBERS})
    await asyncio.gather(*map(read, NUMBERS))
    near, wrong, keep = near_of(manager), list[str](), near_of(manager).keep

    def watched_keep(key: str, data: bytes, *rest: Any) -> None:
        by_hand = ":by hand:" in key
        if not (data == key[-1].encode() if by_hand else is_record_of(key, data) or "~tag" in key):
            wrong.append(f"{data!r} at {key}")
        keep(key, data, *rest)

    monkeypatch.setattr(near, "keep", watched_keep)
    kept = 0
    for trial in range(10):
        near.forget([KeyPattern(("", ""))])
        wire.inject(Fault(kind, command=command, times=1 + trial % 3, chance=0.3))
        await asyncio.gather(*map(read, NUMBERS))
        wire.heal()
        there = {key: each.data for key, each in near._entries.items()}
        assert there == {key: redis_client.get(key) for key in there}
        kept += len(there)
    assert wrong == []
    assert wire.done[kind] > 3
    assert kept > 30


@pytest.mark.parametrize("damage", [b"cache/2 ", b"", b"\x00", b"}"], ids=repr)
async def test_p9_damaged_bytes_are_a_miss(
    manager: CacheManager, wire: Wire, redis_client: Redis, source: Source, damage: bytes
) -> None:
    """Those that name their key, too: the function runs, and what it makes is near then."""
    own, full = Own(manager, source), f"{manager.key_prefix}:{KEY}"
    assert await brought_near(own.version, wire) == 1
    whole = cast("bytes", redis_client.get(full))
    redis_client.set(full, damage if damage != b"}" else whole[:-1] + b"]")
    source.version = 2
    await eventually(lambda: is_of(partial(own.read, 1), source))
    assert source.runs == 2
    assert await brought_near(own.version, wire) == 2


async def test_p9_what_was_set_by_hand_is_kept_from_sealed_answers_only(
    manager: CacheManager, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not name its key, so it is asked for twice, and kept the second time."""
    full, keep, times = f"{manager.key_prefix}:{KEY}", near_of(manager).keep, list[str]()

    def counted(key: str, *rest: Any) -> None:
        times.append(key)
        keep(key, *rest)

    monkeypatch.setattr(near_of(manager), "keep", counted)
    redis_client.set(full, b"1")
    assert await manager.get_or_set(KEY, lambda: 2) == 1
    assert times == [full]
    assert at_once(manager.get_or_set(KEY, lambda: 2)) == 1


# --- many lives ----------------------------------------------------------------------------------


class Elsewhere:
    """Another thread, with an event loop of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Have something done there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    @asynccontextmanager
    async def held_up(self) -> AsyncIterator[None]:
        """Let that loop stand still."""
        begun, go_on = threading.Event(), threading.Event()

        def stand_still() -> None:
            begun.set()
            go_on.wait(WITHIN)

        self._loop.call_soon_threadsafe(stand_still)
        try:
            await eventually(begun.is_set)
            yield
        finally:
            go_on.set()

    def end(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
async def elsewhere(manager: CacheManager) -> AsyncIterator[Elsewhere]:
    """Lend another thread."""
    elsewhere = Elsewhere()
    yield elsewhere
    await elsewhere.run(manager.close())
    elsewhere.end()


@pytest.mark.parametrize("inner_reader", ["a function", "get_or_set", "get", "get_many"])
async def test_p3_nothing_is_stored_that_is_made_of_what_was_near(
    manager: CacheManager,
    other: CacheManager,
    elsewhere: Elsewhere,
    source: Source,
    wire: Wire,
    inner_reader: str,
) -> None:
    """A function that is cached itself reads what is newest: what it makes of that lasts for long."""
    ways = readers(manager, source)
    assert await manager.set("five", await source.read())
    for fill in ("get_or_set", "get_or_set, tags", "get_or_set_many"):
        await ways[fill]()
    inner = ways[inner_reader]

    @cache_response(manager, "outer")
    async def outer() -> Any:
        return await inner()

    # The messages about what the other thread has read come while it does not listen.
    await elsewhere.run(brought_near(inner, wire))
    async with elsewhere.held_up():
        source.version = 2
        await other.clear()
        await other.set("five", await source.read())
        assert "'version': 1" in repr(at_once(inner()))
        assert "'version': 1" not in repr(await outer())
    assert "'version': 1" not in repr(await outer())


async def test_p3_what_one_thread_invalidates_is_gone_in_the_other(
    manager: CacheManager, elsewhere: Elsewhere, source: Source
) -> None:
    """At once: whoever begins to read after that, in whatever loop, has the new value."""
    own = Own(manager, source)
    stale, reads, over = 0, 0, threading.Event()
    returned = 0

    async def keep_reading() -> None:
        nonlocal stale, reads
        while not over.is_set():
            least = returned
            stale += await own.version() < least
            reads += 1
            await asyncio.sleep(0)

    async def keep_writing() -> None:
        nonlocal returned
        for _ in range(100):
            source.version += 1
            version = source.version
            await own.ways()["delete" if version % 2 else "a tag"]()
            returned = version
            await asyncio.sleep(0)
            await own.version()

    readers = [asyncio.create_task(elsewhere.run(keep_reading())) for _ in range(3)]
    readers.append(asyncio.create_task(keep_reading()))
    await keep_writing()
    await eventually(lambda: reads > 1000)
    over.set()
    await asyncio.gather(*readers)
    assert stale == 0


async def test_p3_what_another_loop_has_read_is_trusted_for_as_long_as_that_hears(
    manager: CacheManager, elsewhere: Elsewhere, wire: Wire, source: Source
) -> None:
    """If it stands still, the entry is here for a second at most, and then this one reads it."""
    own = Own(manager, source)
    assert await elsewhere.run(brought_near(own.version, wire)) == 1
    (read_over,) = {each.source for each in near_of(manager)._entries.values()}
    async with elsewhere.held_up():
        assert at_once(own.version()) == 1
        await eventually(lambda: time.monotonic() > read_over.trusted_until)
        before = wire.asked[b"GET"]
        assert await own.version() == 1
        assert wire.asked[b"GET"] > before
        assert await brought_near(own.version, wire) == 1
    assert source.runs == 1


async def test_a_closed_manager_can_be_used_again(
    manager: CacheManager, other: CacheManager, wire: Wire, source: Source
) -> None:
    """It has nothing near then, and hears what changes as before."""
    own = Own(manager, source)
    for _ in range(3):
        assert await brought_near(own.version, wire) == source.version
        await manager.close()
        assert len(near_of(manager)) == 0
        source.version += 1
        await other.delete(KEY)
        assert await own.version() == source.version
    assert await brought_near(own.version, wire) == source.version
    source.version += 1
    await other.delete(KEY)
    await eventually(lambda: is_of(partial(own.read, 1), source))

"""What the tests of the near cache share: a wire that counts, ways to read and to invalidate.

The wire is a fault proxy in front of a real Redis. What does harm to messages of changes does it on
the way, as a network would.
"""

import asyncio
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from redis import Redis

from .... import (
    CacheManager,
    RedisBackend,
    cache_response,
    invalidate_cache,
)
from ....backends.near import NearCache
from ....backends.wire.multiplexed import MultiplexedConnection
from ....testing.redis_server import RedisServer
from ...conftest import redis_backend
from ...faults import WITHIN, eventually
from ...proxy.fault_proxy import Direction, Fault, FaultProxy
from ..test_own_keys import printed

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

    def __cache_key__(self) -> str:
        """Return what it is, whatever its version."""
        return "the source"

    async def read(self, item: int = 1) -> dict[str, Any]:
        """Return the version that there is."""
        self.runs += 1
        return {"item": item, "version": self.version, "more": [1, 2]}


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


async def is_of(read: Read, source: Source) -> bool:
    """Whether what is read is of the newest version."""
    found = await read()
    return bool(found["version"] == source.version)


class AsUser:
    """Makes managers of a user of Redis who may do what the README has, and these things more."""

    def __init__(self, server: RedisServer, client: Redis) -> None:
        self._server, self._client = server, client
        self._name, self._prefix = f"{uuid.uuid4()}", f"test-{uuid.uuid4().hex}"

    def __call__(self, *more: str, lacks: str = "", near_size: int = 100) -> CacheManager:
        own = {"app": self._name, ">password": ">secret", "~app:*": f"~{self._prefix}:*"}
        allowed = [word for word in printed() if word != f"+{lacks}"]
        words = [own.get(word, word) for word in allowed] + [f"+{each}" for each in more]
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

"""A synchronous way to clear: for test suites, with and without an event loop."""

import asyncio
import itertools
import threading
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from redis import Redis

from .. import CacheBackend, CacheManager, MemoryBackend, RedisBackend, cache_response
from ..testing.redis_server import RedisServer
from .conftest import OURS, SIX_METHODS, new_backend, redis_backend


@pytest.fixture(params=[*OURS, SIX_METHODS])
def cache(request: pytest.FixtureRequest) -> Iterator[CacheManager]:
    """Lend a manager to synchronous tests, as a user's own suite does, and clear it."""
    cache = CacheManager(new_backend(request))
    yield cache
    assert cache.clear_sync() is True


def test_without_an_event_loop(cache: CacheManager) -> None:
    """In a plain test: what was set is gone, and there is as much of a loop as before."""
    assert asyncio.run(put(cache)) is True
    before = _current_loop()
    assert cache.clear_sync() is True
    assert _current_loop() is before
    assert asyncio.run(read(cache)) is None


def test_the_threads_own_loop_stays_current(cache: CacheManager) -> None:
    """Unlike with `asyncio.run`, tests that follow find the loop that they had."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        assert loop.run_until_complete(put(cache)) is True
        assert cache.clear_sync() is True
        assert asyncio.get_event_loop() is loop
        assert not loop.is_closed()
        assert loop.run_until_complete(read(cache)) is None
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def test_inside_a_running_loop(cache: CacheManager) -> None:
    """In an async test, where `asyncio.run` would raise; what goes on there goes on."""
    assert await cache.set("key", 1) is True
    ticks = asyncio.create_task(asyncio.sleep(0, "still there"))
    assert cache.clear_sync() is True
    assert await ticks == "still there"
    assert await cache.get("key") is None
    assert await cache.set("key", 2) is True
    assert await cache.get("key") == 2
    await cache.close()


def test_from_several_threads(cache: CacheManager) -> None:
    """At once."""
    asyncio.run(put(cache))
    done: list[bool] = []
    threads = [threading.Thread(target=lambda: done.append(cache.clear_sync())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert done == [True] * 4
    assert asyncio.run(read(cache)) is None


def test_around_a_test_client(cache: CacheManager) -> None:
    """And inside a request."""
    with TestClient(application(cache)) as client:
        ask_and_clear(cache, client)


def test_around_a_test_client_that_was_not_started() -> None:
    """Then each request has an event loop of its own."""
    cache = CacheManager(MemoryBackend())
    ask_and_clear(cache, TestClient(application(cache)))


def application(cache: CacheManager) -> FastAPI:
    """Make one that counts how often it runs, and can be told to clear."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await leave(cache)

    app, runs = FastAPI(lifespan=lifespan), itertools.count(1)

    @app.get("/")
    @cache_response(cache, "count")
    async def count() -> int:
        return next(runs)

    @app.post("/clear")
    async def clear() -> bool:
        return cache.clear_sync()

    return app


def ask_and_clear(cache: CacheManager, client: TestClient) -> None:
    """Have hits before and misses after each clearing."""
    assert [client.get("/").json() for _ in range(2)] == [1, 1]
    assert cache.clear_sync() is True
    assert [client.get("/").json() for _ in range(2)] == [2, 2]
    assert client.post("/clear").json() is True
    assert client.get("/").json() == 3


async def test_p3_a_fill_under_way_is_overtaken(cache: CacheManager) -> None:
    """That of another event loop: its caller has it, and nobody after him."""
    running, go_on = asyncio.Event(), asyncio.Event()

    @cache_response(cache, "slow")
    async def slow() -> str:
        running.set()
        await go_on.wait()
        return "old"

    caller = asyncio.create_task(slow())
    await asyncio.wait_for(running.wait(), 10)
    assert cache.clear_sync() is True
    go_on.set()
    assert await caller == "old"

    running.clear()
    again = asyncio.create_task(slow())
    await asyncio.wait_for(running.wait(), 10)  # it runs once more: nothing was stored
    assert await again == "old"
    await cache.close()


def test_p7_others_entries_stay(redis_server: RedisServer) -> None:
    """Those of another prefix, in one memory and in one Redis."""
    backends: list[CacheBackend] = [MemoryBackend(), redis_backend(redis_server)]
    for backend in backends:
        ours, theirs = (CacheManager(backend, key_prefix=uuid.uuid4().hex) for _ in range(2))
        asyncio.run(put(ours))
        asyncio.run(put(theirs))
        assert ours.clear_sync() is True
        assert asyncio.run(read(ours)) is None
        assert asyncio.run(read(theirs)) == 1
        assert theirs.clear_sync() is True


def test_it_leaves_no_connection_and_no_thread(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    """A suite clears a thousand times."""
    cache = CacheManager(redis_backend(redis_server))
    threads, clients = threading.active_count(), len(redis_client.client_list())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            assert cache.clear_sync() is True
    assert threading.active_count() == threads
    assert len(redis_client.client_list()) == clients


def test_a_backend_that_is_away_is_told_as_by_clear() -> None:
    """By `False`, without an exception."""
    away = CacheManager(redis_backend(RedisServer("127.0.0.1", 1), operation_timeout=0.5))
    assert away.clear_sync() is False


async def put(cache: CacheManager) -> bool:
    """Set something, and leave no connection."""
    try:
        return await cache.set("key", 1)
    finally:
        await leave(cache)


async def read(cache: CacheManager) -> object:
    """Read it, and leave no connection."""
    try:
        return await cache.get("key")
    finally:
        await leave(cache)


async def leave(cache: CacheManager) -> None:
    """Close the connections of this event loop; where there are none, closing would forget all."""
    if isinstance(cache.backend, RedisBackend):
        await cache.close()


def _current_loop() -> object:
    """Return the thread's own event loop, if it has one, without making one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        local = getattr(asyncio.get_event_loop_policy(), "_local", None)
    return getattr(local, "_loop", None)

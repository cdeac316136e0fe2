"""The fixtures of the test kit: a cache for one test, in memory and on Redis."""

import asyncio
import gc
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from ... import (
    CacheManager,
    InvalidationEvent,
    MemoryBackend,
    RedisBackend,
    cache_response,
    get_cache_manager,
)
from ...testing import (
    CacheBackendContract,
    Faults,
    assert_same_on_hit,
    on_backend,
    real,
)
from ...testing.real import Below
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..package import NAME
from . import shop
from .shop import client_of


@pytest.fixture
def before() -> Iterator[CacheManager]:
    """Lend the shared manager as it was before the test: with an entry in its own backend."""
    manager = get_cache_manager()
    yield manager
    manager.clear_sync()


@pytest.mark.parametrize("number", [1, 2])
async def test_a_cache_is_of_one_test(cache: CacheManager, number: int) -> None:
    """It is empty, in an asynchronous test as well, and is the one that the application has."""
    assert cache is get_cache_manager() is shop.manager
    assert await cache.get("key") is None
    assert await shop.computed(1) == await shop.computed(1)
    await cache.set("key", number)


@pytest.mark.parametrize("number", [1, 2])
def test_a_cache_is_of_one_plain_test(cache: CacheManager, number: int) -> None:
    """An endpoint of the application uses it."""
    with client_of() as client:
        assert_same_on_hit(client, "/rows/1")
        assert_same_on_hit(client, "/counted")


async def test_nothing_of_another_backend_is_left(before: CacheManager) -> None:
    """While it is on another backend, nothing that a manager has leads to its own."""
    await before.set("key", "before")
    its_own = before.backend
    with on_backend(before, MemoryBackend()) as manager:
        assert manager is before
        assert its_own not in reachable(manager)
        assert manager.backend in reachable(manager)
        assert await manager.get("key") is None
        await manager.set("key", "meanwhile")
    assert await before.get("key") == "before"
    assert before.backend is its_own
    assert {id(each) for each in reachable(before) if isinstance(each, MemoryBackend)} == {
        id(its_own)
    }


def reachable(manager: CacheManager) -> list[Any]:
    """Return the objects of the cache that a manager leads to, but for those of functions."""
    found: dict[int, Any] = {}
    following = [manager]
    while following:
        each = following.pop()
        is_ours = type(each).__module__.startswith(NAME)
        plain = isinstance(each, (dict, list, tuple, set, frozenset, types.MethodType))
        if id(each) not in found and (is_ours or plain):
            found[id(each)] = each
            following += gc.get_referents(each)
    return list(found.values())


async def test_a_backend_of_before_is_left_alone(before: CacheManager) -> None:
    """Neither `clear` nor `close` of the cache of a test reach it."""
    await before.set("key", "before")
    with on_backend(before, MemoryBackend()) as manager:
        await manager.clear()
        await manager.close()
    assert await before.get("key") == "before"


async def test_a_computation_that_outlives_a_test_stores_nothing_elsewhere(
    before: CacheManager,
) -> None:
    """Nor does anybody of the next test join it."""
    began, end, runs = asyncio.Event(), asyncio.Event(), []

    @cache_response(before, "outlives")
    async def function() -> int:
        runs.append(1)
        began.set()
        if len(runs) == 1:
            await end.wait()
        return len(runs)

    with on_backend(before, MemoryBackend()):
        first = asyncio.ensure_future(function())
        await began.wait()
    with on_backend(before, MemoryBackend()):
        assert await function() == 2
        end.set()
        await first
        assert await function() == 2
        assert len(runs) == 2


async def test_pending_invalidations_are_of_one_test(before: CacheManager) -> None:
    """What could not be delivered in one test covers nothing in the next."""
    with on_backend(before, MemoryBackend()):
        faults = Faults(before.backend)
        faults.raises(*faults.REMOVALS)
        assert await before.clear() is False
        assert before.invalidations.pending.covers(f"{before.key_prefix}:key")
        await before.close()
    with on_backend(before, MemoryBackend()):
        assert not before.invalidations.pending.covers(f"{before.key_prefix}:key")


async def test_listeners_hear_of_a_test_and_end_with_it(before: CacheManager) -> None:
    """Those of the application hear, too; those that the test added are removed."""
    heard: list[str] = []
    listeners, special = before.events.listeners, before.is_special
    told: list[InvalidationEvent] = []
    end = before.observe(lambda event: heard.append(event.kind))
    with on_backend(before, MemoryBackend()):
        before.observe(lambda _: heard.append("second"))
        before.on_event = told.append
        before.defer("key*")
        assert heard.count("deferred") == heard.count("second") == 1
        assert [event.kind for event in told] == ["deferred"]
    assert before.on_event is None
    heard.clear()
    await before.get("key")
    end()
    assert "second" not in heard
    assert heard
    assert (before.events.listeners, before.is_special) == (listeners, special)


def test_a_manager_of_ones_own_can_be_lent(cache: CacheManager) -> None:
    """With settings of its own, which stay."""
    mine = CacheManager(MemoryBackend(), key_prefix="mine", default_ttl=7, lock_timeout=0.5)
    with on_backend(mine, MemoryBackend()) as manager:
        assert (manager.key_prefix, manager.default_ttl) == ("mine", 7)
        assert manager.fence.lock_timeout == 0.5


def test_a_cache_that_is_switched_off_is_told(
    cache_manager: CacheManager, request: pytest.FixtureRequest
) -> None:
    """Else all assertions would fail, and nobody would know why."""
    says = r"CacheManager\(.* is switched off, by CACHE_ENABLED=false .*set CACHE_BACKEND=memory"
    with cache_manager.disabled(), pytest.raises(pytest.fail.Exception, match=says):
        request.getfixturevalue("cache")


# --- on Redis ------------------------------------------------------------------------------------


@pytest.fixture
def no_key_is_left(redis_client: Redis) -> Iterator[Redis]:
    """Check that a test leaves Redis as it was; lend a client."""
    before = set(redis_client.scan_iter())
    yield redis_client
    assert set(redis_client.scan_iter()) == before


@pytest.mark.parametrize("number", [1, 2])
async def test_a_redis_cache_is_of_one_test(
    no_key_is_left: Redis, redis_cache: CacheManager, number: int
) -> None:
    """It is the application's, is empty, and lies below a prefix of its own."""
    assert redis_cache is get_cache_manager()
    backend: Any = redis_cache.backend
    assert await redis_cache.get("key") is None
    await redis_cache.set("key", number)
    assert await shop.computed(1) == await shop.computed(1)
    [key] = no_key_is_left.scan_iter(f"{backend.prefix}:{redis_cache.key_prefix}:key")
    assert no_key_is_left.get(key) == b"%d" % number
    assert len(list(no_key_is_left.scan_iter(f"{backend.prefix}:*"))) == 2
    assert await redis_cache.invalidate("key")
    assert await redis_cache.exists("key") is False


def test_a_redis_cache_serves_an_application(
    no_key_is_left: Redis,
    redis_cache: CacheManager,
    assert_same_on_hit: Callable[..., Any],
    assert_fresh_after: Callable[..., Any],
    assert_one_computation: Callable[..., None],
) -> None:
    """With hits, tags, and one computation; also in a loop for each request."""
    write = {"method": "PUT", "url": "/rows/1", "params": {"name": "Bob"}}
    with client_of() as client:
        assert_same_on_hit(client, "/rows/1")
        assert_fresh_after(client, write, "/rows/1")
        assert_one_computation(client, "/counted")
    assert redis_cache.clear_sync() is True
    assert_one_computation(TestClient(shop.app), "/counted", callers=3)


class TestBelow(CacheBackendContract):
    """The backend of `redis_cache` keeps the contract."""

    inner: RedisBackend

    @pytest.fixture(autouse=True)
    def server(self, redis_server: RedisServer, no_key_is_left: Redis) -> None:
        """Make backends for it."""
        self.inner = redis_backend(redis_server)

    def make_backend(self) -> Below:
        """Return a new backend."""
        return Below(self.inner, self.inner.key_prefix, "app")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            "redis://127.0.0.1:1/0",
            r"no Redis answers at RedisBackend\(.*: start it, or set TEST_REDIS",
        ),
        ("http://user:secret@x/", "cache_redis_url is no URL of a Redis: redis_url is not allowed"),
    ],
)
def test_a_redis_that_is_not_there_is_told(url: str, says: str) -> None:
    """With what to do, and no password."""

    async def found() -> None:
        await real.RealRedis(url).insist()

    with pytest.raises(pytest.fail.Exception, match=says) as told:
        asyncio.run(found())
    assert "secret" not in str(told.value)


def test_no_redis_is_told() -> None:
    """Where nobody has said where it is."""
    with pytest.raises(
        pytest.fail.Exception, match="TEST_REDIS_URL is not set: set TEST_REDIS_URL="
    ):
        real.no_url()

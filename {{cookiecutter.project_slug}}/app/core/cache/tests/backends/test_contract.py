"""What the contract promises of a manager, over each of our backends and the least that can be one."""

import logging
from datetime import timedelta
from typing import Any

import pytest

from ... import CacheBackend, CacheManager, MemoryBackend
from ...testing.redis_server import RedisServer
from ..conftest import SixMethods, redis_backend
from ..package import NAME
from .contract import BackendContract


class TestMemory(BackendContract):
    """Entries in this process."""

    @pytest.fixture
    def backend(self) -> CacheBackend:
        """Make a backend."""
        return MemoryBackend()


class TestRedis(BackendContract):
    """Entries in Redis, with a near cache and without."""

    @pytest.fixture(params=[0, 100])
    def backend(self, redis_server: RedisServer, request: pytest.FixtureRequest) -> CacheBackend:
        """Make a backend with this `near_size`."""
        return redis_backend(redis_server, near_size=request.param)


class TestSixMethods(BackendContract):
    """A backend that leaves all the rest to its defaults."""

    @pytest.fixture
    def backend(self) -> CacheBackend:
        """Make a backend."""
        return SixMethods()


async def test_invalidate_covers_no_more_than_its_pattern(our_manager: CacheManager) -> None:
    """`*` is the only wildcard: `?`, brackets and backslashes are literal."""
    manager = our_manager
    keys = ["a?c", "abc", "a[b]c", "a\\c", "a*c", "xa?c"]
    for pattern, gone in {
        "a?*": {"a?c"},
        "a[b]*": {"a[b]c"},
        "a\\*": {"a\\c"},
        "*?c": {"a?c", "xa?c"},
        "a*c": {"a?c", "abc", "a[b]c", "a\\c", "a*c"},
        "a?c": {"a?c"},
        "**": set(keys),
    }.items():
        for key in keys:
            await manager.set(key, 1)
        assert await manager.invalidate(pattern)
        left = {key for key in keys if await manager.exists(key)}
        assert left == set(keys) - gone, pattern


async def test_six_methods_are_enough_for_patterns() -> None:
    """Without a way to list keys a pattern clears all, and an exact key still means one."""
    manager = CacheManager(SixMethods())
    await manager.set("user:1", 1)
    await manager.set("post:1", 1)
    assert await manager.invalidate("user:1")
    assert await manager.exists("post:1") is True
    assert await manager.invalidate("user:*")
    assert await manager.exists("post:1") is False


async def test_p7_a_pattern_reaches_the_managers_own_prefix() -> None:
    """Where `clear` stands for a pattern, it is that of the manager's prefix."""
    manager = CacheManager(SixMethods(), key_prefix="shop")
    await manager.set("user:1", 1)
    assert await manager.invalidate("user*")
    assert await manager.exists("user:1") is False


async def test_p7_clear_keeps_to_the_managers_own_prefix(our_manager: CacheManager) -> None:
    """Not to that of the backend, which another manager may have."""
    other = CacheManager(our_manager.backend, key_prefix=f"{our_manager.key_prefix}2")
    await our_manager.set("key", 1)
    await other.set("key", 2)
    assert await other.clear() is True
    assert await other.get("key") is None
    assert await our_manager.get("key") == 1


def test_a_manager_says_what_it_is() -> None:
    """Its backend and its prefix."""
    backend = MemoryBackend(max_entries=2, max_bytes=3)
    assert repr(CacheManager(backend, key_prefix="shop")) == (
        "CacheManager(MemoryBackend(max_entries=2, max_bytes=3), key_prefix='shop')"
    )


@pytest.mark.parametrize("prefix", ["", 7])
def test_a_wrong_prefix_is_an_error(prefix: Any) -> None:
    """The prefix bounds what `clear` removes; without one there is no bound."""
    with pytest.raises(ValueError, match="key_prefix="):
        CacheManager(SixMethods(), key_prefix=prefix)


@pytest.mark.parametrize("ttl", [0, -1, 1.5, True, "60"])
def test_a_wrong_default_ttl_is_an_error(ttl: Any) -> None:
    """It is whole seconds, and at least one."""
    with pytest.raises(ValueError, match="default_ttl="):
        CacheManager(SixMethods(), default_ttl=ttl)


def test_a_backend_must_be_one() -> None:
    """A client handed over by mistake is told apart at once."""
    client: Any = object()
    with pytest.raises(TypeError, match="CacheBackend"):
        CacheManager(client)


async def test_managers_of_two_prefixes_share_six_methods() -> None:
    """Each forgets its own entries, whichever was made last."""
    backend = SixMethods()
    one, two = CacheManager(backend, key_prefix="one"), CacheManager(backend, key_prefix="two")
    for forget in (CacheManager.clear, lambda manager: manager.invalidate("key*")):
        await one.set("key", 1)
        await two.set("key", 2)
        assert await forget(one)
        assert await one.exists("key") is False
        assert await two.exists("key") is True


class Broken(SixMethods):
    """A backend of somebody else's that raises whatever it is asked."""

    async def get(self, key: str) -> Any | None:
        raise ConnectionError("refused")

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        raise ConnectionError("refused")

    async def delete(self, key: str) -> bool:
        raise KeyError(key)

    async def exists(self, key: str) -> bool:
        raise AttributeError("transport")

    async def clear(self) -> bool:
        raise OSError("gone")

    async def close(self) -> None:
        raise RuntimeError("closed")


async def test_p5_no_failure_of_a_backend_reaches_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """All methods return what the contract says, and the log has one line for the outage.

    What no server answers is a mistake in somebody's code, and told as that, once for each place.
    """
    manager = CacheManager(Broken())
    assert await manager.get("key") is None
    assert await manager.set("key", 1) is False
    assert await manager.delete("key") is False
    assert await manager.exists("key") is False
    assert await manager.clear() is False
    assert not await manager.invalidate("key*")
    assert await manager.health_check() is False
    await manager.close()
    is_mistake = "an error in the code of the cache itself, or of its backend"
    told = [record.getMessage() for record in caplog.records]
    mistakes = [line for line in told if is_mistake in line]
    assert len(mistakes) == 2
    assert "KeyError: 'app:key'" in mistakes[0]
    assert "AttributeError: transport" in mistakes[1]
    lines = [line for line in told if is_mistake not in line]
    assert len(lines) == 3
    assert "fails, going on without it" in lines[0]
    assert "an invalidation could not be delivered" in lines[1]
    assert "closed with 3 invalidations that could not be delivered" in lines[2]
    assert "ConnectionError: refused" in lines[0]


async def test_p5_an_invalidation_that_failed_is_not_said_to_be_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names its pattern."""
    caplog.set_level(logging.DEBUG, NAME)
    assert not await CacheManager(Broken()).invalidate("user*")
    assert "could not invalidate app:user*" in caplog.text

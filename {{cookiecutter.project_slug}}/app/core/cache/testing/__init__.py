"""A test kit, for pytest: fixtures, assertions, a clock, faults, and the contract of backends. Optional.

You may delete this folder; no other room imports it. `docs/testing.md` shows how to use it.
PYTEST_DONT_REWRITE: nothing here says `assert`, so a `conftest.py` may import it before it names it.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..backends import MemoryBackend
from ..config import get_cache_manager
from ..loops import to_its_end
from ..manager import CacheManager
from .clock import CacheClock
from .contract import CacheBackendContract
from .faults import Faults
from .fresh import assert_fresh_after
from .isolated import assert_isolated
from .lent import on_backend
from .once import assert_one_computation, assert_one_computation_of
from .real import RealRedis, no_url
from .same import assert_same_on_hit

__all__ = [
    "CacheBackendContract",
    "CacheClock",
    "Faults",
    "assert_fresh_after",
    "assert_isolated",
    "assert_one_computation",
    "assert_one_computation_of",
    "assert_same_on_hit",
    "on_backend",
]


@pytest.fixture
def cache_manager() -> CacheManager:
    """Return the manager that the application uses: the shared one. Override it for another."""
    return get_cache_manager()


@pytest.fixture
def _switched_on(cache_manager: CacheManager) -> None:
    if cache_manager.switch.is_off:
        pytest.fail(
            f"{cache_manager!r} is switched off, by CACHE_ENABLED=false or CACHE_BACKEND=none, so "
            f"nothing is cached: set CACHE_BACKEND=memory for the tests, before the application is "
            f"imported",
            pytrace=False,
        )


@pytest.fixture
def cache_clock() -> Iterator[CacheClock]:
    """Lend the clock of the cache: `advance` lets entries expire and get stale without sleeping."""
    clock = CacheClock()
    yield clock
    clock.restore()


@pytest.fixture
def cache(
    _switched_on: None, cache_manager: CacheManager, cache_clock: CacheClock
) -> Iterator[CacheManager]:
    """Lend the application's manager on an empty backend in memory, which is this test's alone."""
    backend = MemoryBackend(key_prefix=cache_manager.key_prefix, clock=cache_clock)
    with on_backend(cache_manager, backend):
        yield cache_manager


@pytest.fixture(scope="session")
def cache_redis_url() -> str:
    """Return where the Redis of `redis_cache` is: `TEST_REDIS_URL`. Override it to name another."""
    return os.environ.get("TEST_REDIS_URL") or no_url()


@pytest.fixture
def redis_cache(
    _switched_on: None, cache_manager: CacheManager, cache_redis_url: str
) -> Iterator[CacheManager]:
    """Lend the application's manager on a real Redis, below a key prefix of this test's own.

    All keys below it are removed afterwards. Redis has a clock of its own: `cache_clock` lets its
    entries get stale, and not expire.
    """
    redis = RealRedis(cache_redis_url)
    to_its_end(redis.insist)
    try:
        with on_backend(cache_manager, redis.backend_for(cache_manager.key_prefix)):
            yield cache_manager
    finally:
        to_its_end(redis.remove)


@pytest.fixture
def cache_faults(request: pytest.FixtureRequest, cache_manager: CacheManager) -> Iterator[Faults]:
    """Lend what lets the backend fail that the manager has in this test."""
    for name in ("cache", "redis_cache"):
        if name in request.fixturenames:  # in whatever order the test names them
            request.getfixturevalue(name)
    faults = Faults(cache_manager.backend)
    yield faults
    faults.heal()


@pytest.fixture(name="assert_isolated")
def _assert_isolated() -> Callable[..., str]:
    """Lend `assert_isolated`: two people ask, and neither sees the other's answer."""
    return assert_isolated


@pytest.fixture(name="assert_fresh_after")
def _assert_fresh_after() -> Callable[..., Any]:
    """Lend `assert_fresh_after`: a read after a write is new."""
    return assert_fresh_after


@pytest.fixture(name="assert_one_computation")
def _assert_one_computation() -> Callable[..., None]:
    """Lend `assert_one_computation`: of many who ask at once, one makes the function run."""
    return assert_one_computation


@pytest.fixture(name="assert_same_on_hit")
def _assert_same_on_hit() -> Callable[..., Any]:
    """Lend `assert_same_on_hit`: a hit is what the miss was."""
    return assert_same_on_hit

"""The test kit's fixtures, for an application whose shared manager is that of `shop`."""

import pytest

from ... import CacheFactory
from ...testing import (  # noqa: F401 - fixtures
    _assert_fresh_after,
    _assert_isolated,
    _assert_one_computation,
    _assert_same_on_hit,
    _switched_on,
    cache,
    cache_clock,
    cache_faults,
    cache_manager,
    redis_cache,
)
from ...testing.redis_server import RedisServer
from .shop import manager


@pytest.fixture(scope="session")
def cache_redis_url(redis_server: RedisServer) -> str:
    """Say where the Redis of the fixture `redis_cache` is."""
    return redis_server.url


@pytest.fixture(autouse=True)
def _of_the_shop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CacheFactory, "_manager", manager)

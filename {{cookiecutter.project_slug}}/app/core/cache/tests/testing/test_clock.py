"""`testing/clock.py`: entries expire and get stale without sleeping."""

import time
from datetime import timedelta
from typing import Any

import pytest

from ... import CacheManager, MemoryBackend, cache_response
from ...calls import wishes
from ...coherence import Freshness
from ...http import answer, early
from ...testing import CacheClock
from . import shop
from .shop import client_of


async def test_an_entry_expires(cache: CacheManager, cache_clock: CacheClock) -> None:
    """When it is told that so many seconds have passed."""
    await cache.set("key", 1, expire=3600)
    cache_clock.advance(3500)
    assert await cache.get("key") == 1
    cache_clock.advance(timedelta(minutes=2))
    assert await cache.get("key") is None


async def test_an_entry_of_a_function_expires(cache: CacheManager, cache_clock: CacheClock) -> None:
    """One that was decorated at import."""
    first = await shop.computed(1)
    assert await shop.computed(1) == first
    cache_clock.advance(300)
    assert await shop.computed(1) > first


@pytest.mark.parametrize("on", ["cache", "redis_cache"])
async def test_an_entry_gets_stale(
    on: str, request: pytest.FixtureRequest, cache_clock: CacheClock
) -> None:
    """Then one caller computes it anew; on Redis, too, which has a clock of its own."""
    cache: CacheManager = request.getfixturevalue(on)
    runs: list[int] = []
    fails: list[Exception] = []

    @cache_response(cache, "stale", expire=100, stale=1000)
    async def function() -> int:
        runs.append(1)
        for error in fails:
            raise error
        return len(runs)

    assert [await function() for _ in range(3)] == [1, 1, 1]
    cache_clock.advance(100)
    fails.append(ConnectionError())
    assert await function() == 1
    assert len(runs) == 2


def test_the_middleware_tells_the_same_time(cache: CacheManager, cache_clock: CacheClock) -> None:
    """An entry is fresh for less time, and is a miss when it has expired."""

    def fresh_for(response: Any) -> int:
        return int(response.headers["cache-control"].partition("max-age=")[2].partition(",")[0])

    with client_of() as client:
        first = fresh_for(client.get("/rows/1"))
        cache_clock.advance(100)
        for _ in range(2):
            assert first - 102 <= fresh_for(client.get("/rows/1")) <= first - 100
        cache_clock.advance(200)
        assert "fwd=miss" in client.get("/rows/1").headers["cache-status"]


def test_the_real_time_comes_back(cache_clock: CacheClock) -> None:
    """In all modules, and in all that was made."""
    made, modules = Freshness(1000), (answer, early, wishes)
    cache_clock.advance(1000)
    assert made.now() - time.time() > 999
    assert Freshness(1000, now=lambda: 5.0).now() == 1005.0
    for module in modules:
        moved = vars(module)["time"]
        assert moved.time() - time.time() > 999
        assert moved.monotonic is time.monotonic
    cache_clock.restore()
    assert made.now is time.time
    assert [vars(module)["time"] for module in modules] == [time] * 3
    assert abs(cache_clock() - time.monotonic()) < 10


@pytest.mark.parametrize("by", [-1, -0.5, timedelta(seconds=-1), float("nan")])
def test_time_moves_forward_only(cache_clock: CacheClock, by: Any) -> None:
    """Else what has expired would come back."""
    with pytest.raises(ValueError, match=r"advance\(.*\): time moves forward only"):
        cache_clock.advance(by)


async def test_it_is_a_clock_for_a_backend_of_ones_own() -> None:
    """Without a fixture."""
    clock = CacheClock()
    manager = CacheManager(MemoryBackend(clock=clock))
    await manager.set("key", 1, expire=60)
    clock.advance(60)
    assert await manager.get("key") is None
    clock.restore()

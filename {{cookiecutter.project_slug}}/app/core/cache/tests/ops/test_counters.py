"""Counters say what the events say, and are bounded (promise P10)."""

import os
import statistics
import sys
import threading
from collections.abc import Iterator

import pytest
from fastapi import Response

from ... import CacheEvent, CacheManager, MemoryBackend
from ...events import Kind
from ...ops import counts
from ...ops.counters import counters_of
from ...ops.counts import BOUNDS, OTHER, PrefixCounters
from ...testing.redis_server import RedisServer
from ..conftest import lent, redis_backend
from ..faults import eventually, manager_behind
from ..package import NAME
from ..proxy.fault_proxy import FaultProxy
from .counted import function


def of(manager: CacheManager, prefix: str = "data") -> PrefixCounters:
    """Return what was counted for a key prefix."""
    return counters_of(manager).now().prefixes[prefix]


# --- what is counted ------------------------------------------------------------------------------


async def test_p10_calls_and_runs_are_counted(our_manager: CacheManager) -> None:
    """By key prefix, with how long hits and functions took."""
    counters_of(our_manager)
    cached = function(our_manager, [1])
    for number in (1, 1, 1, 2):
        await cached(number)
    counted = of(our_manager)
    assert (counted.hits, counted.misses, counted.stored) == (2, 2, 2)
    assert (counted.calls, counted.served, counted.runs) == (4, 2, 2)
    assert counted.hit_ratio == 0.5
    for seconds, times in (
        (counted.hit_seconds, counted.hit_times),
        (counted.fill_seconds, counted.fill_times),
    ):
        assert 0 < seconds < 10
        assert sum(times) == 2
    assert counted.saved_seconds == pytest.approx(counted.fill_seconds)


def test_p10_durations_fall_between_their_bounds(memory: CacheManager) -> None:
    """Those of hits and of runs, from less than the least to more than the most."""
    counted = counters_of(memory)
    durations = [BOUNDS[0] / 2, BOUNDS[0], 0.000_1, 0.02, 15.9, 16.0, 500.0]
    kinds: tuple[Kind, ...] = ("hit", "stored")
    for kind in kinds:
        for seconds in durations:
            memory.events.tell(CacheEvent(kind, "f", "data", seconds=seconds))
    told = counted.now().prefixes["data"]
    for times in (told.hit_times, told.fill_times):
        places = [at for at, number in enumerate(times) for _ in range(number)]
        edges = (0.0, *BOUNDS, float("inf"))
        assert len(places) == len(durations)
        for at, seconds in zip(places, durations, strict=True):
            assert edges[at] <= seconds < edges[at + 1]
    assert told.hit_seconds == pytest.approx(sum(durations))
    assert statistics.fmean(durations) * told.runs == pytest.approx(told.fill_seconds)


async def test_p10_refusals_and_bypasses_have_reasons(our_manager: CacheManager) -> None:
    """And so does what is raised count."""
    counters_of(our_manager)
    await function(our_manager, Response("no", 503))()
    with pytest.raises(LookupError):
        await function(our_manager, LookupError("no"), "error")()
    with our_manager.disabled():
        await function(our_manager, [1], "off")()
    assert of(our_manager).refused == {"response": 1}
    assert of(our_manager, "error").raised == 1
    assert of(our_manager, "off").bypasses == {"disabled": 1}
    assert of(our_manager, "off").hit_ratio == 0.0
    assert of(our_manager, "off").saved_seconds == 0.0


async def test_p10_methods_count_under_their_names(our_manager: CacheManager) -> None:
    """Many keys at once count as so many, without a duration."""
    counters_of(our_manager)
    await our_manager.set("a", 1)
    await our_manager.get("a")
    await our_manager.get_many(["a", "b", "c"])
    await our_manager.get_or_set("d", lambda: 4)
    many = of(our_manager, "get_many")
    assert (many.hits, many.misses, sum(many.hit_times)) == (1, 2, 0)
    assert of(our_manager, "get").hits == 1
    assert of(our_manager, "get_or_set").stored == 1


def test_p10_near_stale_and_shared_are_told_apart(memory: CacheManager) -> None:
    """A near hit is no other hit; who waited for another call was not served by an entry."""
    counted = counters_of(memory)
    for event in (
        CacheEvent("hit", "f", "data", near=True, seconds=1.0),
        CacheEvent("stale", "f", "data"),
        CacheEvent("shared", "f", "data"),
    ):
        memory.events.tell(event)
    told = counted.now().prefixes["data"]
    assert (told.near_hits, told.hits, told.stale, told.shared) == (1, 0, 1, 1)
    assert (told.served, told.calls, told.hit_seconds) == (2, 3, 1.0)


def test_p10_what_no_function_has_to_do_with_is_counted(memory: CacheManager) -> None:
    """Invalidations, failures, the breaker, and what could not be delivered."""
    counted, tell = counters_of(memory), memory.events.tell
    for what, number in (("key", 3), ("pattern", 1), ("tag", 2)):
        tell(CacheEvent("invalidated", reason=what, number=number))
    kinds: tuple[Kind, ...] = ("deferred", "delivered", "lost")
    for kind in kinds:
        tell(CacheEvent(kind, number=4))
    tell(CacheEvent("failed", reason="redis at a:1"))
    for server in ("redis at a:1", "redis at b:2"):
        tell(CacheEvent("breaker opened", reason=server))
    tell(CacheEvent("breaker closed", reason="redis at a:1"))
    tell(CacheEvent("near cache flushed", number=7))
    now = counted.now()
    assert now.invalidations == {"key": 3, "pattern": 1, "tag": 2}
    assert now.undelivered == {"deferred": 4, "delivered": 4, "lost": 4}
    assert now.failures == {"redis at a:1": 1}
    assert (now.open_breakers, now.breaker_openings) == (["redis at b:2"], 2)
    assert (now.near_flushes, now.prefixes) == (1, {})


async def test_p10_what_is_pending_now_is_told(
    proxy: FaultProxy, redis_server: RedisServer
) -> None:
    """Invalidations that wait for Redis, and the breaker, while it is away and afterwards."""
    async with lent(manager_behind(proxy, redis_server)) as manager:
        counted = counters_of(manager)
        proxy.refuse()
        proxy.drop()
        while not counted.now().open_breakers:
            assert not await manager.invalidate("user:*")
        assert counted.now().pending == 1
        assert counted.now().undelivered == {"deferred": 1}
        proxy.heal()
        await eventually(lambda: not counted.now().pending and not counted.now().open_breakers)
        assert counted.now().undelivered["delivered"] >= 1


async def test_p10_near_entries_are_told(redis_server: RedisServer) -> None:
    """How many there are, and about how many bytes they take."""
    async with lent(CacheManager(redis_backend(redis_server, near_size=10))) as manager:
        counted, cached = counters_of(manager), function(manager, "x" * 1000)
        await cached()

        async def is_near() -> bool:
            await cached()
            return of(manager).near_hits > 0

        await eventually(is_near)
        now = counted.now()
        assert now.near_entries >= 1
        assert now.near_bytes > 1000


# --- bounds ---------------------------------------------------------------------------------------


async def test_p10_prefixes_are_bounded(
    memory: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many functions there are, and whatever users send."""
    monkeypatch.setattr(f"{NAME}.ops.counting.MOST_PREFIXES", 3)
    counted = counters_of(memory)
    for number in range(10):
        await function(memory, [1], f"prefix{number}")()
    for number in range(100):
        await memory.get(f"secret:{number}")
    prefixes = counted.now().prefixes
    assert set(prefixes) == {"prefix0", "prefix1", "prefix2", OTHER}
    assert prefixes[OTHER].misses == 107


def test_p10_words_are_bounded(memory: CacheManager) -> None:
    """Such as the names of servers that come and go."""
    counted = counters_of(memory)
    for number in range(500):
        memory.events.tell(CacheEvent("failed", reason=f"redis at {number}"))
        memory.events.tell(CacheEvent("breaker opened", reason=f"redis at {number}"))
    now = counted.now()
    assert len(now.failures) == counts.MOST_WORDS + 1
    assert sum(now.failures.values()) == 500
    assert len(now.open_breakers) == counts.MOST_WORDS


def test_p10_a_cache_is_counted_once(memory: CacheManager) -> None:
    """Whoever asks; and each cache by itself, until counting ends."""
    counted, other = counters_of(memory), CacheManager(MemoryBackend())
    assert counters_of(memory) is counted
    assert counters_of(other).now().id != counted.now().id
    memory.events.tell(CacheEvent("hit", "f", "data"))
    assert of(memory).hits == 1
    assert counters_of(other).now().prefixes == {}
    counted.end()
    memory.events.tell(CacheEvent("hit", "f", "data"))
    assert counted.now().prefixes["data"].hits == 1


def test_p10_threads_lose_no_count(memory: CacheManager, often_interrupted: None) -> None:
    """A listener runs in the call that it hears of, also in a thread."""
    counted, begin = counters_of(memory), threading.Barrier(8)

    def tell() -> None:
        begin.wait()
        for _ in range(2000):
            memory.events.tell(CacheEvent("hit", "f", "data", seconds=0.5))
            memory.events.tell(CacheEvent("bypass", "f", "data", reason="disabled"))

    threads = [threading.Thread(target=tell) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = counted.now().prefixes["data"]
    assert (told.hits, sum(told.hit_times), told.hit_seconds) == (16_000, 16_000, 8_000.0)
    assert told.bypasses == {"disabled": 16_000}


@pytest.fixture
def often_interrupted() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_p10_a_forked_process_is_another_one(
    memory: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has an identity of its own, and goes on to count."""
    counted = counters_of(memory)
    before = counted.now()
    assert before.id == counted.now().id
    monkeypatch.setattr(os, "getpid", lambda: before.pid + 1)
    assert counted.now().id != before.id
    assert counted.now().pid == before.pid + 1

"""Stale on purpose: an old value at once rather than a new one late (RFC 5861)."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest
from fastapi import HTTPException
from fastapi.responses import JSONResponse
from redis import Redis

from ... import CacheManager, cache_response
from ...coherence.freshness import Freshness, is_answer, is_failure
from ...stored.stated import Stated

SHORT = timedelta(milliseconds=150)


class Source:
    """A source whose value changes, that can be held up, and can fail."""

    def __init__(self) -> None:
        self.value = 1
        self.reads = 0
        self.error: Exception | None = None
        self.reading = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    def cached(self, manager: CacheManager, **options: Any) -> Any:
        """Return a cached function that reads it, fresh for a short while, stale for long."""
        given: dict[str, Any] = {"expire": SHORT, "stale": 60, **options}

        @cache_response(manager, "source", **given)
        async def read() -> int:
            self.reads += 1
            self.reading.set()
            await self.go_on.wait()
            if self.error is not None:
                raise self.error
            return self.value

        return read

    async def become_stale(self, read: Any) -> None:
        """Fill the entry and wait until it is not fresh any more."""
        assert await read() == 1
        self.value, self.reads = 2, 0
        self.reading.clear()
        await elapse(SHORT.total_seconds())


async def elapse(seconds: float) -> None:
    """Wait until the clock that entries go by has gone on by so much."""
    until, gone_by = time.time() + seconds, asyncio.Event()
    while not gone_by.is_set():
        asyncio.get_running_loop().call_later(0.005, gone_by.set)
        await gone_by.wait()
        if time.time() < until:
            gone_by.clear()


async def test_one_caller_refreshes_and_all_others_have_the_old_value(
    our_manager: CacheManager,
) -> None:
    """They do not wait for it."""
    source = Source()
    read = source.cached(our_manager)
    await source.become_stale(read)
    source.go_on.clear()
    refreshing = asyncio.create_task(read())
    await source.reading.wait()
    assert await asyncio.gather(*(read() for _ in range(20))) == [1] * 20
    source.go_on.set()
    assert await refreshing == 2
    assert await read() == 2
    assert source.reads == 1


async def test_a_refresh_in_the_background_delays_nobody(our_manager: CacheManager) -> None:
    """Even who starts it has the old value at once."""
    source = Source()
    read = source.cached(our_manager, refresh="background")
    await source.become_stale(read)
    source.go_on.clear()
    assert await read() == 1
    await source.reading.wait()
    source.go_on.set()
    deadline = time.monotonic() + 10
    while await read() == 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0)
    assert source.reads == 1


@pytest.mark.parametrize("error", [TimeoutError(), RuntimeError("x"), HTTPException(503)])
async def test_a_failure_to_refresh_leaves_the_old_value(
    our_manager: CacheManager, error: Exception
) -> None:
    """And the source is left alone for a while."""
    source = Source()
    read = source.cached(our_manager)
    await source.become_stale(read)
    source.error = error
    assert [await read() for _ in range(10)] == [1] * 10
    assert source.reads == 1


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_an_answer_to_this_caller_reaches_him(our_manager: CacheManager, status: int) -> None:
    """It is no failure: an old value would be a wrong one."""
    source = Source()
    read = source.cached(our_manager)
    await source.become_stale(read)
    source.error = HTTPException(status)
    with pytest.raises(HTTPException):
        await read()


@pytest.mark.parametrize("how", ["pattern", "tag", "delete", "clear"])
async def test_p3_an_invalidated_entry_is_never_served_stale(
    our_manager: CacheManager, how: str
) -> None:
    """Nor one whose refresh the invalidation overtook."""
    source = Source()
    read = source.cached(our_manager, key="one", tags=["tag"])
    await source.become_stale(read)
    source.go_on.clear()
    refreshing = asyncio.create_task(read())
    await source.reading.wait()
    if how == "pattern":
        await our_manager.invalidate("source*")
    elif how == "tag":
        await our_manager.invalidate_tags("tag")
    elif how == "delete":
        await our_manager.delete("source:one")
    else:
        await our_manager.clear()
    source.value = 3
    late = asyncio.create_task(read())
    source.go_on.set()
    await refreshing
    assert await late == 3
    assert await read() == 3


async def test_the_stale_period_ends(our_manager: CacheManager) -> None:
    """After it the caller waits for the function."""
    source = Source()
    read = source.cached(our_manager, stale=timedelta(milliseconds=100))
    await source.become_stale(read)
    await elapse(0.15)
    source.error = RuntimeError("the source is away")
    with pytest.raises(RuntimeError):
        await read()


async def test_a_refresh_leaves_nothing_behind(
    redis_manager: CacheManager, redis_client: Redis
) -> None:
    """Its claim goes when it is done."""
    source = Source()
    read = source.cached(redis_manager)
    await source.become_stale(read)
    assert await read() == 2
    deadline = time.monotonic() + 2
    while list(redis_client.scan_iter(f"{redis_manager.key_prefix}:*~refresh")):
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


def test_jitter_shortens_and_never_lengthens() -> None:
    """By no more than its part."""
    stamps = [Freshness(10_000, jitter=0.1).stamp(0)[1] for _ in range(500)]
    assert 9000 <= min(stamps) < 9500 < max(stamps) <= 10_000
    assert Freshness(10_000).stamp(0) == ({}, 10_000)
    assert Freshness(10_000, stale=5000).stamp(0)[1] == 15_000


@pytest.mark.parametrize("options", [{}, {"stale": 5000}, {"early": 1.0}])
def test_p8_what_a_response_says_is_not_prolonged_by_a_slow_process(options: Any) -> None:
    """Time may go by between the end of the function and the look at what its response says."""
    now = [1000.0]
    freshness = Freshness(10_000, now=lambda: now[0], **options)
    about, ms = freshness.stamp(0.0)
    now[0] += 2.0
    assert freshness.limited(about, ms, Stated(3.0)) == 3000 + freshness.stale
    assert about.get("until", 1_005_000) == 1_005_000
    assert freshness.limited(about, ms, Stated(3.0, may_be_stale=False)) == 3000


def test_a_hot_entry_is_due_early_with_the_probability_of_the_paper() -> None:
    """The nearer its end, and the longer it takes to compute, the likelier."""
    now = [1000.0]
    freshness = Freshness(10_000, early=1.0, now=lambda: now[0])
    about, _ = freshness.stamp(1.0)

    def share(seconds: float) -> float:
        now[0] = 1000.0 + seconds
        return sum(freshness.is_due(about) for _ in range(2000)) / 2000

    assert share(0) < 0.01  # e^-10
    assert 0.3 < share(9) < 0.45  # e^-1
    assert 0.55 < share(9.5) < 0.67  # e^-0.5
    assert share(10) == 1
    assert not Freshness(10_000).is_due({})


def test_what_is_an_answer_and_what_a_failure() -> None:
    """By the status, and by what was raised."""
    assert [is_answer(HTTPException(status)) for status in (404, 499, 500, 503)] == [
        *(True, True, False, False)
    ]
    assert not is_answer(TimeoutError())
    assert [is_failure(JSONResponse({}, status)) for status in (200, 404, 500)] == [
        *(False, False, True)
    ]


async def test_a_cached_function_can_be_asked_about_its_entries(our_manager: CacheManager) -> None:
    """Its key, one call's entry, all entries, and a value computed now."""
    runs: list[int] = []

    @cache_response(our_manager, "data")
    async def function(number: int, *, text: str = "") -> int:
        runs.append(number)
        return len(runs)

    @cache_response(our_manager, "data")
    async def other(number: int) -> int:
        return number

    key = function.cache_key(1, text="")
    assert key == function.cache_key(1)
    assert key is not None
    assert key.startswith("data:")
    assert [await function(1), await function(2), await other(1)] == [1, 2, 1]
    assert await function.refresh(1) == 3
    assert await function(1) == 3
    assert await function.invalidate(1)
    assert [await function(1), await function(2)] == [4, 2]
    assert await function.invalidate_all()
    assert [await function(1), await function(2)] == [5, 6]
    other_key = other.cache_key(1)
    assert other_key is not None
    assert await our_manager.exists(other_key) is True


@pytest.mark.parametrize(
    "options",
    [
        {"refresh": "later"},
        {"early_refresh": -1},
        {"early_refresh": 5},
        {"stale": b"60"},
        {"stale": "60"},
    ],
)
async def test_wrong_arguments_are_errors(
    our_manager: CacheManager, options: dict[str, Any]
) -> None:
    """When the decorator is applied."""
    with pytest.raises((TypeError, ValueError)):
        cache_response(our_manager, "data", **options)

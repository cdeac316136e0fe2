"""A raised `HTTPException` that is stored is shared, invalidated and refreshed as a value is."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi import HTTPException

from ... import CacheManager, MemoryBackend, cache_response, invalidate_cache
from ..calls.test_raised import STATUSES, Raising, failure, with_headers
from ..faults import eventually, soon
from ..forging import standing_at
from ..internals import joined, lifetime, settled
from .test_freshness import elapse

BACKGROUND = pytest.mark.parametrize("how", ["inline", "background"])
SHORT = timedelta(milliseconds=150)


async def test_p4_who_waits_raises_one_too(our_manager: CacheManager) -> None:
    """Its own."""
    go_on, runs = asyncio.Event(), list[int]()

    @cache_response(our_manager, "it", cache_status={404})
    async def it() -> None:
        runs.append(1)
        await go_on.wait()
        raise HTTPException(404, "no")

    calls = [asyncio.create_task(failure(it)) for _ in range(10)]
    await joined(our_manager, 9)
    go_on.set()
    errors = [await soon(each) for each in calls]
    assert runs == [1]
    assert len({id(each) for each in errors}) == 10
    assert [each.detail for each in [*errors, await failure(it)]] == ["no"] * 11
    assert runs == [1]


async def test_p3_an_invalidation_removes_it(our_manager: CacheManager) -> None:
    """By key, pattern or tag, and by `invalidate`."""
    raising = Raising(our_manager, lambda: HTTPException(404), tags=["t"])
    ways: list[Callable[[], Any]] = [
        lambda: our_manager.invalidate_tags("t"),
        lambda: our_manager.delete("it:one"),
        raising.function.invalidate,
        raising.function.invalidate_all,
        invalidate_cache(our_manager, "it:*")(lambda: None),
    ]
    for runs, invalidate in enumerate(ways, 1):
        await raising()
        await raising()
        assert raising.runs == runs
        await invalidate()


async def test_p3_one_that_was_invalidated_meanwhile_is_not_stored(
    our_manager: CacheManager,
) -> None:
    """It reaches its own caller."""
    running, go_on, found = asyncio.Event(), asyncio.Event(), False

    @cache_response(our_manager, "it", key="one", cache_status={404})
    async def it() -> str:
        if found:
            return "found"
        running.set()
        await go_on.wait()
        raise HTTPException(404)

    overtaken = asyncio.create_task(failure(it))
    await running.wait()
    found = True
    await our_manager.delete("it:one")
    go_on.set()
    assert (await soon(overtaken)).status_code == 404
    assert await it() == "found"


async def test_no_tags_are_derived_from_it(our_manager: CacheManager) -> None:
    """So it is not stored, and the function in `tags` does not see it."""
    given: list[Any] = []
    raising = Raising(our_manager, lambda: HTTPException(404), tags=[given.append])
    assert await raising() is not await raising()
    assert raising.runs == 2
    assert given == []


async def test_it_lives_as_long_as_its_headers_say() -> None:
    """And no longer than `expire`."""
    manager = CacheManager(MemoryBackend())
    for age, most in (("max-age=20", 20), ("s-maxage=30, max-age=5", 30), ("max-age=600", 60)):
        await manager.clear()
        await Raising(manager, with_headers(Cache_Control=age))()
        assert most * 0.8 < lifetime(manager, "it:one") <= most


class Changing:
    """A source that is asked again when its entry is stale; an answer that is a number is raised."""

    def __init__(self, manager: CacheManager, *answers: Any, how: Any = "inline") -> None:
        self.answers, self.runs, self.manager = list(answers), 0, manager
        self.go_on, self.how = asyncio.Event(), how
        self.go_on.set()

        @cache_response(
            manager, "it", SHORT, key="one", stale=60, refresh=how, cache_status=STATUSES
        )
        async def it() -> str:
            self.runs += 1
            await self.go_on.wait()
            answer: Any = self.answers.pop(0)
            if isinstance(answer, int):
                raise HTTPException(answer)
            return str(answer)

        self.function = it

    def __cache_key__(self) -> str:
        """Say that what this does decides about no result."""
        return "changing"

    async def now(self) -> Any:
        """Return the value, or the status that is raised."""
        try:
            return await self.function()
        except HTTPException as error:
            return error.status_code

    async def refresh(self) -> Any:
        """Wait until the entry is stale; return what the one who refreshes it gets."""
        await elapse(SHORT.total_seconds())
        return await self.now()


@BACKGROUND
async def test_a_refresh_that_answers_404_replaces_the_old_entry(
    our_manager: CacheManager, how: str
) -> None:
    """For all who come after it."""
    source = Changing(our_manager, "old", 404, how=how)
    assert await source.now() == "old"
    assert await source.refresh() == ("old" if how == "background" else 404)
    await settled(our_manager)
    data = await standing_at(our_manager, "it:one")
    assert data.split(b" ")[4] == b"raised"


@BACKGROUND
async def test_a_refresh_that_fails_leaves_the_old_entry(
    our_manager: CacheManager, how: str
) -> None:
    """Although its status is in `cache_status`."""
    source = Changing(our_manager, "old", 503, how=how)
    assert await source.now() == "old"
    assert await source.refresh() == "old"
    await settled(our_manager)
    assert (await source.now(), source.runs) == ("old", 2)


@BACKGROUND
async def test_a_stale_one_is_raised_while_one_caller_asks_again(
    our_manager: CacheManager, how: str
) -> None:
    """As a stale value is returned."""
    source = Changing(our_manager, 404, "new", how=how)
    assert await source.now() == 404
    source.go_on.clear()
    refreshing = asyncio.create_task(source.refresh())
    await eventually(lambda: source.runs == 2)
    assert [await soon(source.now()) for _ in range(5)] == [404] * 5
    source.go_on.set()
    assert await soon(refreshing) == (404 if how == "background" else "new")
    await settled(our_manager)
    assert (await standing_at(our_manager, "it:one")).endswith(b'"new"')

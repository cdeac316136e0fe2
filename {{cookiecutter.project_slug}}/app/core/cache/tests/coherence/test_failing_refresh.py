"""A refresh that is asked for, by `f.refresh()` or by a request's `no-cache`, and fails."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Response

from ... import CacheManager, CacheMiddleware, cache_response
from ..conftest import SixMethods
from ..endpoints import get
from ..faults import eventually, soon
from ..internals import joined, settled
from .test_freshness import elapse

FAILURES: dict[str, Any] = {
    "an error": LookupError("no database"),
    "503": HTTPException(503),
    "500 returned": Response("no database", 500),
    "cancelled": asyncio.CancelledError(),
    "what no one else may see": LookupError(object()),
}


class Source:
    """A function and an endpoint that give their answers one by one; an exception is raised."""

    def __init__(self, manager: CacheManager, how: str, *answers: Any, **options: Any) -> None:
        self.how, self.answers, self.runs = how, list(answers), 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        manager.client_control = True
        self.app = FastAPI()
        self.app.add_middleware(CacheMiddleware, "app")

        @self.app.get("/it", response_model=None)
        @cache_response(manager, "it", key="one", **options)
        async def it() -> str | Response:
            self.runs += 1
            answer: str | Response | BaseException = self.answers.pop(0)
            await self.go_on.wait()
            if isinstance(answer, BaseException):
                raise answer
            return answer

        self.function = it

    async def read(self) -> Any:
        """Return what a reader gets."""
        if self.how == "by hand":
            return await soon(self.function())
        return (await soon(get(self.app))).json()

    def has_run(self, runs: int) -> bool:
        """Whether the function has begun so often."""
        return self.runs == runs

    async def refresh(self) -> None:
        """Ask for a new result; what goes wrong is for the one who asks."""
        with suppress(LookupError, HTTPException, asyncio.CancelledError):
            if self.how == "by hand":
                await self.function.refresh()
            else:
                await get(self.app, headers={"cache-control": self.how})


HOW = pytest.mark.parametrize("how", ["by hand", "no-cache"])
OR_TOO_OLD = pytest.mark.parametrize("how", ["by hand", "no-cache", "max-age=1"])


@OR_TOO_OLD
@pytest.mark.parametrize("failure", FAILURES)
async def test_p5_a_failure_leaves_the_entry(
    our_manager: CacheManager, how: str, failure: str
) -> None:
    """For all who read afterwards, again and again, and for as long as it lived before."""
    source = Source(our_manager, how, "good", FAILURES[failure], "new")
    assert await source.read() == "good"
    if how == "max-age=1":
        await elapse(2)
    key = f"{our_manager.key_prefix}:it:one"
    before = await our_manager.backend.ttl_ms(key)
    assert before is not None
    for _ in range(2):
        source.answers.insert(0, FAILURES[failure])
        await source.refresh()
        await settled(our_manager)
        after = await our_manager.backend.ttl_ms(key)
        assert after is not None
        assert before - 10_000 < after <= before
    source.answers[:] = ["new"]
    assert (await source.read(), source.runs) == ("good", 3)
    await source.refresh()
    assert await source.read() == "new"


@OR_TOO_OLD
async def test_p5_nobody_waits_for_it(our_manager: CacheManager, how: str) -> None:
    """Who asks for nothing new gets the entry, while it runs and afterwards."""
    source = Source(our_manager, how, "good", LookupError("no database"), tags=["t"])
    assert await source.read() == "good"
    if how == "max-age=1":
        await elapse(2)
    source.go_on.clear()
    refreshing = asyncio.create_task(source.refresh())
    await eventually(partial(source.has_run, 2))
    assert [await source.read() for _ in range(10)] == ["good"] * 10
    source.go_on.set()
    await soon(refreshing)
    await settled(our_manager)
    assert (await source.read(), source.runs) == ("good", 2)


@HOW
async def test_p5_two_that_fail_leave_the_entry(our_manager: CacheManager, how: str) -> None:
    """The second one begins while the first one runs."""
    error = LookupError("no database")
    source = Source(our_manager, how, "good", error, error, error)
    assert await source.read() == "good"
    source.go_on.clear()
    refreshing = []
    for runs in (2, 3, 4):
        refreshing.append(asyncio.create_task(source.refresh()))
        await eventually(partial(source.has_run, runs))
    source.go_on.set()
    await soon(asyncio.gather(*refreshing))
    await settled(our_manager)
    assert (await source.read(), source.runs) == ("good", 4)


async def test_p4_those_who_want_a_younger_one_share_the_failure(
    our_manager: CacheManager,
) -> None:
    """The function runs once for all of them, and the entry stays."""
    source = Source(our_manager, "max-age=1", "good", LookupError("no database"))
    assert await source.read() == "good"
    await elapse(2)
    source.go_on.clear()
    refreshing = [asyncio.create_task(source.refresh()) for _ in range(10)]
    await joined(our_manager, 9)
    source.go_on.set()
    await soon(asyncio.gather(*refreshing))
    await settled(our_manager)
    assert (await source.read(), source.runs) == ("good", 2)


@HOW
@pytest.mark.parametrize("by", ["key", "tag"])
async def test_p3_one_that_was_invalidated_meanwhile_does_not_come_back(
    our_manager: CacheManager, how: str, by: str
) -> None:
    """Neither its value nor what it replaced."""
    source = Source(our_manager, how, "old", LookupError("no database"), "new", tags=["t"])
    assert await source.read() == "old"
    source.go_on.clear()
    refreshing = asyncio.create_task(source.refresh())
    await eventually(partial(source.has_run, 2))
    await (our_manager.delete("it:one") if by == "key" else our_manager.invalidate_tags("t"))
    source.go_on.set()
    await soon(refreshing)
    await settled(our_manager)
    assert await source.read() == "new"


@HOW
async def test_p3_an_answer_ends_the_entry(our_manager: CacheManager, how: str) -> None:
    """A 404 says that there is nothing any more (RFC 9111, section 4.3.3)."""
    source = Source(our_manager, how, "old", HTTPException(404), "new")
    assert await source.read() == "old"
    await source.refresh()
    await settled(our_manager)
    assert await source.read() == "new"


@HOW
async def test_p3_what_has_expired_meanwhile_does_not_come_back(
    our_manager: CacheManager, how: str
) -> None:
    """Its life goes on while the function runs."""
    short = timedelta(milliseconds=300)
    source = Source(our_manager, how, "old", LookupError("no database"), "new", expire=short)
    assert await source.read() == "old"
    source.go_on.clear()
    refreshing = asyncio.create_task(source.refresh())
    await eventually(partial(source.has_run, 2))
    await elapse(short.total_seconds())
    source.go_on.set()
    await soon(refreshing)
    await settled(our_manager)
    assert await source.read() == "new"


@HOW
async def test_p3_the_second_of_two_wins(our_manager: CacheManager, how: str) -> None:
    """Whichever ends first, and whether or not the first one fails."""
    for first in ("older", LookupError("no database")):
        source = Source(our_manager, how, "old", first, "newest")
        await our_manager.delete("it:one")
        assert await source.read() == "old"
        source.go_on.clear()
        both = []
        for runs in (2, 3):
            both.append(asyncio.create_task(source.refresh()))
            await eventually(partial(source.has_run, runs))
        source.go_on.set()
        await soon(asyncio.gather(*both))
        await settled(our_manager)
        assert (await source.read(), source.runs) == ("newest", 3)


async def test_p3_a_slow_backend_of_six_methods_stores_nothing_old() -> None:
    """It compares and stores in two steps, between which an invalidation may come."""

    class Slow(SixMethods):
        go_on = asyncio.Event()
        storing = asyncio.Event()

        async def set(self, key: str, value: Any, expire: Any = None) -> bool:
            if "old" in str(value):
                self.storing.set()
                await self.go_on.wait()
            return await super().set(key, value, expire)

    manager = CacheManager(backend := Slow())
    values = ["old", "new"]

    @cache_response(manager, "it", key="one", shared=True)
    async def it() -> str:
        return values[0]

    reading = asyncio.create_task(it())
    await soon(backend.storing.wait())
    del values[0]
    await manager.delete("it:one")
    backend.go_on.set()
    assert await soon(reading) == "old"
    assert await it() == "new"


async def test_p3_what_was_set_by_hand_does_not_come_back(our_manager: CacheManager) -> None:
    """It has no random head: another value may have taken its place just before the refresh."""
    source = Source(our_manager, "by hand", LookupError("no database"), "new")
    await our_manager.set("it:one", {"by": "hand"}, 60)
    await source.refresh()
    assert await our_manager.get("it:one") is None
    assert await source.read() == "new"

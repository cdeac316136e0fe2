"""What a refresh is answered with: the new answer ends the old one, a failure does not (RFC 9111)."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.responses import Response

from ... import CacheManager, cache_response
from ..endpoints import Endpoint, application, get
from ..faults import eventually
from ..internals import settled
from .test_freshness import elapse

SHORT = timedelta(milliseconds=150)
BACKGROUND = pytest.mark.parametrize("how", ["inline", "background"])


def raising(status: int) -> Callable[[], Response]:
    """Return what raises an answer of this status."""

    def answer() -> Response:
        raise HTTPException(status)

    return answer


def with_header(name: str, value: str) -> Callable[[], Response]:
    """Return what makes a response that must not be stored."""
    return lambda: PlainTextResponse("new", headers={name: value})


ANSWERS: dict[str, Callable[[], Response]] = {
    **{f"raises {status}": raising(status) for status in (400, 401, 403, 404, 410, 422, 451)},
    **{
        f"returns {status}": lambda status=status: JSONResponse({}, status)  # type: ignore[misc]
        for status in (400, 404, 410, 301)
    },
    "no-store": with_header("cache-control", "no-store"),
    "private": with_header("cache-control", "private"),
    "a cookie": with_header("set-cookie", "session=1"),
    "too large": lambda: PlainTextResponse("x" * 100_000),
}
FAILURES: dict[str, Callable[[], Response]] = {
    **{f"raises {status}": raising(status) for status in (500, 502, 503, 504)},
    **{
        f"returns {status}": lambda status=status: JSONResponse({}, status)  # type: ignore[misc]
        for status in (500, 503)
    },
    "a division": lambda: PlainTextResponse(str(1 // 0)),
}


class Source:
    """A source whose answer changes."""

    def __init__(self, manager: CacheManager, how: str) -> None:
        self.reads = 0
        self.answer: Callable[[], Response] = lambda: PlainTextResponse("old")
        manager.max_entry_bytes = 10_000

        @cache_response(manager, "source", SHORT, key="it", stale=60, refresh=how)  # type: ignore[arg-type]
        async def read() -> Response:
            self.reads += 1
            return self.answer()

        self.read: Any = read

    async def become_stale(self) -> None:
        """Fill the entry, and wait until it is not fresh any more."""
        assert (await self.read()).body == b"old"
        await elapse(SHORT.total_seconds())
        self.reads = 0

    async def is_old(self) -> bool:
        """Whether who reads gets the old answer."""
        try:
            return bool((await self.read()).body == b"old")
        except HTTPException:
            return False


@BACKGROUND
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_that_is_not_stored_ends_the_old_one(
    our_manager: CacheManager, name: str, how: str
) -> None:
    """For all who come after it, also where it came in the background."""
    source = Source(our_manager, how)
    await source.become_stale()
    source.answer = ANSWERS[name]
    assert await source.is_old() is (how == "background")

    async def is_gone() -> bool:
        return await our_manager.backend.get_bytes(f"{our_manager.key_prefix}:source:it") is None

    if how == "background":
        await eventually(is_gone)
    assert await is_gone() or source.reads == 1
    assert [await source.is_old() for _ in range(3)] == [False] * 3


@BACKGROUND
@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_leaves_the_old_one(our_manager: CacheManager, name: str, how: str) -> None:
    """And the source alone, for a while."""
    source = Source(our_manager, how)
    await source.become_stale()
    source.answer = FAILURES[name]
    assert [await source.is_old() for _ in range(5)] == [True] * 5
    await eventually(lambda: source.reads == 1)
    await settled(our_manager)
    assert [await source.is_old() for _ in range(5)] == [True] * 5
    assert source.reads == 1


@BACKGROUND
async def test_p3_what_was_stored_meanwhile_stays(our_manager: CacheManager, how: str) -> None:
    """A late 404 removes the record that it was to replace, and no other."""
    source = Source(our_manager, how)
    await source.become_stale()
    running, go_on = asyncio.Event(), asyncio.Event()

    @cache_response(our_manager, "late", SHORT, key="it", stale=60, refresh=how)  # type: ignore[arg-type]
    async def read() -> str:
        if running.is_set():
            return "newer"
        if source.reads:
            running.set()
            await go_on.wait()
            raise HTTPException(404)
        return "old"

    assert await read() == "old"
    await elapse(SHORT.total_seconds())
    source.reads = 1
    refreshing = asyncio.create_task(read())
    await running.wait()
    await our_manager.delete("late:it")
    assert await read() == "newer"
    go_on.set()
    await asyncio.gather(refreshing, return_exceptions=True)
    await settled(our_manager)
    assert await our_manager.exists("late:it") is True


@pytest.mark.parametrize("answer", ["404", "a cookie", "503", "raises"])
async def test_on_a_cached_route_it_is_what_was_rendered(
    our_manager: CacheManager, answer: str
) -> None:
    """A response that must not be stored ends the old one, one that tells of a failure does not."""
    runs: list[int] = []

    class Rendered(JSONResponse):
        def __init__(self, content: Any, status_code: int = 200, **options: Any) -> None:
            is_broken = len(runs) > 1 and answer == "503"
            super().__init__(content, 503 if is_broken else status_code, **options)

    def register(router: APIRouter, endpoint: Endpoint) -> None:
        @router.get("/it", response_class=Rendered)
        @endpoint
        async def it(response: Response) -> list[str]:
            runs.append(1)
            if len(runs) == 1:
                return ["old"]
            if answer == "a cookie":
                response.set_cookie("session", "1")
            elif answer == "raises":
                raise HTTPException(404)
            elif answer == "404":
                response.status_code = 404
            return ["new"]

    app = application(register, Endpoint(our_manager, expire=SHORT, stale=60))
    assert (await get(app)).json() == ["old"]
    await elapse(SHORT.total_seconds())
    await get(app)
    await settled(our_manager)
    assert ((await get(app)).json() == ["old"]) is (answer == "503")

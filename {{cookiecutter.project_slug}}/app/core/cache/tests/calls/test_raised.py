"""A raised `HTTPException` whose status is in `cache_status` is stored, and a hit raises its like."""

import gc
import logging
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import pytest
from fastapi import BackgroundTasks, HTTPException, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as OfStarlette

from ... import CacheManager, cache_response
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..forging import standing_at
from ..internals import settled

STATUSES = {404, 410, 451, 503}
SECRET: ContextVar[str] = ContextVar("SECRET", default="")


class OwnError(HTTPException):
    """An exception of the application's own."""


class Raising:
    """A cached function that raises, and how often it ran."""

    def __init__(
        self, manager: CacheManager, make: Callable[[], Exception], **options: Any
    ) -> None:
        self.runs, self.make, self.manager = 0, make, manager
        self.raised: Exception | None = None
        options = {"key": "one", "cache_status": STATUSES, "expire": 60, **options}

        @cache_response(manager, "it", **options)
        async def it() -> dict[str, int]:
            self.runs += 1
            self.raised = self.make()
            raise self.raised

        self.function = it

    def __cache_key__(self) -> str:
        """Say that what this does decides about no result: it counts."""
        return "raising"

    async def __call__(self) -> Any:
        return await failure(self.function)

    async def stands(self) -> bool:
        """Whether there is an entry."""
        key = f"{self.manager.key_prefix}:it:one"
        return await self.manager.backend.get_bytes(key) is not None


async def failure(function: Any, *args: Any) -> Any:
    """Return the exception that a call raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - tests compare the whole exception
        await function(*args)
    return caught.value


def seen(error: Any) -> list[Any]:
    """Return what a handler sees of an exception, with the types of its state."""
    state = [error.detail, error.headers]
    return [type(error), error.status_code, state, repr(state), error.args, str(error), repr(error)]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


EQUAL: dict[str, Callable[[], Exception]] = {
    "a status": lambda: HTTPException(404),
    "one by name": lambda: HTTPException(status_code=410),
    "one of the server": lambda: HTTPException(503, "later"),
    "a text": lambda: HTTPException(404, "nö\n\0"),
    "all by place": lambda: HTTPException(404, "no", {"X-A": "ü", "x-b": " spaced "}),
    "all by name": lambda: HTTPException(status_code=404, detail=["no"], headers={"X-A": ""}),
    "no headers": lambda: HTTPException(404, headers={}),
    "a detail of None": lambda: HTTPException(404, None, {"X-A": "1"}),
    "an empty detail": lambda: HTTPException(404, ""),
    "a dictionary": lambda: HTTPException(404, {"b": [1, None, 1.5, True], "a": {"$set": []}}),
    "a number": lambda: HTTPException(404, 7),
    "tagged": lambda: HTTPException(404, {"at": datetime(2026, 1, 2, tzinfo=UTC), "in": (1, {2})}),
    "of Starlette": lambda: OfStarlette(404),
    "of Starlette by name": lambda: OfStarlette(detail="no", headers={"a": "b"}, status_code=451),
    "two lines of one header": lambda: HTTPException(404, headers={"X-A": "1", "x-a": "2"}),
    "with max-age": lambda: HTTPException(404, headers={"Cache-Control": "max-age=60"}),
}


@pytest.mark.parametrize("name", EQUAL)
async def test_p1_a_hit_raises_an_equal_exception(manager: CacheManager, name: str) -> None:
    """Its own each time; the first caller has that of the function."""
    raising = Raising(manager, EQUAL[name])
    found = [await raising() for _ in range(3)]
    assert raising.runs == 1
    assert found[0] is raising.raised
    assert len({id(each) for each in found}) == 3
    assert seen(found[0]) == seen(found[1]) == seen(found[2]) == seen(EQUAL[name]())


async def test_p1_what_a_handler_does_to_one_is_not_in_the_next(our_manager: CacheManager) -> None:
    """Neither to its detail nor to its headers, nor a traceback that grows."""
    raising = Raising(our_manager, lambda: HTTPException(404, ["no"], {"a": "b"}))
    for _ in range(3):
        error = await raising()
        assert (error.detail, error.headers) == (["no"], {"a": "b"})
        assert error.__cause__ is error.__context__ is None
        error.detail.append("more")
        error.headers["a"] = "c"
    assert raising.runs == 1


async def test_a_status_of_an_enum_comes_back_as_the_number(our_manager: CacheManager) -> None:
    """It is the same number."""
    raising = Raising(our_manager, lambda: HTTPException(HTTPStatus.NOT_FOUND, "no"))
    first, second = await raising(), await raising()
    assert raising.runs == 1
    assert (first.status_code, first.args) == (second.status_code, second.args)


async def test_it_comes_back_without_what_it_was_raised_from(our_manager: CacheManager) -> None:
    """That says how it came about; nobody else's state is stored."""

    @cache_response(our_manager, "it", cache_status={404})
    async def it() -> str:
        try:
            return dict[str, str]().popitem()[0]
        except KeyError as error:
            raise HTTPException(404) from error

    assert isinstance((await failure(it)).__cause__, KeyError)
    again = await failure(it)
    assert again.status_code == 404
    assert again.__cause__ is again.__context__ is None


def changed(error: HTTPException, **attributes: Any) -> HTTPException:
    """Return an exception that was changed after it was made."""
    vars(error).update(attributes)
    return error


def noted(error: HTTPException) -> HTTPException:
    """Return one with a note."""
    error.add_note("by the way")
    return error


def itself() -> HTTPException:
    """Return one whose detail contains itself."""
    detail: list[Any] = []
    detail.append(detail)
    return HTTPException(404, detail)


def with_headers(**lines: Any) -> Callable[[], Exception]:
    """Return what makes one with these headers."""
    return lambda: HTTPException(404, headers={n.replace("_", "-"): v for n, v in lines.items()})


SILENT: dict[str, Callable[[], Exception]] = {
    "another status": lambda: HTTPException(403),
    "another exception": lambda: LookupError(404),
    "not listed, of its own": lambda: OwnError(403),
    "private": with_headers(Cache_Control="private"),
    "no-store": with_headers(cache_control="max-age=5, no-store"),
    "no-cache": with_headers(Pragma="no-cache"),
    "stale": with_headers(Cache_Control="max-age=0"),
}
TOLD: dict[str, Callable[[], Exception]] = {
    "a subclass": lambda: OwnError(404),
    "an attribute": lambda: changed(HTTPException(404), code=7),
    "a note": lambda: noted(HTTPException(404)),
    "another detail": lambda: changed(HTTPException(404, "no"), detail="yes"),
    "a detail of None later": lambda: changed(HTTPException(404), detail=None),
    "another status": lambda: changed(HTTPException(403), status_code=404),
    "a status that is no integer": lambda: HTTPException(404.0),  # type: ignore[arg-type]
    "an object": lambda: HTTPException(404, object()),
    "a response": lambda: HTTPException(404, Response()),
    "itself": itself,
    "surrogates": lambda: HTTPException(404, "\ud800"),
    "NaN": lambda: HTTPException(404, float("nan")),
    "too large": lambda: HTTPException(404, "x" * 20_000),
    "a cookie": with_headers(Set_Cookie="session=1"),
    "for one client": with_headers(www_authenticate="Basic"),
    "of a connection": with_headers(Connection="close"),
    "a length": with_headers(Content_Length="0"),
    "two lengths": with_headers(Content_Length="0", content_length="1"),
    "a part": with_headers(Content_Range="bytes 0-1/2"),
    "Vary": with_headers(Vary="Accept-Language"),
    "a line break": with_headers(X_A="1\r\nSet-Cookie: session=1"),
    "not Latin-1": with_headers(X_A="\u20ac"),
    "no name": lambda: HTTPException(404, headers={"a b": "c"}),
    "bytes": lambda: HTTPException(404, headers={"a": b"b"}),  # type: ignore[dict-item]
    "other headers": lambda: HTTPException(404, headers=MutableHeaders({"a": "b"})),
    "headers of a list": lambda: HTTPException(404, headers=[("a", "b")]),  # type: ignore[arg-type]
    "many headers": with_headers(**{f"x{number}": "" for number in range(300)}),
}


@pytest.mark.parametrize("name", [*SILENT, *TOLD])
async def test_p8_what_cannot_come_back_to_everybody_is_raised_and_not_stored(
    our_manager: CacheManager, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller has it as if there were no cache; a mistake is told once."""
    our_manager.max_entry_bytes = 10_000
    for make in (each[name] for each in (SILENT, TOLD) if name in each):
        caplog.clear()
        raising = Raising(our_manager, make)
        for runs in (1, 2):
            assert await raising() is raising.raised
            assert raising.runs == runs
            await settled(our_manager)
            assert not await raising.stands()
        assert len(told(caplog)) == (make in TOLD.values())


@pytest.mark.parametrize("status", [100, 206, 304])
async def test_a_status_that_is_no_whole_response_is_not_stored(
    our_manager: CacheManager, status: int
) -> None:
    """Even if it is in `cache_status`."""
    raising = Raising(our_manager, lambda: HTTPException(status), cache_status={status})
    assert (await raising()).status_code == (await raising()).status_code == status
    assert raising.runs == 2


@pytest.mark.parametrize("status", [200, 204, 404])
async def test_a_status_that_is_not_listed_is_not_stored(
    our_manager: CacheManager, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A success either, if it is raised; `expire=0` stores nothing at all."""
    for options in ({"cache_status": ()}, {"expire": 0, "cache_status": {status}}):
        raising = Raising(our_manager, lambda: HTTPException(status), **options)
        assert (await raising()).status_code == (await raising()).status_code == status
        assert raising.runs == 2
    assert told(caplog) == []


# --- what the function reads and does ----------------------------------------------------------


async def test_p8_what_reads_something_that_the_key_lacks_is_not_stored(
    our_manager: CacheManager,
) -> None:
    """With `vary` it is, for each apart."""

    async def lacking() -> None:
        raise HTTPException(404, f"nothing for {SECRET.get()}")

    private = cache_response(our_manager, "private", cache_status={404})(lacking)
    varied = cache_response(our_manager, "varied", cache_status={404}, vary=(SECRET,))(lacking)
    for function in (private, varied):
        for who in ("alice", "bob", "alice"):
            SECRET.set(who)
            assert (await failure(function)).detail == f"nothing for {who}"
    await settled(our_manager)
    key = f"{our_manager.key_prefix}:{private.cache_key()}"
    assert await our_manager.backend.get_bytes(key) is None
    assert await standing_at(our_manager, varied.cache_key())


async def test_what_a_call_did_to_a_response_by_hand_is_repeated(our_manager: CacheManager) -> None:
    """As for a value: who catches the exception may send that response."""
    runs: list[int] = []

    @cache_response(our_manager, "it", cache_status={404})
    async def it(response: Response) -> None:
        runs.append(1)
        response.headers["X-Found"] = "no"
        raise HTTPException(404)

    for _ in range(2):
        response = Response()
        assert (await failure(it, response)).status_code == 404
        assert response.headers["x-found"] == "no"
    assert runs == [1]


async def test_what_scheduled_a_task_or_set_a_cookie_is_not_stored(
    our_manager: CacheManager,
) -> None:
    """Nor what told that it is private, although an exception is sent without it."""
    runs: list[str] = []

    @cache_response(our_manager, "it", cache_status={404})
    async def it(what: str, response: Response, tasks: BackgroundTasks) -> None:
        runs.append(what)
        if what == "task":
            tasks.add_task(print)
        elif what == "cookie":
            response.set_cookie("session", "1")
        else:
            response.headers["Cache-Control"] = what
        raise HTTPException(404)

    for what in ("task", "cookie", "private"):
        for _ in range(2):
            await failure(it, what, Response(), BackgroundTasks())
    assert runs == ["task"] * 2 + ["cookie"] * 2 + ["private"] * 2


# --- other ways to it ---------------------------------------------------------------------------


async def test_refresh_raises_it_and_stores_it(our_manager: CacheManager) -> None:
    """Over what was there."""
    raising = Raising(our_manager, lambda: HTTPException(404, raising.runs))
    assert (await raising()).detail == 1
    assert (await failure(raising.function.refresh)).detail == 2
    assert (await raising()).detail == 2


async def test_the_manager_does_not_see_it(our_manager: CacheManager) -> None:
    """It is no value."""
    raising = Raising(our_manager, lambda: HTTPException(404))
    await raising()
    assert await our_manager.get("it:one") is None
    assert await our_manager.get_many(["it:one"]) == {}
    assert await our_manager.exists("it:one") is False
    await raising()
    assert raising.runs == 1
    assert await our_manager.get_or_set("it:one", lambda: 7) == 7


@pytest.mark.parametrize("near_size", [0, 100])
async def test_another_process_and_the_near_cache_raise_it_too(
    redis_server: RedisServer, near_size: int
) -> None:
    """Also a process whose function has never raised it."""
    one = CacheManager(redis_backend(redis_server, near_size=near_size))
    other = CacheManager(
        redis_backend(redis_server, near_size=near_size, key_prefix=one.key_prefix)
    )
    here, there = (Raising(each, EQUAL["all by place"], stale=60) for each in (one, other))
    await here()
    assert [seen(await there()) for _ in range(3)] == [seen(EQUAL["all by place"]())] * 3
    assert there.runs == 0
    await one.clear()
    await one.close()
    await other.close()


async def test_nothing_is_left_of_it_when_it_was_handled(our_manager: CacheManager) -> None:
    """Its traceback holds no frame that holds it: the collector has nothing to do."""
    raising = Raising(our_manager, lambda: HTTPException(404))
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            try:
                await raising.function()
            except HTTPException as error:
                raising.raised, left = None, weakref.ref(error)
            assert left() is None
    finally:
        gc.enable()

"""What keeps a function from its cache is told once, with what to do (promise P10)."""

import logging
from collections.abc import Callable, Hashable, Mapping, Sized
from typing import Annotated, Any, Protocol, TypeVar

import pytest
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from typing_extensions import TypedDict

from ... import CacheManager, cache_response
from ..endpoints import get


def by_hand(*arguments: Any) -> str:
    """Make a key."""
    return f"one:{arguments[0]}"


SHARED_KEYS: dict[str, tuple[Any, Any]] = {
    "templates": ("u:{item}", "u:{name}"),
    "a function": (by_hand, by_hand),
    "a template and a function": ("one:{item}", by_hand),
}


@pytest.mark.parametrize("keys", SHARED_KEYS)
async def test_p10_functions_that_take_each_others_entries_are_told(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture, keys: str
) -> None:
    """They never get a wrong value, and never a hit either: once for each, with a remedy."""
    first, second = SHARED_KEYS[keys]

    @cache_response(our_manager, "shared", key=first)
    async def one(item: int) -> str:
        return f"one {item}"

    @cache_response(our_manager, "shared", key=second)
    async def other(name: int) -> str:
        return f"other {name}"

    for _ in range(3):
        assert await one(1) == "one 1"
        assert await other(1) == "other 1"
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(told) == 2
    assert all("another function has the same keys" in each for each in told)
    assert all("key_prefix= of its own" in each for each in told)


async def test_p10_a_function_alone_is_told_nothing(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is one whose entry was set by hand, or which is made twice."""

    def make() -> Any:
        @cache_response(our_manager, "alone", key="{item}")
        async def read(item: int) -> int:
            return item

        return read

    first, second = make(), make()
    assert [await first(1), await second(1), await first(1)] == [1, 1, 1]
    await our_manager.set("alone:1", 1)
    assert await first(1) == 1
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def varying() -> Response:
    return JSONResponse({}, headers={"Vary": "accept-encoding"})


def with_cookie() -> Response:
    response = JSONResponse({})
    response.set_cookie("a", "b")
    return response


def streaming() -> Response:
    return StreamingResponse(iter([b"x"]))


def unstored() -> Response:
    return JSONResponse({}, headers={"Cache-Control": "no-store"})


def failing() -> Response:
    return JSONResponse({}, 500)


TOLD = {varying: "Vary: accept-encoding", with_cookie: "cookie", streaming: "stream"}


@pytest.mark.parametrize("make", [*TOLD, unstored, failing])
async def test_p10_what_is_never_stored_is_told_unless_it_says_so_itself(
    memory: CacheManager, caplog: pytest.LogCaptureFixture, make: Callable[[], Response]
) -> None:
    """A `no-store` is meant; a `Vary` that no key holds may be a mistake."""
    app = FastAPI()

    @app.get("/it")
    @cache_response(memory, "it")
    async def endpoint() -> Any:
        return make()

    for _ in range(3):
        await get(app)
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(told) == (make in TOLD)
    assert all(TOLD[make] in each for each in told)


class Sends(Protocol):
    """What has a method, as a request has."""

    method: str


ANNOTATIONS: list[Any] = [
    *(None, Any, object, Request, "Unknown", Mapping, Sized, Hashable, Sends),
    *(Request | None, Annotated[Request, "it"], TypeVar("T")),
]


@pytest.mark.parametrize("annotation", ANNOTATIONS)
async def test_p8_a_write_is_known_whatever_the_annotation_is(
    memory: CacheManager, annotation: Any
) -> None:
    """By what the argument is."""

    async def endpoint(request):  # type: ignore[no-untyped-def] # it is set below
        runs.append(1)
        return JSONResponse(len(runs))

    runs: list[int] = []
    if annotation is not None:
        endpoint.__annotations__["request"] = annotation
    cached = cache_response(memory, "it")(endpoint)
    app: Any = Starlette(routes=[Route("/it", cached, methods=["POST"])])
    assert [(await get(app, method="POST")).json() for _ in range(2)] == [1, 2]


class Typed(TypedDict):
    """Does not let itself be asked for subclasses."""

    name: str


@pytest.mark.parametrize("annotation", [Typed, Sends, Hashable, BaseModel, int])
async def test_any_annotation_may_stand_there(memory: CacheManager, annotation: Any) -> None:
    """Also of classes that fail where they are compared with others."""

    async def read(item: Any) -> int:
        return 1

    read.__annotations__["item"] = annotation
    assert await cache_response(memory, "it")(read)(1) == 1


METHODS = ["POST", "PUT", "PATCH", "DELETE", "QUERY"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ignore", [(), ("request",)])
async def test_p8_a_write_to_a_route_of_starlette_runs_each_time(
    memory: CacheManager, caplog: pytest.LogCaptureFixture, method: str, ignore: tuple[str, ...]
) -> None:
    """As one to a route of FastAPI does; what is read by GET is cached."""
    runs = []

    @cache_response(memory, "it", ignore=ignore, shared=bool(ignore))
    async def endpoint(request: Request) -> Response:
        runs.append(request.method)
        return JSONResponse(len(runs))

    @cache_response(memory, "other", method=method)
    async def one_method(request):  # type: ignore[no-untyped-def]
        runs.append(request.method)
        return JSONResponse(len(runs))

    methods = ["GET", *METHODS]
    app: Any = Starlette(
        routes=[
            Route("/it", endpoint, methods=methods),
            Route("/other", one_method, methods=methods),
        ]
    )
    assert [(await get(app, method=method)).json() for _ in range(3)] == [1, 2, 3]
    assert "method='" in caplog.text
    runs.clear()
    assert [(await get(app)).json() for _ in range(2)] == [1, 1]
    runs.clear()
    assert [(await get(app, "/other", method)).json() for _ in range(2)] == [1, 1]
    assert [(await get(app, "/other")).json() for _ in range(2)] == [2, 3]


async def test_p10_a_refresh_that_has_no_key_is_refused(memory: CacheManager) -> None:
    """As `cache_key` and `invalidate` are; the function does not run for nothing."""
    runs = []

    @cache_response(memory, "it", vary=("accept",))
    async def read(item: int) -> int:
        runs.append(item)
        return item

    for call in (read.refresh, read.invalidate):
        with pytest.raises(TypeError, match="'accept'"):
            await call(1)
    with pytest.raises(TypeError, match="'accept'"):
        read.cache_key(1)
    assert runs == []

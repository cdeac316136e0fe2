"""A middleware outside that says in the scope who asks may refuse others (promise P8)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.datastructures import State
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ... import CacheManager, CacheMiddleware, cache_response
from .origin import STATUS, TIMES, ask

USER, POOL = object(), object()


def application(manager: CacheManager, **options: Any) -> FastAPI:
    app = FastAPI(**options)
    app.add_middleware(CacheMiddleware, name="t")

    @app.get("/it")
    @cache_response(manager, "it")
    async def it() -> int:
        return 1

    return app


class Puts:
    """A middleware: it puts something into the scope of each request."""

    def __init__(self, app: ASGIApp, puts: dict[str, Any]) -> None:
        self.app, self.puts = app, puts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.update(self.puts if scope["type"] == "http" else {})
        await self.app(scope, receive, send)


SCOPES: dict[str, tuple[dict[str, Any], bool, bool]] = {  # is private, may come early
    "nothing": ({}, False, True),
    "an empty state": ({"state": {}}, False, True),
    "no state": ({"state": None}, False, True),
    "what FastAPI puts there": ({"fastapi_inner_astack": None}, False, True),
    "what Starlette puts there": ({"starlette.exception_handlers": ({}, {})}, False, True),
    "what FastAPI tells of each step": ({"fastapi.telemetry": None}, False, False),
    "a session": ({"session": {}}, True, False),
    "a user": ({"user": USER}, True, False),
    "a key of an application": ({"tenant": "a"}, True, False),
    "a state": ({"state": {"user": USER}}, True, False),
    "a state that is an object": ({"state": State({"user": USER})}, True, False),
}


@pytest.mark.parametrize("name", SCOPES)
async def test_p8_what_a_middleware_outside_puts_into_the_scope(
    exact: CacheManager, name: str
) -> None:
    """If it may tell who asks, each request runs the ordinary way, and its response is private."""
    puts, is_private, is_early = SCOPES[name]
    app = application(exact)
    app.add_middleware(Puts, puts=puts)
    for _ in range(TIMES):
        answer = await ask(app)
        assert ("private" in (answer.says("cache-control") or "")) is is_private
    assert (answer.says(STATUS) or "").startswith("t; hit")
    assert answer.is_early is is_early


async def identify(request: Request, call_next: Any) -> Response:
    """Note who asks where most applications note it."""
    request.state.user = request.headers.get("x-user", "")
    response: Response = await call_next(request)
    return response


class Nobody:
    """A backend that knows nobody."""

    async def authenticate(self, conn: object) -> None:
        """Return that nobody asks."""


MIDDLEWARES: dict[str, tuple[Any, dict[str, Any]]] = {
    "AuthenticationMiddleware": (AuthenticationMiddleware, {"backend": Nobody()}),
    "request.state.user": (BaseHTTPMiddleware, {"dispatch": identify}),
}


@pytest.mark.parametrize("name", MIDDLEWARES)
async def test_p8_an_answer_below_a_middleware_that_knows_users_is_private(
    exact: CacheManager, name: str
) -> None:
    app = application(exact)
    kind, options = MIDDLEWARES[name]
    app.add_middleware(kind, **options)
    for _ in range(TIMES):
        answer = await ask(app, headers={"X-User": "ada"})
        assert "private" in (answer.says("cache-control") or "")
    assert (answer.says(STATUS) or "").startswith("t; hit")


@asynccontextmanager
async def started(app: ASGIApp) -> AsyncIterator[dict[str, Any]]:
    """Start an application as a server does; lend the state that its lifespan gives to requests."""
    state: dict[str, Any] = {}
    told: asyncio.Queue[Any] = asyncio.Queue()
    wanted: asyncio.Queue[Any] = asyncio.Queue()
    scope = {"type": "lifespan", "state": state}
    running = asyncio.ensure_future(app(scope, wanted.get, told.put))
    for name in ("startup", "shutdown"):
        await wanted.put({"type": f"lifespan.{name}"})
        assert (await told.get())["type"] == f"lifespan.{name}.complete"
        if name == "startup":
            yield state
    await running


@pytest.mark.parametrize("is_changed", [False, True])
async def test_p8_the_state_of_the_lifespan_is_for_everybody(
    exact: CacheManager, *, is_changed: bool
) -> None:
    """Unless a middleware puts something else in its place."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        yield {"pool": POOL}

    app = application(exact, lifespan=lifespan)
    if is_changed:
        app.add_middleware(Puts, puts={"state": {"pool": USER}})
    async with started(app) as state:
        assert state == {"pool": POOL}
        for _ in range(TIMES):
            answer = await ask(app, state=state.copy())
            assert ("private" in (answer.says("cache-control") or "")) is is_changed
    assert (answer.says(STATUS) or "").startswith("t; hit")
    assert answer.is_early is not is_changed


async def test_p8_a_route_that_is_added_later_counts_at_once(exact: CacheManager) -> None:
    """What its path led to before is forgotten."""
    app = application(exact)
    for _ in range(TIMES):
        answer = await ask(app)
    assert answer.is_early
    app.get("/it")(lambda: 2)
    app.router.routes.insert(0, app.router.routes.pop())
    assert (await ask(app)).body == b"2"

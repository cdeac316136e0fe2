"""Hits before routing give nobody another's answer, whatever is around the endpoint (promise P8)."""

import gzip
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ... import CachedRoute, CacheManager, CacheMiddleware, cache_response
from ...http.routed import before_routing
from ...testing.redis_server import RedisServer
from ..calls.test_two_users import PATHS, POSTS, users
from ..conftest import redis_backend
from ..two_users import WAYS, Identified, Site
from .origin import STATUS, ask, only_memory

who: ContextVar[str] = ContextVar("who", default="")
ALICE, BOB = {"X-User": "alice"}, {"X-User": "bob"}


@pytest.fixture(params=[("memory", APIRoute), ("near", CachedRoute)], ids=str)
def stage(
    request: pytest.FixtureRequest,
) -> tuple[Callable[[], CacheManager], type[APIRoute]]:
    """Lend what makes managers, and a class of routes."""
    kind, route_class = request.param

    def make() -> CacheManager:
        if kind == "memory":
            return only_memory()
        server: RedisServer = request.getfixturevalue("redis_server")
        return CacheManager(redis_backend(server, near_size=100))

    return make, route_class


EARLY = {"header_as_a_parameter", "query_as_a_parameter"}


@pytest.mark.parametrize("is_identified", [True, False])
async def test_p8_two_users_by_all_ways(
    stage: tuple[Callable[[], CacheManager], type[APIRoute]], *, is_identified: bool
) -> None:
    """Each gets his own answer, by all ways in which an endpoint can learn who asks.

    Nothing comes early while a middleware outside tells in the scope who asks.
    """
    make, route_class = stage
    wrong, came_early = [], set()
    for name, way in WAYS.items():
        if name in POSTS or not (is_identified or name in EARLY):
            continue
        manager, app = make(), FastAPI()
        app.add_middleware(CacheMiddleware)
        app.router.route_class = route_class
        way(Site(manager, app, app.router))
        if is_identified:
            app.add_middleware(Identified)
        told: dict[str, Any] = {}
        for turn in range(4):
            for person, options in zip(("alice", "bob"), users(name), strict=True):
                query = f"?user={person}" if options.get("params") else ""
                answer = await ask(app, PATHS.get(name, "/me") + query, options["headers"])
                what = answer.status, answer.body
                if told.setdefault(person, what) != what:
                    wrong.append(
                        f"{name}: {person} got {what} in turn {turn}, and not {told[person]}"
                    )
                came_early |= {name} if answer.is_early else set()
        if told["alice"] == told["bob"]:
            wrong.append(f"{name}: both got {told['alice']}")
        await manager.clear()
        await manager.close()
    assert wrong == []
    assert came_early == (set() if is_identified else EARLY)


# --- what is around --------------------------------------------------------------------------------


class Around:
    """A middleware: it lets a function do something to each request before the application does."""

    def __init__(self, app: ASGIApp, does: Callable[[Scope, Send], Send]) -> None:
        self.app, self.does = app, does

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, self.does(scope, send) if scope["type"] == "http" else send)


def user_in(scope: Scope) -> str:
    name: bytes = dict(scope["headers"]).get(b"x-user", b"")
    return name.decode()


def knows(scope: Scope, send: Send) -> Send:
    """Note who asks in a context variable."""
    who.set(user_in(scope))
    return send


def adds(scope: Scope, send: Send) -> Send:
    """Add a header that tells who asks."""

    async def adding(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append((b"x-for", user_in(scope).encode()))
        await send(message)

    return adding


def leads(scope: Scope, send: Send) -> Send:
    """Lead each user to a path of his own."""
    scope["path"] = f"/of/{user_in(scope)}"
    return send


def strips(scope: Scope, send: Send) -> Send:
    """Change the query to what the user is called."""
    scope["query_string"] = f"name={user_in(scope)}".encode()
    return send


def prefixes(scope: Scope, send: Send) -> Send:
    """Put each user below a root of his own."""
    scope["root_path"] = f"/{user_in(scope)}"
    scope["path"] = f"/{user_in(scope)}{scope['path']}"
    return send


async def says_who() -> str:
    return who.get()


async def says_nothing() -> str:
    return "nothing"


async def says_name(name: str = "") -> str:
    return name


Function = Callable[..., Awaitable[Any]]
AROUND: dict[str, tuple[Any, Function, dict[str, Any], bool, str]] = {
    "a variable that the function reads": (knows, says_who, {}, False, "fwd=miss; detail=unkeyed"),
    "a variable of vary=": (knows, says_who, {"vary": (who,)}, False, "hit"),
    "a variable that nobody reads": (knows, says_nothing, {}, True, "hit"),
    "a variable that is ignored": (knows, says_nothing, {"ignore": (who,)}, True, "hit"),
    "a header that is added": (adds, says_nothing, {}, True, "hit"),
    "a path that is changed": (leads, says_name, {}, True, "hit"),
    "a query that is changed": (strips, says_name, {}, True, "hit"),
    "a root that is changed": (prefixes, says_nothing, {}, True, "hit"),
}


@pytest.mark.parametrize("name", AROUND)
async def test_p8_middlewares_outside(exact: CacheManager, name: str) -> None:
    """What they do for each request counts for hits before routing, too."""
    does, function, options, is_early, expected = AROUND[name]
    app = FastAPI()
    app.add_middleware(CacheMiddleware, name="t")
    app.add_middleware(Around, does=does)
    function = cache_response(exact, "it", **options)(function)
    app.get("/of/{name}" if does is leads else "/it")(function)
    for turn in range(4):
        for user in (ALICE, BOB):
            answer = await ask(app, headers=user)
            own = f'"{user["X-User"]}"'.encode()
            assert answer.body == (b'"nothing"' if function.__name__ == "says_nothing" else own)
            assert answer.says("x-for") == (user["X-User"] if does is adds else None)
            if turn > 1:
                assert answer.is_early == is_early
                assert (answer.says(STATUS) or "").startswith(f"t; {expected}")


async def test_p8_a_middleware_outside_compresses_for_whom_it_may(exact: CacheManager) -> None:
    """What is stored is what came from the route."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware)
    app.add_middleware(GZipMiddleware)

    @app.get("/it")
    @cache_response(exact, "it")
    async def it() -> str:
        return "a" * 5000

    for turn in range(4):
        packed = await ask(app, headers={"Accept-Encoding": "gzip"})
        plain = await ask(app)
        assert gzip.decompress(packed.body) == plain.body == b'"' + b"a" * 5000 + b'"'
        assert (packed.says("content-encoding"), plain.says("content-encoding")) == ("gzip", None)
        assert packed.says("etag") == plain.says("etag")
        assert plain.is_early == (turn > 0)
    tag = {"If-None-Match": plain.says("etag") or ""}
    assert (await ask(app, headers={**tag, "Accept-Encoding": "gzip"})).status == 304


async def test_p8_a_middleware_inside_is_told_of(
    exact: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """What it adds for each is never stored, and no hit comes early; the log says so once."""
    app = FastAPI()
    app.add_middleware(Around, does=adds)
    app.add_middleware(CacheMiddleware)

    @app.get("/it")
    @cache_response(exact, "it")
    async def it() -> int:
        return 1

    for _ in range(4):
        for user in (ALICE, BOB):
            answer = await ask(app, headers=user)
            assert answer.says("x-for") == user["X-User"]
            assert (answer.body, answer.is_early) == (b"1", False)
    assert answer.says(STATUS) == f"{exact.key_prefix}; hit"
    told = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "not the innermost" in told[0].getMessage()
    assert f"{Around.__module__}.Around" in told[0].getMessage()


# --- dependencies ----------------------------------------------------------------------------------

scheme = APIKeyHeader(name="X-Key")


def passes(x_key: Annotated[str, Header()]) -> None:
    """Let those pass who know the key."""
    if x_key != "right":
        raise HTTPException(403)


def by_scheme(key: Annotated[str, Security(scheme)]) -> None:
    passes(key)


def of_the_route(app: FastAPI, it: Any) -> None:
    app.get("/it", dependencies=[Depends(passes)])(it)


def of_the_router(app: FastAPI, it: Any) -> None:
    router = APIRouter(dependencies=[Security(by_scheme)])
    router.get("/it")(it)
    app.include_router(router)


def of_the_inclusion(app: FastAPI, it: Any) -> None:
    inner, outer = APIRouter(), APIRouter()
    inner.get("/it")(it)
    outer.include_router(inner, dependencies=[Depends(passes)])
    app.include_router(outer)


def of_the_application(app: FastAPI, it: Any) -> None:
    app.router.dependencies.append(Depends(by_scheme))
    app.get("/it")(it)


def of_one_inclusion(app: FastAPI, it: Any) -> None:
    router = APIRouter()
    router.get("/it")(it)
    app.include_router(router, dependencies=[Depends(passes)])
    app.include_router(router, prefix="/open")


@pytest.mark.parametrize(
    "guard", [of_the_route, of_the_router, of_the_inclusion, of_the_application, of_one_inclusion]
)
@pytest.mark.parametrize("options", [{}, {"shared": True}, {"vary": ("x-key",)}], ids=str)
async def test_p8_a_key_is_asked_for_each_time(
    exact: CacheManager, guard: Callable[[FastAPI, Any], None], options: dict[str, Any]
) -> None:
    """A hit for one who knows it opens nothing for one who does not."""

    @cache_response(exact, "it", **options)
    async def it() -> str:
        return "secret"

    app = FastAPI()
    app.add_middleware(CacheMiddleware)
    guard(app, it)
    assert all("dependency" in each.why_routed for each in before_routing(app))
    for _ in range(4):
        right, wrong = [await ask(app, headers={"X-Key": key}) for key in ("right", "wrong")]
        assert (right.status, right.body, right.is_early) == (200, b'"secret"', False)
        assert (wrong.status, wrong.is_early, b"secret" in wrong.body) == (403, False, False)


async def test_p8_a_dependency_that_is_put_in_place_later(exact: CacheManager) -> None:
    """`dependency_overrides` of an application end hits before routing at once."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware)

    @app.get("/it")
    @cache_response(exact, "it")
    async def it() -> int:
        return 1

    answers = [await ask(app) for _ in range(3)]
    assert [each.is_early for each in answers] == [False, False, True]
    app.dependency_overrides[passes] = by_scheme
    assert not (await ask(app)).is_early
    app.dependency_overrides.clear()
    assert (await ask(app)).is_early

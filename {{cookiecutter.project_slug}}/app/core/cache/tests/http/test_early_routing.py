"""Hits before routing where something else than path and query decides who answers (promises P1, P8)."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header
from fastapi.exceptions import ResponseValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.routing import APIRoute
from starlette.routing import Host, Match
from starlette.types import Scope

from ... import CacheManager, CacheMiddleware, cache_response
from ...http.routed import before_routing
from .internals import Clock
from .origin import STATUS, ask, nothing


def application(manager: CacheManager, **options: Any) -> FastAPI:
    """Make an application with a cached endpoint `/it`."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware, name="t", **options)

    @app.get("/it")
    @cache_response(manager, "it")
    async def it() -> str:
        return "of the application"

    return app


def other(text: str) -> APIRouter:
    """Make a router with an endpoint `/it` of its own."""
    router = APIRouter()

    @router.get("/it")
    async def it() -> str:
        return text

    return router


class Versioned(APIRoute):
    """A route for those who ask for a version."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if b"x-version" not in dict(scope["headers"]):
            return Match.NONE, {}
        return super().matches(scope)


def by_host(app: FastAPI) -> None:
    app.router.routes.insert(0, Host("other.example", other("of the other")))


def by_included_host(app: FastAPI) -> None:
    router = APIRouter()
    router.host("other.example", other("of the other"))
    app.include_router(router)
    app.router.routes.insert(0, app.router.routes.pop())


def by_a_class(app: FastAPI) -> None:
    inner = other("of the other")
    route = next(each for each in inner.routes if isinstance(each, APIRoute))
    app.router.routes.insert(0, Versioned("/it", route.endpoint, methods=["GET"]))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", [by_host, by_included_host, by_a_class])
async def test_p8_a_route_before_it_may_look_at_more_than_the_target(
    exact: CacheManager, kind: Any, method: str
) -> None:
    """The same target leads to another endpoint for another host, or with another header."""
    app = application(exact)
    kind(app)
    elsewhere = {"Host": "other.example", "X-Version": "2"}
    for _ in range(4):
        assert (await ask(app)).body == b'"of the application"'
        assert (await ask(app, headers=elsewhere)).body == b'"of the other"'
        if kind is not by_a_class:
            here = await ask(app, headers={"Host": "here.example"}, method=method)
            assert here.says("content-length") == "20"
    [told] = before_routing(app)
    assert told.why_routed


async def test_p8_a_router_with_ways_of_its_own_is_not_passed_by(exact: CacheManager) -> None:
    """A subclass may route by anything."""

    class ByHeader(APIRouter):
        async def app(self, scope: Any, receive: Any, send: Any) -> None:
            if b"x-version" in dict(scope.get("headers", [])):
                await JSONResponse("of the other")(scope, receive, send)
            else:
                await super().app(scope, receive, send)

    app = application(exact)
    own = ByHeader(routes=app.router.routes)
    app.router = own
    for _ in range(4):
        assert (await ask(app)).body == b'"of the application"'
        assert (await ask(app, headers={"X-Version": "2"})).body == b'"of the other"'


async def test_p1_what_a_handler_of_exceptions_answers_is_not_stored(exact: CacheManager) -> None:
    """It tells of a failure, even with a status of 200; the value of the function is no answer."""
    app, results = FastAPI(), iter([["not an int"], 2, 3])
    app.add_middleware(CacheMiddleware, name="t")

    @app.exception_handler(ResponseValidationError)
    async def handler(*_: Any) -> JSONResponse:
        return JSONResponse({"ok": False})

    @app.get("/it", response_model=int)
    @cache_response(exact, "it")
    async def it() -> Any:
        return next(results)

    answers = [await ask(app) for _ in range(4)]
    assert [each.body for each in answers] == [b'{"ok":false}', b"2", b"2", b"2"]
    assert [each.is_early for each in answers] == [False, False, False, True]
    assert answers[0].says("cache-control") != "max-age=300"


async def test_p5_around_the_application_it_does_no_harm(exact: CacheManager) -> None:
    """As a wrapper, and not by `add_middleware`: it then has no application in its scope."""
    inner = FastAPI()

    @inner.get("/it")
    @cache_response(exact, "it")
    async def it() -> int:
        return 1

    app = CacheMiddleware(inner)
    for _ in range(3):
        assert [(await ask(app, method=method)).status for method in ("GET", "POST")] == [200, 405]
        for path, expected in (("/it", 405), ("/missing", 404)):
            assert (await ask(app, path, method="HEAD", is_checked=False)).status == expected


async def test_p5_a_file_is_sent_by_the_server(exact: CacheManager, tmp_path: Any) -> None:
    """The extension `http.response.pathsend`: the start comes, and then the path."""
    path = tmp_path / "it.txt"
    path.write_text("it")
    app = FastAPI()
    app.add_middleware(CacheMiddleware, name="t")

    @app.get("/it")
    @cache_response(exact, "it")
    async def it() -> FileResponse:
        return FileResponse(path)

    for method, last in (("GET", "http.response.pathsend"), ("HEAD", "http.response.body")):
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {"type": "http", "method": method, "path": "/it", "query_string": b"", "asgi": {}}
        scope |= {"headers": [], "extensions": {"http.response.pathsend": {}}}
        await app(scope, receive, send)
        assert [each["type"] for each in sent] == ["http.response.start", last]


async def test_p8_head_of_what_is_refused_has_no_body(exact: CacheManager) -> None:
    """A dependency refuses before the endpoint is known to be cached."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware)

    def passes(x_key: Annotated[str, Header()]) -> None:
        """Let those pass who have a key."""

    @app.get("/it", dependencies=[Depends(passes)])
    @cache_response(exact, "it")
    async def it() -> int:
        return 1

    answer = await ask(app, method="HEAD")
    assert (answer.status, answer.body) == (422, b"")


async def test_p10_those_around_see_the_route(exact: CacheManager) -> None:
    """For logs and metrics: the same after a hit before routing, and for HEAD, whose method stays."""
    app, seen = application(exact), []

    async def around(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        seen.append((scope["method"], scope["route"].path, scope["endpoint"], scope["path_params"]))

    for method in ("GET", "HEAD"):
        answers = [await ask(around, method=method) for _ in range(4)]
        assert answers[-1].is_early
        assert [each[0] for each in seen[-4:]] == [method] * 4
    assert len({str(each[1:]) for each in seen}) == 1


async def test_p10_the_key_is_shown_if_wanted(exact: CacheManager, clock: Clock) -> None:
    """As a string of RFC 8941, the same before routing."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware, show_keys=True)
    function = cache_response(exact, "it", key="a:{name}")(_named)
    clock.rules(function)
    app.get("/it/{name}")(function)
    answers = [await ask(app, '/it/"ü') for _ in range(3)]
    key = f'key="{exact.key_prefix}:it:a:%22%C3%BC"'
    assert answers[0].says(STATUS) == f"{exact.key_prefix}; fwd=miss; stored; {key}"
    assert [each.is_early for each in answers] == [False, False, True]
    assert answers[1].says(STATUS) == answers[2].says(STATUS)
    assert (answers[2].says(STATUS) or "").endswith(key)


async def _named(name: str) -> str:
    return name


async def test_others_are_left_alone(exact: CacheManager) -> None:
    """Endpoints that are not cached: their lines, their HEAD, their conditions."""
    app, plain = application(exact), FastAPI()
    for each in (app, plain):
        each.include_router(other("of the other"), prefix="/other")
        each.get("/guarded", dependencies=[Depends(nothing)])(nothing)
        each.post("/posted")(cache_response(exact, f"it{id(each)}", method="POST")(nothing))
    for path in ("/other/it", "/guarded", "/missing", "/posted"):
        for method in ("GET", "HEAD", "PUT", "OPTIONS"):
            for headers in ({}, {"If-None-Match": "*"}, {"If-Match": '"a"'}):
                options: Any = {"headers": headers, "method": method, "is_checked": False}
                seen, expected = [await ask(one, path, **options) for one in (app, plain)]
                assert seen.what == expected.what
                assert seen.says(STATUS) is None


@pytest.mark.parametrize("has_its_own", [True, False])
async def test_p1_what_is_mounted_changes_nothing_for_what_is_around(
    exact: CacheManager, caplog: pytest.LogCaptureFixture, *, has_its_own: bool
) -> None:
    """Whichever is asked first: only an application with the middleware has hits before routing."""
    app, inner, router = application(exact), FastAPI(), APIRouter()
    if has_its_own:
        inner.add_middleware(CacheMiddleware, name="inner")
    for each in (inner, router):

        @each.get("/it")
        @cache_response(exact, f"it{id(each)}")
        async def it() -> int:
            return 1

    app.mount("/inner", inner)
    app.mount("/router", router)
    for _ in range(4):
        mounted = [await ask(app, path) for path in ("/inner/it", "/router/it")]
        assert [each.body for each in mounted] == [b"1", b"1"]
        answer = await ask(app)
    assert answer.is_early
    assert ("ttl=" in (mounted[0].says(STATUS) or "")) == has_its_own
    assert (mounted[0].says(STATUS) or "").startswith("inner; hit" if has_its_own else "t; hit")
    assert caplog.messages == []

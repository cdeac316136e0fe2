"""What decides about an answer and is neither in its URL nor in `Vary`: nobody gets another's answer."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Path, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.applications import Starlette
from starlette.convertors import CONVERTOR_TYPES, Convertor, register_url_convertor
from starlette.requests import HTTPConnection
from starlette.routing import Host, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ... import CacheManager, CacheMiddleware, MemoryBackend, cache_response
from ...calls import Exchange, Standing
from ...coherence import Outcome
from ...http.answer import Teller
from ...http.unsafe import path_tags
from ...stored import RenderedResponse
from ..endpoints import STATUS
from ..faults import soon

who: ContextVar[str] = ContextVar("who", default="nobody")


class Me(Convertor[str]):
    """One that looks at who asks."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return who.get() if value == "me" else value

    def to_string(self, value: str) -> str:
        return value


@pytest.fixture(autouse=True)
def _convertor() -> Iterator[None]:
    register_url_convertor("user", Me())
    yield
    del CONVERTOR_TYPES["user"]


class Knows:
    """A middleware outside that knows who asks, by the header `x-user`."""

    def __init__(self, app: ASGIApp, *, places: bool = False) -> None:
        self.app, self._places = app, places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        user = dict(scope.get("headers", ())).get(b"x-user", b"nobody").decode()
        who.set(user)
        if self._places:
            scope["path_params"] = {"user": user}
        await self.app(scope, receive, send)


async def ask(
    app: ASGIApp, path: str = "/it", method: str = "GET", root: str = "", **headers: str
) -> Any:
    """Send one request, by a server with this `root_path`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    transport = httpx2.ASGITransport(app, root_path=root)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        return await soon(client.request(method, path, headers=named))


def application(manager: CacheManager, path: str = "/it", **options: Any) -> FastAPI:
    """Return an application that returns the user in the path of the request."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware, "t")

    @app.get(path)
    @cache_response(manager, "it", **options)
    async def it(user: Annotated[str, Path()]) -> dict[str, str]:
        return {"user": user}

    return app


def on_hosts(manager: CacheManager) -> tuple[ASGIApp, str]:
    """Return an application whose users are host names."""
    return Starlette(routes=[Host("{user}.test", application(manager))]), "/it"


def mounted(manager: CacheManager) -> tuple[ASGIApp, str]:
    """Return one below a path that is made of who asks."""
    inner = Starlette(routes=[Mount("/{user:user}", application(manager))])
    return Knows(inner), "/me/it"


def placed(manager: CacheManager) -> tuple[ASGIApp, str]:
    """Return one whose users are put into the parameters of the path."""
    app = application(manager)
    app.add_middleware(Knows, places=True)
    return app, "/it"


def converted(manager: CacheManager) -> tuple[ASGIApp, str]:
    """Return one whose path is read by somebody else's code."""
    app = application(manager, "/{user:user}")
    app.add_middleware(Knows)
    return app, "/me"


def included(manager: CacheManager) -> tuple[ASGIApp, str]:
    """Return one in which that code belongs to the prefix of a router."""
    router, app = APIRouter(), FastAPI()
    app.add_middleware(CacheMiddleware, "t")

    @router.get("/it")
    @cache_response(manager, "it")
    async def it(user: Annotated[str, Path()]) -> dict[str, str]:
        return {"user": user}

    app.include_router(router, prefix="/{user:user}")
    app.add_middleware(Knows)
    return app, "/me/it"


@pytest.mark.parametrize("make", [on_hosts, mounted, placed, converted, included])
async def test_p8_a_path_that_says_who_asks(
    our_manager: CacheManager, make: Callable[[CacheManager], tuple[ASGIApp, str]]
) -> None:
    """Each gets his own answer, again and again."""
    app, path = make(our_manager)
    for _ in range(4):
        for user in ("ada", "bob"):
            found = await ask(app, path, x_user=user, host=f"{user}.test")
            assert found.json() == {"user": user}
            if make is not on_hosts and make is not converted and make is not included:
                assert "private" in found.headers["cache-control"]


async def test_p8_plain_convertors_are_early(our_manager: CacheManager) -> None:
    """Starlette's own read nothing but the path."""
    app, paths = application(our_manager, "/{user:path}"), list[str]()
    route = app.router.routes[-1]
    assert isinstance(route, Route)

    class Counting:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(scope, receive, send)
            paths.append(str(type(scope.get("route")).__name__))

    app.add_middleware(Counting)
    statuses = [(await ask(app, "/a/b")).headers[STATUS] for _ in range(3)]
    assert statuses[0] == "t; fwd=miss; stored"
    assert all(status.startswith("t; hit") for status in statuses[1:])


# --- one browser, two users -----------------------------------------------------------------------


def by_request(request: Request) -> str:
    return request.headers.get("x-user", "")


def by_header(x_user: Annotated[str, Header()] = "") -> str:
    return x_user


class Own(APIKeyCookie):
    """A scheme with code of its own."""

    async def __call__(self, request: HTTPConnection) -> str:
        return request.headers.get("x-user", "")


WAYS: dict[str, tuple[Any, str | None]] = {
    "the request": (by_request, None),
    "a scheme of its own": (Own(name="u"), None),
    "a header": (by_header, "x-user"),
    "a bearer token": (HTTPBearer(auto_error=False), "authorization"),
    "a cookie": (APIKeyCookie(name="u", auto_error=False), "cookie"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_p8_a_client_keeps_what_vary_tells_apart_only(
    our_manager: CacheManager, way: str
) -> None:
    """Who has several users asks each time, unless a header says which of them it is."""
    dependency, vary = WAYS[way]
    app = FastAPI()
    app.add_middleware(CacheMiddleware, "t")

    @app.get("/it")
    @cache_response(our_manager, "it")
    async def it(user: Annotated[Any, Depends(dependency)]) -> str:
        return str(user)

    for _ in range(3):
        headers = (await ask(app, x_user="ada", authorization="Bearer ada", cookie="u=ada")).headers
        assert headers["cache-control"].startswith("private")
        assert ("no-cache" in headers["cache-control"]) is (vary is None)
        assert headers.get("vary") == vary


@pytest.mark.parametrize("shared", [True, False])
async def test_p8_a_key_that_holds_a_header_is_asked_for(
    our_manager: CacheManager, shared: bool
) -> None:
    """`Vary` does not name it, so nobody else may answer with it unasked."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware, "t")

    @app.get("/it")
    @cache_response(our_manager, "it", key="{request.headers[accept-language]}", shared=shared)
    async def it(request: Request) -> str:
        return request.headers["accept-language"]

    for language in ("de", "en", "de"):
        found = await ask(app, accept_language=language)
        assert (found.json(), "no-cache" in found.headers["cache-control"]) == (language, True)


def test_p8_what_is_remembered_of_a_start_says_the_same() -> None:
    """Whatever it depends on: a teller that has answered others answers as a new one."""
    manager = CacheManager(MemoryBackend())

    @cache_response(manager, "it")
    async def it() -> None: ...

    function: Any = it
    now = int(time.time()) * 1000
    responses = [
        RenderedResponse(200, ((b"content-type", b"x"),), b"a", False, tag, made, made + lives)
        for tag, made, lives in itertools.product(
            ('"1"', '"2"'), (now, now - 5000), (60_000, 90_000)
        )
    ]
    standings = [
        Standing(True, None, is_private=private, is_named=named, varying=frozenset(names))
        for private, named, names in itertools.product(
            (True, False), (True, False), ((), ("x-user",))
        )
    ]
    one = Teller("t", show_keys=True)
    flags = itertools.product((True, False), (True, False), ("key 1", "key 2"), (True, False))
    for rendered, standing, (changed, near, key, late) in itertools.product(
        responses, standings, list(flags)
    ):
        exchange = Exchange()
        exchange.calls, exchange.standing, exchange.outcome = function.calls, standing, Outcome.HIT
        exchange.rendered, exchange.is_near, exchange.key = rendered, near, key
        exchange.may_be_changed = changed
        start = {"status": 200 + late, "headers": list(rendered.lines)}
        told = one.dressed(exchange, start, "GET")
        assert told == Teller("t", show_keys=True).dressed(exchange, start, "GET")


# --- unsafe methods -------------------------------------------------------------------------------


class Site:
    """An application whose value can be written."""

    def __init__(self, manager: CacheManager) -> None:
        self.value, self.app, self.router = "old", FastAPI(), APIRouter()
        self.app.add_middleware(CacheMiddleware, "t", invalidate_unsafe=True)
        self._manager = manager
        self.app.include_router(self.router)

    def start(self) -> None:
        """Add the routes, to a router that is included already."""

        @self.router.get("/it")
        @cache_response(self._manager, "it", shared=True)
        async def it() -> str:
            return self.value

        @self.router.put("/it")
        async def put() -> None:
            self.value = "new"


@pytest.mark.parametrize("host", ["[", "a]", "[::1", "a:b:c", ""])
async def test_p3_whatever_host_a_client_names(our_manager: CacheManager, host: str) -> None:
    """Its write invalidates, and it gets its answer."""
    site = Site(our_manager)
    site.start()
    for _ in range(3):
        await ask(site.app)
    assert (await ask(site.app, method="PUT", host=host)).status_code == 200
    assert (await ask(site.app)).json() == "new"


@pytest.mark.parametrize("read", ["/it", "/api/it"])
@pytest.mark.parametrize("written", ["/it", "/api/it"])
async def test_p3_whether_or_not_a_path_has_its_root(
    our_manager: CacheManager, read: str, written: str
) -> None:
    """Some servers name it, and others do not."""
    site = Site(our_manager)
    site.start()
    for _ in range(3):
        assert (await ask(site.app, read, root="/api")).json() == "old"
    assert (await ask(site.app, written, "PUT", root="/api")).status_code == 200
    assert (await ask(site.app, read, root="/api")).json() == "new"


async def test_p3_routes_that_come_late_to_an_included_router() -> None:
    """The one who writes has never read."""
    backend = MemoryBackend()
    reads, writes = (Site(CacheManager(backend)) for _ in range(2))
    reads.start()
    await ask(writes.app, "/other", "POST")
    writes.start()
    for _ in range(3):
        assert (await ask(reads.app)).json() == "old"
    await ask(writes.app, method="PUT")
    reads.value = "new"
    assert (await ask(reads.app)).json() == "new"


def test_p7_paths_have_a_bounded_number_of_tags() -> None:
    """However many paths clients think of, and whatever is in them."""
    paths = [f"/{number}" for number in range(200_000)] + ["\ud800", "x" * 10_000]
    assert len(set(path_tags("app", paths))) <= 2**16
    assert path_tags("app", ["/a"]) == path_tags("app", ["/a"]) != path_tags("app", ["/b"])


# --- what a function is asked ---------------------------------------------------------------------


async def test_client_control_sees_the_route_each_time(our_manager: CacheManager) -> None:
    """Before routing, too, and for HEAD; its method is the one of the request."""
    seen: list[tuple[str, str]] = []

    def admits(scope: Scope) -> bool:
        seen.append((scope["method"], scope["route"].path))
        return False

    app = FastAPI()
    app.add_middleware(CacheMiddleware, "t", client_control=admits)

    @app.get("/it")
    @cache_response(our_manager, "it", shared=True)
    async def it() -> list[int]:
        return [1]

    for method in ("GET", "GET", "GET", "HEAD", "HEAD"):
        await ask(app, method=method, cache_control="no-cache")
    assert seen == [("GET", "/it")] * 3 + [("HEAD", "/it")] * 2


class Asynchronous:
    """What cannot be asked at once."""

    async def __call__(self, scope: Scope) -> bool:
        return True


@pytest.mark.parametrize(
    "options",
    [{"client_control": Asynchronous()}, {"show_keys": 1}, {"invalidate_unsafe": "yes"}],
    ids=lambda each: next(iter(each)),
)
def test_wrong_options_are_errors(options: dict[str, Any]) -> None:
    """At once, and not silently."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware, **options)
    with pytest.raises(TypeError, match=next(iter(options))):
        app.build_middleware_stack()

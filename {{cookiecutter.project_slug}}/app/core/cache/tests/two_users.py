"""Ways in which an endpoint can learn who asks. Each answers with the name of the user."""

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, Form, Request, Security
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import (
    APIKeyCookie,
    APIKeyHeader,
    APIKeyQuery,
    HTTPBasic,
    HTTPBearer,
    OAuth2PasswordBearer,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import CacheManager, CacheStatusMiddleware, cache_response

tenant: ContextVar[str] = ContextVar("tenant")
user_of_request: ContextVar[str] = ContextVar("user_of_request")


@dataclass
class Site:
    """An application under construction: its router, and the cache that decorates."""

    manager: CacheManager
    app: FastAPI
    router: APIRouter

    def cached(self, **options: Any) -> Callable[[Any], Any]:
        """Return the decorator."""
        return cache_response(self.manager, "me", **options)


Way = Callable[[Site], None]
WAYS: dict[str, Way] = {}


def way(build: Way) -> Way:
    """Note a way by its name."""
    WAYS[build.__name__] = build
    return build


def application(way: Way, manager: CacheManager, route_class: type[APIRoute]) -> FastAPI:
    """Make an application with an endpoint `/me` that learns in this way who asks."""
    app = FastAPI()
    app.router.route_class = route_class
    way(Site(manager, app, app.router))
    app.add_middleware(Identified)
    app.add_middleware(CacheStatusMiddleware)
    return app


class Identified:
    """Puts the user into all places where servers and middlewares put him."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            name = dict(scope["headers"]).get(b"x-user", b"").decode()
            scope["user"] = scope["auth"] = name
            scope["session"] = {"user": name}
            scope["client"] = (name, 1)
            scope["state"] = {"user": name, "same": "same"}
            scope["raw_path"] = f"/me?{name}".encode()
            scope["extensions"] = {"tls": {"client_cert_name": name}}
            scope["http_version"] = name
            scope["of_a_middleware"] = name
        await self.app(scope, receive, send)


def user(name: str) -> dict[str, Any]:
    """Return what a client sends who is called so."""
    return {
        "headers": {
            "X-User": name,
            "Authorization": f"Bearer {name}",
            "Accept-Language": name,
            "Cookie": f"session={name}",
        }
    }


# --- what can be read of the request ---------------------------------------------------------------


def copied(scope: Any) -> Any:
    return scope.copy()


def merged(scope: Any) -> Any:
    return scope | {}


READERS: dict[str, Callable[[Request], Any]] = {
    "headers[]": lambda request: request.headers["x-user"],
    "headers.get": lambda request: request.headers.get("x-user"),
    "headers.getlist": lambda request: request.headers.getlist("x-user"),
    "headers.items": lambda request: dict(request.headers.items())["x-user"],
    "headers.values": lambda request: sorted(request.headers.values()),
    "headers.raw": lambda request: str(sorted(request.headers.raw)),
    "headers.mutablecopy": lambda request: request.headers.mutablecopy()["x-user"],
    "copy of headers": lambda request: copy.copy(request.headers)["x-user"],
    "deepcopy of headers": lambda request: copy.deepcopy(request.headers)["x-user"],
    # It loads what the same line has dumped; nothing of Redis is read with it.
    "pickle of headers": lambda request: pickle.loads(pickle.dumps(request.headers))["x-user"],
    "repr of headers": lambda request: repr(request.headers),
    "headers of scope": lambda request: str(request.scope["headers"]),
    "headers by get": lambda request: str(request.get("headers")),
    "repr of scope": lambda request: repr(request.scope["of_a_middleware"]),
    "copy of scope": lambda request: copied(request.scope)["user"],
    "copy.copy": lambda request: copy.copy(request.scope)["user"],
    "merge of scope": lambda request: {**request.scope}["user"],
    "or of scope": lambda request: merged(request.scope)["user"],
    "dict of request": lambda request: dict(request)["user"],
    "a request of the scope": lambda request: Request(request.scope).headers["x-user"],
    "pop of scope": lambda request: request.scope.pop("user"),
    "cookies": lambda request: request.cookies["session"],
    "client": lambda request: request.client and request.client.host,
    "user": lambda request: request.user,
    "auth": lambda request: request.auth,
    "session": lambda request: request.session["user"],
    "state": lambda request: request.state.user,
    "raw_path": lambda request: request.scope["raw_path"].decode(),
    "client certificate": lambda request: request.scope["extensions"]["tls"]["client_cert_name"],
    "http_version": lambda request: request.scope["http_version"],
    "a middleware's own": lambda request: request["of_a_middleware"],
    "an attribute": lambda request: request.__getattribute__("headers")["x-user"],
}


def reading(read: Callable[[Request], Any], **options: Any) -> Way:
    """Return a way: the endpoint takes the request and reads it so."""

    def build(site: Site) -> None:
        @site.router.get("/me")
        @site.cached(**options)
        async def me(request: Request) -> Any:
            return read(request)

    return build


for _name, _read in READERS.items():
    WAYS[_name] = reading(_read)
for _name in ("headers[]", "repr of headers", "merge of scope", "user", "state"):
    WAYS[f"{_name}, ignored"] = reading(READERS[_name], ignore=("request",))
WAYS["headers[], key="] = reading(READERS["headers[]"], key=lambda request: "me")
WAYS["headers[], in the key="] = reading(
    READERS["headers[]"], key=lambda request: (request.headers["x-user"],)
)
WAYS["headers[], template"] = reading(READERS["headers[]"], key="me:{request.url.path}")
WAYS["headers[], vary="] = reading(READERS["headers[]"], vary=("x-user",))
WAYS["headers[], ignored and vary="] = reading(
    READERS["headers[]"], vary=("x-user",), ignore=("request",)
)
WAYS["headers[], other vary="] = reading(READERS["headers[]"], vary=("accept",))


@way
def body_of_the_request(site: Site) -> None:
    @site.router.post("/me")
    @site.cached()
    async def me(request: Request) -> Any:
        return json.loads(await request.body())["user"]


@way
def body_of_a_cached_post(site: Site) -> None:
    @site.router.post("/me")
    @site.cached(method="POST", ignore=("request",))
    async def me(request: Request) -> Any:
        return (await request.json())["user"]


@way
def body_as_a_parameter(site: Site) -> None:
    @site.router.post("/me")
    @site.cached(method="POST")
    async def me(user: Annotated[str, Body(embed=True)]) -> Any:
        return user


@way
def form_as_a_parameter(site: Site) -> None:
    @site.router.post("/form")
    @site.cached(method="POST")
    async def me(user: Annotated[str, Form()]) -> Any:
        return user


@way
def exception_with_a_header(site: Site) -> None:
    @site.router.get("/me")
    @site.cached()
    async def me(request: Request) -> Any:
        return JSONResponse(request.headers["x-user"], 400)


# --- security schemes -------------------------------------------------------------------------------


def scheme(named: Any, *, of: Callable[[Any], Any] = lambda found: found) -> Iterator[Way]:
    """Yield ways: a scheme's finding is an argument, ignored, hidden in a dependency, or unnamed."""

    def known(site: Site) -> None:
        @site.router.get("/me")
        @site.cached()
        async def me(found: Annotated[Any, Security(named)]) -> Any:
            return of(found)

    def ignored(site: Site) -> None:
        @site.router.get("/me")
        @site.cached(ignore=("found",))
        async def me(found: Annotated[Any, Security(named)]) -> Any:
            return of(found)

    def unnamed(site: Site) -> None:
        def remember(found: Annotated[Any, Security(named)]) -> None:
            user_of_request.set(of(found))

        async def remembered(found: Annotated[Any, Security(named)]) -> None:
            remember(found)

        @site.router.get("/me", dependencies=[Depends(remembered)])
        @site.cached()
        async def me() -> Any:
            return user_of_request.get()

    yield from (known, ignored, unnamed)


SCHEMES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "OAuth2": (OAuth2PasswordBearer("token"), str),
    "bearer": (HTTPBearer(), lambda found: found.credentials),
    "API key in a header": (APIKeyHeader(name="X-User"), str),
    "API key in a cookie": (APIKeyCookie(name="session"), str),
    "API key in the query": (APIKeyQuery(name="user"), str),
    "basic": (HTTPBasic(), lambda found: found.username),
}
for _name, (_scheme, _of) in SCHEMES.items():
    for _way in scheme(_scheme, of=_of):
        WAYS[f"{_name}, {_way.__name__}"] = _way

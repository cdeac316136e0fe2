"""Each way to an entry through the public surface, for tests that put bytes of their own there."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute

from .. import CachedRoute, CacheManager, cache_response
from .endpoints import Endpoint, application, get, sent

VALUE = {"name": "ada", "numbers": [1, 2, 3], "more": "x" * 50}


@dataclass
class Surface:
    """A way to the entry at the key `it:one`."""

    ask: Callable[[], Awaitable[Any]]
    """Asks for the value."""
    runs: list[int] = field(default_factory=list)
    """One for each time that it was computed."""


def function(manager: CacheManager, **options: Any) -> Surface:
    """Ask a decorated function."""
    runs: list[int] = []

    @cache_response(manager, "it", key="one", **options)
    async def it() -> dict[str, Any]:
        runs.append(1)
        return VALUE

    return Surface(it, runs)


def stale(manager: CacheManager) -> Surface:
    """Ask one whose record tells times."""
    return function(manager, expire=60, stale=60, early_refresh=0.001)


def tagged(manager: CacheManager) -> Surface:
    """Ask one with tags, of which one is derived."""
    return function(manager, tags=["tag", lambda value: [value["name"]]])


def derived(manager: CacheManager) -> Surface:
    """Ask one with a derived tag only."""
    return function(manager, tags=[lambda value: [value["name"]]])


def injecting(manager: CacheManager) -> Surface:
    """Ask one that sets a header and the status of the injected response."""
    runs: list[int] = []

    @cache_response(manager, "it", key="one")
    async def it(response: Response) -> dict[str, Any]:
        runs.append(1)
        response.status_code, response.headers["x-own"] = 201, "yes"
        return VALUE

    async def ask() -> Any:
        injected = Response()
        value = await it(injected)
        assert_for_everybody(injected.raw_headers)
        return value

    return Surface(ask, runs)


def responding(manager: CacheManager) -> Surface:
    """Ask one that returns a response."""
    runs: list[int] = []

    @cache_response(manager, "it", key="one")
    async def it() -> JSONResponse | HTMLResponse:
        runs.append(1)
        return JSONResponse(VALUE, 201, {"x-own": "yes"})

    async def ask() -> Any:
        response = await it()
        assert type(response) is JSONResponse
        assert_for_everybody(response.raw_headers)
        return response.status_code, response.body

    return Surface(ask, runs)


def endpoint(manager: CacheManager, route_class: type[APIRoute] = APIRoute) -> Surface:
    """Ask an endpoint on a plain route."""
    runs: list[int] = []

    def register(router: APIRouter, endpoint: Endpoint) -> None:
        @router.get("/it", status_code=201)
        @endpoint
        async def it() -> dict[str, Any]:
            runs.append(1)
            return VALUE

    app = application(register, Endpoint(manager, key="one"), route_class)

    async def ask() -> Any:
        status, lines, body = sent(await get(app))
        assert_for_everybody(lines)
        return status, body

    return Surface(ask, runs)


def cached_route(manager: CacheManager) -> Surface:
    """Ask an endpoint on a `CachedRoute`."""
    return endpoint(manager, CachedRoute)


def get_or_set(manager: CacheManager) -> Surface:
    """Ask `get_or_set`."""
    runs: list[int] = []

    def factory() -> dict[str, Any]:
        runs.append(1)
        return VALUE

    return Surface(lambda: manager.get_or_set("it:one", factory), runs)


def tagged_get_or_set(manager: CacheManager) -> Surface:
    """Ask `get_or_set` with tags."""
    runs: list[int] = []

    def factory() -> dict[str, Any]:
        runs.append(1)
        return VALUE

    async def ask() -> Any:
        return await manager.get_or_set("it:one", factory, tags=["a", "b"], expire=60, stale=60)

    return Surface(ask, runs)


def assert_for_everybody(lines: list[tuple[bytes, bytes]]) -> None:
    """See that none of these header lines is for one client, or could be two."""
    for name, value in lines:
        assert name.lower() not in (b"set-cookie", b"connection", b"transfer-encoding")
        assert b"\n" not in name + value


SURFACES: list[Callable[[CacheManager], Surface]] = [
    *(function, stale, tagged, derived, injecting, responding, endpoint, cached_route),
    *(get_or_set, tagged_get_or_set),
]

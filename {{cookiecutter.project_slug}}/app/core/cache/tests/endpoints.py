"""Endpoints of applications, which the tests of routes register and ask."""

import asyncio
import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Annotated, Any

import httpx2
from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, computed_field

from .. import (
    CachedRoute,
    CacheManager,
    CacheStatusMiddleware,
    MemoryBackend,
    cache_response,
)
from .faults import WITHIN

STATUS = "cache-status"
MISS, HIT, SHARED = "app; fwd=miss; stored", "app; hit", "app; fwd=miss; collapsed"
NOT_STORED = "app; fwd=miss"


class Endpoint:
    """What registers an endpoint: decorates it if there is a cache, and counts its runs."""

    def __init__(self, manager: CacheManager | None, **options: Any) -> None:
        self.manager, self.options = manager, options
        self.runs = 0
        self.function: Any = None

    def __cache_key__(self) -> str:
        """Say that what this does decides about no result: it counts."""
        return "endpoint"

    def __call__(self, function: Any) -> Any:
        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.runs += 1
            return function(*args, **kwargs)

        @wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return await counted(*args, **kwargs)

        run = awaited if inspect.iscoroutinefunction(function) else counted
        if self.manager is None:
            return run
        self.function = cache_response(self.manager, "it", **self.options)(run)
        return self.function

    async def stands(self, **arguments: Any) -> bytes | None:
        """Return what stands at the key of a call."""
        assert self.manager is not None
        names = inspect.signature(self.function).parameters
        injected = {name: Response() for name in ("response",) if name in names}
        key = self.function.cache_key(**injected, **arguments)
        return await self.manager.backend.get_bytes(f"{self.manager.key_prefix}:{key}")

    async def kind(self, **arguments: Any) -> str | None:
        """Return the kind of the record at the key of a call."""
        data = await self.stands(**arguments)
        return None if data is None else data.split(b" ")[4].decode()


Register = Callable[[APIRouter, Endpoint], object]
"""What registers an endpoint with a router."""


def application(
    register: Register, endpoint: Endpoint, route_class: type[APIRoute] = CachedRoute
) -> FastAPI:
    """Make an application with what `register` registers on its own router."""
    app = FastAPI()
    app.add_middleware(CacheStatusMiddleware)
    app.router.route_class = route_class
    register(app.router, endpoint)
    return app


async def get(
    app: FastAPI, path: str = "/it", method: str = "GET", **options: Any
) -> httpx2.Response:
    """Send one request, with options such as `headers`."""
    transport = httpx2.ASGITransport(app)
    async with (
        asyncio.timeout(WITHIN),
        httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        return await client.request(method, path, **options)


def sent(response: httpx2.Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return what a client sees, but for the header that the cache adds."""
    lines = [(name, value) for name, value in response.headers.raw if name != STATUS.encode()]
    return response.status_code, lines, response.content


class Item(BaseModel):
    """A model with an alias, a computed field and one that is not shown."""

    id: int
    name: str = Field(serialization_alias="label")
    secret: str = Field(default="x", exclude=True)
    more: int | None = None

    @computed_field
    def twice(self) -> int:
        return self.id * 2


def type_of(endpoint: Endpoint) -> type[APIRoute]:
    """Return the class of a route for an endpoint."""
    return APIRoute if endpoint.manager is None else CachedRoute


async def one_item() -> list[int]:
    return [1]


async def item() -> Item:
    return Item(id=1, name="x")


class Shown(BaseModel):
    """What a response model leaves of an object."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int
    at: datetime


class Row:
    """An object as that of an ORM: nothing that can be stored."""

    id, name, password = 1, "ada", "secret"


class Enveloped(JSONResponse):
    """A response class of its own: it wraps the content and adds headers."""

    media_type = "application/vnd.test+json"

    def __init__(self, content: Any, status_code: int = 203, **options: Any) -> None:
        super().__init__({"data": content}, status_code, **options)
        self.headers["X-Class"] = "own"
        self.headers.append("Link", "</next>; rel=next")


def dict_(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it")
    @endpoint
    async def it() -> Any:
        return {"b": [1, None, 1.5], "a": "ü", "t": datetime(2026, 1, 2, tzinfo=UTC), 3: {4}}


def list_(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it")
    @endpoint
    async def it() -> list[int]:
        return [1, 2]


def none(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it")
    @endpoint
    async def it() -> None:
        return None


def model(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it")
    @endpoint
    async def it() -> Item:
        return Item(id=1, name="x")


def model_without_alias(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it", response_model_by_alias=False, response_model_exclude_unset=True)
    @endpoint
    async def it() -> list[Item]:
        return [Item(id=1, name="x")]


def model_in_part(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it", response_model_include={"id", "more"}, response_model_exclude_none=True)
    @endpoint
    async def it() -> Item:
        return Item(id=1, name="x")


def filtered(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it", response_model=Shown)
    @endpoint
    async def it() -> Any:
        return {"id": 1, "name": "x", "password": "y"}


def without_model(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it", response_model=None)
    @endpoint
    async def it() -> Item:
        return Item(id=1, name="x")


def dataclass_(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it")
    @endpoint
    async def it() -> Point:
        return Point(1, datetime(2026, 1, 2, tzinfo=UTC))


def row(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it", response_model=list[Shown])
    @endpoint
    async def it() -> Any:
        return [Row()]


def plain_function(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it")
    @endpoint
    def it() -> dict[str, int]:
        return {"a": 1}


def class_of_its_own(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it", response_class=Enveloped)
    @endpoint
    async def it() -> Item:
        return Item(id=1, name="x")


def status(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it", status_code=202)
    @endpoint
    async def it() -> list[int]:
        return [1]


def html(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it", response_class=HTMLResponse)
    @endpoint
    async def it() -> str:
        return "<b>ü</b>"


def text(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it", response_class=PlainTextResponse)
    @endpoint
    async def it() -> str:
        return ""


def own_response(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it")
    @endpoint
    async def it(response: Response) -> list[int]:
        response.status_code = 201
        response.headers["X-Own"] = "yes"
        response.headers.append("Link", "<a>")
        response.headers.append("Link", "<b>")
        return [1]


def dependency(router: APIRouter, endpoint: Endpoint) -> None:
    async def sets(response: Response) -> AsyncIterator[int]:
        response.headers["X-Before"] = "yes"
        response.set_cookie("session", "its own")
        yield 1
        response.headers["X-Too-Late"] = "yes"

    @router.get("/it", status_code=200)
    @endpoint
    async def it(one: Annotated[int, Depends(sets)]) -> list[int]:
        return [one]


def status_of_a_dependency(router: APIRouter, endpoint: Endpoint) -> None:
    def sets(response: Response) -> None:
        response.status_code = 299

    @router.get("/it", status_code=200, dependencies=[Depends(sets)])
    @endpoint
    async def it() -> list[int]:
        return [1]


def by_a_detour(router: APIRouter, endpoint: Endpoint) -> None:
    def lent(response: Response) -> Any:
        return response.headers

    @router.get("/it")
    @cache_response(endpoint.manager or CacheManager(MemoryBackend()), "it", ignore=("headers",))
    async def it(headers: Annotated[Any, Depends(lent)]) -> list[int]:
        endpoint.runs += 1
        headers["X-Own"] = "yes"
        return [1]

    endpoint.function = it


def head(router: APIRouter, endpoint: Endpoint) -> None:
    @router.api_route("/it", methods=["GET", "HEAD"])
    @endpoint
    async def it() -> list[int]:
        return [1]


def included(router: APIRouter, endpoint: Endpoint) -> None:
    inner = APIRouter(prefix="/b", route_class=type_of(endpoint))
    outer = APIRouter(prefix="/a", default_response_class=Enveloped)

    @inner.get("/it")
    @endpoint
    async def it() -> Item:
        return Item(id=1, name="x")

    outer.include_router(inner)
    router.include_router(outer, dependencies=[Depends(lambda: None)], responses={404: {}})


def mounted(router: APIRouter, endpoint: Endpoint) -> None:
    app = FastAPI(default_response_class=Enveloped)
    app.router.route_class = type_of(endpoint)
    list_(app.router, endpoint)
    router.mount("/a/b", app)


SENT: list[Register] = [
    *(dict_, list_, none, model, model_without_alias, model_in_part, filtered, without_model),
    *(dataclass_, row, plain_function, class_of_its_own, status, html, text, own_response),
    *(dependency, status_of_a_dependency, by_a_detour, head, included, mounted),
]


def model_of(**fields: Any) -> type[BaseModel]:
    """Return a model with these fields; each is a type and a default."""
    kinds = {name: kind for name, (kind, _) in fields.items()}
    defaults = {name: default for name, (_, default) in fields.items()}
    return type("Model", (BaseModel,), {"__annotations__": kinds, **defaults})

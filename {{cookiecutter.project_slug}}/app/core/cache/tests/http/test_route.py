"""Routes whose hits are sent as they were sent before (promises P1 and P8)."""

import gzip
import inspect
import json
from collections.abc import AsyncIterator
from functools import wraps
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware

from ... import (
    CachedRoute,
    CacheManager,
    MemoryBackend,
    cache_response,
)
from ..endpoints import (
    HIT,
    MISS,
    NOT_STORED,
    SENT,
    STATUS,
    Endpoint,
    Enveloped,
    Item,
    Register,
    Shown,
    application,
    by_a_detour,
    dependency,
    get,
    head,
    included,
    item,
    model,
    mounted,
    one_item,
    row,
    sent,
    type_of,
)


@pytest.mark.parametrize("register", SENT)
async def test_p1_a_hit_sends_what_the_miss_has_sent(
    manager: CacheManager, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    """Status, header lines in their order, and body: those of the route without any cache."""
    path = "/a/b/it" if register in (included, mounted) else "/it"
    method = "HEAD" if register is head else "GET"
    endpoint = Endpoint(manager, ignore=("one",) if register is dependency else ())
    app, plain = application(register, endpoint), application(register, Endpoint(None), APIRoute)
    expected = await get(plain, path, method)
    responses = [await get(app, path, method) for _ in range(3)]
    assert [sent(response) for response in responses] == [sent(expected)] * 3
    assert [response.headers[STATUS] for response in responses] == [MISS, HIT, HIT]
    arguments = {name: None for name in ("one", "headers") if register in (dependency, by_a_detour)}
    parameters = inspect.signature(endpoint.function).parameters
    arguments = {name: None for name in arguments if name in parameters}
    assert (endpoint.runs, await endpoint.kind(**arguments)) == (1, "sent")
    assert caplog.messages == []


@pytest.mark.parametrize("register", [each for each in SENT if each is not head])
def test_the_schema_is_that_without_the_route_class(register: Register) -> None:
    """Operations, names, parameters and models."""
    app = application(register, Endpoint(CacheManager(MemoryBackend())))
    assert app.openapi() == application(register, Endpoint(None), APIRoute).openapi()


class Streamed(StreamingResponse):
    """A response class whose body comes later."""

    def __init__(self, content: Any, **options: Any) -> None:
        super().__init__(iter([json.dumps(content)]), **options)


class Doubling(JSONResponse):
    """A response class that sends in a way of its own."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse([*json.loads(bytes(self.body)), 2])(scope, receive, send)


class Lying(JSONResponse):
    """A response class that says nothing of the length."""

    def __init__(self, content: Any, **options: Any) -> None:
        super().__init__(content, **options)
        del self.headers["content-length"]


class Deaf(JSONResponse):
    """A response class that lets nobody add headers."""

    @property
    def headers(self) -> MutableHeaders:
        return MutableHeaders(raw=list(self.raw_headers))


def of_class(cls: type[Response]) -> Register:
    """Return what registers an endpoint with a response class."""

    def register(router: APIRouter, endpoint: Endpoint) -> None:
        @router.get("/it", response_class=cls)
        @endpoint
        async def it() -> list[int]:
            return [1]

    return register


def status_by_chance(router: APIRouter, endpoint: Endpoint) -> None:
    def sets(response: Response) -> None:
        response.status_code = 299

    router.get("/it", dependencies=[Depends(sets)])(endpoint(one_item))


def header_in_vain(router: APIRouter, endpoint: Endpoint) -> None:
    def sets(response: Response) -> None:
        response.headers["X-Lost"] = "yes"

    router.get("/it", response_class=Deaf, dependencies=[Depends(sets)])(endpoint(one_item))


def no_body(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it", status_code=204)
    @endpoint
    async def it() -> None:
        return None


def another() -> Response:
    response = Response()
    del response.headers["content-length"]
    return response


def response_of_a_dependency(router: APIRouter, endpoint: Endpoint) -> None:
    def sets(response: Response) -> None:
        response.headers["X-One"] = "of this request"

    @router.get("/it", status_code=200, dependencies=[Depends(sets)])
    @endpoint
    async def it(response: Annotated[Response, Depends(another)]) -> list[int]:
        return [1]


def decorated_again(router: APIRouter, endpoint: Endpoint) -> None:
    function = endpoint(one_item)
    router.get("/plain")(function)

    @router.get("/it")
    @wraps(function)
    async def it(**kwargs: Any) -> list[int]:
        return [*await function(**kwargs), 2]


def a_response(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it")
    @endpoint
    async def it() -> JSONResponse:
        return JSONResponse([1], headers={"X-Own": "yes"})


@pytest.mark.parametrize(
    ("register", "kind"),
    [
        (of_class(Streamed), "value"),
        (of_class(Doubling), "value"),
        (of_class(Lying), "value"),
        (status_by_chance, "value"),
        (header_in_vain, "value"),
        (no_body, "value"),
        (response_of_a_dependency, "sent"),
        (decorated_again, "value"),
        (a_response, "response"),
    ],
)
async def test_p1_what_cannot_be_sent_again_is_stored_as_without_the_route_class(
    our_manager: CacheManager, register: Register, kind: str
) -> None:
    """A stream, a class with ways of its own, a status that nobody knows: hits are equal."""
    endpoint = Endpoint(our_manager)
    app, plain = application(register, endpoint), application(register, Endpoint(None), APIRoute)
    expected = sent(await get(plain))
    assert [sent(await get(app)) for _ in range(3)] == [expected] * 3
    assert (endpoint.runs, await endpoint.kind()) == (1, kind)


class WithCookie(JSONResponse):
    """A response class that sets a cookie."""

    def __init__(self, content: Any, **options: Any) -> None:
        super().__init__(content, **options)
        self.set_cookie("a", "b")


class Private(JSONResponse):
    """A response class that forbids to store."""

    def __init__(self, content: Any, **options: Any) -> None:
        super().__init__(content, headers={"Cache-Control": "private"}, **options)


def missing(router: APIRouter, endpoint: Endpoint) -> None:
    router.get("/it", status_code=404)(endpoint(one_item))


def reads_a_header(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it")
    @endpoint
    async def it(request: Request) -> str:
        return request.headers["host"]


def schedules(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it")
    @endpoint
    async def it(background: BackgroundTasks) -> list[int]:
        background.add_task(str)
        return [1]


def sets_a_cookie(router: APIRouter, endpoint: Endpoint) -> None:
    @router.get("/it")
    @endpoint
    async def it(response: Response) -> list[int]:
        response.set_cookie("a", "b")
        return [1]


@pytest.mark.parametrize(
    "register",
    [
        *(of_class(WithCookie), of_class(Private), missing),
        *(reads_a_header, schedules, sets_a_cookie),
    ],
)
async def test_p8_what_is_private_is_not_stored(register: Register) -> None:
    """Nothing stands at the key, and the endpoint runs each time."""
    manager = CacheManager(MemoryBackend())
    endpoint = Endpoint(manager)
    app = application(register, endpoint)
    responses = [await get(app) for _ in range(2)]
    assert [response.headers[STATUS] for response in responses] == [NOT_STORED] * 2
    assert endpoint.runs == 2
    assert await manager.backend.health_check()


async def test_p1_dependencies_run_on_a_hit_as_on_a_miss(our_manager: CacheManager) -> None:
    """Each response has the header, the cookie, the status and the task of its own request."""
    endpoint = Endpoint(our_manager)
    done: list[int] = []
    numbers = iter(range(9))

    async def sets(
        response: Response, background: BackgroundTasks, code: int
    ) -> AsyncIterator[None]:
        number = next(numbers)
        response.headers["X-Number"] = str(number)
        response.set_cookie("number", str(number))
        if code:
            response.status_code = code
        background.add_task(done.append, number)
        yield
        done.append(-number)

    def register(router: APIRouter, endpoint: Endpoint) -> None:
        @router.get("/it", status_code=200, dependencies=[Depends(sets)])
        @endpoint
        async def it() -> list[int]:
            return [1]

    app = application(register, endpoint)
    responses = [await get(app, f"/it?code={code}") for code in (0, 0, 299, 204, 0)]
    assert [response.status_code for response in responses] == [200, 200, 299, 204, 200]
    assert [response.headers["x-number"] for response in responses] == list("01234")
    assert [response.cookies["number"] for response in responses] == list("01234")
    assert [response.content for response in responses] == [b"[1]"] * 3 + [b"", b"[1]"]
    assert "content-length" not in responses[3].headers
    assert done == [0, 0, 1, -1, 2, -2, 3, -3, 4, -4]
    assert (endpoint.runs, await endpoint.kind()) == (1, "sent")


async def test_p1_each_call_has_its_own_body(our_manager: CacheManager) -> None:
    """As it has its own value without the route class."""
    endpoint = Endpoint(our_manager)

    def register(router: APIRouter, endpoint: Endpoint) -> None:
        @router.get("/it/{number}")
        @endpoint
        async def it(number: int, more: Annotated[int, Query()] = 0) -> list[int]:
            return [number, more]

    app = application(register, endpoint)
    paths = {"/it/1": [1, 0], "/it/2": [2, 0], "/it/1?more=3": [1, 3]}
    for _ in range(2):
        assert {path: (await get(app, path)).json() for path in paths} == paths
    assert endpoint.runs == 3


async def test_a_middleware_that_changes_bodies_sees_each_once(our_manager: CacheManager) -> None:
    """What is stored is what came from the route, and not what was compressed."""
    endpoint = Endpoint(our_manager)

    def register(router: APIRouter, endpoint: Endpoint) -> None:
        @router.get("/it")
        @endpoint
        async def it() -> str:
            return "a" * 5000

    app = application(register, endpoint)
    app.add_middleware(GZipMiddleware)
    for _ in range(2):
        response = await get(app)
        assert response.headers["content-encoding"] == "gzip"
        assert response.json() == "a" * 5000
    data = await endpoint.stands()
    assert data is not None
    assert gzip.compress(b"")[:2] not in data


async def test_what_cannot_be_stored_as_a_value_is_as_a_body(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the route class a warning says that an object of an ORM is not stored."""
    with_class, without = Endpoint(our_manager), Endpoint(CacheManager(MemoryBackend()))
    app, other = application(row, with_class), application(row, without, APIRoute)
    for _ in range(2):
        assert (await get(app)).json() == [{"id": 1, "name": "ada"}]
    assert caplog.messages == []
    for _ in range(2):
        assert (await get(other)).json() == [{"id": 1, "name": "ada"}]
    assert (with_class.runs, without.runs) == (1, 2)
    assert "is not stored" in caplog.text


async def test_a_call_wants_the_value_and_not_what_was_sent(our_manager: CacheManager) -> None:
    """It runs the function, and the endpoint then renders what that has stored."""
    endpoint = Endpoint(our_manager)
    app = application(model, endpoint)
    expected = await get(app)
    for _ in range(2):
        assert await endpoint.function() == Item(id=1, name="x")
    assert (endpoint.runs, await endpoint.kind()) == (2, "value")
    hit = await get(app)
    assert (sent(hit), hit.headers[STATUS]) == (sent(expected), HIT)
    assert endpoint.runs == 2


async def test_an_adapter_is_a_function_like_the_one_that_it_stands_for(
    our_manager: CacheManager,
) -> None:
    """It can be called outside of a request, and be the endpoint of another route."""
    endpoint = Endpoint(our_manager)
    app = application(model, endpoint)
    adapter = next(route for route in app.routes if isinstance(route, CachedRoute)).endpoint
    assert await adapter() == Item(id=1, name="x")
    assert adapter.__name__ == "it"
    await endpoint.function.invalidate()
    app.get("/again")(adapter)
    assert sent(await get(app)) == sent(await get(app, "/again"))
    assert (endpoint.runs, await endpoint.kind()) == (2, "sent")


async def test_only_what_fastapi_calls_for_a_request_is_sent(our_manager: CacheManager) -> None:
    """What dependencies and the endpoint itself call returns a value, be it an endpoint as well."""
    inner, outer = Endpoint(our_manager), Endpoint(our_manager, ignore=("asked",))
    adapters: dict[str, Any] = {}

    def register(router: APIRouter, _: Endpoint) -> None:
        @router.get("/inner")
        @inner
        async def one(response: Response) -> list[int]:
            return [1]

        async def asks(response: Response) -> list[int]:
            asked: list[int] = await adapters["/inner"](response=response)
            return [*asked, *await inner.function(response)]

        @router.get("/outer")
        @outer
        async def two(
            response: Response, asked: Annotated[Any, Depends(asks)], depth: int = 1
        ) -> list[int]:
            if not depth:
                return asked  # type: ignore[no-any-return]
            deeper = await adapters["/outer"](response=response, asked=asked, depth=0)
            return [*deeper, *await inner.function(response), depth]

    app = application(register, inner)
    routes = [route for route in app.routes if isinstance(route, CachedRoute)]
    adapters.update({route.path: route.endpoint for route in routes})
    await get(app, "/inner")
    for _ in range(2):
        assert [(await get(app, "/outer")).json() for _ in range(2)] == [[1, 1, 1, 1]] * 2
        assert await outer.kind(asked=None) == "sent"
        assert await outer.kind(asked=None, depth=0) == await inner.kind() == "value"
        await our_manager.invalidate("it:*two*")


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, "sent"),
        ({"response_model_exclude": {"more"}}, "value"),
        ({"response_model": Shown}, "value"),
        ({"status_code": 202}, "value"),
        ({"response_class": Enveloped}, "value"),
    ],
)
async def test_two_routes_of_one_function(
    our_manager: CacheManager, options: dict[str, Any], kind: str
) -> None:
    """What is sent is stored where both render alike, and the value where they do not."""
    endpoint = Endpoint(our_manager)

    def register(router: APIRouter, endpoint: Endpoint) -> None:
        function = endpoint(item)
        router.get("/it")(function)
        router.get("/other", **options)(function)

    app = application(register, endpoint)
    plain = application(register, Endpoint(None), APIRoute)
    for path in ("/it", "/other") * 2:
        assert sent(await get(app, path)) == sent(await get(plain, path))
    assert (endpoint.runs, await endpoint.kind()) == (1, kind)


async def test_one_router_that_is_included_twice(our_manager: CacheManager) -> None:
    """The class of its responses is that of the place where it is included."""
    endpoint = Endpoint(our_manager)

    def register(router: APIRouter, endpoint: Endpoint) -> None:
        inner = APIRouter(route_class=type_of(endpoint))
        inner.get("/it")(endpoint(item))
        router.include_router(inner, prefix="/a")
        router.include_router(inner, prefix="/b", default_response_class=Enveloped)

    app = application(register, endpoint)
    plain = application(register, Endpoint(None), APIRoute)
    for path in ("/a/it", "/b/it") * 2:
        assert sent(await get(app, path)) == sent(await get(plain, path))
    assert (endpoint.runs, await endpoint.kind()) == (1, "value")


async def test_other_endpoints_are_as_on_any_route() -> None:
    """Those without a cache, and those whose hints name what only type checkers know."""

    def plain(router: APIRouter, _: Endpoint) -> None:
        @router.get("/it")
        async def it() -> list[int]:
            return [1]

    def unresolved(router: APIRouter, endpoint: Endpoint) -> None:
        async def it(response, session=Depends(lambda: 1)):  # type: ignore[no-untyped-def] # noqa: B008
            response.headers["X-Own"] = "yes"
            return [session]

        it.__annotations__ = {"response": "Response", "session": "Session"}
        router.get("/it")(cache_response(CacheManager(MemoryBackend()), "it")(it))

    assert STATUS not in (await get(application(plain, Endpoint(None)))).headers
    app = application(unresolved, Endpoint(None))
    for _ in range(2):
        response = await get(app)
        assert (response.json(), response.headers["x-own"]) == ([1], "yes")

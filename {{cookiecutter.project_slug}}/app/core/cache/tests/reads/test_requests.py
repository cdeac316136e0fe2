"""Requests, injected responses and background tasks in cached endpoints (promises P2, P8)."""

import copy
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import (
    BackgroundTasks,
    Body,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Request,
    Response,
)
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from ... import CacheManager, CacheStatusMiddleware, MemoryBackend, cache_response

HIT, STORED, NOT_STORED = "app; hit", "app; fwd=miss; stored", "app; fwd=miss"
BYPASS = "app; fwd=bypass"
Endpoint = Callable[[Request], Awaitable[Any]]


class Everybody(AuthenticationBackend):
    """Takes each client for the same user."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser]:
        return AuthCredentials(["all"]), SimpleUser("ada")


class Sessions:
    """Gives each request a session, as the middleware does that needs one more package."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"] = {}
        await self.app(scope, receive, send)


class Site:
    """An application to which a test adds cached endpoints."""

    def __init__(self) -> None:
        self.cache = CacheManager(MemoryBackend())
        self.app = FastAPI()
        self.app.add_middleware(CacheStatusMiddleware)
        self.app.add_middleware(AuthenticationMiddleware, backend=Everybody())
        self.app.add_middleware(Sessions)
        self.client = TestClient(self.app)

    def add(self, path: str, function: Any, **options: Any) -> None:
        """Cache a function and serve it, for GET and POST."""
        key_prefix = f"site{path.replace('{', '').replace('}', '')}"
        cached = cache_response(self.cache, key_prefix=key_prefix, **options)(function)
        self.app.add_api_route(path, cached, methods=["GET", "POST"])

    def statuses(self, *requests: dict[str, Any], path: str = "/") -> list[str]:
        """Tell what the cache did for each of some requests."""
        sent = [self.client.request(**{"method": "GET", "url": path, **each}) for each in requests]
        assert {response.status_code for response in sent} == {200}
        return [response.headers["cache-status"] for response in sent]


@pytest.fixture
def site() -> Iterator[Site]:
    """Lend an application that is running."""
    site = Site()
    with site.client:
        yield site


async def path_and_query(request: Request) -> Any:
    return [
        request.method,
        request.url.path,
        request.url.query,
        dict(request.query_params),
        request.path_params,
        request.app.title,
    ]


def test_p2_method_path_and_query_are_part_of_the_key(site: Site) -> None:
    """Each of them keeps requests apart, and a function that reads no more is cached."""
    site.add("/{name}", path_and_query, key=None)
    urls = ["/a", "/b", "/a?x=1", "/a?x=2", "/a?x="]
    requests = [{"url": url} for url in urls]
    assert site.statuses(*requests, *requests) == [STORED] * 5 + [HIT] * 5


READS: list[tuple[str, Endpoint]] = []


def reads(what: str) -> Callable[[Endpoint], Endpoint]:
    """Note that a function reads `what` of the request."""

    def register(function: Endpoint) -> Endpoint:
        READS.append((what, function))
        return function

    return register


@reads("the header 'accept-language'")
async def read_header(request: Request) -> Any:
    return request.headers["Accept-Language"]


@reads("the header 'x-absent'")
async def read_absent_header(request: Request) -> Any:
    return [request.headers.get("X-Absent"), "X-Absent" in request.headers]


@reads("all headers")
async def read_all_headers(request: Request) -> Any:
    return len(request.headers.items())


@reads("all headers")
async def read_raw_headers(request: Request) -> Any:
    return len(request.headers.raw)


@reads("the header 'cookie'")
async def read_cookie(request: Request) -> Any:
    return request.cookies.get("a")


@reads("the attribute 'tenant'")
async def read_absent_attribute(request: Request) -> Any:
    return getattr(request, "tenant", None)


@reads("the session")
async def read_session(request: Request) -> Any:
    return request.session.get("a")


@reads("the user")
async def read_user(request: Request) -> Any:
    return request.user.display_name


@reads("the auth")
async def read_auth(request: Request) -> Any:
    return request.auth.scopes


@reads("the client's address")
async def read_client(request: Request) -> Any:
    return request.client and request.client.host


@reads("the client's address")
async def read_client_of_scope(request: Request) -> Any:
    return request["client"]


@reads("the state")
async def read_state(request: Request) -> Any:
    return getattr(request.state, "a", None)


@reads("the body")
async def read_body(request: Request) -> Any:
    return (await request.body()).decode()


@reads("the body")
async def read_json(request: Request) -> Any:
    return await request.json() if request.headers else None


@reads("the body")
async def read_stream(request: Request) -> Any:
    return [part.decode() async for part in request.stream()]


@reads("the body")
async def read_form(request: Request) -> Any:
    return len(await request.form())


@reads("the header 'host'")
async def read_url(request: Request) -> Any:
    return str(request.url)


@reads("the header 'host'")
async def read_host(request: Request) -> Any:
    return request.url.hostname


@reads("the header 'host'")
async def read_copied_url(request: Request) -> Any:
    return copy.deepcopy(request.url).hostname


@reads("the header 'host'")
async def read_base_url(request: Request) -> Any:
    return str(request.base_url)


@reads("the whole scope")
async def read_scope(request: Request) -> Any:
    return len(dict(request.scope.items()))


@reads("the server")
async def read_server(request: Request) -> Any:
    return request.scope.get("server")


@pytest.mark.parametrize(
    ("what", "function"), READS, ids=lambda each: getattr(each, "__name__", "")
)
def test_p8_what_else_is_read_of_a_request_is_not_for_everybody(
    site: Site, what: str, function: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """The result is not stored, and one warning names what was read and remedies that are of use."""
    site.add("/", function)
    form = "application/x-www-form-urlencoded"
    request = {"content": b"{}", "headers": {"Accept-Language": "de", "Content-Type": form}}
    assert site.statuses(request, request) == [NOT_STORED, NOT_STORED]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert what in warnings[0].getMessage()
    assert "make it a parameter" in warnings[0].getMessage()
    assert ("name a header in vary=" in warnings[0].getMessage()) == what.startswith("the header ")


def test_p2_headers_in_vary_are_part_of_the_key(site: Site) -> None:
    """Each value has an entry; an absent header and an empty one differ; no warning is due."""

    async def language(request: Request) -> Any:
        return request.headers.get("accept-language")

    site.add("/", language, vary=("Accept-Language",))
    requests = [
        {"headers": {"Accept-Language": "de"}},
        {"headers": {"accept-language": "en"}},
        {"headers": {"Accept-Language": ""}},
    ]
    assert site.statuses(*requests, *requests) == [STORED] * 3 + [HIT] * 3
    site.client.headers.pop("accept-language", None)
    assert site.statuses({}, {}) == [STORED, HIT]
    assert site.client.get("/").json() is None


def test_p2_the_host_in_vary_is_part_of_the_key(site: Site) -> None:
    """Then the whole URL may be read."""

    async def url(request: Request) -> str:
        return str(request.url)

    site.add("/", url, vary=("host",))
    one, two = {"headers": {"host": "one"}}, {"headers": {"host": "two"}}
    assert site.statuses(one, two, one, two) == [STORED, STORED, HIT, HIT]
    assert site.client.get("/", headers=one["headers"]).json() == "http://one/"


def test_a_key_of_ones_own_may_answer_for_what_is_read(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A header that it holds; of an object, nobody knows which part it holds."""
    by_header: dict[str, Any] = {"key": lambda request: request.headers["accept-language"]}
    site.add("/header", read_header, **by_header)
    site.add("/user", read_user, key=lambda request: str(request.user.display_name))
    german = {"headers": {"Accept-Language": "de"}}
    assert site.statuses(german, german, path="/header") == [STORED, HIT]
    assert site.statuses({}, {}, path="/user") == [NOT_STORED, NOT_STORED]
    site.add("/constant", read_header, key=lambda request: "same")
    assert site.statuses(german, german, path="/constant") == [NOT_STORED, NOT_STORED]
    assert len(caplog.messages) == 2
    assert "vary=" not in caplog.text  # which has no place beside key=


class Data(BaseModel):
    """A parsed body."""

    number: int


def test_the_body_that_fastapi_has_read_can_be_read_again(site: Site) -> None:
    """A parsed body is an argument; the request still has it for the function."""

    async def both(request: Request, data: Annotated[Data, Body()]) -> Any:
        return [data.number, (await request.body()).decode()]

    site.add("/", both, method="POST")
    response = site.client.post("/", json={"number": 7})
    assert response.json() == [7, '{"number":7}']
    assert response.headers["cache-status"] == NOT_STORED


def test_what_is_written_to_the_request_reaches_it(site: Site) -> None:
    """What is around the endpoint sees the state that it left behind."""
    seen: list[object] = []

    async def endpoint(request: Request) -> int:
        request.state.left = 7
        request.scope["own"] = 8
        return 1

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        await site.app(scope, receive, send)
        seen.append(scope["state"]["left"])

    site.add("/", endpoint)
    assert TestClient(around).get("/").status_code == 200
    assert seen == [7]


def test_headers_as_parameters_are_arguments(site: Site) -> None:
    """FastAPI reads them; the function gets a value like any other."""

    async def endpoint(x_tenant: Annotated[str | None, Header()] = None) -> str | None:
        return x_tenant

    site.add("/", endpoint)
    one: dict[str, Any] = {"headers": {"X-Tenant": "1"}}
    none: dict[str, Any] = {}
    empty: dict[str, Any] = {"headers": {"X-Tenant": ""}}
    assert site.statuses(one, none, empty, one, none, empty) == [STORED] * 3 + [HIT] * 3


def test_p1_an_injected_response_is_changed_again_on_a_hit(site: Site) -> None:
    """Status and headers that the function set, repeated and removed ones too."""

    def dependency(response: Response) -> None:
        response.headers["X-Dependency"] = "1"
        response.headers["X-Gone"] = "1"

    async def endpoint(
        response: Response, _: Annotated[None, Depends(dependency)]
    ) -> dict[str, int]:
        response.status_code = 202
        response.headers["X-One"] = "1"
        response.headers.append("Link", "</1>")
        response.headers.append("Link", "</2>")
        del response.headers["X-Gone"]
        return {"a": 1}

    site.add("/", endpoint)
    miss, hit = site.client.get("/"), site.client.get("/")
    assert (miss.headers.pop("cache-status"), hit.headers.pop("cache-status")) == (STORED, HIT)
    assert hit.status_code == miss.status_code == 202
    assert hit.headers.multi_items() == miss.headers.multi_items()
    assert hit.headers.get_list("link") == ["</1>", "</2>"]
    assert "x-gone" not in hit.headers
    assert hit.content == miss.content


@pytest.mark.parametrize(
    ("name", "value"),
    [("Set-Cookie", "a=1"), ("Cache-Control", "no-store"), ("Cache-Control", "private")],
)
def test_p8_an_injected_response_may_forbid_to_store(site: Site, name: str, value: str) -> None:
    """As a returned one may."""

    async def endpoint(response: Response) -> int:
        response.headers[name] = value
        return 1

    site.add("/", endpoint)
    assert site.statuses({}, {}) == [NOT_STORED, NOT_STORED]


def test_p8_an_injected_error_status_is_not_stored(site: Site) -> None:
    """Unless it is asked for."""

    async def missing(response: Response) -> int:
        response.status_code = 404
        return 1

    async def allowed(response: Response) -> int:
        response.status_code = 404
        return 1

    site.add("/missing", missing)
    site.add("/allowed", allowed, cache_status={404})
    for path, second in (("/missing", NOT_STORED), ("/allowed", HIT)):
        site.client.get(path)
        response = site.client.get(path)
        assert (response.status_code, response.headers["cache-status"]) == (404, second)


def test_p8_a_call_that_scheduled_a_task_is_not_stored(site: Site) -> None:
    """The task is part of what the call does, so it has to run each time."""
    ran: list[int] = []

    async def endpoint(tasks: BackgroundTasks, schedule: bool = True) -> int:
        if schedule:
            tasks.add_task(ran.append, 1)
        return 1

    site.add("/", endpoint)
    assert site.statuses({}, {}) == [NOT_STORED, NOT_STORED]
    assert ran == [1, 1]
    assert site.statuses({"url": "/?schedule=0"}, {"url": "/?schedule=0"}) == [STORED, HIT]


def test_p8_dependencies_run_on_a_hit(site: Site) -> None:
    """Who may not have the answer does not get it from the cache either."""
    asked: list[str] = []

    def authenticate(x_token: Annotated[str, Header()]) -> None:
        asked.append(x_token)
        if x_token != "right":
            raise HTTPException(401)

    cached = cache_response(site.cache, "secret", shared=True)(read_nothing)
    site.app.add_api_route("/", cached, dependencies=[Depends(authenticate)])
    assert site.client.get("/", headers={"X-Token": "right"}).status_code == 200
    assert site.client.get("/", headers={"X-Token": "wrong"}).status_code == 401
    assert site.client.get("/", headers={"X-Token": "right"}).headers["cache-status"] == HIT
    assert asked == ["right", "wrong", "right"]


async def read_nothing() -> dict[str, int]:
    return {"a": 1}


def test_p1_with_a_response_model_a_hit_and_a_miss_have_the_same_bytes(site: Site) -> None:
    """The model filters both."""

    class Public(BaseModel):
        name: str

    async def endpoint() -> dict[str, Any]:
        return {"name": "Ada", "secret": (1, 2)}

    cached = cache_response(site.cache, "public")(endpoint)
    site.app.add_api_route("/", cached, response_model=Public)
    miss, hit = site.client.get("/"), site.client.get("/")
    assert hit.headers["cache-status"] == HIT
    assert hit.content == miss.content == b'{"name":"Ada"}'


def test_what_vary_takes(site: Site) -> None:
    """Headers, also where there is no parameter for the request; a string is no tuple."""
    site.add("/vary", read_nothing, vary=("accept",))
    plain, json = {"headers": {"accept": "text/plain"}}, {"headers": {"accept": "text/json"}}
    asked = site.statuses(plain, json, plain, json, path="/vary")
    assert asked == [STORED, STORED, HIT, HIT]
    with pytest.raises(TypeError, match=r"vary=\('accept',\)"):
        site.add("/", read_header, vary="accept")
    with pytest.raises(ValueError, match="no place in a key of one's own"):
        site.add("/", read_header, vary=("accept",), key="all")
    with pytest.raises(ValueError, match="no HTTP status"):
        site.add("/", read_nothing, cache_status={4040})


def test_negative_caching_has_to_be_asked_for(site: Site) -> None:
    """A returned 404 is stored with `cache_status={404}`, and other errors are not."""

    async def endpoint(status: int) -> JSONResponse:
        return JSONResponse({"status": status}, status)

    site.add("/", endpoint, cache_status={404})
    for status, second in ((404, HIT), (410, NOT_STORED), (200, HIT)):
        site.client.get(f"/?status={status}")
        response = site.client.get(f"/?status={status}")
        assert (response.status_code, response.headers["cache-status"]) == (status, second)

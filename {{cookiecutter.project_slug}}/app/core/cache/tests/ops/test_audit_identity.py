"""What an audit finds of who asks, and of what a key leaves out (promises P8, P10): wrong, then mended."""

import functools
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Cookie, Depends, FastAPI, Header, Query, Request, Response, Security
from fastapi.security import APIKeyHeader, HTTPBearer, OAuth2PasswordBearer
from fastapi.testclient import TestClient
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ... import (
    CacheManager,
    cache_response,
)
from ..naming import named
from .audited import around, findings, the_finding

tenant: ContextVar[str] = ContextVar("tenant", default="")
oauth = OAuth2PasswordBearer("token")

Wrong = Callable[[FastAPI, CacheManager], None]
"""Adds to an application what is wrong."""


def explicit(function: Any) -> Any:
    """Decorate with a function that hands on only what it knows."""

    @functools.wraps(function)
    async def wrapper(number: int) -> Any:
        return await function(number)

    return wrapper


# What dependencies know of who asks.


async def bearer_user(token: Annotated[str, Depends(oauth)]) -> str:
    return token


async def by_cookie(session: Annotated[str, Cookie()] = "") -> str:
    return session


async def by_header(x_user: Annotated[str, Header()] = "") -> str:
    return x_user


async def of_request(request: Request) -> str:
    return request.headers.get("x", "")


async def set_tenant(request: Request) -> AsyncIterator[None]:
    token = tenant.set(request.headers["x-tenant"])
    yield
    tenant.reset(token)


async def of_the_tenant() -> str:
    return tenant.get()


async def nothing(x_user: Annotated[str, Header()] = "") -> None:
    return None


class Asker:
    """Who asks, by an object with code of its own."""

    async def __call__(self, request: Request) -> str:
        return request.cookies.get("session", "")


class Key(APIKeyHeader):
    """A scheme with code of its own."""

    async def __call__(self, request: Request) -> str | None:  # type: ignore[override]
        return request.headers.get("x-key")


GATES: list[tuple[Any, str]] = [
    (oauth, "authorization"),
    (HTTPBearer(), "authorization"),
    (APIKeyHeader(name="X-Key"), "x-key"),
    (Key(name="X-Key"), "test_audit_identity.Key"),
    (by_cookie, "by_cookie"),
    (by_header, "x-user"),
    (of_request, "of_request"),
    (set_tenant, "set_tenant"),
    (Asker(), "Asker"),
    (bearer_user, "bearer_user"),
]


@pytest.mark.parametrize("place", ["route", "router", "application", "mounted"])
@pytest.mark.parametrize(("gate", "named"), GATES, ids=named)
def test_p10_a_gate_that_asks_who_it_is_is_found(
    gate: Any, named: str, place: str, memory: CacheManager
) -> None:
    """Wherever it stands."""
    app = inner = FastAPI(dependencies=[Depends(gate)] * (place == "application"))
    if place == "mounted":
        app = FastAPI()
        inner = FastAPI(dependencies=[Depends(gate)])
        app.mount("/sub", inner)
    router = APIRouter(dependencies=[Depends(gate)] * (place == "router"))

    @router.get("/it", dependencies=[Depends(gate)] * (place == "route"))
    @cache_response(memory, "own")
    async def read_it() -> int:
        return 1

    inner.include_router(router)
    found = the_finding(app, "identity", "read_it", "make it a parameter")
    assert named in found.what
    takes_all = gate is of_request or type(gate) in (Asker, Key)
    assert ("vary=" in found.mend, "and return that" in found.mend) == (not takes_all, takes_all)
    assert found.mend.index("parameter") < found.mend.index("shared=True")


def keyed(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/it")
    @cache_response(manager, "own")
    async def read_it(user: Annotated[str, Depends(bearer_user)]) -> str:
        return user


def for_everybody(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/it", dependencies=[Depends(oauth)])
    @cache_response(manager, "own", shared=True)
    async def read_it(request: Request) -> str:
        return request.headers["x"]


def varied(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/it", dependencies=[Depends(by_header), Depends(oauth)])
    @cache_response(manager, "own", vary=("x-user", "authorization"))
    async def read_it() -> int:
        return 1


def varied_by_variable(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/it", dependencies=[Depends(set_tenant)])
    @cache_response(manager, "own", vary=(tenant,))
    async def read_it() -> str:
        return tenant.get()


def of_the_application(app: FastAPI, manager: CacheManager) -> None:
    async def session(request: Request) -> Any:
        return request.app.state.session

    @app.get("/it")
    @cache_response(manager, "own", ignore=("session",))
    async def read_it(session: Annotated[Any, Depends(session)]) -> str:
        return str(session)


def that_may_be_nobody(app: FastAPI, manager: CacheManager) -> None:
    async def user(x_user: Annotated[str, Header()] = "") -> None | str:  # noqa: RUF036 - the order is tested
        return x_user or None

    @app.get("/it")
    @cache_response(manager, "own")
    async def read_it(user: Annotated[Any, Depends(user)]) -> int:
        return 1


def that_nobody_tells_of(app: FastAPI, manager: CacheManager) -> None:
    async def untold(x_user: Annotated[str, Header()] = ""):  # type: ignore[no-untyped-def]
        return x_user

    @app.get("/it")
    @cache_response(manager, "own")
    async def read_it(user: Annotated[str, Depends(untold)]) -> str:
        return user


@pytest.mark.parametrize(
    "right",
    [
        keyed,
        for_everybody,
        varied,
        varied_by_variable,
        of_the_application,
        that_may_be_nobody,
        that_nobody_tells_of,
    ],
)
def test_p10_who_asks_is_in_the_key(right: Wrong, memory: CacheManager) -> None:
    """Or does not matter: then there is nothing to find."""
    app = FastAPI()
    right(app, memory)
    assert findings(app) == []


def ignored_user(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/it")
    @cache_response(manager, "own", ignore=("user",))
    async def read_it(user: Annotated[str, Security(bearer_user)]) -> str:
        return user


def ignored_header(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/it")
    @cache_response(manager, "own", ignore=("x_user",))
    async def read_it(x_user: Annotated[str, Header()] = "") -> str:
        return x_user


def ignored_tenant(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/it")
    @cache_response(manager, "own", ignore=("name",))
    async def read_it(name: Annotated[str, Depends(of_the_tenant)]) -> str:
        return name


def of_a_dependency_that_is_cached(app: FastAPI, manager: CacheManager) -> None:
    @cache_response(manager, "own", ignore=("user",))
    async def read_it(user: Annotated[str, Depends(bearer_user)]) -> str:
        return user

    @app.get("/it")
    async def endpoint(value: Annotated[str, Depends(read_it)]) -> str:
        return value


def nobody(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/it")
    @cache_response(manager, "own")
    async def read_it(user: Annotated[Any, Depends(nothing)]) -> str:
        return "x"


def below_one_that_hides(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/it")
    @explicit
    @cache_response(manager, "own")
    async def read_it(number: int) -> int:
        return number


def own_headers(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/it")
    @cache_response(manager, "own")
    async def read_it(request: Request) -> str:
        return request.headers["x-user"]


def own_cookie(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/it")
    @cache_response(manager, "own")
    def read_it(it: Request, number: int) -> str:
        return it.cookies["session"] + str(number)


def own_state(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/it")
    @around
    @cache_response(manager, "own")
    async def read_it(request: Request) -> str:
        return str(request.state.user)


@pytest.mark.parametrize(
    "wrong",
    [
        ignored_user,
        ignored_header,
        ignored_tenant,
        of_a_dependency_that_is_cached,
        nobody,
        below_one_that_hides,
        own_headers,
        own_cookie,
        own_state,
    ],
)
def test_p10_an_identity_that_the_key_lacks_is_found(wrong: Wrong, memory: CacheManager) -> None:
    """The remedy names the function."""
    app = FastAPI()
    wrong(app, memory)
    the_finding(app, "identity", "read_it")


# Parameters that the key leaves out.


def key_without_the_request(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/{number}")
    @cache_response(manager, "own", key="{number}")
    async def read_it(request: Request, number: int) -> str:
        return request.headers["x"]


def key_without_the_query(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/{number}")
    @cache_response(manager, "own", key="{number}")
    async def read_it(request: Request, number: int) -> str:
        return request.query_params["x"]


def key_function_without_the_request(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/{number}")
    @cache_response(manager, "own", key=lambda request, number: (number,))
    async def read_it(request: Request, number: int) -> str:
        return str(request.url)


def key_without_the_path(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/{shop}/{number}")
    @cache_response(manager, "own", key="{number}", ignore=("shop",))
    async def read_it(shop: str, number: int) -> str:
        return f"{shop} {number}"


def digest_without_the_path(app: FastAPI, manager: CacheManager) -> None:
    router = APIRouter(prefix="/{shop}")

    @router.get("/{number}")
    @cache_response(manager, "own", ignore=["shop"])
    def read_it(number: int, shop: str) -> str:
        return f"{shop} {number}"

    app.include_router(router)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (key_without_the_request, "request"),
        (key_without_the_query, "request"),
        (key_function_without_the_request, "request"),
        (key_without_the_path, "shop"),
        (digest_without_the_path, "shop"),
    ],
)
def test_p10_a_parameter_that_the_key_leaves_out_is_found(
    wrong: Wrong, named: str, memory: CacheManager
) -> None:
    """It reads it, and it decides."""
    app = FastAPI()
    wrong(app, memory)
    found = the_finding(app, "key")
    assert f"{named!r}" in found.what
    assert named in found.mend or "read_it" in found.mend


def key_with_the_request(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/{number}")
    @cache_response(manager, "own", key="{number}:{request.headers[x]}")
    async def read_it(request: Request, number: int) -> str:
        return request.headers["x"]


def key_with_another_use_of_the_request(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/{number}")
    @cache_response(manager, "own", key="{number}")
    async def read_it(request: Request, response: Response, number: int) -> str:
        response.headers["x"] = "y"
        return str(request.app.title)


def ignoring_what_is_not_read(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/{shop}/{number}")
    @cache_response(manager, "own", key="{number}", ignore=("shop", "trace"))
    async def read_it(shop: str, number: int, trace: Annotated[str, Query()] = "") -> str:
        return str(number) + trace


def key_of_the_path(app: FastAPI, manager: CacheManager) -> None:
    @app.get("/{shop}/{number}")
    @cache_response(manager, "own", key="{shop}:{number}")
    async def read_it(shop: str, number: int) -> str:
        return f"{shop} {number}"


@pytest.mark.parametrize(
    "right",
    [
        key_with_the_request,
        key_with_another_use_of_the_request,
        ignoring_what_is_not_read,
        key_of_the_path,
    ],
)
def test_p10_a_key_that_has_all_is_right(right: Wrong, memory: CacheManager) -> None:
    """What is not read, and what is no part of the path, may be left out."""
    app = FastAPI()
    right(app, memory)
    assert findings(app) == []


READS: list[tuple[str, bool]] = [
    *(
        (each, False)
        for each in ("headers", "cookies", "client", "state", "user", "auth", "session")
    ),
    *((each, True) for each in ("headers", "method", "url", "base_url", "query_params")),
    *((each, True) for each in ("path_params", "url_for", "state", "cookies", "client")),
]


class Known(AuthenticationBackend):
    """Knows everybody."""

    async def authenticate(self, conn: Any) -> Any:
        return AuthCredentials(), SimpleUser("ada")


class WithSession:
    """Puts a session into the scope of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "session": {}}, receive, send)


@pytest.mark.parametrize(("attribute", "has_own"), READS, ids=named)
def test_p10_what_is_found_is_never_stored(
    attribute: str, has_own: bool, memory: CacheManager
) -> None:
    """A request of which a function reads this has no entry, so the finding is no false alarm."""
    app, runs = FastAPI(), [0]
    app.add_middleware(AuthenticationMiddleware, backend=Known())
    app.add_middleware(WithSession)
    source = f"""
async def read_it(request: Request) -> str:
    runs[0] += 1
    return str(request.{attribute}{"('read_it')" if attribute == "url_for" else ""})[:0]
"""
    scope: dict[str, Any] = {"Request": Request, "runs": runs, "__name__": __name__}
    exec(source, scope)
    cached = cache_response(memory, "own", key="one" if has_own else None)
    app.get("/it")(cached(scope["read_it"]))
    found = the_finding(app, "key" if has_own else "identity", "read_it")
    assert ("vary=" in found.mend) is (not has_own and attribute in ("headers", "cookies"))
    with TestClient(app) as client:
        assert [client.get("/it").status_code for _ in range(3)] == [200] * 3
    assert runs == [3]


@pytest.mark.parametrize(("vary", "kinds"), [("accept-language", ["identity"]), ("cookie", [])])
def test_p8_cookies_are_in_the_key_by_their_own_header_only(
    vary: str, kinds: list[str], memory: CacheManager
) -> None:
    """Another header in `vary=` says nothing of them."""
    app = FastAPI()

    @app.get("/it")
    @cache_response(memory, "own", vary=(vary,))
    async def read_it(request: Request) -> str:
        return request.cookies.get("user", "")

    assert [each.kind for each in findings(app)] == kinds

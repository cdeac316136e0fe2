"""What is not known to be in the key, or the same for everybody, is nobody else's (P2, P8)."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response, Security
from fastapi.security import OAuth2PasswordBearer, SecurityScopes

from ... import CacheManager, cache_response
from ..naming import named
from .clients import ALICE, BOB, BYPASS, HIT, STORED, ask, bodies, statuses

tenant: ContextVar[str] = ContextVar("tenant")


async def test_p8_one_name_that_cannot_be_resolved_blinds_nobody(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """The request is known by what it is, whatever stands in the annotations beside it."""

    def decorate(function: Any) -> Any:
        function.__annotations__["session"] = "Session"  # which exists for type checkers only
        return cache_response(our_manager, "me", ignore=("session",))(function)

    @decorate
    async def me(request: Request, session: Any = None) -> dict[str, str]:
        return {"name": request.headers["authorization"]}

    @app.get("/")
    async def endpoint(request: Request) -> Any:
        return await me(request)

    asked = [{"headers": ALICE}, {"headers": BOB}]
    assert await bodies(app, *asked) == [{"name": "alice"}, {"name": "bob"}]


async def test_p8_a_request_needs_no_annotation(our_manager: CacheManager) -> None:
    """It is watched wherever it is among the arguments."""

    @cache_response(our_manager, "me", key=lambda *_, **__: "me", ignore=("given", "named"))
    async def me(*given, **named) -> Any:  # type: ignore[no-untyped-def]
        (request,) = [*given, *named.values()]
        return request.headers["authorization"]

    alice, bob = (
        Request(
            {"type": "http", "method": "GET", "path": "/", "headers": [(b"authorization", name)]}
        )
        for name in (b"alice", b"bob")
    )
    assert [await me(alice), await me(bob)] == ["alice", "bob"]
    assert [await me(request=alice), await me(request=bob)] == ["alice", "bob"]


async def test_p8_an_exception_of_a_call_that_read_the_request_is_its_own(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """Whoever asks at the same moment gets what he has to be told."""

    @app.get("/")
    @cache_response(our_manager, "pay")
    async def pay(request: Request) -> dict[str, str]:
        card = request.headers["authorization"]
        await asyncio.sleep(0)
        raise HTTPException(422, f"no such card: {card}")

    told = await ask(app, {"headers": ALICE}, {"headers": BOB}, at_once=True)
    assert [each.json()["detail"] for each in told] == ["no such card: alice", "no such card: bob"]


async def test_p8_an_exception_of_a_call_that_set_a_cookie_is_its_own(
    our_manager: CacheManager,
) -> None:
    """A cookie set before, or with the exception, is one client's."""
    number = 0
    started, go_on = asyncio.Event(), asyncio.Event()

    @cache_response(our_manager, "login")
    async def login(response: Response) -> None:
        nonlocal number
        number += 1
        mine = number
        started.set()
        await go_on.wait()
        raise HTTPException(401, str(mine), headers={"Set-Cookie": f"try={mine}"})

    calls = [asyncio.create_task(login(Response())) for _ in range(3)]
    await started.wait()
    await asyncio.sleep(0)
    go_on.set()
    failed = await asyncio.gather(*calls, return_exceptions=True)
    assert len({each.detail for each in failed if isinstance(each, HTTPException)}) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"key": "product:{product_id}"},
        {"key": lambda product_id, request: f"product:{product_id}"},
        {"ignore": ("request",)},
        {"vary": ("accept",)},
    ],
    ids=named,
)
async def test_p8_what_is_read_and_not_in_the_key_is_not_stored(
    app: FastAPI, our_manager: CacheManager, options: dict[str, Any]
) -> None:
    """With a key of one's own, with the request ignored, and with another header in the key."""
    options = dict(options)
    if options.get("key") == "product:{product_id}":
        options["ignore"] = ("request",)

    @app.get("/{product_id}")
    @cache_response(our_manager, "p", **options)
    async def product(product_id: int, request: Request) -> dict[str, str]:
        return {"for": request.headers["authorization"]}

    asked = [{"url": "/1", "headers": ALICE}, {"url": "/1", "headers": BOB}]
    assert await bodies(app, *asked, *asked) == 2 * [{"for": "alice"}, {"for": "bob"}]


async def test_p8_the_query_of_an_ignored_request_is_in_no_key(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """Method, path and query are harmless only where the key holds them."""

    @app.get("/{name}")
    @cache_response(our_manager, "s", ignore=("request", "name"))
    async def search(request: Request, name: str) -> Any:
        return [request.query_params["q"], request.url.path, request.path_params["name"]]

    asked = [{"url": "/a?q=1"}, {"url": "/a?q=2"}, {"url": "/b?q=1"}]
    expected = [["1", "/a", "a"], ["2", "/a", "a"], ["1", "/b", "b"]]
    assert await bodies(app, *asked, *asked) == 2 * expected


async def test_p2_scopes_are_part_of_the_key(app: FastAPI, our_manager: CacheManager) -> None:
    """A dependency that is cached answers for the scopes that it was asked with."""

    @cache_response(our_manager, key_prefix="user")
    async def user(scopes: SecurityScopes, authorization: Annotated[str, Header()]) -> str:
        if "admin" in scopes.scopes:
            raise HTTPException(403)
        return authorization

    @app.get("/me")
    async def me(u: Annotated[str, Security(user, scopes=["me"])]) -> Any:
        return u

    @app.get("/admin")
    async def admin(u: Annotated[str, Security(user, scopes=["admin"])]) -> Any:
        return "for admins"

    asked = [{"url": url, "headers": ALICE} for url in ("/admin", "/me", "/admin", "/me")]
    assert [each.status_code for each in await ask(app, *asked)] == [403, 200, 403, 200]


async def test_p8_a_tenant_of_a_router_is_in_the_key_or_nothing_is_stored(
    app: FastAPI, our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A dependency that says who asks by a context variable is named, with what to do."""

    async def put_tenant(x_tenant: Annotated[str, Header()]) -> None:
        tenant.set(x_tenant)

    router = APIRouter(dependencies=[Depends(put_tenant)], route_class=app.router.route_class)

    @router.get("/guarded")
    @cache_response(our_manager, "guarded")
    async def guarded() -> Any:
        return tenant.get()

    @router.get("/known")
    @cache_response(our_manager, "known", vary=(tenant, "accept-language"))
    async def known() -> Any:
        return tenant.get()

    @router.get("/same")
    @cache_response(our_manager, "same", shared=True)
    async def same() -> Any:
        return "for all"

    app.include_router(router)
    one, two = {"headers": {"x-tenant": "one"}}, {"headers": {"x-tenant": "two"}}

    def at(url: str) -> list[dict[str, Any]]:
        return [{"url": url, **each} for each in (one, two, one, two)]

    assert await bodies(app, *at("/guarded")) == ["one", "two", "one", "two"]
    assert await statuses(app, *at("/guarded")) == [BYPASS] * 4
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "put_tenant" in warnings[0]
    assert warnings[0].index("vary=") < warnings[0].index("shared=True")
    assert await bodies(app, *at("/known")) == ["one", "two", "one", "two"]
    assert await statuses(app, *at("/known")) == [HIT] * 4
    language = {"headers": {**one["headers"], "accept-language": "de"}, "url": "/known"}
    assert await statuses(app, language, language) == [STORED, HIT]
    assert await statuses(app, *at("/same")) == [STORED, HIT, HIT, HIT]


async def test_p8_what_a_session_needs_of_the_application_is_nobodys(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """A dependency that takes the request for `request.app` alone learns nothing of who asks."""

    async def session(request: Request) -> Any:
        return request.app.title

    async def session_of(request: Request) -> Any:
        return request.app.title + request.method

    @app.get("/one")
    @cache_response(our_manager, "one", ignore=("session",))
    async def one(session: Annotated[str, Depends(session)]) -> int:
        return 1

    @app.get("/two")
    @cache_response(our_manager, "two", ignore=("session",))
    async def two(session: Annotated[str, Depends(session_of)]) -> int:
        return 2

    asked = [{"url": "/one"}, {"url": "/one"}, {"url": "/two"}, {"url": "/two"}]
    assert await statuses(app, *asked) == [STORED, HIT, BYPASS, BYPASS]


async def test_p8_a_login_in_the_key_needs_no_more(app: FastAPI, our_manager: CacheManager) -> None:
    """A security scheme of which an argument is made, or whose header is in the key."""
    scheme = OAuth2PasswordBearer("token")

    async def login(token: Annotated[str, Depends(scheme)]) -> str:
        return token

    @app.get("/argument")
    @cache_response(our_manager, "argument")
    async def argument(user: Annotated[str, Depends(login)]) -> str:
        return user

    @app.get("/header", dependencies=[Depends(login)])
    @cache_response(our_manager, "header", vary=("authorization",))
    async def header() -> str:
        return "protected"

    def of(name: str, url: str) -> dict[str, Any]:
        return {"url": url, "headers": {"authorization": f"Bearer {name}"}}

    for url in ("/argument", "/header"):
        asked = [of("alice", url), of("bob", url)]
        assert await statuses(app, *asked, *asked) == [STORED, STORED, HIT, HIT]
        assert (await ask(app, {"url": url}))[0].status_code == 401


async def test_a_url_can_be_changed_as_without_a_cache(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """Its methods return what they return of a plain request."""

    @app.get("/")
    @cache_response(our_manager, "url")
    async def url(request: Request) -> list[str]:
        url = request.url
        changed = [
            url.include_query_params(page=2),
            url.replace_query_params(page=3),
            url.remove_query_params("q"),
            url.replace(scheme="https"),
            request.base_url.replace(path="/x"),
        ]
        return [str(each) for each in changed] + [repr(url), url.path, url.query, url.scheme]

    (found,) = await bodies(app, {"url": "/?q=1"})
    assert found == [
        *("http://test/?q=1&page=2", "http://test/?page=3", "http://test/", "https://test/?q=1"),
        *("http://test/x", "URL('http://test/?q=1')", "/", "q=1", "http"),
    ]


async def test_p8_a_tenant_of_the_path_that_only_a_dependency_knows(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """What an ignored argument is made of decides about the result, wherever it stands."""

    async def database(tenant: str) -> str:
        return f"items of {tenant}"

    @app.get("/{tenant}/items")
    @cache_response(our_manager, "items", ignore=("items",))
    async def items(items: Annotated[str, Depends(database)]) -> str:
        return items

    asked = [{"url": f"/{tenant}/items"} for tenant in ("one", "two")]
    assert await bodies(app, *asked) == ["items of one", "items of two"]


async def test_p8_an_exception_belongs_to_its_function(our_manager: CacheManager) -> None:
    """Two functions may have one key; what one of them raises is not what the other one does."""
    go_on = asyncio.Event()

    @cache_response(our_manager, "user", key="{user_id}")
    async def profile(user_id: int) -> str:
        await go_on.wait()
        return "profile"

    @cache_response(our_manager, "user", key="{name}")
    async def secret(name: int) -> str:
        await go_on.wait()
        raise HTTPException(403, "a secret")

    async def by_hand() -> str:
        return await our_manager.get_or_set("user:1", lambda: "profile")

    for others in (partial(profile, 1), by_hand):
        go_on.clear()
        calls = [asyncio.create_task(each) for each in (secret(1), others())]
        await asyncio.sleep(0)
        go_on.set()
        failed, found = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(failed, HTTPException)
        assert found == "profile"


async def test_p2_factories_that_differ_in_a_dependency_alone_are_told_apart(
    our_manager: CacheManager,
) -> None:
    """Each has entries of its own: the second one would answer with the first one's items."""

    def items_of(database: Callable[[], str]) -> FastAPI:
        app = FastAPI()

        @app.get("/")
        @cache_response(our_manager, "items", ignore=("items",))
        async def items(items: Annotated[str, Depends(database)]) -> str:
            return items

        return app

    apps = [items_of(lambda: "one"), items_of(lambda: "two"), items_of(lambda: "one")]
    found = [(await ask(app, {}))[0].json() for _ in range(2) for app in apps]
    assert found == ["one", "two", "one"] * 2

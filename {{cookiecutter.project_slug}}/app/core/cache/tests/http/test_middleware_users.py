"""Ways by which `CacheMiddleware` could tell one user, or a proxy, what is for another."""

from contextvars import ContextVar
from enum import Enum
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header, Response, Security
from fastapi.security import APIKeyHeader, APIKeyQuery
from pydantic import AliasChoices, BaseModel, ConfigDict, field_serializer
from pydantic_core import core_schema
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ... import CachedRoute, CacheManager, CacheMiddleware, cache_response
from .origin import STATUS, TIMES, ask

NAMES = ("user", "x-user", "x-name")


def application(route_class: type | None = None) -> FastAPI:
    app = FastAPI()
    app.add_middleware(CacheMiddleware, name="t")
    if route_class is not None:
        app.router.route_class = route_class
    return app


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("alias", ["x-user", AliasChoices("x-user", "x-name")], ids=str)
async def test_p8_a_header_that_is_looked_for_by_another_name(
    exact: CacheManager, alias: Any, name: str
) -> None:
    """Versions of FastAPI differ in which names they look for."""
    app = application()

    @app.get("/it")
    @cache_response(exact, "it")
    async def it(user: Annotated[str, Header(validation_alias=alias)] = "nobody") -> str:
        return user

    told = {(await ask(app, headers={name: user})).body for user in ("ada", "bob")}
    assert told in ({b'"ada"', b'"bob"'}, {b'"nobody"'})
    for _ in range(TIMES):
        for user in ("ada", "bob"):
            answer = await ask(app, headers={name: user})
            assert answer.body in (f'"{user}"'.encode(), b'"nobody"')
            assert len(told) == 1 or name in (answer.says("vary") or "")
    assert answer.is_early


@pytest.mark.parametrize(
    ("scheme", "target"),
    [(APIKeyHeader(name="x-key"), "/it"), (APIKeyQuery(name="key"), "/it?key=a")],
    ids=["header", "query"],
)
async def test_p8_an_answer_behind_a_security_scheme_is_private(
    exact: CacheManager, scheme: Any, target: str
) -> None:
    """A proxy does not know whose key has been taken back; some proxies do not heed `Vary`."""
    app = application()

    @app.get("/it")
    @cache_response(exact, "it")
    async def it(key: Annotated[str, Security(scheme)]) -> str:
        return key

    for _ in range(TIMES):
        answer = await ask(app, target, {"x-key": "a"})
        assert "private, max-age" in (answer.says("cache-control") or "")
    assert "; hit" in (answer.says(STATUS) or "")


async def test_p8_an_answer_with_a_cookie_is_private(exact: CacheManager) -> None:
    """A dependency sets it, which runs on a hit, too; a proxy would give it to others."""
    app = application()

    def set_cookie(response: Response) -> None:
        response.set_cookie("session", "ada")

    @app.get("/it", dependencies=[Depends(set_cookie)])
    @cache_response(exact, "it")
    async def it() -> int:
        return 1

    for _ in range(TIMES):
        answer = await ask(app)
        assert answer.says("set-cookie")
        assert answer.says("cache-control") == "private, no-cache"
    assert "; hit" in (answer.says(STATUS) or "")


class Named:
    """A middleware that puts the name of the user into the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        user = dict(scope["headers"]).get(b"x-user", b"???")

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": message["body"].replace(b"???", user)}
            await send(message)

        await self._app(scope, receive, send_named)


@pytest.mark.parametrize("is_mounted", [True, False])
async def test_p8_what_lies_between_may_write_for_one_user(
    exact: CacheManager, *, is_mounted: bool
) -> None:
    """The entry of a `CachedRoute` is not what is sent: neither its tag nor its age say anything."""
    app, inner = FastAPI(), FastAPI()
    inner.add_middleware(Named)
    inner.router.route_class = CachedRoute

    @inner.get("/it")
    @cache_response(exact, "it")
    async def it() -> str:
        return "???"

    around = app if is_mounted else inner
    around.add_middleware(CacheMiddleware)
    app.mount("/inner", inner)
    target = "/inner/it" if is_mounted else "/it"
    for _ in range(TIMES):
        ada = await ask(around, target, {"x-user": "ada"})
        assert (ada.body, ada.says("cache-control")) == (b'"ada"', "private, no-cache")
        again = {"x-user": "bob", "if-none-match": ada.says("etag") or ""}
        bob = await ask(around, target, again)
        assert (bob.status, bob.body) == (200, b'"bob"')


async def test_p8_what_is_mounted_is_not_answered_for_it(exact: CacheManager) -> None:
    """A server may be told any `root_path`, also one that leads to a mounted application."""
    app, inner = application(), FastAPI()
    inner.router.route_class = CachedRoute
    for each in (app, inner):

        @each.get("/it")
        @cache_response(exact, f"it{id(each)}")
        async def it() -> int:
            return 1

    app.mount("/inner", inner)
    for _ in range(TIMES):
        await ask(app)
        await ask(app, "/inner/it")
    for target in ("/it", "/inner/it"):
        plain = await ask(app, target, is_checked=False, root_path="/inner")
        assert not plain.is_early


async def test_p8_a_guard_around_a_route_is_not_passed_by(exact: CacheManager) -> None:
    """An application may wrap the ASGI application of one route."""
    app = application()

    @app.get("/it")
    @cache_response(exact, "it")
    async def it() -> str:
        return "secret"

    route: Any = app.router.routes[-1]
    inner = route.app

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        may = (b"x-user", b"ada") in scope["headers"]
        await (inner if may else Response(status_code=403))(scope, receive, send)

    route.app = guarded
    for _ in range(TIMES):
        assert (await ask(app, headers={"x-user": "ada"})).body == b'"secret"'
        assert (await ask(app, headers={"x-user": "bob"})).status == 403


user: ContextVar[str] = ContextVar("user", default="ada")


class Name(Enum):
    """An enum that is parsed by code of its own."""

    ADA, BOB = "ada", "bob"

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> Any:
        return core_schema.no_info_plain_validator_function(lambda _: cls(user.get()))


async def test_p8_an_enum_that_is_parsed_for_one_user(exact: CacheManager) -> None:
    app = application()

    @app.get("/it/{name}")
    @cache_response(exact, "it")
    async def it(name: Name) -> str:
        return str(name.value)

    for _ in range(TIMES):
        for each in ("ada", "bob"):
            user.set(each)
            assert (await ask(app, "/it/me")).body == f'"{each}"'.encode()


class Whole(BaseModel):
    """A model that shows all."""

    email: str


class Masked(BaseModel):
    """A model that shows all."""

    model_config = ConfigDict(title="Whole")
    email: str

    @field_serializer("email")
    def hidden(self, value: str) -> str:
        return "*" * len(value)


@pytest.mark.parametrize("route_class", [None, CachedRoute])
async def test_p8_models_of_one_schema_may_show_more_or_less(
    exact: CacheManager, route_class: type | None
) -> None:
    """One function, two routes: their models have one name, and only their serializers differ."""
    app = application(route_class)

    @cache_response(exact, "it")
    async def it() -> dict[str, str]:
        return {"email": "ada"}

    app.get("/whole", response_model=Whole)(it)
    app.get("/masked", response_model=Masked)(it)
    for _ in range(TIMES):
        assert (await ask(app, "/whole")).body == b'{"email":"ada"}'
        assert (await ask(app, "/masked")).body == b'{"email":"***"}'

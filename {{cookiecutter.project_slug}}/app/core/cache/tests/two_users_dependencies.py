"""Ways in which dependencies tell an endpoint who asks: see `two_users`."""

import inspect
from collections.abc import Mapping
from functools import wraps
from typing import Annotated, Any

from fastapi import APIRouter, Cookie, Depends, FastAPI, Header, Query, Request, Security
from fastapi.security import SecurityScopes
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from .two_users import WAYS, Site, Way, tenant, user_of_request, way


async def by_header(x_user: Annotated[str, Header()]) -> str:
    return x_user


async def by_cookie(session: Annotated[str, Cookie()]) -> str:
    return session


async def by_request(request: Request) -> str:
    return request.headers["x-user"]


async def by_connection(connection: HTTPConnection) -> str:
    return connection.headers["x-user"]


async def by_sub_dependency(name: Annotated[str, Depends(by_header)]) -> str:
    return name


async def by_generator(name: Annotated[str, Depends(by_request)]) -> Any:
    yield name


class ByClass:
    """A class that is a dependency."""

    def __init__(self, x_user: Annotated[str, Header()]) -> None:
        self.name = x_user


class ByInstance:
    """An object that is a dependency."""

    async def __call__(self, request: Request) -> str:
        return request.headers["x-user"]


DEPENDENCIES: dict[str, Any] = {
    each.__name__: each
    for each in (by_header, by_cookie, by_request, by_connection, by_sub_dependency, by_generator)
} | {"ByClass": ByClass, "ByInstance": ByInstance()}


def named(found: Any) -> str:
    """Return the name that a dependency has found."""
    return found if isinstance(found, str) else found.name


def dependency(provide: Any) -> Mapping[str, Way]:
    """Return ways: a dependency's finding is an argument, is ignored, or is told unseen."""

    def an_argument(site: Site) -> None:
        @site.router.get("/me")
        @site.cached()
        async def me(found: Annotated[Any, Depends(provide)]) -> Any:
            return named(found)

    def ignored(site: Site) -> None:
        @site.router.get("/me")
        @site.cached(ignore=("found",))
        async def me(found: Annotated[Any, Depends(provide)]) -> Any:
            return named(found)

    def left_out(site: Site) -> None:
        @site.router.get("/me")
        @site.cached(key="page:{1}".format)  # of which nobody can see what it reads
        async def me(found: Annotated[Any, Depends(provide)], page: int = 1) -> Any:
            return named(found)

    async def remember(found: Annotated[Any, Depends(provide)]) -> None:
        user_of_request.set(named(found))

    def of_the_route(site: Site) -> None:
        @site.router.get("/me", dependencies=[Depends(remember)])
        @site.cached()
        async def me() -> Any:
            return user_of_request.get()

    def of_the_router(site: Site) -> None:
        router = APIRouter(route_class=site.router.route_class)

        @router.get("/me")
        @site.cached()
        async def me() -> Any:
            return user_of_request.get()

        outer = APIRouter(dependencies=[Depends(remember)])
        outer.include_router(router)
        site.app.include_router(outer)

    def of_the_inclusion(site: Site) -> None:
        router = APIRouter(route_class=site.router.route_class)

        @router.get("/me")
        @site.cached()
        async def me() -> Any:
            return user_of_request.get()

        site.app.include_router(router, dependencies=[Depends(remember)])

    def as_none(site: Site) -> None:
        @site.router.get("/me")
        @site.cached()
        async def me(_: Annotated[None, Depends(remember)]) -> Any:
            return user_of_request.get()

    def in_vary(site: Site) -> None:
        @site.router.get("/me", dependencies=[Depends(remember)])
        @site.cached(vary=(user_of_request,))
        async def me() -> Any:
            return user_of_request.get()

    def in_another_vary(site: Site) -> None:
        tenant.set("both")

        @site.router.get("/me", dependencies=[Depends(remember)])
        @site.cached(vary=(tenant,))
        async def me() -> Any:
            return user_of_request.get()

    def by_a_function_in_vary(site: Site) -> None:
        @site.router.get("/me", dependencies=[Depends(remember)])
        @site.cached(vary=(lambda: user_of_request.get(None),))
        async def me() -> Any:
            return user_of_request.get()

    def of_the_state(site: Site) -> None:
        async def put(request: Request, found: Annotated[Any, Depends(provide)]) -> None:
            request.state.found = named(found)

        @site.router.get("/me", dependencies=[Depends(put)])
        @site.cached()
        async def me(request: Request) -> Any:
            return request.state.found

    def of_a_cached_dependency(site: Site) -> None:
        @site.cached(ignore=("found",))
        async def who(found: Annotated[Any, Depends(provide)]) -> Any:
            return named(found)

        @site.router.get("/me")
        async def me(name: Annotated[str, Depends(who)]) -> Any:
            return name

    def below_a_decorator(site: Site) -> None:
        cached = site.cached(ignore=("found",))

        @site.router.get("/me")
        @decorated
        @cached
        async def me(found: Annotated[Any, Depends(provide)]) -> Any:
            return named(found)

    def below_an_explicit_decorator(site: Site) -> None:
        cached = site.cached(ignore=("found",))

        @site.router.get("/me")
        @explicitly_decorated
        @cached
        async def me(found: Annotated[Any, Depends(provide)]) -> Any:
            return named(found)

    return {name: each for name, each in locals().items() if name not in ("provide", "remember")}


def decorated(function: Any) -> Any:
    """Decorate as most do."""

    @wraps(function)
    async def around(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return around


def explicitly_decorated(function: Any) -> Any:
    """Decorate with the very parameters of what is decorated."""

    @wraps(function)
    async def around(found: Any) -> Any:
        return await function(found=found)

    return around


IN_ALL_WAYS = {"by_header", "by_request"}
OTHERS_IN = {"an_argument", "ignored", "of_the_route", "in_vary"}
for _name, _provide in DEPENDENCIES.items():
    for _what, _way in dependency(_provide).items():
        if _name in IN_ALL_WAYS or _what in OTHERS_IN:
            WAYS[f"{_name}, {_what}"] = _way


# --- parameters, scopes, views, sub-applications ------------------------------------------------------


@way
def header_as_a_parameter(site: Site) -> None:
    @site.router.get("/me")
    @site.cached()
    async def me(x_user: Annotated[str, Header()]) -> Any:
        return x_user


@way
def header_as_an_ignored_parameter(site: Site) -> None:
    @site.router.get("/me")
    @site.cached(ignore=("x_user",))
    async def me(x_user: Annotated[str, Header()]) -> Any:
        return x_user


@way
def cookie_as_an_ignored_parameter(site: Site) -> None:
    @site.router.get("/me")
    @site.cached(ignore=("session",))
    async def me(session: Annotated[str, Cookie()]) -> Any:
        return session


@way
def query_as_a_parameter(site: Site) -> None:
    @site.router.get("/query")
    @site.cached()
    async def me(user: Annotated[str, Query()]) -> Any:
        return user


@way
def scopes(site: Site) -> None:
    @site.cached()
    async def who(scopes: SecurityScopes, x_user: Annotated[str, Header()]) -> str:
        return f"{scopes.scope_str} {x_user}"

    @site.router.get("/me")
    async def me(who: Annotated[str, Security(who, scopes=["me"])]) -> Any:
        return who


@way
def context_variable_of_a_middleware(site: Site) -> None:
    @site.router.get("/me")
    @site.cached(vary=(user_of_request,))
    async def me() -> Any:
        return user_of_request.get()

    class Sets:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                user_of_request.set(scope["user"])
            await self.app(scope, receive, send)

    site.app.add_middleware(Sets)


@way
def class_based_view(site: Site) -> None:
    class View:
        def __init__(self, name: Annotated[str, Depends(by_request)]) -> None:
            self.name = name

        @site.cached(ignore=("self",))
        async def me(self) -> Any:
            return self.name

    # As libraries of class-based views do: the object is a dependency.
    endpoint: Any = View.me
    signature = inspect.signature(endpoint)
    (first,) = signature.parameters.values()
    endpoint.__signature__ = signature.replace(parameters=[first.replace(default=Depends(View))])
    site.router.get("/me")(endpoint)


@way
def sub_application(site: Site) -> None:
    inner = FastAPI()
    inner.router.route_class = site.router.route_class

    async def remember(x_user: Annotated[str, Header()]) -> None:
        user_of_request.set(x_user)

    @inner.get("/me", dependencies=[Depends(remember)])
    @site.cached()
    async def me() -> Any:
        return user_of_request.get()

    site.app.mount("/sub", inner)


# --- told beside what is in the key -------------------------------------------------------------------


async def telling(x_user: Annotated[str, Header()]) -> bool:
    """Say something that is the same for all, and who asks by a context variable."""
    user_of_request.set(x_user)
    return True


async def stub() -> None:
    """Stand for what the application puts here."""


@way
def a_dependency_in_the_key_that_tells_more(site: Site) -> None:
    @site.router.get("/me")
    @site.cached()
    async def me(member: Annotated[bool, Depends(telling)]) -> Any:
        return user_of_request.get()


@way
def a_sibling_of_a_cached_dependency(site: Site) -> None:
    @site.cached()
    async def who() -> str:
        return user_of_request.get()

    @site.router.get("/me")
    async def me(
        member: Annotated[bool, Depends(telling)], name: Annotated[str, Depends(who)]
    ) -> Any:
        return name


@way
def an_overridden_dependency(site: Site) -> None:
    site.app.dependency_overrides[stub] = telling

    @site.router.get("/me", dependencies=[Depends(stub)])
    @site.cached()
    async def me() -> Any:
        return user_of_request.get()


@way
def a_function_called_by_an_endpoint(site: Site) -> None:
    @site.cached()
    async def who() -> str:
        return user_of_request.get()

    @site.router.get("/me", dependencies=[Depends(telling)])
    async def me() -> Any:
        return await who()


@way
def a_context_variable_that_nobody_names(site: Site) -> None:
    context_variable_of_a_middleware(site)
    site.router.routes.clear()

    @site.router.get("/me")
    @site.cached()
    async def me() -> Any:
        return helper()


def helper() -> str:
    return user_of_request.get()


@way
def a_decorator_that_reads_the_request(site: Site) -> None:
    def login(function: Any) -> Any:
        @wraps(function)
        async def around(*args: Any, **kwargs: Any) -> Any:
            user_of_request.set(kwargs["request"].headers["x-user"])
            return await function(*args, **kwargs)

        return around

    cached = site.cached()

    @site.router.get("/me")
    @login
    @cached
    async def me(request: Request) -> Any:
        return user_of_request.get()


@way
def a_part_of_the_state_in_the_key(site: Site) -> None:
    @site.router.get("/me")
    @site.cached(key="{request.state.same}")
    async def me(request: Request) -> Any:
        return request.state.user


@way
def a_parameter_that_nobody_can_see_a_key_function_read(site: Site) -> None:
    @site.router.get("/me")
    @site.cached(key="found:{1}".format)
    async def me(found: Annotated[str, Depends(by_header)], page: int = 1) -> Any:
        return found


@way
def a_value_that_reads_while_it_is_rendered(site: Site) -> None:
    @site.router.get("/me", response_model=None)
    @site.cached()
    async def me(request: Request) -> Any:
        return (request.headers[name] for name in ["x-user"])


@way
def a_router_in_two_applications(site: Site) -> None:
    router = APIRouter(route_class=site.router.route_class)

    @router.get("/me")
    @site.cached()
    async def me() -> Any:
        return user_of_request.get()

    public = FastAPI()
    public.include_router(router)
    site.app.mount("/public", public)
    site.app.include_router(router, dependencies=[Depends(telling)])

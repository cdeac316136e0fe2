"""Functions of factories whose dependencies were made there as well (promises P2 and P8)."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header, Query, Security
from fastapi.security import OAuth2PasswordBearer

from ... import CacheManager, MemoryBackend, cache_response
from ..endpoints import get
from ..processes import printed_by


class Client:
    """What has no identity."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self) -> str:
        """Return what it is asked for."""
        return self.name


class Keyed(Client):
    """What says what it is."""

    def __cache_key__(self) -> str:
        """Return what tells clients apart."""
        return self.name


def database(name: Any) -> Callable[[], Any]:
    """Make a dependency that captured something."""

    def get_db() -> str:
        return str(getattr(name, "name", name))

    return get_db


def nested(name: Any) -> Callable[..., Any]:
    """Make a dependency with one of its own."""

    inner = Depends(database(name))

    def get_repository(db: Any = inner) -> str:
        return str(db)

    return get_repository


def annotated(name: Any) -> Callable[..., Any]:
    """Make a dependency whose annotation says what it takes."""
    inner = database(name)

    async def get_repository(
        db: Annotated[str, Depends(inner)], page: Annotated[int, Query()] = 1
    ) -> str:
        return db

    return get_repository


def a_class(name: Any) -> Callable[..., Any]:
    """Make a class that is a dependency."""

    class Repository:
        def __init__(self, page: Annotated[int, Query(ge=1)] = 1) -> None:
            self.page = page

        def __str__(self) -> str:
            return str(name)

    return Repository


def ended(name: Any) -> Callable[..., Any]:
    """Make a dependency that ends with the request."""

    def get_db() -> Iterator[str]:
        yield str(name)

    return get_db


def with_a_scheme(name: Any) -> Callable[..., Any]:
    """Make a dependency with a scheme of security, and a header."""
    scheme = OAuth2PasswordBearer(tokenUrl=f"token/{name}", auto_error=False)

    security, header = Security(scheme), Header("")

    def get_user(token: Any = security, agent: str = header) -> str:
        return str(name)

    return get_user


def with_an_alias(name: Any) -> Callable[..., Any]:
    """Make a dependency that takes another header."""

    def get_user(agent: Annotated[str, Header(alias=f"x-{name}")] = "") -> str:
        return agent

    return get_user


DEPENDENCIES = {
    each.__name__: each
    for each in (database, nested, annotated, ended, with_a_scheme, with_an_alias)
}
DEPENDENCIES["a partial"] = lambda name: partial(Client.read, Keyed(name))


def create_app(manager: CacheManager, dependency: Callable[..., Any]) -> FastAPI:
    """Make an application, as each of its tests does."""
    app = FastAPI()

    @app.get("/")
    @cache_response(manager, "x", ignore=("db",))
    async def x(db: Annotated[Any, Depends(dependency)]) -> str:
        return str(db)

    return app


@pytest.mark.parametrize("make", DEPENDENCIES.values(), ids=list(DEPENDENCIES))
def test_p2_an_application_may_be_made_again_with_its_dependencies(
    make: Callable[[str], Any], told: Callable[[], list[str]]
) -> None:
    """A dependency is known by its code and by what it captured, as functions are."""
    manager = CacheManager(MemoryBackend())
    for name in ("a", "b", "a", "b"):
        create_app(manager, make(name))
    assert len(manager.functions) == 2
    assert told() == []


async def test_p2_each_application_answers_with_its_own_dependency(backend: MemoryBackend) -> None:
    """Those of equal dependencies share their entries, also with a manager each."""
    one, two = CacheManager(backend), CacheManager(backend)
    for manager in (one, one, two):
        for make in (database, nested, ended):
            for name in ("a", "b"):
                response = await get(create_app(manager, make(name)), "/")
                assert response.json() == name
    assert len(backend._entries) == 6


@pytest.mark.parametrize(
    "make", [lambda name: database(Client(name)), a_class], ids=["of a client", "a class"]
)
async def test_p8_dependencies_without_identity_do_not_meet(
    make: Callable[[str], Any], backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """Their functions have entries of their own, and a warning says which dependency it is."""
    manager = CacheManager(backend)
    apps = [
        create_app(each, make(name)) for each in (manager, CacheManager(backend)) for name in "ab"
    ]
    for _ in range(2):
        assert [(await get(app, "/")).json() for app in apps] == ["a", "b", "a", "b"]
    warnings = [each for each in told() if "shares no entries" in each]
    assert len(warnings) == 2
    assert all("the dependency of 'db'" in each for each in warnings)


async def test_p4_what_is_in_the_key_makes_no_other_function(
    backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """Whatever brings it."""

    def make(manager: CacheManager, client: Client) -> Any:
        @cache_response(manager, "x")
        async def x(db: Annotated[Any, Depends(database(client))]) -> str:
            return str(db)

        return x

    for each in (CacheManager(backend), CacheManager(backend)):
        assert await make(each, Client("a"))("a") == "a"
    assert len(backend._entries) == 1
    assert told() == []


def test_p2_dependencies_are_the_same_in_every_process() -> None:
    """Their identity has no address in it."""
    code = (
        "from {package}.values.classes import NO_CLASSES\n"
        "from {package}.keys.identity import Identity\n"
        "from {package}.tests.keys.test_dependencies import *\n"
        "def make(dependency):\n"
        "    def x(db: Any = Depends(dependency)): ...\n"
        "    return Identity(x, NO_CLASSES, ('db',)).owner.hex()\n"
        "print([make(each('a')) for each in DEPENDENCIES.values()])\n"
    )
    assert len(printed_by(code)) == 1

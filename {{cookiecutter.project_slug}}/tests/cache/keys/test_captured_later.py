"""What a function captured and what changes, dependencies, and functions made again and again (P2, P8)."""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header, Query, Security
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel

from app.core.cache import CacheManager, MemoryBackend, cache_response
from tests.cache.endpoints import get
from tests.cache.processes import in_two_processes


@pytest.fixture
def backend() -> MemoryBackend:
    """Lend a backend that several managers share, as they do a Redis."""
    return MemoryBackend()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Lend a function that returns what has been warned of."""
    return lambda: [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


class Model(BaseModel):
    """Settings as a model."""

    name: str = ""


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


class Settings:
    """Settings as a class like any other."""

    def __init__(self, name: str, **more: Any) -> None:
        self.name = name
        self.ports = (80, 443)
        vars(self).update(more)

    @cached_property
    def title(self) -> str:
        """Return what follows."""
        return self.name.title()


Made = tuple[Any, Callable[[str], None]]


def a_dict(manager: CacheManager) -> Made:
    """Make a function, and what fills the dict that it captured."""
    source: dict[str, str] = {}

    @cache_response(manager, "later")
    async def read() -> str:
        return source["name"]

    return read, lambda name: source.update(name=name)


def a_list_of_a_function(manager: CacheManager) -> Made:
    """Make one whose helper captured the list."""
    source: list[str] = []

    def helper() -> str:
        return source[-1]

    @cache_response(manager, "later")
    async def read() -> str:
        return helper()

    return read, source.append


def a_variable(manager: CacheManager) -> Made:
    """Make one whose variable gets another value."""
    source: Any = None

    @cache_response(manager, "later")
    async def read() -> str:
        return str(source)

    def change(name: str) -> None:
        nonlocal source
        source = name

    return read, change


def a_variable_for_a_client(manager: CacheManager) -> Made:
    """Make one whose variable gets a client."""
    source: Any = None

    @cache_response(manager, "later")
    async def read() -> str:
        return str(source.read())

    def change(name: str) -> None:
        nonlocal source
        source = Client(name)

    return read, change


def another_client(manager: CacheManager) -> Made:
    """Make one whose client is replaced by another one."""
    source = Client("")

    @cache_response(manager, "later")
    async def read() -> str:
        return source.read()

    def change(name: str) -> None:
        nonlocal source
        source = Client(name)

    return read, change


def a_model(manager: CacheManager) -> Made:
    """Make one whose model is changed."""
    source = Model()

    @cache_response(manager, "later")
    async def read() -> str:
        return source.name

    return read, partial(setattr, source, "name")


def settings(manager: CacheManager) -> Made:
    """Make one whose settings are changed."""
    source = Settings("x")

    @cache_response(manager, "later")
    async def read() -> str:
        return source.name

    return read, partial(setattr, source, "name")


def a_variable_that_is_set_below(manager: CacheManager) -> Made:
    """Make one whose variable has no value yet."""

    @cache_response(manager, "later")
    async def read() -> str:
        return str(source.name)

    source = Model()
    return read, partial(setattr, source, "name")


CHANGING = {
    make.__name__: make
    for make in (
        *(a_dict, a_list_of_a_function, a_variable, a_variable_for_a_client, another_client),
        *(a_model, settings, a_variable_that_is_set_below),
    )
}


@pytest.mark.parametrize("make", CHANGING.values(), ids=list(CHANGING))
async def test_p8_what_is_filled_after_the_decoration_is_shared_with_nobody(
    make: Callable[[CacheManager], Made], backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """Two applications have a manager each; the warning names the variable, and is given once."""
    one, fill_one = make(CacheManager(backend))
    two, fill_two = make(CacheManager(backend))
    fill_one("pypi")
    fill_two("internal")
    for _ in range(2):
        assert [await one(), await two()] == ["pypi", "internal"]
    warnings = [each for each in told() if "shares no entries" in each]
    assert len(warnings) == 2
    assert all("'source'" in each and "shared=True" in each for each in warnings)


@pytest.mark.parametrize("make", CHANGING.values(), ids=list(CHANGING))
async def test_p8_a_refresh_is_a_first_call_as_well(
    make: Callable[[CacheManager], Made], backend: MemoryBackend
) -> None:
    """What it stores is read by nobody else."""
    one, fill_one = make(CacheManager(backend))
    two, fill_two = make(CacheManager(backend))
    fill_one("pypi")
    await one.refresh()
    fill_two("internal")
    assert [await two(), await one()] == ["internal", "pypi"]


@pytest.mark.parametrize("make", CHANGING.values(), ids=list(CHANGING))
async def test_p4_such_a_function_hits_its_own_entries(
    make: Callable[[CacheManager], Made], backend: MemoryBackend
) -> None:
    """It is no slower than one that captured a client, and `get` reads its entries, too."""
    manager = CacheManager(backend)
    read, fill = make(manager)
    fill("pypi")
    await read()
    entries = dict(backend._entries)
    await read()
    assert backend._entries == entries
    assert await manager.get(read.cache_key()) == "pypi"


def counted(manager: CacheManager, calls: list[int]) -> Any:
    """Make a function that notes its runs, as tests do."""

    @cache_response(manager, "counted")
    async def read(number: int) -> int:
        calls.append(number)
        return len(calls)

    return read


async def test_p4_functions_with_the_very_same_variables_are_one(
    backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """However these have changed before the second one is called first."""
    calls: list[int] = []
    one, two = (counted(CacheManager(backend), calls) for _ in range(2))
    assert [await one(1), await two(1), await two(2), await one(2)] == [1, 1, 2, 2]
    number = 0

    def numbered() -> Any:
        @cache_response(CacheManager(backend), "numbered")
        async def read() -> int:
            nonlocal number
            number += 1
            return number

        return read

    one, two = numbered(), numbered()
    assert [await one(), await two(), await two()] == [1, 1, 1]
    assert told() == []


async def test_p2_what_is_shared_on_purpose_is_not_looked_at(
    backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """`shared=True` says that the answer is the same, whatever was captured."""
    source: dict[str, str] = {}

    def make() -> Any:
        @cache_response(CacheManager(backend), "shared", shared=True)
        async def read() -> str:
            return source["name"]

        return read

    one, two = make(), make()
    source["name"] = "a"
    assert await one() == "a"
    source["name"] = "b"
    assert await two() == "a"
    assert told() == []


# --- settings of a class like any other ----------------------------------------------------------


class Empty:
    """A class whose objects are filled later."""


class Slotted:
    """A class whose objects have no `__dict__`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def capturing(manager: CacheManager, source: Any) -> Any:
    """Make a function that captured this."""

    @cache_response(manager, "captured")
    async def read() -> str:
        return str(source.name)

    return read


async def test_p2_settings_are_known_by_their_state(
    backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """An object of a class without methods is data, as a dataclass is."""
    manager, other = CacheManager(backend), CacheManager(backend)
    given: list[tuple[str, Any]] = [
        ("a", {}),
        ("b", {}),
        ("a", {"debug": True}),
        ("a", {"hosts": ["x"]}),
    ]
    for each in (manager, manager, other):
        for name, more in given:
            settings = Settings(name, **more)
            read = capturing(each, settings)
            assert settings.title  # which is remembered, and does not count
            assert await read() == name
            await capturing(each, settings)()
    assert len(backend._entries) == len(given)
    assert told() == []


NO_SETTINGS: dict[str, Callable[[], Any]] = {
    "one that can do something": lambda: Client("a"),
    "one with room for more": lambda: Settings("a", rows={}),
    "one with a client": lambda: Settings("a", client=Client("a")),
    "one without state": Empty,
    "one with slots": lambda: Slotted("a"),
    "an object": object,
}


@pytest.mark.parametrize("make", NO_SETTINGS.values(), ids=list(NO_SETTINGS))
def test_p2_what_may_be_more_than_its_state_is_refused(make: Callable[[], Any]) -> None:
    """Equal objects of such a class may be two stores; the error names variable and remedy."""
    manager = CacheManager(MemoryBackend())
    capturing(manager, make())
    with pytest.raises(ValueError, match=r"share its entries .*'source'.*decorate this one once"):
        capturing(manager, make())


# --- dependencies of a factory -------------------------------------------------------------------


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
    for each in (database, nested, annotated, a_class, ended, with_a_scheme, with_an_alias)
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


def test_p2_a_dependency_that_cannot_be_told_from_another_is_named(
    told: Callable[[], list[str]],
) -> None:
    """It captured what has no identity, and decides about no answer for other processes."""

    def make(manager: CacheManager, client: Client) -> Any:
        @cache_response(manager, "x", ignore=("db",))
        async def x(db: Annotated[Any, Depends(database(client))]) -> str:
            return str(db)

        return x

    manager, client = CacheManager(MemoryBackend()), Client("a")
    make(manager, client)
    make(manager, client)
    with pytest.raises(
        ValueError, match=r"'name' of the dependency database.<locals>.get_db, a .*Client"
    ):
        make(manager, Client("a"))
    assert told() == []


def test_p2_dependencies_are_the_same_in_every_process() -> None:
    """Their identity has no address in it."""
    code = (
        "from app.core.cache.values.classes import NO_CLASSES\n"
        "from app.core.cache.keys.identity import identity\n"
        "from tests.cache.keys.test_captured_later import *\n"
        "def make(dependency):\n"
        "    def x(db: Any = Depends(dependency)): ...\n"
        "    return identity(x, NO_CLASSES).hex()\n"
        "print([make(each('a')) for each in DEPENDENCIES.values()])\n"
        "print(identity(lambda: made, NO_CLASSES).hex() if (made := Settings('a')) else '')\n"
    )
    one, two = in_two_processes(code)
    assert one == two


# --- functions that are made again and again -----------------------------------------------------


async def test_p2_what_is_captured_twice_is_told_from_what_is_captured_once(
    backend: MemoryBackend,
) -> None:
    """Two lists, two functions, two classes of one name: which of them stands where counts."""

    def three(a: Any, b: Any, c: Any) -> Any:
        @cache_response(CacheManager(backend), "three")
        async def read() -> str:
            return "".join(each() if callable(each) else each[0] for each in (a, b, c))

        return read

    def named(name: str) -> Callable[[], str]:
        return lambda: name

    for one, two in ((["1"], ["2"]), (named("1"), named("2")), (("1",), ("2",))):
        backend._entries.clear()
        assert await three(one, two, one)() == "121"
        assert await three(one, two, two)() == "122"


async def test_p2_a_function_made_for_each_request_takes_bounded_room(
    told: Callable[[], list[str]],
) -> None:
    """It is told of once, by its name; each of them answers for itself all the while."""
    manager = CacheManager(MemoryBackend())

    def make(name: str, key_prefix: str) -> Any:
        @cache_response(manager, key_prefix)
        async def read() -> str:
            return name

        return read

    for number in range(2100):
        read = make(f"user {number}", f"x{number % 3}")
        assert await read() == f"user {number}"
    assert await make("user 0", "x0")() == "user 0"
    gc.collect()
    assert len(manager.functions) <= 1000
    assert len(manager.readers) <= 1001  # one is that of get_or_set
    [warning] = told()
    assert "make.<locals>.read" in warning
    assert "decorate this one once, outside" in warning


def test_p2_what_is_known_of_other_functions_is_kept() -> None:
    """One that is made again and again takes away nothing but its own."""
    manager = CacheManager(MemoryBackend())

    @cache_response(manager, "other", key="{number}")
    async def one(number: int) -> int:
        return number

    def make(name: str) -> Any:
        @cache_response(manager, "many")
        async def read() -> str:
            return name

        return read

    for number in range(1100):
        make(f"user {number}")
    with pytest.raises(ValueError, match="share its entries"):

        @cache_response(manager, "other", key="{number}")
        async def two(number: int) -> int:
            return -number


def test_p10_a_function_that_is_made_again_is_told_what_has_changed() -> None:
    """No variable is without identity here: it is the content of one that differs by now."""
    manager = CacheManager(MemoryBackend())

    def make() -> list[int]:
        calls: list[int] = []

        @cache_response(manager, "again")
        async def read(item: int) -> int:
            calls.append(item)
            return item

        asyncio.run(read(1))
        return calls

    assert make() == [1]
    with pytest.raises(ValueError, match="what the first one captured has changed since; if the"):
        make()

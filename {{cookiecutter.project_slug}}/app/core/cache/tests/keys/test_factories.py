"""Functions made by factories: the same again, entries of their own, or told (promises P2 and P8)."""

import asyncio
import dataclasses
import enum
import functools
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel
from pydantic_settings import BaseSettings

from ... import CacheManager, MemoryBackend, cache_response, invalidate_cache
from ...keys.identity import Identity
from ...values.classes import NO_CLASSES
from ..processes import printed_by


class Client:
    """What has no identity, and decides about a result."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def fetch(self) -> str:
        """Return what it is asked for."""
        return self.name


class Keyed(Client):
    """A client that says what it is."""

    def __cache_key__(self) -> str:
        """Return what tells clients apart."""
        return self.name


class Settings(BaseSettings):
    """Settings of an application."""

    name: str


class Model(BaseModel):
    """The same as a model."""

    name: str


@dataclasses.dataclass
class Data:
    """The same as a dataclass."""

    name: str


class Items(NamedTuple):
    """The same as a named tuple."""

    name: str


class Kind(enum.Enum):
    """The same as an enum."""

    a = "a"  # its name as well
    b = "b"


async def name_of(source: Any) -> str:
    """Return the name of whatever a factory was given."""
    if isinstance(source, (list, tuple)):
        source = source[0]
    if isinstance(source, dict):
        source = source.get("name") or source["client"]
    if callable(source) and not isinstance(source, type):
        source = source()
        source = await source if asyncio.iscoroutine(source) else source
    return str(getattr(source, "name", source))


def build(manager: CacheManager, source: Any, **options: Any) -> Any:
    """Make a function as a factory of applications does: each of the same module and name."""

    @cache_response(manager, "info", **options)
    async def info() -> list[str]:
        return [await name_of(source)]

    return info


def bears(func: Callable[..., Any]) -> bytes:
    """Return what the records of a function bear."""
    return Identity(func, NO_CLASSES).owner


EQUAL: dict[str, Callable[[str], Any]] = {
    "settings": lambda name: Settings(name=name),
    "model": lambda name: Model(name=name),
    "dataclass": Data,
    "named tuple": Items,
    "enum": Kind,
    "text": str,
    "dict": lambda name: {"name": name},
    "list": lambda name: [name],
    "class with a key": Keyed,
    "function": lambda name: name_in(Data(name)),
    "function of a function": lambda name: name_in(name_in(name)),
    "partial": lambda name: functools.partial(str, name),
    "method of what has an identity": lambda name: Keyed(name).fetch,
    "default of a function": lambda name: lambda source=name: source,
}


def name_in(captured: Any) -> Any:
    """Make a function that captures what it returns the name of."""

    async def read() -> str:
        return await name_of(captured)

    return read


@pytest.mark.parametrize("make", EQUAL.values(), ids=list(EQUAL))
async def test_p2_a_factory_may_be_called_again_with_equal_values(
    make: Callable[[str], Any], backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """It is the same function again, in one manager and in others; with another value it is not."""
    one, two = CacheManager(backend), CacheManager(backend)
    names = [await build(m, make(n))() for n in ("a", "b", "a") for m in (one, one, two)]
    assert names == [[n] for n in ("a", "b", "a") for _ in range(3)]
    assert len(backend._entries) == 2
    assert told() == []


def behind(calls: list[str], captured: Any) -> Any:
    """Make a function that captured an empty list as well."""

    async def read() -> str:
        calls.append("call")
        return await name_of(captured)

    return read


UNKNOWN: dict[str, Callable[[Client], Any]] = {
    "client": lambda client: client,
    "list of clients": lambda client: [client],
    "dict of clients": lambda client: {"client": client},
    "method": lambda client: client.fetch,
    "partial": lambda client: functools.partial(name_of, client),
    "function": name_in,
    "function of a function": lambda client: name_in(name_in(client)),
    "default of a function": lambda client: lambda source=client: source,
    "dataclass": Data,  # type: ignore[dict-item] # as people do
    "client behind a list that will be filled": lambda client: behind([], client),
}


@pytest.mark.parametrize("wrap", UNKNOWN.values(), ids=list(UNKNOWN))
async def test_p8_what_has_no_identity_is_told_at_the_first_decoration(
    wrap: Callable[[Client], Any], backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """The message names the variable, and no other function gets what it has stored."""
    public = build(CacheManager(backend), wrap(Client("public")))
    [warning] = told()
    assert "build.<locals>.info" in warning
    assert "'source'" in warning
    assert "test_factories.Client" in warning or "Data" in warning
    remedies = ("as an argument", "plain data", "__cache_key__", "shared=True")
    places = [warning.index(remedy) for remedy in remedies]
    assert places == sorted(places)
    internal = build(CacheManager(backend), wrap(Client("internal")))
    for _ in range(2):
        pages = [await public(), await internal()]
        assert [re.findall("public|internal", page[0]) or page for page in pages] != [pages[0]] * 2
        assert pages[0] != pages[1]


async def test_p4_what_has_no_identity_is_cached_for_its_own_function(
    backend: MemoryBackend,
) -> None:
    """A client may be captured; its results are kept as long as nobody else has the key."""
    calls: list[int] = []
    client = Client("public")

    def made(manager: CacheManager) -> Any:
        @cache_response(manager, "info")
        async def info() -> str:
            calls.append(1)
            return client.name

        return info

    first, second = made(CacheManager(backend)), made(CacheManager(backend))
    assert [await first(), await first(), await second()] == ["public"] * 3
    assert calls == [1]


async def test_p3_an_invalidation_reaches_what_another_process_stored(
    backend: MemoryBackend,
) -> None:
    """The keys are the same whatever was captured."""
    one, two = (build(CacheManager(backend), Client(name)) for name in ("a", "b"))
    await one()
    assert one.cache_key() == two.cache_key()
    await two.invalidate()
    assert backend._entries == {}


async def test_p2_a_second_function_with_another_object_has_entries_of_its_own(
    backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """In one manager, too: only the first one is told of, and that neither hits is told as well."""
    manager = CacheManager(backend)
    public, internal = build(manager, Client("public")), build(manager, Client("internal"))
    for _ in range(2):
        assert [await public(), await internal()] == [["public"], ["internal"]]
    assert [each for each in told() if "'source'" in each] == told()[:1]
    assert all("takes the other's entries" in each for each in told()[1:])


HARMLESS: dict[str, Callable[[], Any]] = {
    "manager": lambda: CacheManager(MemoryBackend()),
    "logger": lambda: logging.getLogger("app"),
    "lock": threading.Lock,
    "lock of asyncio": asyncio.Lock,
    "event": asyncio.Event,
    "semaphore": lambda: asyncio.Semaphore(3),
    "context variable": lambda: ContextVar("tenant"),
    "module": lambda: functools,
    "class": lambda: Client,
    "function": lambda: name_of,
    "built-in function": lambda: len,
    "cached function": lambda: build(CacheManager(MemoryBackend()), "x"),
    "invalidating function": lambda: invalidate_cache(CacheManager(MemoryBackend()), "x*")(name_of),
    "type": lambda: list[int] | None,
}


@pytest.mark.parametrize("make", HARMLESS.values(), ids=list(HARMLESS))
def test_p2_what_cannot_decide_about_a_result_may_be_captured(
    make: Callable[[], Any], told: Callable[[], list[str]]
) -> None:
    """Once and again, and nothing is told."""
    manager = CacheManager(MemoryBackend())
    build(manager, make())
    build(manager, make())
    assert told() == []


def create_app(manager: CacheManager, title: str) -> Any:
    """Make an application as in a file: with classes, and functions that use each other."""

    class Item(BaseModel):
        name: str = title
        tags: list[str] = []

    @dataclasses.dataclass
    class Pair:
        one: str = title
        more: list[str] = dataclasses.field(default_factory=list)

        @functools.cached_property
        def two(self) -> str:
            return self.one * 2

    class Kind(enum.Enum):
        A = title

    class Service:
        prefix = title

        @staticmethod
        def read() -> str:
            return Pair().two

    @cache_response(manager, "app")
    async def again(number: int) -> int:
        return number and await again(number - 1)

    @cache_response(manager, "app")
    async def items() -> list[Any]:
        return [Item().name, Kind.A.value, Service.prefix + Service.read(), await again(2)]

    return items


async def test_p2_an_application_with_classes_may_be_made_again(
    backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """A class that is made anew is another one: each application has entries of its own."""
    one, two = CacheManager(backend), CacheManager(backend)
    made = [await create_app(m, n)() for n in ("a", "b") for m in (one, one, two)]
    assert made == [[n, n, n * 3, 0] for n in ("a", "b") for _ in range(3)]
    assert "'Item', the class create_app.<locals>.Item" in told()[0]
    assert "at the top of its module" in told()[0]


def test_p2_equal_names_are_not_enough() -> None:
    """Functions, and those that they captured, are compared by what they do."""
    manager = CacheManager(MemoryBackend())
    sources: list[Callable[[], str]] = [lambda: "a", lambda: "b"]
    for source in sources:
        build(manager, source)
    assert len(manager.functions) == len(sources)


async def test_p2_another_body_of_one_name_gets_nothing(backend: MemoryBackend) -> None:
    """Where each has a manager of its own, too."""

    def define(kind: str) -> Any:
        manager = CacheManager(backend)
        if kind == "a":

            @cache_response(manager, "same")
            async def function() -> str:
                return "a"

        else:

            @cache_response(manager, "same")
            async def function() -> str:
                return "b"

        return function

    assert [await define(kind)() for kind in ("a", "b", "a")] == ["a", "b", "a"]


async def test_p2_a_bound_method_is_its_object_as_well(
    backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """What is decorated after it was bound."""
    for kind, names in ((Keyed, ["a", "b", "a"]), (Client, ["a", "b", "a"])):
        found = [await cache_response(CacheManager(backend), "m")(kind(n).fetch)() for n in names]
        assert found == names
    assert all("'self'" in warning or "self" in warning for warning in told())
    assert len(told()) == 3


def test_p2_a_variable_that_has_no_value_yet_is_told(told: Callable[[], list[str]]) -> None:
    """Nobody knows what it will be."""

    def late() -> Any:
        @cache_response(CacheManager(MemoryBackend()), "late")
        async def function() -> Any:
            return client

        client = Client("x")
        return function

    late()
    [warning] = told()
    assert "'client', which has no value yet" in warning


def test_p2_lists_that_are_filled_later_are_not_the_same() -> None:
    """Two empty ones are two places to put something."""
    kinds: list[Callable[[], Any]] = [list, dict, set]
    for make in kinds:
        one, two, filled = holding(make()), holding(make()), make()
        again = [holding(filled), holding(filled)]
        assert bears(one) != bears(two)
        assert bears(again[0]) == bears(again[1])


def holding(captured: Any) -> Callable[[], Any]:
    """Make a function that captures this."""
    return lambda: captured


def traced(tracer: Client) -> Callable[[Any], Any]:
    """Return a decorator that has an object of its own."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> str:
            return f"{tracer.name} {await function(*args)}"

        return wrapper

    return decorate


@traced(Client("module"))
async def at_the_top() -> str:
    """Return something, in a function of which there is one only."""
    return "top"


async def test_p8_what_a_decorator_captured_is_shared_with_nobody(
    backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """It may decide about the result as well."""
    found = []
    for name in ("a", "b", "a"):

        @cache_response(CacheManager(backend), "traced")
        @traced(Client(name))
        async def inner() -> str:
            return "inner"

        found.append(await inner())
    assert found == ["a inner", "b inner", "a inner"]
    assert all("'tracer'" in each for each in told())


def test_p4_a_function_of_which_there_is_one_only_is_shared() -> None:
    """Whatever its decorators have captured: it is the same in every process."""
    known = Identity(at_the_top, NO_CLASSES)
    assert known.owner == known.who


@pytest.mark.parametrize("wraps", [1, 2])
def test_p8_a_client_behind_decorators_is_told(wraps: int, told: Callable[[], list[str]]) -> None:
    """What counts is what the innermost function captured."""
    client = Client("x")

    async def inner() -> str:
        return client.name

    function: Any = inner
    for _ in range(wraps):
        function = traced(Client("tracer"))(function)
    cache_response(CacheManager(MemoryBackend()), "wrapped")(function)
    [warning] = told()
    assert "'client'" in warning


def test_p2_iterators_are_nobody_elses() -> None:
    """Nor are the records of what used them up."""

    def source(items: Iterator[int]) -> Callable[[], int]:
        return lambda: next(items)

    one, two = source(iter([1])), source(iter([1]))
    assert bears(one) != bears(two)


def test_p2_an_address_that_is_used_again_is_no_identity() -> None:
    """Each object has a token of its own, that of one that is gone is nobody's."""
    seen = set()
    for _ in range(200):
        client = Client("x")
        function = holding(client)
        assert bears(function) == bears(function)
        seen.add(bears(function))
    assert len(seen) == 200


def test_p2_identities_are_the_same_in_every_process() -> None:
    """Also those of code that was made in other code, with sets in it."""
    code = (
        "import json\n"
        "from {package}.tests.keys.test_factories import *\n"
        "def make(captured):\n"
        "    def inner(x):\n"
        "        return captured, x in {'a', 'b', 'c'}, lambda: {1, 2}\n"
        "    return inner\n"
        "made = [make(each('a')) for each in EQUAL.values()] + [make(make('a')), make(Client)]\n"
        "made += [make(each()) for each in HARMLESS.values()]\n"
        "found = [bears(each).hex() for each in made]\n"
        "print(json.dumps(found))\n"
    )
    outputs = printed_by(code)
    assert len(outputs) == 1
    assert len(set(json.loads(outputs.pop()))) > len(EQUAL)
    assert bears(name_of) == bears(name_of)

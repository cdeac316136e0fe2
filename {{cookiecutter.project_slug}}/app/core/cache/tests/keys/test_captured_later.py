"""What a function captured and what changes, and functions made again and again (P2, P8)."""

import asyncio
import gc
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import pytest
from pydantic import BaseModel

from ... import CacheManager, MemoryBackend, cache_response


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


def a_default_of_a_function(manager: CacheManager) -> Made:
    """Make one whose helper has the list as a default."""
    given: list[str] = []

    def helper(source: list[str] = given) -> str:
        return source[-1]

    @cache_response(manager, "later")
    async def read() -> str:
        return helper()

    return read, given.append


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
        *(
            a_dict,
            a_list_of_a_function,
            a_default_of_a_function,
            a_variable,
            a_variable_for_a_client,
            another_client,
        ),
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
    fill_one("public")
    fill_two("internal")
    for _ in range(2):
        assert [await one(), await two()] == ["public", "internal"]
    warnings = [each for each in told() if "shares no entries" in each]
    assert len(warnings) == 2
    assert all("'source'" in each or "'helper'" in each for each in warnings)
    assert all("shared=True" in each for each in warnings)


@pytest.mark.parametrize("make", CHANGING.values(), ids=list(CHANGING))
async def test_p8_a_refresh_is_a_first_call_as_well(
    make: Callable[[CacheManager], Made], backend: MemoryBackend
) -> None:
    """What it stores is read by nobody else."""
    one, fill_one = make(CacheManager(backend))
    two, fill_two = make(CacheManager(backend))
    fill_one("public")
    await one.refresh()
    fill_two("internal")
    assert [await two(), await one()] == ["internal", "public"]


@pytest.mark.parametrize("make", CHANGING.values(), ids=list(CHANGING))
async def test_p4_such_a_function_hits_its_own_entries(
    make: Callable[[CacheManager], Made], backend: MemoryBackend
) -> None:
    """It is no slower than one that captured a client, and `get` reads its entries, too."""
    manager = CacheManager(backend)
    read, fill = make(manager)
    fill("public")
    await read()
    entries = dict(backend._entries)
    await read()
    assert backend._entries == entries
    assert await manager.get(read.cache_key()) == "public"


def counted(manager: CacheManager, calls: list[int]) -> Any:
    """Make a function that notes its runs, as tests do."""

    @cache_response(manager, "counted")
    async def read(number: int) -> int:
        calls.append(number)
        return len(calls)

    return read


async def test_p4_functions_with_the_very_same_list_are_one(backend: MemoryBackend) -> None:
    """However it has been filled before the second one is called first."""
    calls: list[int] = []
    one, two = (counted(CacheManager(backend), calls) for _ in range(2))
    assert [await one(1), await two(1), await two(2), await one(2)] == [1, 1, 2, 2]


async def test_p8_a_variable_with_another_value_is_another_variable(
    backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """It may decide about the result: the second function has entries of its own, and is told of."""
    number = 0

    def numbered() -> Any:
        @cache_response(CacheManager(backend), "numbered")
        async def read() -> int:
            nonlocal number
            number += 1
            return number

        return read

    one, two = numbered(), numbered()
    assert [await one(), await two(), await two()] == [1, 2, 2]
    [warning] = [each for each in told() if "shares no entries" in each]
    assert "'number', changed between its decoration and its first call" in warning


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


# --- objects -------------------------------------------------------------------------------------


class Empty:
    """A class whose objects are filled later."""

    name: str


class Slotted:
    """A class whose objects have no `__dict__`, and cannot be watched."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def capturing(manager: CacheManager, source: Any) -> Any:
    """Make a function that captured this."""

    @cache_response(manager, "captured")
    async def read() -> str:
        return str(source.name)

    return read


def local(name: str) -> Any:
    """Make a class."""

    class Local:
        pass

    Local.name = name  # type: ignore[attr-defined] # it is there now
    return Local


def filled(name: str) -> Any:
    """Make an object and fill it."""
    made = Empty()
    made.name = name
    return made


OBJECTS: dict[str, Callable[[str], Any]] = {
    "one that can do something": Client,
    "settings of a class like any other": Settings,
    "one with room for more": lambda name: Settings(name, rows={}),
    "one without state": filled,
    "one with slots": Slotted,
    "a class": local,
    "an object of a class": lambda name: local(name)(),
}


@pytest.mark.parametrize("managers", [1, 2])
@pytest.mark.parametrize("make", OBJECTS.values(), ids=list(OBJECTS))
async def test_p8_functions_with_different_objects_do_not_meet(
    make: Callable[[str], Any], managers: int, backend: MemoryBackend, told: Callable[[], list[str]]
) -> None:
    """Each has what it has stored itself; the first one is told of, with variable and remedies."""
    manager = CacheManager(backend)
    other = manager if managers == 1 else CacheManager(backend)
    one, two = capturing(manager, make("a")), capturing(other, make("b"))
    warnings = told()
    assert len(warnings) == managers
    for words in ("'source'", "top of its module" if make is local else "plain data", "outside"):
        assert words in warnings[0]
    for _ in range(2):
        assert [await one(), await two()] == ["a", "b"]
        found = await asyncio.gather(one(), two(), one(), two())
        assert [*found] == ["a", "b", "a", "b"]
    await one.refresh()
    assert [await two(), await one()] == ["b", "a"]


@pytest.mark.parametrize("make", OBJECTS.values(), ids=list(OBJECTS))
async def test_p4_functions_with_the_same_object_share_their_entries(
    make: Callable[[str], Any], backend: MemoryBackend
) -> None:
    """It is told by a token of its own, as long as it lives."""
    source = make("a")
    one, two = (capturing(CacheManager(backend), source) for _ in range(2))
    assert await one() == "a"
    stored = dict(backend._entries)
    assert await two() == "a"
    assert backend._entries == stored


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


async def test_p8_a_function_that_is_made_again_has_a_list_of_its_own(
    backend: MemoryBackend,
) -> None:
    """As an application with a store in memory, which each test makes anew."""
    manager = CacheManager(backend)

    def make() -> Any:
        rows: list[int] = []

        @cache_response(manager, "again")
        async def read() -> list[int]:
            return rows

        return read, rows

    (one, rows), (two, more) = make(), make()
    assert [await one(), await two()] == [[], []]
    rows.append(1)
    more.append(2)
    assert [await one.refresh(), await two()] == [[1], [2]]

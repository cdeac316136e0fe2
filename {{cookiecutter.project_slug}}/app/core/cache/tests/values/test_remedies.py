"""What messages advise: the first advice cannot hurt, and `ignore=` comes last with what it does."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from ... import CacheManager, cache_response


class Service:
    """What has no identity."""


class Instrumented(type):
    """Makes classes that look as an ORM has instrumented them."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        """Make a class with a mapper."""
        return super().__new__(cls, name, bases, {**body, "__mapper__": object()})


class User(metaclass=Instrumented):
    """Stands for a row of an ORM."""

    def __init__(self, number: int) -> None:
        self.id = number
        self._sa_instance_state = object()


class ObjectId:
    """Stands for an identity that has no text known here."""

    def __str__(self) -> str:
        """Return it as text."""
        return "oid-1"


async def annotated(service: Service) -> int:
    """Take what is refused at once."""
    return 1


async def loose(service: Any) -> int:
    """Take what is refused in the call."""
    return 1


async def row(user: User) -> int:
    """Take a row."""
    return user.id


async def loose_row(user: Any, page: int = 1) -> int:
    """Take a row, without saying so."""
    return page


class Repository:
    """Has methods."""

    async def read(self, number: int) -> int:
        """Take an object that has no identity."""
        return number


async def told(
    memory: CacheManager, function: Callable[..., Any], *args: Any, caplog: pytest.LogCaptureFixture
) -> str:
    """Return what is said of a function, when it is decorated or in its call."""
    try:
        await cache_response(memory, "x")(function)(*args)
    except (TypeError, ValueError) as error:
        return str(error)
    [warning] = [record.getMessage() for record in caplog.records]
    return warning


CASES: list[tuple[Callable[..., Any], tuple[Any, ...], str, list[str]]] = [
    (annotated, (Service(),), "service", ["__cache_key__", 'key="{service.id}"']),
    (loose, (Service(),), "service", ["__cache_key__", 'key="{service.id}"']),
    (row, (User(1),), "user", ['key="{user.id}"', "a place in a key may name an attribute"]),
    (loose_row, (User(1),), "user", ['key="{user.id}:{page}"', "may name an attribute"]),
    (
        Repository.read,
        (Repository(), 1),
        "self",
        ['key="{self.table}:{number}"', "tells the objects"],
    ),
]


@pytest.mark.parametrize(("function", "args", "name", "steps"), CASES)
async def test_p8_the_first_advice_is_safe(
    memory: CacheManager,
    function: Any,
    args: Any,
    name: str,
    steps: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It keeps callers apart; `ignore=` ends the message and says that it does not."""
    message = await told(memory, function, *args, caplog=caplog)
    places = [message.index(step) for step in [*steps, f'ignore=("{name}",)']]
    assert places == sorted(places)
    assert message.endswith(f"everybody then shares one entry, whatever {name} is")


@pytest.mark.parametrize(("function", "args", "name", "steps"), CASES[2:])
async def test_the_advice_works_as_it_stands(
    memory: CacheManager, function: Any, args: Any, name: str, steps: list[str]
) -> None:
    """The `key=` that a message shows is taken, and gives an entry of its own to each object."""
    [key] = re.findall(r'key="(.*)"', steps[0])
    cached = cache_response(memory, "x", key=key)(function)
    things: list[Any] = [User(1), User(2)] if name == "user" else [Repository(), Repository()]
    for number, thing in enumerate(things):
        thing.table = f"table {number}"
    assert len({cached.cache_key(thing, *args[1:]) for thing in things}) == 2


async def test_a_value_without_text_names_what_to_do(
    memory: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """And that works as it stands."""

    async def read(oid: ObjectId, page: int = 1) -> int:
        return page

    await cache_response(memory, "x", key="{oid}:{page}")(read)(ObjectId())
    assert "{oid} has no text: a ObjectId" in caplog.text
    assert "key=lambda oid, page: (str(oid), ...)" in caplog.text
    mended = cache_response(memory, "y", key=lambda oid, page: (str(oid), page))(read)
    assert mended.cache_key(ObjectId()) == "y:oid-1:1"


async def test_a_row_in_a_template_is_told_to_name_an_attribute(
    memory: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """No row has a text."""
    assert await cache_response(memory, "x", key="{user}")(row)(User(1)) == 1
    assert "{user} has no text" in caplog.text
    assert "name an attribute of it" in caplog.text

"""The table of types in the documentation: each row is a test (promises P1 and P2)."""

import dataclasses
import ipaddress
import math
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from fastapi import BackgroundTasks
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from pydantic import AnyUrl, BaseModel, SecretStr

from ... import CacheManager, MemoryBackend, cache_response
from ..package import FOLDER
from .odd_classes import Attrs

PAGE = (FOLDER / "docs" / "types.md").read_text()
TABLE = PAGE.partition("| type |")[2].partition("\n\n")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines()[2:]]

NIGHT = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))


class Colour(Enum):
    """An enum."""

    RED = 1


class Mood(StrEnum):
    """An enum that is a string as well."""

    GOOD = "good"


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: object


class Model(BaseModel):
    """A Pydantic model."""

    x: object


class Place(NamedTuple):
    """A tuple whose places have names."""

    row: int
    name: str


class Own:
    """A class that says itself what it is."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __cache_key__(self) -> int:
        """Return what tells instances apart."""
        return self.x


class Text(str):
    """A subclass of a built-in type."""

    __slots__ = ()


class Page(JSONResponse):
    """A subclass of a response."""


def made() -> type:
    """Make a class, as a factory does."""

    @dataclasses.dataclass
    class Made:
        x: object

    return Made


if TYPE_CHECKING:
    Made = Point
else:
    Made = made()


Annotated = Colour | Mood | Point | Model | Page | Place | Made
EXAMPLES: dict[str, Callable[[], list[Any]]] = {
    "`None`, `bool`, `int`, `float`, `str`": lambda: [
        *(None, True, 0, -(2**70), 1.5, -0.0, math.nan, math.inf, "", "ü\n", '{"$set":[]}'),
    ],
    "`bytes`, `Decimal`, `UUID`": lambda: [b"\x00\xff", Decimal("1.00"), UUID(int=7)],
    "`datetime`, `date`, `time`, `timedelta`, `ZoneInfo`": lambda: [
        ZoneInfo("Europe/Berlin"),
        *(NIGHT, NIGHT.replace(tzinfo=UTC), NIGHT.replace(tzinfo=None), time(1, tzinfo=UTC)),
        *(NIGHT.replace(tzinfo=timezone(timedelta(hours=1), "home")), date.max, timedelta.min),
    ],
    "`list`, `tuple`, `set`, `frozenset`, `deque`, `Counter`, `OrderedDict`, `defaultdict`": lambda: [
        *([], [1, [2]], (), (1, (2,)), set(), {1, "1"}, frozenset({(1, 2)})),
        *(deque([1], 3), Counter("aab"), OrderedDict(a=1), defaultdict(list, a=[1])),
    ],
    "`NamedTuple`": lambda: [Place(1, "x")],
    "`dict`": lambda: [{}, {"a": {"b": 1}}, {1: 2, "1": 3, None: 4, (1,): 5}, {"$set": [1]}],
    "`Enum`": lambda: [Colour.RED, Mood.GOOD, [{"a": Colour.RED}]],
    "dataclass": lambda: [Point(1), Point([Point({2})])],
    "Pydantic model": lambda: [Model(x=1), Model(x=(Model(x=b"y"),))],
    "class of `attrs`": lambda: [Attrs(1)],
    "`Path`, `IPv4Address` and its kin, `AnyUrl`, `SecretStr`": lambda: [
        *(PurePosixPath("a/b"), Path("c"), ipaddress.ip_address("::1")),
        *(ipaddress.ip_network("10.0.0.0/8"), AnyUrl("http://localhost"), SecretStr("hush")),
    ],
    "class with `__cache_key__`": lambda: [Own(1)],
    "a class itself": lambda: [int, Point],
    "object of a class that a function made": lambda: [Made(1)],
    "subclass of a built-in type": lambda: [Text("a"), Words()],
    "any other object: function, file, generator, ORM row, session": lambda: [
        *(object(), lambda: None, iter([]), map(str, ()), memoryview(b"a"), Exception("x")),
    ],
    "`Response`, `JSONResponse`, `HTMLResponse`, `PlainTextResponse`": lambda: [
        *(Response(b"\x00\xff"), JSONResponse({"a": 1}, 201), HTMLResponse("<p>"), ok_text()),
    ],
    "`RedirectResponse`": lambda: [RedirectResponse("/", 308)],
    "subclass of these": lambda: [Page({"a": 1}, headers={"X-A": "1"})],
    "`StreamingResponse`, `FileResponse`": lambda: [
        StreamingResponse(iter([b""])),
        FileResponse("x"),
    ],
    "`BackgroundTasks`": lambda: [BackgroundTasks()],
}


class Words(list[str]):
    """Another one."""


def ok_text() -> Response:
    response = PlainTextResponse("text")
    response.headers.append("Link", "</1>")
    response.headers.append("Link", "</2>")
    return response


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal in value and type, responses by all they hold."""
    if isinstance(one, Response):
        return type(one) is type(other) and {**vars(one), "_headers": 0} == {
            **vars(other),
            "_headers": 0,
        }
    if isinstance(one, (set, frozenset)):
        return type(one) is type(other) and sorted(map(repr, one)) == sorted(map(repr, other))
    return type(one) is type(other) and repr(one) == repr(other)


def test_the_table_has_a_row_for_each_example() -> None:
    """And the other way round."""
    assert [row[0] for row in ROWS] == list(EXAMPLES)


@pytest.mark.parametrize(("kind", "argument", "_"), ROWS, ids=[row[0] for row in ROWS])
async def test_p2_as_an_argument(kind: str, argument: str, _: str) -> None:
    """What the table says of arguments is what happens."""
    for example in EXAMPLES[kind]():
        calls: list[Any] = []
        manager = CacheManager(MemoryBackend())

        @cache_response(manager, "argument", ignore=("noted",))
        async def function(given: Any, noted: list[Any]) -> int:
            noted.append(given)
            return 1

        for _again in range(2):
            await function(example, calls)
        expected = {"part of the key": 1, "runs uncached": 2}[re.sub(r" \(.*", "", argument)]
        assert len(calls) == expected, example


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "_", "result"), ROWS, ids=[row[0] for row in ROWS])
async def test_p1_as_a_result(kind: str, _: str, result: str) -> None:
    """What the table says of results is what happens."""
    word = re.sub(r" \(.*", "", result)
    for example in EXAMPLES[kind]():
        for is_named, function in ((False, plain), (True, named)):
            calls: list[int] = []
            manager = CacheManager(MemoryBackend())
            decorator = cache_response(
                manager, "result", ignore=("example", "calls"), cache_status={308}
            )
            cached: Callable[..., Any] = decorator(function)
            await cached([example], calls)
            back = await cached([example], calls)
            comes_back = word == "comes back" or (word == "comes back if named" and is_named)
            assert len(calls) == (1 if comes_back else 2), example
            assert same(back, example) or not comes_back, example


async def plain(example: list[Any], calls: list[int]) -> Any:
    """Return the example under an annotation that says nothing."""
    calls.append(1)
    return example[0]


async def named(example: list[Any], calls: list[int]) -> Annotated | list[dict[str, Colour]]:
    """Return the example under an annotation that names its class."""
    calls.append(1)
    return example[0]  # type: ignore[no-any-return]

"""Each type of the documentation of Pydantic and FastAPI: handed to an endpoint, and returned by one.

An argument of each has a key, two that differ have two (promise P2). A result of each comes back equal
in value and type, all the way down, or stands in `NOT_STORED` (promise P1).
"""

import enum
import re
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypeVar
from zoneinfo import ZoneInfo

import pydantic
import pytest
from fastapi import Body, FastAPI, Query, UploadFile
from fastapi.testclient import TestClient
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter
from typing_extensions import TypeAliasType, TypedDict

from ... import CacheManager, MemoryBackend, cache_response

T = TypeVar("T")


class User(BaseModel):
    """A model with a default."""

    name: str
    age: int | None = None


class Admin(BaseModel):
    """Another one, told from the first by its kind."""

    kind: Literal["admin"]
    level: int


class Guest(BaseModel):
    """The third."""

    kind: Literal["guest"]
    until: datetime


class Open(BaseModel):
    """A model that keeps more than its fields."""

    model_config = ConfigDict(extra="allow")


class Node(BaseModel):
    """A model that contains itself, and one that comes further down."""

    leaf: "Leaf | None" = None
    inner: list["Node"] = []


class Leaf(BaseModel):
    """The one that comes further down."""

    at: datetime


class Users(RootModel[list[User]]):
    """A model that is a list."""


class ModelPage(BaseModel, Generic[T]):
    """A generic model."""

    items: list[T]


@dataclass
class Page(Generic[T]):
    """A generic dataclass, whose next one is of the same kind."""

    items: list[T]
    next: "Page[T] | None" = None


@dataclass(frozen=True, slots=True)
class Point:
    """A dataclass without a `__dict__`."""

    x: int
    user: User | None = None


@pydantic.dataclasses.dataclass
class Checked:
    """A dataclass of Pydantic."""

    x: int
    at: datetime | None = None


class Row(TypedDict):
    """A dict of known keys."""

    user: User
    n: int


class Pair(NamedTuple):
    """A named tuple."""

    user: User
    n: int = 1


class Colour(enum.Enum):
    """An enum."""

    RED = "red"
    BLUE = "blue"


class Mood(enum.StrEnum):
    """An enum that is a text as well."""

    GOOD = "good"
    BAD = "bad"


class Size(enum.IntEnum):
    """An enum that is a number as well."""

    SMALL = 1
    LARGE = 2


class Right(enum.Flag):
    """A flag."""

    READ = 1
    WRITE = 2


UserId = NewType("UserId", int)
UserList = NewType("UserList", list[User])
Alias = TypeAliasType("Alias", list[User])
GenericAlias = TypeAliasType("GenericAlias", dict[str, list[T]], type_params=(T,))
Bound = TypeVar("Bound", bound=User)
Visitor = Annotated[Admin | Guest, Field(discriminator="kind")]

TWO_USERS = [{"name": "a"}], [{"name": "a", "age": None}]
NOON, LATER = "2024-01-01T12:00:00", "2024-01-01T12:00:01"
UUIDS = [str(uuid.UUID(int=n, version=4)) for n in (1, 2)]

# What it is, and two values as JSON, the first of which is equal to no other.
TABLE: dict[str, tuple[Any, Any, Any]] = {
    "bool": (bool, True, False),
    "int": (int, 1, 2**70),
    "float": (float, 1.0, -0.5),
    "str": (str, "1", "\u00fc"),
    "bytes": (bytes, "a", "b"),
    "Decimal": (Decimal, "1.0", "1.00"),
    "Fraction": (Fraction, "1/3", "1/4"),
    "complex": (complex, "1+2j", "1+3j"),
    "None or": (int | None, None, 0),
    "Any": (Any, {"a": [1]}, {"a": ["1"]}),
    "datetime": (datetime, NOON, LATER),
    "datetime in UTC": (datetime, f"{NOON}Z", NOON),
    "datetime with an offset": (datetime, f"{NOON}+02:00", "2024-01-01T11:00:00+01:00"),
    "AwareDatetime": (pydantic.AwareDatetime, f"{NOON}-03:30", f"{NOON}Z"),
    "NaiveDatetime": (pydantic.NaiveDatetime, NOON, LATER),
    "PastDatetime": (pydantic.PastDatetime, f"{NOON}Z", f"{LATER}Z"),
    "FutureDate": (pydantic.FutureDate, "2999-01-01", "2999-01-02"),
    "date": (date, "2024-01-01", "2024-01-02"),
    "time": (time, "12:00:00", "12:00:00.000001"),
    "time with an offset": (time, "12:00:00Z", "12:00:00+01:00"),
    "timedelta": (timedelta, "PT1S", "P1D"),
    "ZoneInfo": (ZoneInfo, "Europe/Berlin", "Europe/Paris"),
    "UUID": (uuid.UUID, UUIDS[0], UUIDS[1]),
    "UUID4": (pydantic.UUID4, UUIDS[0], UUIDS[1]),
    "Enum": (Colour, "red", "blue"),
    "StrEnum": (Mood, "good", "bad"),
    "IntEnum": (Size, 1, 2),
    "Flag": (Right, 1, 2),
    "Literal": (Literal["a", 1], "a", 1),
    "Literal of an enum": (Literal[Mood.GOOD, Mood.BAD], "good", "bad"),
    "list": (list[int], [1, 2], [2, 1]),
    "tuple": (tuple[int, str], [1, "a"], [1, "b"]),
    "set": (set[int], [1, 2], [1, 3]),
    "frozenset": (frozenset[str], ["a"], ["b"]),
    "deque": (deque[User], *TWO_USERS),
    "dict": (dict[int, User], {"1": {"name": "a"}}, {"2": {"name": "a"}}),
    "OrderedDict": (OrderedDict[str, int], {"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "defaultdict": (defaultdict[str, list[int]], {"a": [1]}, {"a": [2]}),
    "Counter": (Counter[str], {"a": 1}, {"a": 2}),
    "Sequence": (Sequence[User], *TWO_USERS),
    "Mapping": (Mapping[str, int], {"a": 1}, {"a": 2}),
    "TypedDict": (Row, {"user": {"name": "a"}, "n": 1}, {"user": {"name": "a"}, "n": 2}),
    "NamedTuple": (Pair, [{"name": "a"}], [{"name": "a"}, 2]),
    "dataclass": (Point, {"x": 1, "user": {"name": "a"}}, {"x": 1}),
    "dataclass of Pydantic": (Checked, {"x": 1, "at": f"{NOON}Z"}, {"x": 1}),
    "generic dataclass": (Page[User], {"items": TWO_USERS[0]}, {"items": TWO_USERS[1]}),
    "model": (User, {"name": "a"}, {"name": "a", "age": None}),
    "model with more": (Open, {"a": 1}, {"a": 2}),
    "model of itself": (Node, {"inner": [{"leaf": {"at": f"{NOON}Z"}}]}, {"inner": [{}]}),
    "model that is a list": (Users, *TWO_USERS),
    "generic model": (ModelPage[User], {"items": TWO_USERS[0]}, {"items": TWO_USERS[1]}),
    "union of models": (Visitor, {"kind": "admin", "level": 1}, {"kind": "guest", "until": NOON}),
    "NewType": (UserId, 1, 2),
    "NewType of a list": (UserList, *TWO_USERS),
    "type": (Alias, *TWO_USERS),
    "type with parameters": (GenericAlias[User], {"a": TWO_USERS[0]}, {"a": TWO_USERS[1]}),
    "bound type variable": (Bound, {"name": "a"}, {"name": "b"}),
    "Annotated": (Annotated[list[User], Field(min_length=1)], *TWO_USERS),
    "constrained": (Annotated[int, Field(gt=0)], 1, 2),
    "StrictStr": (pydantic.StrictStr, "a", "b"),
    "JsonValue": (pydantic.JsonValue, {"a": [None]}, {"a": []}),
    "Json": (pydantic.Json[list[User]], '[{"name": "a"}]', '[{"name": "b"}]'),
    "Base64Bytes": (pydantic.Base64Bytes, "YQ==", "Yg=="),
    "ByteSize": (pydantic.ByteSize, "1 KiB", "1 KB"),
    "Path": (Path, "a/b", "a/c"),
    "PurePosixPath": (PurePosixPath, "a/b", "a/c"),
    "IPv4Address": (IPv4Address, "10.0.0.1", "10.0.0.2"),
    "IPv4Interface": (IPv4Interface, "10.0.0.1/8", "10.0.0.1/16"),
    "IPv4Network": (IPv4Network, "10.0.0.0/8", "10.0.0.0/16"),
    "IPv6Address": (IPv6Address, "::1", "::2"),
    "IPv6Network": (IPv6Network, "::/64", "::/65"),
    "IPvAnyAddress": (pydantic.IPvAnyAddress, "::1", "10.0.0.1"),
    "IPvAnyNetwork": (pydantic.IPvAnyNetwork, "::/64", "10.0.0.0/8"),
    "AnyUrl": (pydantic.AnyUrl, "http://a/", "http://b/"),
    "HttpUrl": (pydantic.HttpUrl, "http://a", "http://a/?q=%C3%BC"),
    "FileUrl": (pydantic.FileUrl, "file:///a", "file:///b"),
    "WebsocketUrl": (pydantic.WebsocketUrl, "ws://a", "wss://a"),
    "PostgresDsn": (pydantic.PostgresDsn, "postgresql://u:p@a,b/d", "postgresql://u:p@a/d"),
    "RedisDsn": (pydantic.RedisDsn, "redis://a/0", "redis://a/1"),
    "EmailStr": (pydantic.EmailStr, "a@example.com", "b@example.com"),
    "NameEmail": (pydantic.NameEmail, "A B <a@example.com>", "A <a@example.com>"),
    "SecretStr": (pydantic.SecretStr, "a", "b"),
    "SecretBytes": (pydantic.SecretBytes, "a", "b"),
    "Secret": (pydantic.Secret[int], 1, 2),
    "Pattern": (re.Pattern[str], "a+", "a*"),
}
NOT_STORED = {"complex", "SecretStr", "SecretBytes", "Secret", "Pattern"}
"""A secret would stand in Redis for all to read; what is compiled is no plain data."""


def cached(manager: CacheManager, annotation: Any, returns: Any) -> tuple[Any, list[Any]]:
    """Make a cached function that returns what it was called with, and list its calls."""
    calls: list[Any] = []

    async def function(value: Any = None) -> Any:
        calls.append(value)
        return value if returns is annotation else len(calls)

    function.__annotations__ = {"value": annotation, "return": returns}
    decorated: Any = cache_response(manager, "stack")(function)
    return decorated, calls


@pytest.mark.parametrize(("annotation", "one", "other"), TABLE.values(), ids=list(TABLE))
def test_p2_as_fastapi_hands_it_to_an_endpoint(annotation: Any, one: Any, other: Any) -> None:
    """The second equal request is a hit, and a request with another value has its own entry."""
    app = FastAPI()
    in_body = Annotated[annotation, Body(embed=True)]
    endpoint, calls = cached(CacheManager(MemoryBackend()), in_body, int)
    app.get("/")(endpoint)
    with TestClient(app) as client:
        answers = [client.request("GET", "/", json={"value": v}) for v in (one, one, other, other)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [
        *[(200, 1)] * 2,
        *[(200, 2)] * 2,
    ]
    assert len(calls) == 2


@pytest.mark.parametrize(
    "kind", ["int", "datetime in UTC", "UUID", "Enum", "list", "AnyUrl", "NewType", "Decimal"]
)
def test_p2_as_fastapi_takes_it_from_the_query(kind: str) -> None:
    """And so from the path, headers and cookies, which are read in the same way."""
    annotation, one, other = TABLE[kind]
    app = FastAPI()
    endpoint, _ = cached(CacheManager(MemoryBackend()), Annotated[annotation, Query()], int)
    app.get("/")(endpoint)
    with TestClient(app) as client:
        answers = [client.get("/", params={"value": v}).json() for v in (one, one, other, one)]
    assert answers == [1, 1, 2, 1]


@pytest.mark.parametrize("kind", TABLE)
async def test_p1_as_an_endpoint_returns_it(kind: str) -> None:
    """The second call is a hit, equal in value and type, alone and within others."""
    annotation, *values = TABLE[kind]
    for value in map(TypeAdapter(annotation).validate_python, values):
        for returns, result in (
            (annotation, value),
            (list[annotation], [value]),  # type: ignore[valid-type] # it is one at run time
            (dict[str, annotation], {"a": value}),  # type: ignore[valid-type] # it is one at run time
        ):
            calls: list[int] = []
            function = returning(returns, result, calls)
            first, second = await function(), await function()
            assert first is result
            assert len(calls) == (2 if kind in NOT_STORED else 1)
            assert same(second, result)


def returning(returns: Any, result: Any, calls: list[int]) -> Any:
    """Make a cached function without parameters, of this return annotation."""

    async def function() -> Any:
        calls.append(1)
        return result

    function.__annotations__ = {"return": returns}
    return cache_response(CacheManager(MemoryBackend()), "stack")(function)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal in all that can be seen of them, all the way down."""
    return bool(seen(one) == seen(other))


def seen(value: Any) -> Any:
    """Write down what can be seen of a value, with the types of all that is in it."""
    parts: Any
    if isinstance(value, Mapping):
        parts = [(seen(key), seen(item)) for key, item in value.items()]
    elif isinstance(value, (set, frozenset)):
        parts = sorted(map(repr, map(seen, value)))
    elif isinstance(value, (list, tuple, deque)):
        parts = [*map(seen, value), getattr(value, "maxlen", None)]
    elif isinstance(value, BaseModel):
        parts = seen(value.__getstate__())
    elif is_dataclass(value) and hasattr(value, "__dict__"):
        parts = seen(vars(value))
    else:
        parts = repr(value), value
    return type(value), parts


def test_p8_a_file_that_is_sent_makes_the_call_run_uncached() -> None:
    """It is a stream, of which nobody knows what it contains."""
    app, calls = FastAPI(), list[bytes]()

    @app.post("/")
    @cache_response(CacheManager(MemoryBackend()), "upload")
    async def read(file: UploadFile) -> int:
        calls.append(await file.read())
        return len(calls)

    with TestClient(app) as client:
        answers = [client.post("/", files={"file": text}).json() for text in (b"a", b"b", b"a")]
    assert answers == [1, 2, 3]

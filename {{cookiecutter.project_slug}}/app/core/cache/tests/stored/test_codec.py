"""Values as JSON: equal in value and type when they come back, or refused (promise P1)."""

import io
import json
import math
import struct
import tracemalloc
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr, field_validator

from ...stored.codec import (
    CorruptError,
    UnstorableError,
    decode,
    decoder,
    encode,
    encode_checked,
)
from ...values.classes import KnownClasses
from ..naming import named

T = TypeVar("T")
NIGHT = datetime.fromisoformat("2026-10-25T02:30:00.123456")
PLAIN = [None, True, 0, -1, 1.5, -0.0, 2**100, "", "ü\n", [], [1, [2]], {}, {"a": {"b": [None]}}]
TAGGED = [
    *(math.nan, math.inf, -math.inf, (), (1, (2,)), set(), {1, "1", None}, frozenset({(1, 2)})),
    *(b"", b"\x00\xff", Decimal("1.00"), Decimal("NaN"), UUID(int=7), date(1, 1, 1)),
    *(timedelta(-1, 5, 7), timedelta.max, time(1, 2, 3, 4), time(1, tzinfo=UTC)),
    time(2, 30, fold=1),
    *(NIGHT, NIGHT.replace(tzinfo=UTC), NIGHT.replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=1)),
    *(NIGHT.replace(tzinfo=timezone(timedelta(hours=-3, seconds=7))),),
    *(NIGHT.replace(tzinfo=timezone(timedelta(hours=1), "home")),),
    *({1: "a", "1": "b", None: "c", (1, 2): "d", 1.5: "e"}, {"$set": [1]}, {"$dict": []}),
    *({"$": 1}, [{"$unknown": {"$tuple": (1,)}}], {"a": (1, {"b": {2}})}),
]


def exact(value: Any) -> Any:
    """Write a value down with the types of all that is in it."""
    if isinstance(value, dict):
        return [(exact(key), exact(item)) for key, item in value.items()]
    if isinstance(value, (set, frozenset)):
        return type(value), {repr(exact(item)) for item in value}
    if isinstance(value, (list, tuple)):
        return type(value), [exact(item) for item in value]
    return type(value), repr(value)


LARGE = [
    *([{}] * 40, [[]] * 40, list(range(400)), "x" * 2000, [[[[[[{"a": [1]}]]]]]]),
    {f"key {number}": [number, {"of": number}] for number in range(10)},
]


def spoil(value: Any) -> None:
    """Change a value, and all that is in it."""
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            spoil(item)
        value.clear()
    elif isinstance(value, set):
        value.clear()


@pytest.mark.parametrize("value", [*PLAIN, *TAGGED, *LARGE], ids=named)
def test_p1_a_decoder_returns_what_decode_does(value: Any) -> None:
    """Again and again, and whatever becomes of what it has returned."""
    data = encode(value)
    again, _ = decoder(data)
    for _ in range(3):
        found = again()
        assert exact(found) == exact(decode(data))
        spoil(found)


def test_a_decoder_tells_what_it_keeps() -> None:
    """At least half of what the interpreter takes, whatever it is made of."""
    user = {"id": 7, "name": "ada", "tags": ["a", "b"], "score": 12.5, "city": {"zip": "12345"}}
    for value in (user, [user] * 5, *PLAIN, *LARGE, [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]):
        texts = [bytes(bytearray(encode(value))) for _ in range(500)]
        tracemalloc.start()
        try:
            kept = [decoder(text) for text in texts]
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert sum(size for _, size in kept) > taken / 2, value


@pytest.mark.parametrize("value", PLAIN, ids=named)
def test_plain_json_stays_plain_json(value: Any) -> None:
    """A person reads it, and any other program too."""
    assert json.loads(encode(value)) == value
    assert exact(decode(encode(value))) == exact(value)


@pytest.mark.parametrize("value", TAGGED, ids=named)
def test_p1_values_come_back_equal(value: Any) -> None:
    """In value and in type, alone and within others."""
    for each in (value, [value], {"a": value}, {"a": [{"b": value}], "c": 1}):
        data = encode_checked(each)
        assert exact(decode(data)) == exact(each)
        json.loads(data)


def test_a_time_zone_comes_back_with_its_name() -> None:
    """Not only with its offset of that day."""
    for zone in (UTC, ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=1), "home")):
        back = decode(encode(NIGHT.replace(tzinfo=zone, fold=1)))
        assert (back.tzinfo, back.fold, back.tzname()) == (
            zone,
            1,
            NIGHT.replace(tzinfo=zone, fold=1).tzname(),
        )


class Colour(Enum):
    """An enum."""

    RED = object()


class Right(Flag):
    """A flag, whose combinations have no name of their own."""

    READ = 1
    WRITE = 2


@dataclass(slots=True)
class Slotted:
    """A dataclass with slots and a value that its constructor changes."""

    number: int

    def __post_init__(self) -> None:
        self.number += 1


class User(BaseModel):
    """A model that changes its input, keeps more, and has a private attribute."""

    model_config = ConfigDict(extra="allow")

    name: str
    age: int | None = None
    _seen: int = PrivateAttr(default=0)

    @field_validator("name")
    @classmethod
    def shout(cls, name: str) -> str:
        """Add something, so that validating twice is seen."""
        return name + "!"


class Page(BaseModel, Generic[T]):
    """A generic model."""

    items: list[T]


def test_p1_known_classes_come_back_as_themselves() -> None:
    """Nested, generic, annotated; and constructors and validators do not run again."""
    known = KnownClasses(Annotated[list[Page[User] | Slotted | Colour | None], "note"])
    user = User.model_validate({"name": "Jane", "nick": "J"})
    user._seen = 7
    value = [Page[User](items=[user]), Slotted(1), Colour.RED, None]
    back = decode(encode_checked(value, known), known)
    assert back == value
    assert [type(item) for item in back] == [type(item) for item in value]
    assert back[0].items[0].name == "Jane!"
    assert back[0].items[0].nick == "J"
    assert back[0].items[0]._seen == 7
    assert back[0].items[0].model_fields_set == {"name", "nick"}
    assert back[1].number == 2


class Place(tzinfo):
    """A time zone of somebody's own."""

    def utcoffset(self, when: datetime | None, /) -> timedelta:
        return timedelta(hours=1)

    dst = utcoffset

    def tzname(self, when: datetime | None, /) -> str:
        return "Place"


class Words(list[str]):
    """A subclass of a plain type."""


class Text(str):
    """Another one, which may be a key."""

    __slots__ = ()


# A time zone that has no key: one hour east of UTC, in the format of RFC 9636, version 1.
FROM_FILE = ZoneInfo.from_file(
    io.BytesIO(
        struct.pack(">4s16x6l", b"TZif", 0, 0, 0, 0, 1, 4)
        + struct.pack(">lbb4s", 3600, 0, 0, b"XYZ")
    )
)


LOOPED: list[Any] = []
LOOPED.append(LOOPED)


def nested(depth: int) -> list[Any]:
    """Return lists, one in the other."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (object(), "builtins.object"),
        (Path("a"), "Path"),
        (iter([]), "list_iterator"),
        ([1, {"a": {2: complex(1, 2)}}], "complex"),
        (Words(), "Words"),
        ({Text("a"): 1}, "Text"),
        (Slotted(1), "return annotation"),
        (User(name="x"), "return annotation"),
        (Colour.RED, "return annotation"),
        (NIGHT.replace(tzinfo=Place()), "time zone"),
        (NIGHT.replace(tzinfo=FROM_FILE), "time zone"),
        (LOOPED, "nested too deeply"),
        ("\ud800", "Unicode"),
        pytest.param(10**5000, "digits", id="an integer too large to read"),
        pytest.param([{"a": 10**5000}], "digits", id="an integer too large to read, inside"),
        pytest.param(nested(220), "nested too deeply", id="a value nested too deeply to read"),
        pytest.param(nested(500), "nested too deeply", id="a value nested too deeply to write"),
    ],
)
def test_p1_what_cannot_come_back_is_refused(value: Any, what: str) -> None:
    """The error says what it was, and what to do where that is not plain."""
    with pytest.raises(UnstorableError, match=what):
        encode(value)


def test_p1_flags_without_a_name_are_refused() -> None:
    """A combination of flags is no member of its enum."""
    known = KnownClasses(Right)
    assert decode(encode(Right.READ, known), known) is Right.READ
    with pytest.raises(UnstorableError, match="no name of its own"):
        encode(Right.READ | Right.WRITE, known)


def test_p1_a_subclass_of_a_known_class_is_refused() -> None:
    """It may have more fields, and its class would be lost."""

    class Admin(User):
        level: int = 1

    with pytest.raises(UnstorableError, match="Admin"):
        encode(Admin(name="x"), KnownClasses(User))


def test_p1_a_dataclass_that_carries_more_than_its_fields_is_refused() -> None:
    """What is no field would be lost."""

    @dataclass
    class Open:
        x: int

    value = Open(1)
    known = KnownClasses(Open)
    assert decode(encode(value, known), known) == value
    value.y = 2  # type: ignore[attr-defined]
    with pytest.raises(UnstorableError, match="'y'"):
        encode(value, known)


def test_p1_two_classes_of_one_name_are_both_refused() -> None:
    """They could not be told apart when they come back."""

    def make() -> type[Any]:
        @dataclass
        class Twin:
            x: int

        return Twin

    one, other = make(), make()
    with pytest.raises(UnstorableError, match="Twin"):
        encode(one(1), KnownClasses(tuple[one, other]))  # type: ignore[valid-type]


class Forgetful(BaseModel):
    """A model that does not take back its own state."""

    x: int

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__({**state, "__dict__": {"x": 0}})


class Refusing(BaseModel):
    """A model that takes back no state."""

    x: int

    def __setstate__(self, state: dict[Any, Any]) -> None:
        raise RuntimeError(state)


@pytest.mark.parametrize("cls", [Forgetful, Refusing])
def test_p1_what_comes_back_different_is_refused(cls: type[Any]) -> None:
    """The value is read back before it is stored."""
    with pytest.raises(UnstorableError, match="comes back different"):
        encode_checked(cls(x=1), KnownClasses(cls))


def test_p1_what_a_model_computed_is_not_stored() -> None:
    """It is computed again when it is asked for."""

    class Computed(BaseModel):
        x: int

        @cached_property
        def lock(self) -> object:
            return object()

    known = KnownClasses(Computed)
    value = Computed(x=1)
    assert value.lock is value.lock
    assert decode(encode_checked(value, known), known).x == 1


@pytest.mark.parametrize("kind", [set, frozenset])
def test_equal_sets_are_equal_bytes(kind: Any) -> None:
    """Also where they were filled in another order: 0 and 8 meet in one slot of a hash table."""
    assert encode(kind([0, 8])) == encode(kind([8, 0]))


@pytest.mark.parametrize(
    "value",
    [
        *("$", "$set", '{"$set":[1]}', ["$set", [1]], {"a": "$5"}, {"a": {"b": ["$uuid"]}}),
        *({"$set": [1], "a": 1}, {"a": 1, "$set": [1]}, {"$set": [1]}, [{"$": {"$": "$"}}]),
    ],
)
def test_p1_data_that_looks_like_a_tag_comes_back(value: Any) -> None:
    """A dollar in a text, as a key among others, and alone."""
    assert decode(encode_checked(value)) == value


@pytest.mark.parametrize("data", [b'{"$set":[1]}', b'{ "$set": [1] }', b'{\n\t"$set" : [1]}'])
def test_a_tag_may_be_written_by_hand(data: bytes) -> None:
    """With spaces, too."""
    assert decode(data) == {1}
    assert decode(b'[{"a":%b}, 1.0]' % data) == [{"a": {1}}, 1.0]


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"nope", b"[1,]", b"NaN", b"\xff", b'"\xff"', b"\x80\x04N.", b"1 2"),
        *(b'{"$unknown":1}', b'{"$uuid":7}', b'{"$bytes":"!"}', b'{"$datetime":"x"}'),
        *(b'{"$model":["os.system",[{},[],null,null]]}', b'{"$dataclass":["Point",{}]}'),
        *(b'{"$enum":["Colour","BLUE"]}', b'{"$set":[[1]]}', b'{"$decimal":"1e"}'),
        b"[" * 100_000,
    ],
)
def test_p9_other_bytes_are_corrupt(data: bytes) -> None:
    """Whatever they are, the error is one and the same, and nothing is run."""
    with pytest.raises(CorruptError):
        decode(data, KnownClasses(Colour))
    with pytest.raises(CorruptError):
        decoder(data, KnownClasses(Colour))[0]()

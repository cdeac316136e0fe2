"""Stored values that somebody made up: a miss, in no more time than it takes to read (promise P9)."""

import contextlib
import gc
import sys
import time
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import IPv6Network
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from pydantic import AnyUrl, BaseModel, ByteSize, MongoDsn, NameEmail
from pydantic_core import to_json

from ... import CacheManager, cache_response
from ...stored.codec import (
    CorruptError,
    UnstorableError,
    decode,
    decoder,
    encode,
    encode_checked,
)
from ...values.classes import KnownClasses
from ..endpoints import get
from ..forging import forged, put, standing_at

MANY = 10_000
HASH = sys.hash_info.modulus
"""What numbers are reduced by: its multiples have one hash."""


class Model(BaseModel):
    """A model."""

    a: int = 1


@dataclass
class Point:
    """A dataclass."""

    x: int
    y: int = 2


class Pair(NamedTuple):
    """A named tuple."""

    a: int
    b: int


class Colour(Enum):
    """An enum."""

    RED = 1


KNOWN = KnownClasses(Model | Point | Pair | Colour)

MEMBERS: dict[str, Any] = {
    "numbers": lambda n: n * HASH,
    "negative numbers": lambda n: -n * HASH,
    "decimals": lambda n: {"$decimal": str(n * HASH)},
    "UUIDs": lambda n: {"$uuid": f"{n * HASH:032x}"},
    "tuples": lambda n: {"$tuple": [n * HASH]},
    "frozen sets": lambda n: {"$frozenset": [n * HASH]},
    "named tuples": lambda n: {"$namedtuple": [f"{Pair.__module__}.Pair", [n * HASH, 1]]},
}
PLACES: dict[str, Any] = {
    "set": lambda members: {"$set": members},
    "frozen set": lambda members: {"$frozenset": members},
    "dict": lambda members: {"$dict": [[member, 1] for member in members]},
    "OrderedDict": lambda members: {"$ordered": [[member, 1] for member in members]},
    "Counter": lambda members: {"$counter": [[member, 1] for member in members]},
    "defaultdict": lambda members: {"$defaultdict": ["list", [[member, []] for member in members]]},
    "inside": lambda members: [{"a": {"$tuple": [{"$set": members}]}}],
}


def seconds(data: bytes) -> float:
    """Return how long it takes to read something, which need not be readable.

    That is the least of three times, without the garbage collector, which looks at all that the
    tests before have left.
    """
    times = []
    gc.disable()
    try:
        for _ in range(3):
            began = time.process_time()
            with contextlib.suppress(CorruptError):
                decode(data, KNOWN)
            times.append(time.process_time() - began)
    finally:
        gc.enable()
    return min(times)


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
@pytest.mark.parametrize("member", MEMBERS.values(), ids=list(MEMBERS))
def test_p9_members_that_collide_are_no_value(member: Any, place: Any) -> None:
    """It takes no more than ten times as long as with those that do not."""
    alike = to_json(place([member(n) for n in range(MANY)]))
    honest = to_json(place([{"$tuple": [n, str(n)]} for n in range(MANY)]))
    assert seconds(alike) < 10 * seconds(honest)
    with pytest.raises(CorruptError):
        decode(alike, KNOWN)
    with pytest.raises(CorruptError):
        decoder(alike, KNOWN)[0]()


@pytest.mark.parametrize(
    "value",
    [
        {*range(MANY)},
        {n: str(n) for n in range(-MANY, MANY)},
        {-1, -2, *range(100)},
        {n * HASH for n in range(10)},
        frozenset(map(str, range(MANY))),
        OrderedDict.fromkeys(range(100)),
        Counter(range(100)),
        defaultdict(list, {n: [n] for n in range(100)}),
        deque([{n} for n in range(100)], 50),
    ],
    ids=lambda value: f"{type(value).__name__} of {len(value)}",
)
def test_p1_many_members_come_back(value: Any) -> None:
    """Those that chance makes equal in their hashes do no harm."""
    back = decode(encode_checked(value))
    assert back == value
    assert type(back) is type(value)


def name(cls: type) -> str:
    """Return the name under which a class is stored."""
    return f"{cls.__module__}.{cls.__qualname__}"


FORGED: list[Any] = [
    {"$model": [name(Model), [{"a": 1, "b": 2}, [], None, None]]},
    {"$model": [name(Model), [{"a": 1}, [1], None, None]]},
    {"$model": [name(Model), [{"a": 1}, [n * HASH for n in range(MANY)], None, None]]},
    {"$model": [name(Model), [[1], [], None, None]]},
    {"$model": [name(Point), [{"x": 1}, [], None, None]]},
    {"$dataclass": [name(Point), {"y": 1}]},
    {"$dataclass": [name(Point), {"x": 1, "y": 1, "z": 1}]},
    {"$dataclass": [name(Point), {"x": 1, "y": 1, "__class__": 1}]},
    {"$dataclass": [name(Point), {"x": 1}, "builtins.list[]"]},
    {"$dataclass": [name(Model), {"a": 1}]},
    {"$namedtuple": [name(Pair), [1]]},
    {"$namedtuple": [name(Pair), [1, 2, 3]]},
    {"$namedtuple": ["builtins.tuple", [1, 2]]},
    {"$enum": [name(Colour), "__class__"]},
    {"$enum": [name(Model), "RED"]},
    {"$text": ["PosixPath", "/etc/passwd"]},
    {"$text": ["str", "a"]},
    {"$text": ["ByteSize", 7]},
    {"$ByteSize": "7"},
    {"$pguuid": "00000000-0000-0000-0000-000000000001"},
    {"$defaultdict": ["eval", []]},
    {"$float": "1" * 100_000},
    {"$float": "1.5"},
    {"$zone": "../../etc/passwd"},
    {"$zone": 10**9},
    {"$zone": [[1]]},
    {"$zone": "z../../etc/passwd"},
    {"$zone": "z/etc/localtime"},
    {"$zone": "p1000000000"},
    {"$zone": "1e3"},
    {"$zone": f"{10**12}"},
    {"$datetime": ["2024-01-01T00:00:00", "", 0]},
    {"$datetime": "2024-01-01T00:00:00"},
    {"$datetime": "2024-01-01T00:00:00/0/z/etc/localtime"},
    {"$datetime": "2024-01-01T00:00:00/0/p90000"},
    {"$datetime": "2024-01-01T00:00:00/2/"},
    {"$time": "25:00:00/0/"},
    {"$timedelta": "1/2"},
    {"$bytes": "a"},
    {"$date": 1},
    {"$deque": [[1], -1]},
    {"$tuple": 1},
    {"$dict": [[1]]},
    {"$dict": [[[1], 1]]},
]


@pytest.mark.parametrize("forged", FORGED, ids=lambda forged: str(forged)[:60])
def test_p9_what_packing_does_not_make_is_corrupt(forged: Any) -> None:
    """Fields that are none, classes that are not named, zones that are files."""
    data = to_json(forged)
    assert seconds(data) < 1
    with pytest.raises(CorruptError):
        decode(data, KNOWN)


def test_what_is_forged_is_near_to_what_is_made() -> None:
    """The forged values are wrong in one thing each."""
    for value, start in (
        (Model(), b'{"$model":["%s",[{"a":1},[],null,null]]}' % name(Model).encode()),
        (Point(1), b'{"$dataclass":["%s",{"x":1,"y":2}]}' % name(Point).encode()),
        (Pair(1, 2), b'{"$namedtuple":["%s",[1,2]]}' % name(Pair).encode()),
        (Colour.RED, b'{"$enum":["%s","RED"]}' % name(Colour).encode()),
    ):
        assert encode(value, KNOWN) == start


HUGE = [
    *("1E+3000000", "-1E+3000000", "1E-3000000", "1e999999999", "1E-999999999", "9E+1001"),
    *("9" * 1001, "0." + "0" * 1001 + "1", "9" * 1_000_000, "1E" + "9" * 4000, "sNaN" + "9" * 2000),
    *("1/" + "9" * 1001, "1e" + "9" * 4000, "1e-3000000", "1_000" * 1000, "0x" + "f" * 4000),
]
NO_TEXT: list[Any] = [1, 1.5, True, None, [0, [1], 3_000_000], {"a": 1}]
NUMBERS = KnownClasses(Decimal | Fraction)


@pytest.mark.parametrize("number", [*HUGE, *NO_TEXT], ids=lambda number: str(number)[:20])
@pytest.mark.parametrize(
    "place",
    [
        lambda number: {"$decimal": number},
        lambda number: {"$text": ["Fraction", number]},
        lambda number: [{"$set": [{"$decimal": number}]}],
        lambda number: {"$dict": [[{"$text": ["Fraction", number]}, 1]]},
    ],
    ids=["Decimal", "Fraction", "in a set", "as a key"],
)
def test_p9_a_few_bytes_make_no_huge_number(number: Any, place: Any) -> None:
    """A hit is not to be what makes millions of digits of it, or what waits for them for ever."""
    data = to_json(place(number))
    began = time.process_time()
    with pytest.raises(CorruptError):
        decode(data, NUMBERS)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "number",
    [
        *(Decimal("1E+1001"), Decimal("1E-1001"), Decimal("9" * 1001), Fraction(10**1001, 7)),
        *(Fraction(7, 10**1001), [Decimal("1E+5000")], {Decimal("1E-5000"): 1}),
    ],
    ids=lambda number: str(number)[:20],
)
def test_p9_a_huge_number_is_not_stored(number: Any) -> None:
    """It is told why, and what to do."""
    with pytest.raises(UnstorableError, match=r"more than 1000 digits or zeros; round it"):
        encode(number, NUMBERS)


@pytest.mark.parametrize(
    "number",
    [
        *(Decimal("1E+1000"), Decimal("-1E-1000"), Decimal("9" * 1000), Decimal("NaN")),
        *(Decimal("-Infinity"), Decimal("0E-10"), Fraction(10**999, 7), Fraction(-7, 10**999)),
    ],
    ids=lambda number: str(number)[:20],
)
def test_p1_a_number_within_the_bound_comes_back(number: Any) -> None:
    """With its sign, its exponent and its zeros."""
    back = decode(encode_checked(number, NUMBERS), NUMBERS)
    assert (type(back), str(back)) == (type(number), str(number))


@pytest.mark.parametrize("huge", HUGE[:5])
async def test_p9_an_endpoint_renders_no_forged_number(
    our_manager: CacheManager, huge: str
) -> None:
    """One without an annotation would make an int of it, digit by digit, in the event loop."""
    app = FastAPI()

    @app.get("/it")
    @cache_response(our_manager, "it", key="one")
    async def it():  # type: ignore[no-untyped-def] # as many endpoints are
        return {"price": Decimal("1.50")}

    first = await get(app, "/it")
    sound = await standing_at(our_manager, "it:one")
    await put(our_manager, "it:one", forged(sound, payload=to_json({"price": {"$decimal": huge}})))
    began = time.monotonic()
    assert (await get(app, "/it")).content == first.content == b'{"price":1.5}'
    assert time.monotonic() - began < 2


LARGE = 100_000
TEXTS_OF_ALL = KnownClasses(
    PurePosixPath | IPv6Network | AnyUrl | MongoDsn | ByteSize | NameEmail | UUID | Model | Colour
)
CHEAP: dict[str, Any] = {
    "an int": 10**4299,
    "a ByteSize": {"$text": ["ByteSize", "9" * 4300]},
    "a float": 1.7e308,
    "a network": {"$text": ["IPv6Network", "::/0"]},
    "a path": {"$text": ["PurePosixPath", "../" * LARGE]},
    "a URL": {"$text": ["AnyUrl", "http://" + "\u00e9." * LARGE]},
    "hosts": {"$text": ["MongoDsn", "mongodb://" + "a," * LARGE + "a"]},
    "an address": {"$text": ["NameEmail", "a@b.c " + "a" * LARGE]},
    "a long time": {"$timedelta": "999999999/0/0"},
    "one that overflows": {"$timedelta": f"{10**18}/0/0"},
    "one of long numbers": {"$timedelta": "/".join(["9" * 4000] * 3)},
    "one of longer numbers": {"$timedelta": "/".join(["9" * LARGE] * 3)},
    "the last moment": {"$datetime": "9999-12-31T23:59:59.999999/1/86340000000"},
    "the first": {"$datetime": "0001-01-01T00:00:00/0/-86340000000"},
    "a moment of no end": {"$datetime": "/" * LARGE},
    "a deque of no end": {"$deque": [[1], 2**62]},
    "a counter": {"$counter": [["a", 10**4000]]},
    "many tags": {"$tuple": [{"$decimal": "1E+1000"}] * (LARGE // 10)},
    "a zone of no end": {"$zone": "za/" + "a/" * LARGE},
    "a name of no end": {"$zone": "0/" + "a" * LARGE},
    "an offset of no end": {"$zone": "9" * LARGE},
    "a UUID": {"$uuid": "-" * LARGE},
    "bytes": {"$bytes": "A" * LARGE},
    "depth": [[]],
}
for _ in range(60):
    CHEAP["depth"] = [{"$tuple": [CHEAP["depth"]]}]


@pytest.mark.parametrize("value", CHEAP.values(), ids=list(CHEAP))
def test_p9_what_comes_back_is_as_cheap_to_use_as_to_read(value: Any) -> None:
    """Each type of the codec, at its largest: read, compared, hashed if it can be, and rendered."""
    data = to_json(value)
    began = time.process_time()
    with contextlib.suppress(CorruptError):
        back = decode(data, TEXTS_OF_ALL)
        assert back == decode(data, TEXTS_OF_ALL)
        assert str(back)
        with contextlib.suppress(TypeError):
            hash(back)
        with contextlib.suppress(ValueError, TypeError):  # as the same value would by itself
            JSONResponse(jsonable_encoder(back))
    assert time.process_time() - began < 2

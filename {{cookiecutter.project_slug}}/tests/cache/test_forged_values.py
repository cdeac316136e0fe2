"""Stored values that somebody made up: a miss, in no more time than it takes to read (promise P9)."""

import contextlib
import gc
import sys
import time
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel
from pydantic_core import to_json

from app.core.cache.classes import KnownClasses
from app.core.cache.codec import CorruptError, decode, decoder, encode, encode_checked

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
    {"$pguuid": "00000000-0000-0000-0000-000000000001"},
    {"$defaultdict": ["eval", []]},
    {"$float": "1" * 100_000},
    {"$float": "1.5"},
    {"$zone": "../../etc/passwd"},
    {"$zone": 10**9},
    {"$zone": [[1]]},
    {"$datetime": ["2024-01-01T00:00:00", "/etc/localtime", 0]},
    {"$datetime": ["2024-01-01T00:00:00", 90_000, 0]},
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

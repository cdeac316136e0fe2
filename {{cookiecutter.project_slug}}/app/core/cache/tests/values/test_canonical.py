"""Values written down as bytes: what tells two of them apart, and what does not (promise P2)."""

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from enum import KEEP, Enum, Flag, IntEnum, StrEnum
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr

from ...values import UnkeyableError, canonical
from ..keys.test_builder import DISTINCT
from ..stored.test_codec import FROM_FILE
from .odd_classes import One, Other

WINTER = datetime.fromisoformat("2026-01-01T12:00:00")


class Colour(Enum):
    """An enum."""

    RED = "red"


class Namesake:
    """A class of the same name in another module, which says that it is the same."""

    def __cache_key__(self) -> str:
        """Return what the enum's member is written down as."""
        return "RED"


Namesake.__module__, Namesake.__qualname__ = "elsewhere", Colour.__qualname__


class Bits(Flag, boundary=KEEP):
    """A flag that keeps bits that have no name; zero has none either."""

    ONE = 1


class More(BaseModel):
    """A model that keeps more than its fields."""

    model_config = ConfigDict(extra="allow")

    x: int = 1
    _seen: int = PrivateAttr(default=0)

    @cached_property
    def lock(self) -> object:
        """Return what follows from the fields and has no identity."""
        return object()


def seen(number: int) -> More:
    """Make a model that differs in a private attribute only."""
    more = More()
    more._seen = number
    return more


HOUR = timedelta(hours=1)
ALIKE: dict[str, list[Any]] = {
    "numbers": [1.0, 1.0000000001, 1e22, 1.0000001e22],
    "times": [timedelta(0), timedelta(microseconds=1)],
    "zones of one offset": [
        *(WINTER.replace(tzinfo=ZoneInfo(f"Europe/{city}")) for city in ("Berlin", "Paris")),
        *(WINTER.replace(tzinfo=zone) for zone in (timezone(HOUR), timezone(HOUR, "home"))),
    ],
    "flags": [Bits(bits) for bits in (0, 1, 8, 16)],
    "models": [
        *(More(), More(x=2), seen(7)),
        *(More.model_validate({"y": 1}), More.model_validate({"y": 2})),
    ],
    "slices": [slice(1), slice(1, None), slice(1, 2), slice(1, 2, 1), slice("1", 2), (1, 2, None)],
    "dots": [..., "...", "Ellipsis", ".", (...,)],
    "half characters": ["\ud800", "\ud801"],
    "lists": [[1, 23], [12, 3], [1, 2, 3], [123]],
    "classes of one name": [Colour.RED, Namesake()],
}


@pytest.mark.parametrize("values", ALIKE.values(), ids=list(ALIKE))
def test_p2_values_that_look_alike_differ(values: list[Any]) -> None:
    """In the last digit, in a zone whose hour is the same today, in what a model hides."""
    assert len({canonical(value) for value in values}) == len(values)


def test_p2_no_value_is_the_beginning_of_another() -> None:
    """So one that follows cannot be taken for a part of it."""
    written = sorted(map(canonical, DISTINCT))
    assert [(a, b) for a, b in itertools.pairwise(written) if b.startswith(a)] == []


@pytest.mark.parametrize("kind", [set, frozenset, dict.fromkeys])
def test_p2_what_has_no_order_is_written_in_one(kind: Any) -> None:
    """Also where it was filled in another: 0 and 8 meet in one slot of a hash table."""
    assert canonical(kind([0, 8])) == canonical(kind([8, 0]))


def test_p2_classes_that_call_themselves_equal_differ() -> None:
    """How instances are written down is remembered for a class, not for what equals it."""
    assert canonical(One()) != canonical(Other())
    assert canonical(One) != canonical(Other)


class Text(str):
    """A string that shows as another, and is longer than it says."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return "a"

    def __len__(self) -> int:
        return 1


class Number(int):
    """A number that shows as another."""

    def __format__(self, spec: str) -> str:
        return "1"


class Real(float):
    """A float of another type."""


class Word(StrEnum):
    """An enum whose members equal strings."""

    A = "a"


class Size(IntEnum):
    """An enum whose members equal numbers."""

    ONE = 1


PLACES: list[Callable[[Any], Any]] = [
    lambda value: value,
    lambda value: [value],
    lambda value: ("x", value),
    lambda value: {"x": value},
    lambda value: {value: "x"},
    lambda value: {value},
    lambda value: More.model_construct(x=value),
    One,
]


@pytest.mark.parametrize("place", PLACES)
def test_p2_exact_types_only_are_plain(place: Callable[[Any], Any]) -> None:
    """Whatever a subclass shows as: it is refused, or differs, wherever it stands."""
    for refused in (Text("a"), Number(1), Real(1)):
        with pytest.raises(UnkeyableError, match=type(refused).__qualname__):
            canonical(place(refused))
    alike = [True, 1, 1.0, "1", b"1", "a", b"a", Word.A, Size.ONE, "i1;", "s1:a", "n", None]
    assert len({canonical(place(value)) for value in alike}) == len(alike)


def test_p2_what_a_model_computed_does_not_count() -> None:
    """It follows from the fields, and may have no identity."""
    one, other = More(), More()
    assert one.lock is one.lock
    assert canonical(one) == canonical(other)


def test_p2_a_time_zone_without_a_name_is_refused() -> None:
    """One that was read from a file may be any."""
    with pytest.raises(UnkeyableError, match="time zone"):
        canonical(WINTER.replace(tzinfo=FROM_FILE))

"""Keys and patterns with arguments in them: no value leaves its place (promises P2 and P7)."""

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from ... import CacheManager, MemoryBackend, cache_response, invalidate_cache
from ...keys.templates import Template, escape
from ...values import UnkeyableError


class Colour(Enum):
    """An enum."""

    RED = "dark red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        ("ada", "ada"),
        ("a_b.c-d", "a_b.c-d"),
        ("", ""),
        (None, "None"),
        (True, "True"),
        ("a:b*c?[d]\\ e\n/%~", "a%3Ab%2Ac%3F%5Bd%5D%5C%20e%0A%2F%25%7E"),
        ("ü", "%C3%BC"),
        ("\ud800", "%ED%A0%80"),
        (1.5, "1.5"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, f"dark%20red~{__name__}.Colour"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02%2000%3A00%3A00%2B00%3A00"),
    ],
)
def test_a_value_is_escaped(value: object, text: str) -> None:
    """Everything that could end a part of a key, or be a pattern, is percent-encoded."""
    assert escape(value) == text


@pytest.mark.parametrize("place", ["{at}", "day:{at}"])
def test_p2_times_that_look_alike_have_keys_of_their_own(place: str) -> None:
    """The hour that comes twice, and two zones that are as far from UTC."""
    template, moment = Template(place, ["at"]), datetime(2026, 10, 25, 2, 30)  # noqa: DTZ001 - one of them has no zone
    zones = [None, UTC, *map(ZoneInfo, ("UTC", "Europe/Berlin", "Europe/Paris"))]
    times = [moment.replace(tzinfo=zone, fold=fold) for zone in zones for fold in (0, 1)]
    values = [*times, *(each.timetz() for each in times)]
    assert len({template.render({"at": value}) for value in values}) == len(values)


def test_a_long_value_becomes_its_digest() -> None:
    """Of the same length, distinct, and like no short value."""
    one, two = escape("x" * 1000), escape("x" * 1001)
    assert one != two
    assert len(one) == len(two) == 33
    assert escape(one) != one


@pytest.mark.parametrize("value", [object(), [1], {"a": 1}, b"x"])
def test_a_value_without_text_is_refused(value: object) -> None:
    """A `repr` is no text."""
    with pytest.raises(UnkeyableError, match="no text"):
        escape(value)


def test_places_are_filled() -> None:
    """With arguments, and with attributes and items of them."""
    user = SimpleNamespace(id=7, tags=["a:b"])
    render = Template("{user.id}:{user.tags[0]}:{n}:{{x}}", ["user", "n"]).render
    assert render({"user": user, "n": 5}) == "7:a%3Ab:5:{x}"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{b}", "'b', which is no parameter of the function; it has a"),
        ("{}", "which is no parameter"),
        ("{0}", "which is no parameter"),
        ("{a", "no template"),
        ("a}", "no template"),
        ("{a!r}", "conversion"),
        ("{a:.3}", "format"),
        ("{a:{a}}", "format"),
        ("{a}{a}", "something like ':'"),
        ("{a}-{a}", "something like ':'"),
    ],
)
def test_a_wrong_template_is_refused(text: str, what: str) -> None:
    """When it is made, with a word on what is wrong."""
    with pytest.raises(ValueError, match=what):
        Template(text, ["a"])


def test_p2_no_two_lists_of_values_make_one_key() -> None:
    """Whatever separators the values contain."""
    render = Template("{a}:{b}/x{c}", ["a", "b", "c"]).render
    values = ["", ":", "a", "a:", ":a", "/x", "a/xb", "%3A", "*", "~", "None"]
    rendered = {render({"a": a, "b": b, "c": c}) for a in values for b in values for c in values}
    assert len(rendered) == len(values) ** 3


class Said:
    """A class that says what tells its objects apart."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def __cache_key__(self) -> Any:
        """Return what was given."""
        return self.what


class Picked(Enum):
    """An enum whose members say so themselves."""

    NOTHING, NAME = None, "None"
    NUMBER, DIGIT, TRUTH = 1, "1", "True"

    def __cache_key__(self) -> Any:
        """Return what is not the member's name."""
        return self.value


LOOK_ALIKE = [
    *(None, "None", 1, "1", 1.0, "1.0", Decimal("1.0"), True, "True", "", "~", "1~str", "1~~str"),
    *(UUID(int=1), str(UUID(int=1)), datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
    *(Path("a"), "a", Colour.RED, "dark red", "x" * 100, Path("x" * 100)),
]


@pytest.mark.parametrize("place", ["{x}", "{x.a}", "{x[0]}"])
async def test_p2_what_a_class_says_of_itself_is_told_by_its_type_as_well(place: str) -> None:
    """As for values that stand there themselves; and an invalidation with the object finds it."""
    manager, runs = CacheManager(MemoryBackend()), list[int]()

    @cache_response(manager, "said", key=place)
    async def read(x: Any) -> int:
        runs.append(1)
        return len(runs)

    @invalidate_cache(manager, f"said:{place}")
    async def forget(x: Any) -> None: ...

    wrap: Any = {
        "{x}": lambda said: said,
        "{x.a}": lambda said: SimpleNamespace(a=said),
        "{x[0]}": lambda said: [said],
    }[place]
    given = [wrap(each) for each in (*map(Said, LOOK_ALIKE), *LOOK_ALIKE, *Picked)]
    for _ in range(2):
        assert [await read(each) for each in given] == list(range(1, len(given) + 1))
    await forget(wrap(Said("1")))
    number = LOOK_ALIKE.index(1) + 1
    assert [await read(wrap(Said(each))) for each in (1, "1")] == [number, len(given) + 1]


async def test_p7_a_star_of_a_user_is_no_wildcard(our_manager: CacheManager) -> None:
    """Whoever invalidates with `*` as an argument removes one entry, not the family."""

    @cache_response(our_manager, "search", key="q:{q}")
    async def search(q: str) -> str:
        return f"results for {q}"

    @invalidate_cache(our_manager, ["search:q:{q}", "searches:{q}*"])
    async def forget(q: str) -> None:
        pass

    for q in ("*", "a", "b"):
        await search(q)
        await our_manager.set(f"searches:{escape(q)}:1", q)
    await forget("*")
    exists = our_manager.exists
    assert [await exists(f"search:q:{escape(q)}") for q in ("*", "a", "b")] == [False, True, True]
    assert [await exists(f"searches:{escape(q)}:1") for q in ("*", "a", "b")] == [False, True, True]
    await forget("a")
    assert [await exists(f"search:q:{escape(q)}") for q in ("a", "b")] == [False, True]


async def test_a_key_of_ones_own_can_be_read(our_manager: CacheManager) -> None:
    """It stands behind the prefixes, and only what it names counts."""

    @cache_response(our_manager, "users", key="user:{user_id}", ignore=("session",))
    async def read(user_id: int, session: object) -> int:
        return user_id

    assert await read(7, object()) == await read(7, object()) == 7
    assert await our_manager.exists("users:user:7") is True


async def test_a_function_makes_the_key(our_manager: CacheManager) -> None:
    """It is called with the same arguments, with those that are ignored, too."""
    calls = []

    def half(user_id: int, **_: object) -> str:
        return f"half-{user_id // 2}"

    @cache_response(our_manager, "users", key=half, ignore=("session",))
    async def read(user_id: int, *, session: object = None) -> int:
        calls.append(user_id)
        return user_id

    assert [await read(2), await read(3, session=1), await read(user_id=4)] == [2, 2, 4]
    assert await our_manager.exists("users:half-1") is True


async def test_a_function_may_return_values_to_escape(our_manager: CacheManager) -> None:
    """The parts of a tuple are escaped and joined."""

    @cache_response(our_manager, "search", key=lambda q, page: ("q", q, page))
    async def search(q: str, page: int) -> str:
        return f"{q} {page}"

    assert await search("a:*", 1) == "a:* 1"
    assert await our_manager.exists("search:q:a%3A%2A:1") is True


@pytest.mark.parametrize(
    "key",
    [
        lambda value: value and None,
        lambda value: value and "",
        lambda value: value / 0,
        "x:{value.a}",
    ],
)
async def test_a_key_that_cannot_be_made_is_a_bypass(
    our_manager: CacheManager, key: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The function runs, and one warning says why."""

    @cache_response(our_manager, "data", key=key)
    async def read(value: int) -> int:
        return value

    assert [await read(1), await read(2)] == [1, 2]
    assert len(caplog.records) == 1
    assert "runs uncached" in caplog.text


async def test_an_argument_without_text_invalidates_more(our_manager: CacheManager) -> None:
    """Too much rather than too little."""

    @invalidate_cache(our_manager, "user:{user}:profile")
    async def write(user: object) -> None:
        pass

    await our_manager.set("user:1:profile", 1)
    await our_manager.set("user:1:posts", 1)
    await write(object())
    assert await our_manager.exists("user:1:profile") is False
    assert await our_manager.exists("user:1:posts") is True


async def test_arguments_count_as_they_were_before_the_write(our_manager: CacheManager) -> None:
    """A function may change what it was given."""

    @invalidate_cache(our_manager, "user:{user.id}")
    async def write(user: Any) -> None:
        user.id = 2

    await our_manager.set("user:1", 1)
    await write(SimpleNamespace(id=1))
    assert await our_manager.exists("user:1") is False

"""The language of keys: what `key=` makes is distinct, can be read, and can be removed by hand."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ... import CacheManager, cache_response, invalidate_cache
from ...keys.templates import Template, escape
from ..naming import named


class Colour(Enum):
    """An enum whose values are a text and what reads like others."""

    RED = "red"
    ONE = 1
    TEXT = "1"


class Size(IntEnum):
    """An enum whose members equal numbers."""

    SMALL = 1


class User(BaseModel):
    """A model."""

    id: int
    name: str = ""


@dataclasses.dataclass
class Row:
    """A dataclass."""

    id: UUID


class Tenant:
    """A class that says itself what it is."""

    def __cache_key__(self) -> str:
        """Return what tells tenants apart."""
        return "red"


UserId = NewType("UserId", int)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
VALUES = [
    *(None, True, False, 1, -1, 0, 2**70, 1.0, -0.0, 1e16, float("nan"), float("inf"), 1.5e-7),
    *(Decimal(1), Decimal("1.0"), Decimal("NaN"), UUID(int=1), NOON, NOON.date(), time(12)),
    *(Colour.RED, Colour.ONE, Colour.TEXT, Size.SMALL, PurePosixPath("1"), Tenant()),
]
TEXTS = [str(getattr(value, "value", value)) for value in VALUES if not isinstance(value, Tenant)]
FAMILY: list[Any] = [*VALUES, *dict.fromkeys([*TEXTS, "", "red", "1~int", "~", "*", ":", "x" * 99])]
ANNOTATIONS = [Any, str, int, str | None, int | str, Colour, Decimal, UUID, Literal["a"], "unknown"]


def cached(manager: CacheManager, annotation: Any, **options: Any) -> tuple[Any, list[Any]]:
    """Return a cached function of one parameter, and the list of its runs."""
    runs: list[Any] = []

    async def read(q: Any) -> str:
        runs.append(q)
        return repr(q)

    read.__annotations__["q"] = annotation
    return cache_response(manager, "read", **{"key": "{q}", **options})(read), runs


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=str)
@pytest.mark.parametrize("key", ["{q}", "of:{q}:end", lambda q: ("of", q)], ids=named)
async def test_p2_values_and_their_texts_have_entries_of_their_own(
    memory: CacheManager, annotation: Any, key: Any
) -> None:
    """Whatever the annotation says: nobody gets what was computed for another value."""
    read, runs = cached(memory, annotation, key=key)
    for _ in range(2):
        assert [await read(value) for value in FAMILY] == [repr(value) for value in FAMILY]
    assert len(runs) == len(FAMILY)


TYPED = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(), st.uuids()),
    *(st.dates(), st.times(), st.datetimes(timezones=st.none() | st.timezones())),
)


@given(value=TYPED, other=TYPED, annotation=st.sampled_from([Any, str, int, Colour, Decimal]))
def test_p2_no_value_shares_a_key_with_its_text(
    value: object, other: object, annotation: Any
) -> None:
    """Nor with a value of another type."""
    render = Template("{q}", ["q"], {"q": annotation}).render
    assert render({"q": value}) != render({"q": str(value)})
    if type(value) is not type(other):
        assert render({"q": value}) != render({"q": other})


@pytest.mark.parametrize(
    ("annotation", "value", "key"),
    [
        *((int, 7, "7"), (Any, 7, "7"), (UserId, 7, "7"), (int | None, 7, "7")),
        *((str, "7", "7"), (str | None, "7", "7"), (Annotated[str, "doc"], "7", "7")),
        *((Any, "ada", "ada"), (str, "None", "None"), (str | None, None, "None~NoneType")),
        *(
            (str, "a@b.c", "a%40b.c"),
            (UUID, UUID(int=1), str(UUID(int=1))),
            (date, NOON.date(), None),
        ),
        *((Colour, Colour.RED, "red"), (Decimal, Decimal("1.5"), "1.5"), (Any, "7", "7~str")),
        *((bool, True, "True"), (float, 1.5, "1.5"), (Literal["7"], "7", "7")),
    ],
    ids=repr,
)
async def test_what_the_annotation_says_stands_plainly(
    memory: CacheManager, annotation: Any, value: Any, key: str | None
) -> None:
    """So that the entries of a well-typed function can be removed by the text of the value."""
    read, _ = cached(memory, annotation, key="user:{q}")
    expected = f"read:user:{str(value) if key is None else key}"
    assert read.cache_key(value) == expected
    await read(value)
    assert await memory.delete(expected) is True


async def test_an_attribute_has_the_annotation_of_its_class(memory: CacheManager) -> None:
    """Of a model and of a dataclass."""

    @cache_response(memory, "rows", key="{user.name}:{row.id}")
    async def read(user: User, row: Row) -> int:
        return user.id

    key = read.cache_key(User(id=1, name="7"), Row(UUID(int=1)))
    assert key == f"rows:7:{UUID(int=1)}"


@pytest.mark.parametrize("text", ["{user.idd}", "{user.id.nam.x}", "{row.idd}", "{maybe.idd}"])
async def test_a_typo_in_an_attribute_is_refused_when_decorating(
    memory: CacheManager, text: str
) -> None:
    """Where the class is known; the message names what there is."""

    async def read(user: User, row: Row, maybe: User | None = None) -> None: ...

    if text == "{user.id.nam.x}":
        return  # what an int has is looked at in the call
    with pytest.raises(ValueError, match=r"has no attribute 'idd'; it has .*id"):
        cache_response(memory, "x", key=text, ignore=("user", "row", "maybe"))(read)
    with pytest.raises(ValueError, match="has no attribute 'idd'"):
        invalidate_cache(memory, f"x:{text}")(read)


class Loose(BaseModel, extra="allow"):
    """A model that takes what it does not know."""

    @property
    def label(self) -> str:
        """Return a text."""
        return "label"


@dataclasses.dataclass
class Grown:
    """A dataclass that gets what is no field."""

    def __post_init__(self) -> None:
        self.more = "more"


@pytest.mark.parametrize(
    ("value", "attribute"),
    [(Loose(id=1), "id"), (Loose(), "label"), (Grown(), "more")],  # type: ignore[call-arg] # extra
)
async def test_an_attribute_that_may_be_there_is_not_refused(
    memory: CacheManager, value: Any, attribute: str
) -> None:
    """It is looked at in the call."""
    read, _ = cached(memory, type(value), key=f"{{q.{attribute}}}")
    assert read.cache_key(value) == f"read:{getattr(value, attribute)}"


ODD = [
    "a@b.c",
    "*",
    "a*b",
    "a:b",
    "100%",
    "%2A",
    "two words",
    "😀",
    "\ud800",
    "~",
    "~*",
    "x" * 500,
    "?",
    "[a]",
]
MAKERS: list[Any] = [
    *("{q}", "of:{q}:{q}", None, lambda q: ("q", q), lambda q: f"q:{q}", lambda q: q or "-"),
]
REMOVALS: dict[str, Callable[[CacheManager, str], Any]] = {
    "delete": lambda manager, key: manager.delete(key),
    "delete_many": lambda manager, key: manager.delete_many([key]),
    "invalidate": lambda manager, key: manager.invalidate(key),
}


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("key", MAKERS, ids=named)
async def test_p7_a_key_removes_its_own_entry_and_no_other(
    our_manager: CacheManager, key: Any, removal: str
) -> None:
    """Whatever characters its values hold, and by whatever way it is removed."""
    read, runs = cached(our_manager, str, key=key)
    for text in ODD:
        await read(text)
    for text in ODD:
        runs.clear()
        assert await REMOVALS[removal](our_manager, read.cache_key(text))
        assert not read.cache_key(text).startswith(our_manager.key_prefix)
        for other in ODD:
            await read(other)
        assert runs == [text]


async def test_a_key_is_what_the_manager_takes(our_manager: CacheManager) -> None:
    """It says whether there is an entry."""
    read, _ = cached(our_manager, str)
    key = read.cache_key("a@b.c")
    assert await our_manager.exists(key) is False
    await read("a@b.c")
    assert await our_manager.exists(key) is True


WRITTEN = [
    1,
    "1",
    "ada",
    "a*b",
    None,
    "None",
    True,
    1.5,
    "1.5",
    Colour.RED,
    UUID(int=1),
    "x" * 99,
    NOON,
]


@pytest.mark.parametrize("pattern", ["read:u:{q}", "read:u:{q}*", "read:*:{q}"])
@pytest.mark.parametrize("reading", ANNOTATIONS, ids=str)
@pytest.mark.parametrize("writing", ANNOTATIONS, ids=str)
async def test_p3_a_pattern_covers_what_a_key_holds(
    memory: CacheManager, reading: Any, writing: Any, pattern: str
) -> None:
    """With the same values, whatever the annotations of the two functions are."""
    read, runs = cached(memory, reading, key="u:{q}")

    async def write(q: Any) -> None: ...

    write.__annotations__["q"] = writing
    forget = invalidate_cache(memory, pattern)(write)
    for value in WRITTEN:
        await read(value)
        runs.clear()
        await forget(value)
        await read(value)
        assert runs == [value]


async def test_p3_a_number_and_its_text_have_one_tag(memory: CacheManager) -> None:
    """A path parameter of one function may be a number, and a text that of another."""
    runs = []

    @cache_response(memory, "read", tags=["user:{user_id}"])
    async def read(user_id: int) -> int:
        runs.append(user_id)
        return user_id

    @invalidate_cache(memory, tags=["user:{user_id}"])
    async def write(user_id: Any) -> None: ...

    for user_id in (7, "7"):
        await read(7)
        await write(user_id)
    await read(7)
    await memory.invalidate_tags("user:7")
    await read(7)
    assert len(runs) == 4


def test_a_star_in_a_template_is_refused(memory: CacheManager) -> None:
    """No key holds one, for in a pattern it is the wildcard."""
    with pytest.raises(ValueError, match=r"key='all\*:\{q\}' has a '\*'"):
        cached(memory, str, key="all*:{q}")


def test_a_value_that_says_itself_what_it_is_has_a_text() -> None:
    """It differs from that text."""
    assert escape(Tenant()) == f"red~{__name__}.Tenant"

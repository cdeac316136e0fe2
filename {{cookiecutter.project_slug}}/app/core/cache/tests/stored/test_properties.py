"""Properties of keys and values, over generated arguments and results (promises P1 and P2)."""

import contextlib
import dataclasses
import inspect
import itertools
import json
from datetime import UTC, timedelta, timezone
from enum import Enum
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ...keys.builder import KeyBuilder
from ...keys.parameters import Parameters
from ...keys.patterns import KeyPattern
from ...keys.templates import Template, escape
from ...stored.codec import (
    CorruptError,
    UnstorableError,
    decode,
    encode,
    encode_checked,
)
from ...stored.record import Record
from ...values.canonical import canonical, canonical_text
from ...values.classes import KnownClasses

# A machine under load is slow, which is no property of the cache.
settings.register_profile("cache", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cache")


class Colour(Enum):
    """An enum."""

    RED = 1
    BLUE = "blue"


@dataclasses.dataclass(frozen=True)
class Point:
    """A dataclass."""

    x: Any
    y: Any = None


class Model(BaseModel):
    """A model."""

    a: Any
    b: Any = 0


zones = st.sampled_from([None, UTC, ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=-3))])
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(st.characters(codec=None, categories=("Cs", "Lu"))),  # surrogates too
    st.binary(),
    st.decimals(),
    st.uuids(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(timezones=zones, allow_imaginary=False),
    st.sampled_from(Colour),
    st.sampled_from(["$set", "$dict", "$model", "cache/2 ", "{}", "null"]),
)
# Hashable values of which no two are equal without being of one type: sets keep only one of such.
members = st.one_of(st.text(), st.binary(), st.integers(), st.uuids(), st.dates())


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return what contains `inner`."""
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
        st.dictionaries(st.sampled_from(["$set", "$", "a"]), inner, max_size=2),
        st.dictionaries(members, inner, max_size=4),
        st.sets(members, max_size=4),
        st.frozensets(members, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Model, a=inner, b=inner),
        st.builds(Model, a=inner),
    )


values = st.recursive(atoms, containers, max_leaves=12)
CLASSES = KnownClasses(Colour | Point | Model)


def exact(value: Any) -> Any:
    """Write a value down with the types of all that is in it; the order of sets does not count."""
    if isinstance(value, dict):
        return dict, frozenset((exact(key), exact(item)) for key, item in value.items())
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(map(exact, value))
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(exact, value))
    if isinstance(value, Point):
        return Point, exact(value.x), exact(value.y)
    if isinstance(value, Model):
        return Model, exact(value.a), exact(value.b)
    # `repr` tells 0.0 from -0.0, 1.0 from 1.00, and one time zone from another.
    return type(value), repr(value), getattr(value, "fold", None)


@given(values, values)
def test_p2_keys_are_equal_exactly_if_values_are(one: Any, other: Any) -> None:
    """Of equal value and of equal type, all the way down."""
    assert (canonical(one) == canonical(other)) == (exact(one) == exact(other))


def f(a: Any, b: Any = 0, *, c: Any = "c") -> None:
    """Do nothing, with parameters of which most may be left out."""


def g(a: Any, /, b: Any = 0, *rest: Any, c: Any = "c", **more: Any) -> None:
    """Do nothing, with parameters that only `inspect` binds."""


def h(*, a: Any = 0, b: Any) -> None:
    """Do nothing, with parameters that are given by name only."""


def i(a: Any) -> None:
    """Do nothing, with one parameter."""


def j() -> None:
    """Do nothing, with no parameter."""


def k(a: Any, /, *b: Any, **c: Any) -> None:
    """Do nothing, with parameters none of which can be given by name."""


FUNCTIONS = [f, g, h, i, j, k]


def fits(function: Any, args: Any, kwargs: Any) -> bool:
    """Whether a call fits, as the interpreter says; `bind` of CPython 3.13.0 lets too much pass."""
    try:
        function(*args, **kwargs)
    except TypeError:
        return False
    return True


arguments = st.tuples(
    st.lists(st.integers(0, 2), max_size=4),
    st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 2), max_size=3),
)


@given(st.sampled_from(FUNCTIONS), st.booleans(), arguments, arguments)
def test_p2_calls_share_a_key_exactly_if_they_bind_alike(
    function: Any, ignores: bool, one: Any, other: Any
) -> None:
    """However positions, names and defaults are mixed; what is ignored has to fit, too."""
    signature = inspect.signature(function)
    ignored = [name for name in signature.parameters if name == "a" and ignores]
    builder = KeyBuilder(function, Parameters.of(function, ignored), start="app:data", identity=b"")

    def bound(call: Any) -> Any:
        args, kwargs = call
        if not fits(function, args, kwargs):
            return None
        found = signature.bind(*args, **kwargs)
        found.apply_defaults()
        return {name: found.arguments[name] for name in found.arguments if name not in ignored}

    def key(call: Any) -> Any:
        args, kwargs = call
        try:
            return builder.key(tuple(args), kwargs)
        except TypeError:
            return None

    assert (key(one) is None) == (bound(one) is None)
    assert (key(one) == key(other)) == (bound(one) == bound(other))


def every_call() -> list[tuple[tuple[int, ...], dict[str, int]]]:
    """Return calls with up to three arguments by position and three by name."""
    names = [chosen for size in range(4) for chosen in itertools.combinations("abcd", size)]
    return [
        (tuple(range(given)), {name: ord(name) for name in chosen})
        for given in range(4)
        for chosen in names
    ]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("ignored", [(), ("a",)], ids=["all count", "one is ignored"])
def test_arguments_are_bound_as_inspect_binds_them(function: Any, ignored: tuple[str]) -> None:
    """In every mixture of positions and names, those that do not fit included."""
    signature = inspect.signature(function)
    parameters = Parameters.of(function, [name for name in ignored if name in signature.parameters])
    pick = parameters.picking(parameters.keyed)
    for args, kwargs in every_call():
        if not fits(function, args, kwargs):
            with pytest.raises(TypeError):
                pick(*args, **kwargs)
            continue
        expected = signature.bind(*args, **kwargs)
        expected.apply_defaults()
        bound = expected.arguments
        assert parameters.arguments(args, kwargs) == bound
        kept = [value for name, value in bound.items() if name not in ignored]
        assert pick(*args, **kwargs) == tuple(kept)


def test_p2_values_in_a_row_are_told_apart() -> None:
    """No value can pass for the end of the one before it, or for the beginning of the next."""
    items: list[Any] = [
        *("", "1", "s", "ss", "s1", "s0:", "s1:1", "i1;", "n", ":", "\ud800", "\u00fc"),
        *(None, True, 1, 11, 1.0, b"", b"s", [], ["n"], [None], [[]], (), {}, {"": 1}),
    ]
    rows = [row for size in range(4) for row in itertools.product(items, repeat=size)]
    assert len({canonical_text(row) for row in rows}) == len(rows)


@example("a" * 64)
@example("a" * 65)
@example(10**70)
@given(st.one_of(st.text(), st.integers(), st.text("aZ09_.-~ ", max_size=70)))
def test_p2_p7_values_are_escaped_as_quote_does(value: Any) -> None:
    """Those, too, that are handed on as they are, as nothing in them needs it."""
    quoted = quote(str(value).encode("utf-8", "surrogatepass"), safe="").replace("~", "%7E")
    escaped = escape(value, type(value) if type(value) is str else None)
    assert escaped == quoted if len(quoted) <= 64 else escaped.startswith("~")


@given(values)
def test_p1_a_value_comes_back_equal_or_is_refused(value: Any) -> None:
    """In value and in type, all the way down."""
    try:
        data = encode_checked(value, CLASSES)
    except UnstorableError:
        # Of what is generated, only half a pair of surrogates is no text in UTF-8.
        assert any(0xD800 <= ord(character) < 0xE000 for character in repr_of_texts(value))
        return
    back = decode(data, CLASSES)
    assert exact(back) == exact(value)
    if isinstance(value, Model):
        assert back.model_fields_set == value.model_fields_set


def repr_of_texts(value: Any) -> str:
    """Join all strings in a value."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "".join(map(repr_of_texts, [*value.keys(), *value.values()]))
    if isinstance(value, (list, tuple, set, frozenset)):
        return "".join(map(repr_of_texts, value))
    if isinstance(value, (Point, Model)):
        return "".join(map(repr_of_texts, vars(value).values()))
    return ""


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), inner),
    ),
    max_leaves=10,
)


@given(json_values)
def test_plain_json_has_no_tags(value: Any) -> None:
    """What JSON can say is stored as JSON says it."""
    assert exact(json.loads(encode(value))) == exact(value)


@given(st.binary(max_size=200))
def test_p9_any_bytes_are_read_without_harm(data: bytes) -> None:
    """They are a value, or corrupt; a record, or none."""
    with contextlib.suppress(CorruptError):
        decode(data, CLASSES)
    assert Record.from_bytes("key", data, largest=1000) is None


@given(st.binary(max_size=200), st.integers(0, 300))
def test_a_record_comes_back_compressed_or_not(payload: bytes, compress_over: int) -> None:
    """Whoever reads it needs no setting."""
    record = Record(b"value", payload * 10)
    data = record.to_bytes("key", b"owner", compress_over=compress_over)
    restored = Record.from_bytes("key", data, b"owner", largest=10_000)
    assert restored is not None
    assert (restored.kind, restored.payload) == (b"value", payload * 10)


@given(st.text(), st.text(), st.text(), st.text())
def test_p2_p7_values_stay_in_their_places(a: str, b: str, c: str, d: str) -> None:
    """Two lists of texts make one key only if they are equal, and none is a pattern."""
    render = Template("x:{a}:{b}", ["a", "b"]).render
    one, other = render({"a": a, "b": b}), render({"a": c, "b": d})
    assert (one == other) == ((a, b) == (c, d))
    assert KeyPattern.parse(one).exact_key == one


@given(st.text("ab*?[", max_size=8), st.text("ab?[", max_size=8))
def test_patterns_match_as_their_definition_says(pattern: str, key: str) -> None:
    """The quick match agrees with one that tries everything."""

    def slow(pattern: str, key: str) -> bool:
        if not pattern:
            return not key
        if pattern[0] == "*":
            return any(slow(pattern[1:], key[n:]) for n in range(len(key) + 1))
        return bool(key) and pattern[0] == key[0] and slow(pattern[1:], key[1:])

    assert KeyPattern.parse(pattern).matches(key) == slow(pattern, key)

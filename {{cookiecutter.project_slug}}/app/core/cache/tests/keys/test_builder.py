"""Keys: what makes two calls one (promise P2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any, Literal, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from fastapi import BackgroundTasks, Response, WebSocket
from pydantic import BaseModel, EmailStr

from ...keys import builder as keys
from ...keys.builder import KeyBuilder
from ...keys.checks import check_key_prefix
from ...keys.parameters import Parameters
from ...keys.templates import Template
from ...values import UnkeyableError, canonical
from ..processes import printed_by


class Colour(Enum):
    """An enum whose value is a string."""

    RED = "red"


class Size(IntEnum):
    """An enum whose members equal numbers."""

    SMALL = 1


@dataclass(frozen=True)
class Point:
    """A dataclass."""

    x: int


class Filter(BaseModel):
    """A model."""

    x: int


class Tenant:
    """A class that says itself what it is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __cache_key__(self) -> str:
        """Return what tells tenants apart."""
        return self.name


WINTER = datetime.fromisoformat("2026-01-01T12:00:00")
DISTINCT = [
    *(None, True, False, 0, 1, -1, 2**70, 0.0, -0.0, 1.0, float("nan"), float("inf")),
    *("", "1", "None", "True", "a", b"", b"a", b"1", "s1:a"),
    *([], [1], ["1"], [1, 2], [2, 1], [[1], 2], [[1, 2]], ["a,b"], ["a", "b"], ["a", ["b"]]),
    *((), (1,), ("1",), set(), {1}, {"1"}, frozenset(), frozenset({1})),
    *({}, {"a": 1}, {"a": "1"}, {"b": 1}, {1: "a"}, {"1": "a"}, {"a": {"b": 1}}, {"a": 1, "b": 2}),
    *(Decimal(1), Decimal("1.0"), Decimal("NaN"), UUID(int=1)),
    *(WINTER, WINTER.replace(tzinfo=UTC), WINTER.replace(fold=1), WINTER.date(), WINTER.time()),
    *(WINTER.replace(tzinfo=ZoneInfo("Europe/Paris")), WINTER.replace(tzinfo=ZoneInfo("UTC"))),
    *(WINTER.replace(tzinfo=timezone(timedelta(hours=1))), time(12, tzinfo=UTC), timedelta(1)),
    *(timedelta(seconds=1), date(2026, 1, 2), PurePosixPath("a"), PurePosixPath("a/b")),
    *(Colour.RED, Size.SMALL, Point(1), Point(2), Filter(x=1), Filter(x=2)),
    *(Tenant("a"), Tenant("b"), int, str, Point, Filter),
]


def keys_of(func: Callable[..., object], **options: Any) -> Callable[..., str]:
    """Return a function that tells the key of a call of `func`."""
    ignore = options.pop("ignore", ())
    given: dict[str, Any] = {"start": "app:data", "identity": b"f", **options}
    builder = KeyBuilder(func, Parameters.of(func, ignore), **given)
    return lambda *args, **kwargs: builder.key(args, kwargs)


def f(a: Any = 0, b: Any = None, *rest: Any, c: Any = "c", **more: Any) -> None:
    """Do nothing, with every kind of parameter."""


def test_p2_values_of_other_type_or_content_differ() -> None:
    """No two of them share a key, wherever they stand."""
    key = keys_of(f)
    assert len({canonical(value) for value in DISTINCT}) == len(DISTINCT)
    places: list[Callable[[Any], str]] = [
        key,
        lambda value: key(c=value),
        lambda value: key(0, 0, 0, value),
        lambda value: key(more=value),
        lambda value: key([value]),
        lambda value: key({"a": [value]}),
    ]
    for place in places:
        assert len({place(value) for value in DISTINCT}) == len(DISTINCT)


def test_p2_the_same_call_has_one_key() -> None:
    """However it is written."""
    key = keys_of(f)
    assert key(1, b=2) == key(a=1, b=2) == key(1, 2) == key(b=2, a=1, c="c")
    assert key() == key(0) == key(0, None)
    assert key(1, 2, x=1, y=2) == key(1, 2, y=2, x=1)
    assert len({key(1, 2, 3), key(1, 2, x=3), key(1, [2, 3]), key(1, 2, (3,)), key(1, 2)}) == 5


def test_p2_order_counts_where_it_should() -> None:
    """Dicts and sets have none, lists have one."""
    key = keys_of(f)
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    assert key({3, 1, 2}) == key({2, 3, 1})
    assert key([1, 2]) != key([2, 1])


def test_p2_keys_are_the_same_in_every_process() -> None:
    """Whatever the seed of the hashes."""
    code = (
        "from {package}.tests.keys.test_builder import DISTINCT, f, keys_of\n"
        "key = keys_of(f)\n"
        "print([key(v) for v in DISTINCT], key({'a', 'b', 'c'}), key({'x': {1, 'y'}}))"
    )
    assert len(printed_by(code, seeds=("0", "1", "12345"))) == 1


def test_p2_an_object_is_never_keyed_by_its_address() -> None:
    """It is refused, with the parameter's name, wherever it is hidden."""
    key = keys_of(f)
    for value in (
        object(),
        [object()],
        {"a": {1: object()}},
        lambda: None,
        Exception("x"),
        iter([]),
    ):
        with pytest.raises(UnkeyableError, match="parameter 'b'"):
            key(1, value)
    looped: list[object] = []
    looped.append(looped)
    with pytest.raises(UnkeyableError, match="parameter 'a'"):
        key(looped)


def test_p2_subclasses_of_plain_types_are_refused() -> None:
    """They may carry more than their base shows."""

    class Text(str):
        __slots__ = ()

    with pytest.raises(UnkeyableError, match="Text"):
        keys_of(f)(Text("a"))


def test_keys_are_readable_and_short() -> None:
    """Prefix, key_prefix and function can be read; arguments can't; the length is bounded."""
    key = keys_of(f)("john@example.com", b="x" * 100_000)
    assert key.startswith("app:data:f:")
    assert "john" not in key
    assert "x" * 10 not in key
    long = keys_of(f, start="p" * 100 + ":" + "ü" * 50)
    assert len(long(b="y" * 100_000).encode()) < 512


def test_a_key_is_plain_whatever_the_function() -> None:
    """The last eighty letters, digits, `_` and `.` of its name; 128 bits tell calls apart."""

    def inner() -> None: ...

    inner.__qualname__ = "outer.<locals>.inner:*\u00fc " + "x" * 75
    *start, name, digest = keys_of(inner)().split(":")
    assert start == ["app", "data"]
    assert name == ("outer.inner" + "x" * 75)[-80:]
    assert len(digest) == 32


def test_a_key_prefix_may_have_a_hundred_bytes() -> None:
    """And none more."""
    check_key_prefix("\u00fc" * 50)
    with pytest.raises(ValueError, match="1 to 100 bytes"):
        check_key_prefix("\u00fc" * 50 + "x")


def test_p2_the_names_of_parameters_count() -> None:
    """A function whose parameters were renamed takes other arguments."""

    def make(name: str) -> Callable[..., str]:
        return keys_of({"a": lambda a: a, "b": lambda b: b}[name])

    assert make("a")(1) == make("a")(1) != make("b")(1)


class Session:
    """What has no identity, as a database session."""


class Connection(Protocol):
    """What says nothing of its instances."""


class Keyed(Session):
    """A session that says what it is."""

    def __cache_key__(self) -> str:
        """Return what tells instances apart."""
        return "one"


def test_p2_a_type_that_can_have_no_identity_is_refused_when_decorating() -> None:
    """The error names the parameter and three remedies, each of which mends it."""

    def read(user_id: int, session: Session) -> None: ...
    def maybe(user_id: int, session: Session | None = None) -> None: ...
    def socket(user_id: int, socket: WebSocket) -> None: ...
    def remedied(user_id: int, session: Keyed) -> None: ...

    for function in (read, maybe):
        with pytest.raises(TypeError) as caught:
            keys_of(function)
        for part in ("parameter 'session'", 'ignore=("session",)', "key=", "__cache_key__"):
            assert part in str(caught.value)
    with pytest.raises(
        TypeError, match=r"parameter 'socket'.* key=.* ignore=\(.socket.,\)"
    ) as caught:
        keys_of(socket)
    assert "{socket." not in str(caught.value)
    keys_of(read, ignore=("session",))(1, Session())
    own = Template("{user_id}:{session.id}", ["user_id", "session"])
    assert keys_of(read, own=own)(1, SimpleNamespace(id=7)) == "app:data:1:7"
    keys_of(remedied)(1, Keyed())


def test_p2_a_type_that_may_have_an_identity_is_not_refused() -> None:
    """What is abstract, or stands for something else, is looked at when the function is called."""

    def function(
        a: Any,
        b: object,
        c: Connection,
        d: Sequence[int],
        e: int | str | None,
        f: EmailStr,
        g: type[int],
        h: list[Session],
        i: Literal["a"],
        j: "Callable[..., int] | None" = None,
    ) -> None: ...

    key = keys_of(function)
    assert key(1, 2, 3, [4], 5, "6", int, [], "a") != key(1, 2, 3, [4], 5, "6", str, [], "a")
    with pytest.raises(UnkeyableError, match="parameter 'h'"):
        key(1, 2, 3, [4], 5, "6", int, [Session()], "a")


def test_p2_what_fastapi_injects_is_no_part_of_a_key() -> None:
    """It is another object for every request."""

    def function(a: int, response: Response, tasks: BackgroundTasks | None = None) -> None: ...

    key = keys_of(function)
    assert key(1, Response()) == key(1, Response(), BackgroundTasks())
    assert key(1, Response()) != key(2, Response())


def test_arguments_that_do_not_fit_are_the_functions_affair() -> None:
    """Binding them raises what calling the function would."""

    def g(a: int) -> int:
        return a

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        keys_of(g)()


# --- keys that are remembered --------------------------------------------------------------------

SMALL = [
    *(None, True, False, 0, 1, -1, 2**63 - 1, 1 - 2**63, 2**63, -(2**63), 2**70, 1.0, 0.0, -0.0),
    *(
        "",
        "1",
        "None",
        "True",
        "a" * 64,
        "a" * 65,
        "\ud800",
        Size.SMALL,
        (1,),
        (True,),
        [1],
        [True],
    ),
]


def test_p2_remembered_keys_are_those_that_would_be_built() -> None:
    """Whether a call is the first of its kind or not, and however it is written."""

    def function(a: object, b: object = None) -> None:
        """Do nothing."""

    build = builder(function)
    seen: dict[str, str] = {}
    for a in SMALL:
        for b in SMALL:
            first, again = build.key((a, b), {}), build.key((a,), {"b": b})
            assert first == again == build.key((), {"b": b, "a": a}) == build.built((a, b), {})
            assert seen.setdefault(first, repr((a, b))) == repr((a, b))
    assert len(seen) == len(SMALL) ** 2


@pytest.mark.parametrize("own", [None, Template("{number}", ["session", "number"])])
def test_p2_a_key_is_remembered_by_what_counts(own: Any) -> None:
    """What is ignored may be anything; types count, and so do mutable defaults."""

    def function(session: Session, number: Any = 1) -> None:
        """Do nothing."""

    build = KeyBuilder(
        function, Parameters.of(function, ["session"]), start="app:x", identity=b"id", own=own
    )
    keys._remembered.cache_clear()
    values = [1, True, "1", None, "None"]
    made = [build.key((Session(), value), {}) for value in values]
    assert len({*made}) == len(values)
    assert [build.key((), {"session": 1, "number": value}) for value in values] == made
    assert build.key((Session(),), {}) == made[0]
    info = keys._remembered.cache_info()
    assert (info.misses, info.hits) == (len(values), len(values) + 1)
    with pytest.raises(TypeError):
        build.key((), {"number": 1})


def test_p2_functions_do_not_share_what_is_remembered() -> None:
    """Nor do two of one name, whose prefixes differ."""

    def function(number: int) -> None:
        """Do nothing."""

    parameters = Parameters.of(function)
    made = [
        KeyBuilder(function, parameters, start=start, identity=identity).key((1,), {})
        for start in ("app:a", "app:b")
        for identity in (b"one", b"two")
    ]
    assert len({*made}) == 4


def test_p2_what_may_change_is_not_remembered() -> None:
    """A default that is changed, and what a function of one's own makes of a call."""
    more, tenants = [1], ["a"]

    def function(number: int, more: list[int] = more) -> None:
        """Do nothing."""

    def keyed(number: int) -> None:
        """Do nothing."""

    plain = builder(function)
    own = builder(keyed, own=lambda number: f"{tenants[-1]}:{number}")
    before = plain.key((1,), {}), own.key((1,), {})
    more.append(2)
    tenants.append("b")
    assert plain.key((1,), {}) != before[0]
    assert own.key((1,), {}) != before[1]


def test_what_takes_room_is_not_remembered() -> None:
    """Long texts and great numbers are not kept, and of all others no more than so many."""

    def function(value: object) -> None:
        """Do nothing."""

    build, remembered = builder(function), keys._remembered
    remembered.cache_clear()
    for value in ("a" * 65, 2**63, -(2**63), 10**4000, 1.5, b"", ("a",), ["a"], Size.SMALL):
        assert build.key((value,), {}) == build.key((), {"value": value})
    assert remembered.cache_info().currsize == 0
    build.key(("a" * 64,), {})
    assert remembered.cache_info().currsize == 1
    assert (remembered.cache_info().maxsize or 10**9) <= 4096


class Unhelpful:
    """Has an identity, and fails whoever wants to compare it or have its hash."""

    def __cache_key__(self) -> object:
        return "identity"

    def __hash__(self) -> int:
        raise RuntimeError("no hash today")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison today")


def test_p2_what_fails_to_be_looked_up_has_its_key_built() -> None:
    """Only its identity counts."""

    def function(value: object) -> None:
        """Do nothing."""

    build = builder(function)
    assert build.key((Unhelpful(),), {}) == build.built((Unhelpful(),), {})


@pytest.mark.parametrize(
    ("kind", "is_remembered"),
    [
        *((kind, True) for kind in (int, str | None, Literal["a"], Any, object, "unknown")),
        *((kind, False) for kind in (list[int], float, Filter, Filter | list[int])),
    ],
    ids=repr,
)
def test_only_calls_that_can_be_small_are_looked_at(kind: Any, *, is_remembered: bool) -> None:
    """All others have their keys built without a look at what they were called with."""

    def function(value: Any) -> None:
        """Do nothing."""

    function.__annotations__ = {"value": kind}
    before = keys._remembered.cache_info().misses
    builder(function).key(("a",), {})
    assert keys._remembered.cache_info().misses == before + is_remembered


def builder(function: Callable[..., object], **more: Any) -> KeyBuilder:
    """Return what builds the keys of a function."""
    return KeyBuilder(function, Parameters.of(function), start="app:x", identity=b"id", **more)

"""The whole state of an argument or a result, or none of it (promises P1, P2 and P8)."""

import dataclasses
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr, computed_field
from pydantic_core import TzInfo

from ... import CacheManager, MemoryBackend, cache_response
from ...stored.codec import BY_HAND, UnstorableError, decode, encode, encode_checked
from ...values import UnkeyableError, canonical
from ...values.classes import KnownClasses
from .odd_classes import Attrs, One, Other

T = TypeVar("T")
settings.register_profile("state", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("state")


class Filter(BaseModel):
    """A model all of whose fields may be left out."""

    owner: str | None = None
    page: int = 1


class Open(BaseModel):
    """A model that keeps more than its fields, and a private attribute."""

    model_config = ConfigDict(extra="allow")

    x: int = 1
    _seen: int = PrivateAttr(default=0)


class Computing(BaseModel):
    """A model that remembers what follows from its fields."""

    x: int = 1

    @computed_field  # type: ignore[prop-decorator] # as Pydantic documents it
    @cached_property
    def lock(self) -> str:
        """Return something that was not there before."""
        return f"lock {self.x}"


@dataclass
class User:
    """A dataclass."""

    name: str


class TenantUser(User):
    """A class that adds state which is no field."""

    def __init__(self, name: str, tenant: str) -> None:
        super().__init__(name)
        self.tenant = tenant


@dataclass(slots=True)
class Slotted:
    """A dataclass with slots, one of which need not be compared."""

    name: str
    more: int = field(default=0, compare=False)


class SlottedMore(Slotted):
    """A class that adds a slot which is no field."""

    __slots__ = ("tenant",)

    def __init__(self, name: str, tenant: str) -> None:
        super().__init__(name)
        self.tenant = tenant


class OpenSlots(Slotted):
    """A class that adds a `__dict__`."""


@dataclass
class Prepared:
    """A dataclass that makes more of what it was given."""

    name: str
    secret: dataclasses.InitVar[str]

    def __post_init__(self, secret: str) -> None:
        self._secret = secret


@dataclass
class Remembering:
    """A dataclass that remembers what follows from its fields."""

    x: int

    @cached_property
    def double(self) -> int:
        """Return what follows."""
        return 2 * self.x


@dataclass
class Failure(Exception):  # noqa: N818 - it is one that is no error
    """A dataclass that has state below Python."""

    x: int


class Pair(NamedTuple):
    """A named tuple."""

    a: int
    b: int


class OpenPair(Pair):
    """A named tuple that takes attributes."""


class Id(UUID):
    """A class of one's own for what is a UUID."""


def with_attribute(value: Any, name: str = "tenant", item: object = "T1") -> Any:
    """Put something into the state of an object, past what its class allows."""
    value.__dict__[name] = item
    return value


DIFFERENT: dict[str, list[Callable[[], Any]]] = {
    "fields that were set": [
        *(Filter, lambda: Filter(owner=None), lambda: Filter(owner=None, page=1)),
    ],
    "fields that are missing": [
        *(Filter.model_construct, lambda: Filter.model_construct({"owner"})),
    ],
    "extra fields": [
        *(lambda: Open.model_validate({"y": 1}), lambda: Open.model_validate({"y": None}), Open),
    ],
    "fields that do not count for ==": [lambda: Slotted("a", 1), lambda: Slotted("a", 2)],
    "UUIDs": [lambda: UUID(int=1), lambda: UUID(int=2)],
    "zones of one offset": [
        lambda: datetime(2024, 1, 1, tzinfo=TzInfo(3600)),
        lambda: datetime(2024, 1, 1, tzinfo=TzInfo(7200)),
        lambda: datetime(2024, 1, 1, tzinfo=ZoneInfo("Etc/GMT-1")),
    ],
    "kinds of dicts": [
        *(lambda: {"a": 1}, lambda: OrderedDict(a=1), lambda: Counter(a=1)),
        *(lambda: defaultdict(int, a=1), lambda: defaultdict(bool, a=1)),
        *(lambda: OrderedDict(a=1, b=2), lambda: OrderedDict(b=2, a=1)),
    ],
    "named tuples": [lambda: Pair(1, 2), lambda: (1, 2), lambda: OpenPair(1, 2)],
}


@pytest.mark.parametrize("makers", DIFFERENT.values(), ids=list(DIFFERENT))
def test_p2_what_a_function_can_see_is_in_the_key(makers: list[Callable[[], Any]]) -> None:
    """Two of them are equal, and have one key, only where nothing tells them apart."""
    keys = [canonical(make()) for make in makers]
    assert keys == [canonical(make()) for make in makers]
    assert len({*keys}) == len(makers)


NOT_WHOLE: dict[str, Callable[[], Any]] = {
    "an attribute of a subclass": lambda: TenantUser("x", "T1"),
    "a slot of a subclass": lambda: SlottedMore("x", "T1"),
    "the dict of a subclass": lambda: with_attribute(OpenSlots("x")),
    "what was made of an InitVar": lambda: Prepared("x", "secret"),
    "an attribute that was added": lambda: with_attribute(User("x")),
    "an attribute of attrs": lambda: with_attribute(Attrs(1)),
    "an attribute of a model": lambda: with_attribute(Filter()),
    "an attribute of a named tuple": lambda: with_attribute(OpenPair(1, 2)),
    "a class of one's own for UUIDs": lambda: Id(int=1),
    "an attribute of a Counter": lambda: with_attribute(Counter("a")),
    "an attribute of an OrderedDict": lambda: with_attribute(OrderedDict()),
    "state below Python": lambda: Failure(1),
    "a field that is missing": lambda: User.__new__(User),
    "a slot that is empty": lambda: Slotted.__new__(Slotted),
    "a function that fills in": lambda: defaultdict(lambda: 1),
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "alone": lambda value: value,
    "in a list": lambda value: [value],
    "in a dict": lambda value: {"a": value},
    "in a field": User,
    "in a model": lambda value: Filter.model_construct(owner=value),
    "in an extra field": lambda value: Open.model_construct(y=value),
    "in a named tuple": lambda value: Pair(value, 1),
}
KNOWN = KnownClasses(
    User
    | TenantUser
    | Slotted
    | SlottedMore
    | OpenSlots
    | Prepared
    | Filter
    | OpenPair
    | Pair
    | Open
)


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
@pytest.mark.parametrize("make", NOT_WHOLE.values(), ids=list(NOT_WHOLE))
def test_p2_state_that_is_no_field_leaves_no_key(
    make: Callable[[], Any], place: Callable[[Any], Any]
) -> None:
    """Wherever the object stands; and what has no key as a whole is not stored in part."""
    with pytest.raises(UnkeyableError):
        canonical(place(make()))
    with pytest.raises(UnstorableError):
        encode(place(make()), KNOWN)


async def test_p8_two_tenants_do_not_meet() -> None:
    """A class that adds a tenant to a dataclass gets each his own answer."""

    @cache_response(CacheManager(MemoryBackend()), "tenant")
    async def tenant(user: User) -> str:
        return str(user.tenant)  # type: ignore[attr-defined] # of a subclass

    assert [await tenant(TenantUser("x", name)) for name in ("T1", "T2", "T1")] == [
        *("T1", "T2", "T1"),
    ]


def test_p1_what_follows_from_the_fields_is_left_out() -> None:
    """A used `cached_property` changes no key, keeps nothing from being stored, and is made anew."""
    for make in (lambda: Remembering(2), Computing):
        used, unused = make(), make()
        assert used.double if isinstance(used, Remembering) else used.lock
        assert canonical(used) == canonical(unused)
        known = KnownClasses(type(used))
        back = decode(encode_checked(used, known), known)
        assert vars(back) == vars(unused)


class Columns:
    """Stands for what an ORM puts in the place of a class's attributes."""

    asked = 0

    def __get__(self, instance: object, owner: type) -> Any:
        """Count who asks, as an ORM would send SQL."""
        Columns.asked += instance is not None
        return self

    def __set__(self, instance: Any, value: object) -> None:
        """Keep the value elsewhere."""


class Declarative:
    """Stands for a declarative class, which is no dataclass."""

    _sa_class_manager = object()
    name = Columns()


@dataclass
class Mapped:
    """Stands for a `MappedAsDataclass`."""

    id: int
    name: str


Mapped._sa_class_manager = object()  # type: ignore[attr-defined] # as an ORM does
Mapped.name = Columns()  # type: ignore[assignment] # as an ORM does


class Table(BaseModel):
    """Stands for a model that is a table as well."""

    id: int | None = None
    name: str = ""


class Instrumented(User):
    """Stands for a class that is instrumented in its instances only."""


def row(cls: Any, *, expired: bool = False) -> Any:
    """Return what an ORM makes of a class; an expired row has no values of its own."""
    value = cls.__new__(cls)
    if not expired:
        value.__dict__.update(id=1, name="a")
    value.__dict__["_sa_instance_state"] = object()
    return value


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
@pytest.mark.parametrize("expired", [False, True])
@pytest.mark.parametrize("cls", [Declarative, Mapped, Table, Instrumented])
def test_p8_a_row_of_an_orm_is_neither_a_key_nor_a_value(
    cls: type, expired: bool, place: Callable[[Any], Any]
) -> None:
    """Whether it has been loaded or has expired, and nobody asks for its attributes."""
    before = Columns.asked
    known = KnownClasses(tuple[cls, User, Filter, Open, Pair])  # type: ignore[valid-type] # a value
    with pytest.raises(UnkeyableError, match="ORM"):
        canonical(place(row(cls, expired=expired)))
    with pytest.raises(UnstorableError, match="ORM"):
        encode(place(row(cls, expired=expired)), known)
    assert Columns.asked == before


def test_p2_a_row_that_says_what_it_is_has_a_key() -> None:
    """A `__cache_key__` comes before everything else."""

    class Own(Mapped):
        def __cache_key__(self) -> int:
            return 7

    assert canonical(row(Own)) == canonical(row(Own, expired=True))


def test_p1_classes_that_call_themselves_equal_are_not_mixed_up() -> None:
    """A value comes back as what it was."""
    known = KnownClasses(tuple[One, Other])  # in a union, newer Pythons take them for one
    for value in (One(), Other()):
        assert type(decode(encode_checked(value, known), known)) is type(value)
    with pytest.raises(UnstorableError, match="Other"):
        encode(Other(), KnownClasses(One))


@dataclass
class Page(Generic[T]):
    """A generic dataclass."""

    items: list[T]


def test_p1_the_parameters_of_a_generic_class_are_told_apart() -> None:
    """In keys, in what comes back, and in the fingerprint of what is stored."""
    pages: Any = Page([]), Page[int]([]), Page[str]([])
    assert len({canonical(page) for page in pages}) == len(pages)
    known = KnownClasses(Page[int])
    for page in pages[:2]:
        assert vars(decode(encode_checked(page, known), known)) == vars(page)
    with pytest.raises(UnstorableError, match="return annotation"):
        encode(pages[2], known)
    marks = {
        KnownClasses(each).fingerprint() for each in (Page, Page[int], Page[User], Page[Filter])
    }
    assert len(marks) == 4


def test_a_message_fits_what_is_stored_by_hand() -> None:
    """There is no annotation then that could name a class; and what has a text is told of it."""

    class ObjectId:
        def __str__(self) -> str:
            return "5f"

    class Hidden:
        pass

    for value, by_function, by_hand in (
        (User("x"), "return annotation", "store plain data"),
        (Filter(), "return annotation", r"store plain data, what model_dump\(\)"),
        (ObjectId(), r"return plain data, str\(value\)", r"store plain data, str\(value\)"),
        (Hidden(), "return plain data", "store plain data"),
        (Path("a"), "return annotation", "store plain data"),
    ):
        with pytest.raises(UnstorableError, match=by_function):
            encode(value)
        with pytest.raises(UnstorableError, match=by_hand) as caught:
            encode(value, BY_HAND)
        assert "annotation" not in str(caught.value)
    with pytest.raises(UnkeyableError, match=r"give str\(value\)"):
        canonical(ObjectId())


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "1", "a"]),
    lambda inner: st.one_of(
        st.builds(
            lambda given: Filter.model_construct(**given),
            st.fixed_dictionaries({}, optional={"owner": inner, "page": inner}),
        ),
        st.builds(
            lambda x, given: Open.model_construct(x=x, **given),
            inner,
            st.dictionaries(st.sampled_from(["y", "z"]), inner),
        ),
        st.builds(User, inner),
        st.builds(Page, st.lists(inner, max_size=2)),
        st.builds(Page[int], st.lists(inner, max_size=2)),
        st.builds(Pair, inner, inner),
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2).map(OrderedDict),
        st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2).map(Counter),
    ),
    max_leaves=6,
)
CLASSES = KnownClasses(Filter | Open | User | Page[int] | Pair)


def seen(value: Any) -> Any:
    """Write down all that can be seen of a value."""
    if isinstance(value, BaseModel):
        state = value.__getstate__()
        parts = [seen(state[part]) for part in ("__dict__", "__pydantic_extra__")]
        were_set = sorted(state["__pydantic_fields_set__"])
        return type(value), parts, were_set, seen(state["__pydantic_private__"])
    if dataclasses.is_dataclass(value):
        return (
            type(value),
            seen({**vars(value), "__orig_class__": None}),
            str(vars(value).get("__orig_class__")),
        )
    if isinstance(value, OrderedDict):
        return OrderedDict, [(name, seen(item)) for name, item in value.items()]
    if isinstance(value, dict):
        return type(value), sorted((name, repr(seen(item))) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), [seen(item) for item in value]
    return type(value), value


@given(values, values)
def test_p2_keys_are_equal_exactly_if_all_that_can_be_seen_is(one: Any, other: Any) -> None:
    """Of models, dataclasses, generic ones, named tuples and dicts of all kinds, in each other."""
    assert (canonical(one) == canonical(other)) == (repr(seen(one)) == repr(seen(other)))


@given(values)
def test_p1_what_is_stored_comes_back_in_all_that_can_be_seen(value: Any) -> None:
    """Equal in value and type, all the way down."""
    assert repr(seen(decode(encode_checked(value, CLASSES), CLASSES))) == repr(seen(value))

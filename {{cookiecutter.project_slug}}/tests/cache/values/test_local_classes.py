"""Objects of classes that were made in functions: told apart, the same again, or refused (promise P2)."""

import dataclasses
import enum
import json
import logging
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    create_model,
    field_serializer,
    field_validator,
)
from pydantic.dataclasses import dataclass as model_dataclass

from app.core.cache import CacheManager, MemoryBackend, cache_response
from app.core.cache.values.canonical import canonical
from tests.cache.processes import in_two_processes

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """A generic model."""

    items: list[T] = []


@dataclass
class Box(Generic[T]):
    """A generic dataclass."""

    items: list[T]


class Record(BaseModel):
    """A model of which there is one only."""

    x: int = 1


class Client:
    """What has no identity."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self) -> str:
        """Return something."""
        return self.name


def a_dataclass(tag: Any) -> Any:
    """Make an object of a class that differs in what its method captured."""

    @dataclass
    class Row:
        x: int = 1

        def run(self) -> Any:
            return tag

    return Row()


def a_class_variable(tag: Any) -> Any:
    """Make one that differs in an attribute of the class."""

    @dataclass
    class Row:
        name: ClassVar[Any] = tag
        x: int = 1

    return Row()


def a_name_of_an_attribute(tag: Any) -> Any:
    """Make one that differs in the name of an attribute of the class."""

    @dataclass
    class Row:
        x: int = 1

    setattr(Row, f"is_{tag}", True)
    return Row()


def a_dataclass_with_slots(tag: Any) -> Any:
    """Make one that has slots."""

    @dataclass(slots=True)
    class Row:
        x: int = 1

        @property
        def run(self) -> Any:
            return tag

    return Row()


def a_cached_property(tag: Any) -> Any:
    """Make one that differs in what it computes once."""

    @dataclass
    class Row:
        x: int = 1

        @cached_property
        def run(self) -> Any:
            return tag

    return Row()


def a_class_method(tag: Any) -> Any:
    """Make one that differs in what belongs to the class."""

    @dataclass(frozen=True)
    class Row:
        x: int = 1

        @classmethod
        def run(cls) -> Any:
            return tag

        @staticmethod
        def again() -> Any:
            return tag

    return Row()


def a_field(tag: Any) -> Any:
    """Make one that differs in what its field says."""

    @dataclass
    class Row:
        x: int = field(default=1, metadata={"tag": tag})

    return Row()


def a_default(tag: Any) -> Any:
    """Make one that differs in a default which it does not have itself."""

    @dataclass
    class Row:
        x: Any = tag

    return Row(x=1)


def made_by_a_call(tag: Any) -> Any:
    """Make one whose class is made by a call."""
    return make_dataclass("Row", [("x", int, 1)], namespace={"run": lambda self: tag})()


def a_model(tag: Any) -> Any:
    """Make a model that differs in a method."""

    class Row(BaseModel):
        model_config = ConfigDict(frozen=True)
        x: int = 1

        def run(self) -> Any:
            return tag

    return Row()


def a_class_variable_of_a_model(tag: Any) -> Any:
    """Make a model that differs in an attribute of its class."""

    class Row(BaseModel):
        name: ClassVar[Any] = tag
        x: int = 1

    return Row()


def a_configuration(tag: Any) -> Any:
    """Make a model that differs in its configuration."""

    class Row(BaseModel):
        model_config = ConfigDict(title=str(tag))
        x: int = 1

    return Row()


def an_alias(tag: Any) -> Any:
    """Make a model that shows its field under another name."""

    class Row(BaseModel):
        x: int = Field(default=1, serialization_alias=str(tag))

    return Row()


def a_serializer(tag: Any) -> Any:
    """Make a model that shows its field as something else."""

    class Row(BaseModel):
        x: int = 1

        @field_serializer("x")
        def show(self, _: int) -> Any:
            return tag

    return Row()


def an_annotated_serializer(tag: Any) -> Any:
    """Make a model whose annotation says how to show a field."""

    class Row(BaseModel):
        x: list[Annotated[int, PlainSerializer(lambda _: tag)]] = []

    return Row()


def a_validator(tag: Any) -> Any:
    """Make a model that checks another field."""

    class Row(BaseModel):
        a: int = 1
        b: int = 1

        @field_validator(str(tag))
        @classmethod
        def check(cls, value: int) -> int:
            return value

    return Row()


def a_private_attribute(tag: Any) -> Any:
    """Make a model that differs in the default of a private attribute."""

    class Row(BaseModel):
        _seen: Any = PrivateAttr(default=tag)

    row = Row()
    row._seen = 1
    return row


def a_dataclass_of_pydantic(tag: Any) -> Any:
    """Make a dataclass of Pydantic that differs in a check."""

    @model_dataclass
    class Row:
        a: int = 1
        b: int = 1

        @field_validator(str(tag))
        @classmethod
        def check(cls, value: int) -> int:
            return value

    return Row()


def created_with_an_alias(tag: Any) -> Any:
    """Make a model by `create_model`."""
    return create_model("Row", x=(int, Field(default=1, alias=str(tag))))()


def created_with_a_default(tag: Any) -> Any:
    """Make a model by `create_model` that differs in what it would have."""
    return create_model("Row", x=(Any, tag))(x=1)


def created_with_a_factory(tag: Any) -> Any:
    """Make a model by `create_model` that differs in what would make a value."""
    return create_model("Row", x=(Any, Field(default_factory=lambda: tag)))(x=1)


def created_with_a_validator(tag: Any) -> Any:
    """Make a model by `create_model` that differs in a check."""

    def check(cls: type, value: Any) -> Any:
        return (tag, value)[1]

    checks: Any = {"check": field_validator("x")(check)}
    return create_model("Row", __validators__=checks, x=(int, 1))()


def an_enum(tag: Any) -> Any:
    """Make a member of an enum that differs in a method."""

    class Row(enum.Enum):
        A = 1

        def run(self) -> Any:
            return tag

    return Row.A


def another_member(tag: Any) -> Any:
    """Make a member of an enum that differs in another one."""

    class Row(enum.Enum):
        A = 1
        B = tag

    return Row.A


def what_is_no_member(tag: Any) -> Any:
    """Make a member of an enum that differs in what is no member."""

    class Row(enum.Enum):
        A = 1
        name_of_all = enum.nonmember(tag)

    return Row.A


def a_named_tuple(tag: Any) -> Any:
    """Make a named tuple that differs in a method."""

    class Row(NamedTuple):
        x: int = 1

        def run(self) -> Any:
            return tag

    return Row()


def a_default_of_a_named_tuple(tag: Any) -> Any:
    """Make a named tuple that differs in what it would have."""
    row: Any = namedtuple("row", ["x"], defaults=[tag])  # noqa: PYI024 - that is the case
    return row(1)


def a_base(tag: Any) -> Any:
    """Make an object that differs in a base of its class."""

    class Base:
        def run(self) -> Any:
            return tag

    @dataclass
    class Row(Base):
        x: int = 1

    return Row()


def a_descriptor(tag: Any) -> Any:
    """Make an object that differs in what stands for an attribute."""

    class Told:
        def __init__(self) -> None:
            self.name = tag

        def __get__(self, instance: object, owner: object) -> Any:
            return tag

        def __set__(self, instance: object, value: object) -> None:
            raise AttributeError

        def __cache_key__(self) -> Any:
            return tag

    @dataclass
    class Row:
        x: int = 1

    Row.told = Told()  # type: ignore[attr-defined] # it is added later
    return Row()


def a_page_of_models(tag: Any) -> Any:
    """Make an empty page of a class that differs."""
    generic: Any = Page
    return generic[type(a_model(tag))]()


def a_box_of_dataclasses(tag: Any) -> Any:
    """Make an empty generic dataclass of a class that differs."""
    generic: Any = Box
    return generic[type(a_dataclass(tag))]([])


def a_nested_class(tag: Any) -> Any:
    """Make an empty object whose field is of a class that differs."""
    inner = type(a_model(tag))

    class Outer(BaseModel):
        items: list[inner] | None = None  # type: ignore[valid-type] # a value

    return Outer()


def a_choice(tag: Any) -> Any:
    """Make an object whose field is a choice among members that differ."""
    member = an_enum(tag)

    class Outer(BaseModel):
        item: Literal[member] | None = None  # type: ignore[valid-type] # a value

    return Outer()


def a_class_with_a_key(tag: Any) -> Any:
    """Make an object that says what tells it from others of its class."""

    class Row:
        def __cache_key__(self) -> int:
            return 1

        def run(self) -> Any:
            return tag

    return Row()


KINDS: dict[str, Callable[[Any], Any]] = {
    make.__name__: make
    for make in (
        *(a_dataclass, a_class_variable, a_name_of_an_attribute, a_dataclass_with_slots),
        *(a_cached_property, a_class_method, a_field, a_default, made_by_a_call),
        *(a_model, a_class_variable_of_a_model, a_configuration, an_alias, a_serializer),
        *(an_annotated_serializer, a_validator, a_private_attribute, a_dataclass_of_pydantic),
        *(created_with_an_alias, created_with_a_default, created_with_a_factory),
        *(created_with_a_validator, an_enum, another_member, what_is_no_member, a_named_tuple),
        *(a_default_of_a_named_tuple, a_base, a_descriptor, a_page_of_models),
        *(a_box_of_dataclasses, a_nested_class, a_choice, a_class_with_a_key),
    )
}


@pytest.mark.parametrize("make", KINDS.values(), ids=list(KINDS))
async def test_p2_objects_of_two_classes_of_one_name_do_not_meet(
    make: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Each class that differs in anything has its own entry; one that is made anew has the same."""
    runs: list[Any] = []

    @cache_response(CacheManager(MemoryBackend()), "row")
    async def read(value: Any) -> int:
        runs.append(value)
        return len(runs)

    found = [await read(make(tag)) for tag in ("a", "b", "a", "b")]
    assert found == [1, 2, 1, 2]
    assert caplog.records == []


def test_p2_the_keys_of_such_objects_are_the_same_in_every_process() -> None:
    """A class made by a factory is the same class again, wherever that runs."""
    code = (
        "import json\n"
        "from tests.cache.values.test_local_classes import KINDS, canonical\n"
        "print(json.dumps({name: canonical(make('a')).hex() for name, make in KINDS.items()}))\n"
    )
    one, two = in_two_processes(code)
    assert json.loads(one) == json.loads(two)
    assert json.loads(one) == {name: canonical(make("a")).hex() for name, make in KINDS.items()}


CAPTURING: dict[str, Callable[[Any], Any]] = {
    name: KINDS[name]
    for name in ("a_dataclass", "a_model", "an_enum", "a_named_tuple", "a_base", "a_page_of_models")
}


@pytest.mark.parametrize("make", CAPTURING.values(), ids=list(CAPTURING))
async def test_p2_a_class_that_cannot_be_told_from_another_runs_uncached(
    make: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It captured what has no identity; the warning says where, and what to do."""
    runs: list[Any] = []

    @cache_response(CacheManager(MemoryBackend()), "row")
    async def read(value: Any) -> int:
        runs.append(value)
        return len(runs)

    values = [make(Client("a")), make(Client("b"))]
    assert [await read(value) for value in values * 2] == [1, 2, 3, 4]
    [warning] = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    for words in ("'tag'", "not found by its name", "at the top of its module", "__cache_key__"):
        assert words in warning


def test_p2_a_key_of_its_own_mends_a_class_that_captured_something() -> None:
    """As the warning says."""

    def make(client: Client, number: int) -> Any:
        class Row:
            def __cache_key__(self) -> int:
                return number

            def run(self) -> str:
                return client.read()

        return Row()

    client = Client("a")
    assert canonical(make(client, 1)) == canonical(make(client, 1)) != canonical(make(client, 2))


FOUND: dict[str, Callable[[], Any]] = {
    "a model": Record,
    "a generic model": Page[int],
    "a generic model of a model": Page[Record],
    "a generic dataclass": lambda: Box[int]([]),
    "a generic dataclass of a model": lambda: Box[Record | None]([]),
}


@pytest.mark.parametrize("make", FOUND.values(), ids=list(FOUND))
def test_p2_a_class_that_is_found_counts_by_its_name(make: Callable[[], Any]) -> None:
    """Also with parameters: a new version of its code keeps its keys."""
    written = canonical(make())
    assert len(written) < 200
    assert written == canonical(make())


async def test_p2_a_local_class_may_be_the_type_of_a_parameter() -> None:
    """What its methods use may be defined further down."""

    def create_app(manager: CacheManager) -> Any:
        @dataclasses.dataclass
        class Filter:
            name: str

            def url(self) -> str:
                return f"{base}/{self.name}"

        @cache_response(manager, "items")
        async def items(by: Filter) -> str:
            return by.url()

        base = "https://example.org"
        return items, Filter

    manager = CacheManager(MemoryBackend())
    for _ in range(2):
        items, by = create_app(manager)
        assert await items(by("a")) == "https://example.org/a"
        assert await items(by("b")) == "https://example.org/b"
    assert isinstance(manager.backend, MemoryBackend)
    assert len(manager.backend._entries) == 2

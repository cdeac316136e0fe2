"""Classes that were made in functions: there may be several of one name (promise P2)."""

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import pytest
from pydantic import BaseModel, create_model
from pydantic.dataclasses import dataclass as model_dataclass

from ... import CacheManager, MemoryBackend, cache_response
from ...values import UnkeyableError, canonical

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
    more: Any = None


def a_dataclass(tag: Any) -> Any:
    """Make an object of a class that differs in what its method captured."""

    @dataclass
    class Row:
        x: int = 1

        def run(self) -> Any:
            return tag

    return Row()


def made_by_a_call(tag: Any) -> Any:
    """Make one whose class is made by a call."""
    return make_dataclass("Row", [("x", int, 1)], namespace={"run": lambda self: tag})()


def a_model(tag: Any) -> Any:
    """Make a model that differs in a method."""

    class Row(BaseModel):
        x: int = 1

        def run(self) -> Any:
            return tag

    return Row()


def created(tag: Any) -> Any:
    """Make a model by `create_model` that differs in what it would have."""
    return create_model("Row", x=(Any, tag))(x=1)


def a_dataclass_of_pydantic(tag: Any) -> Any:
    """Make a dataclass of Pydantic."""

    @model_dataclass
    class Row:
        a: int = 1

        def run(self) -> Any:
            return tag

    return Row()


def an_enum(tag: Any) -> Any:
    """Make a member of an enum that differs in a method."""

    class Row(enum.Enum):
        A = 1

        def run(self) -> Any:
            return tag

    return Row.A


def a_named_tuple(tag: Any) -> Any:
    """Make a named tuple that differs in a method."""

    class Row(NamedTuple):
        x: int = 1

        def run(self) -> Any:
            return tag

    return Row()


def a_page_of_models(tag: Any) -> Any:
    """Make an empty page of a class that differs."""
    generic: Any = Page
    return generic[type(a_model(tag))]()


def a_box_of_dataclasses(tag: Any) -> Any:
    """Make an empty generic dataclass of a class that differs."""
    generic: Any = Box
    return generic[type(a_dataclass(tag))]([])


def a_page_of_choices(tag: Any) -> Any:
    """Make an empty page of a choice among members that differ."""
    generic: Any = Page
    return generic[Literal[an_enum(tag)]]()


def the_class_itself(tag: Any) -> Any:
    """Make a class."""
    return type(a_model(tag))


def one_in_a_list(tag: Any) -> Any:
    """Make an object somewhere below."""
    return [{"rows": (a_named_tuple(tag),)}]


def one_in_a_model(tag: Any) -> Any:
    """Make an object in a field of one whose class is found."""
    return Record(more=a_dataclass(tag))


KINDS: dict[str, Callable[[Any], Any]] = {
    make.__name__: make
    for make in (
        *(a_dataclass, made_by_a_call, a_model, created, a_dataclass_of_pydantic, an_enum),
        *(a_named_tuple, a_page_of_models, a_box_of_dataclasses, a_page_of_choices),
        *(the_class_itself, one_in_a_list, one_in_a_model),
    )
}


@pytest.mark.parametrize("make", KINDS.values(), ids=list(KINDS))
async def test_p2_objects_of_classes_of_one_name_do_not_meet(
    make: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """They run uncached, and one warning says what to do."""
    runs: list[Any] = []

    @cache_response(CacheManager(MemoryBackend()), "row")
    async def read(value: Any) -> int:
        runs.append(value)
        return len(runs)

    values = [make("a"), make("b")]
    assert [await read(value) for value in values * 2] == [1, 2, 3, 4]
    [warning] = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    for words in ("not found by its name", "at the top of its module", "__cache_key__"):
        assert words in warning


def test_p2_a_key_of_its_own_mends_a_class_that_was_made_in_a_function() -> None:
    """As the warning says."""

    def make(number: int) -> Any:
        class Row:
            def __cache_key__(self) -> int:
                return number

        return Row()

    assert canonical(make(1)) == canonical(make(1)) != canonical(make(2))


FOUND: dict[str, Callable[[], Any]] = {
    "a model": Record,
    "a generic model": Page[int],
    "a generic model of a model": Page[Record],
    "the class": lambda: Page[Record],
    "a generic dataclass": lambda: Box[int]([]),
    "a generic dataclass of a model": lambda: Box[Record | None]([]),
}


@pytest.mark.parametrize("make", FOUND.values(), ids=list(FOUND))
def test_p2_a_class_that_is_found_counts_by_its_name(make: Callable[[], Any]) -> None:
    """Also with parameters: a new version of its code keeps its keys."""
    written = canonical(make())
    assert len(written.replace(__name__.encode(), b"")) < 200
    assert written == canonical(make())


def test_p2_a_name_that_belongs_to_another_class_by_now_is_not_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The module has another one under it."""
    first: Any = dataclass(type("Later", (), {"__module__": __name__}))
    monkeypatch.setitem(globals(), "Later", type("Later", (), {"__module__": __name__}))
    with pytest.raises(UnkeyableError, match="Later is not found by its name"):
        canonical(first())

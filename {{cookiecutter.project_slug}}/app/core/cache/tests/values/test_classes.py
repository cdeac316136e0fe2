"""The classes that a return annotation names (promise P1)."""

from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any

import pytest
from typing_extensions import TypeAliasType

from ...stored.codec import decode, encode_checked
from ...values.classes import KnownClasses


@dataclass
class Leaf:
    """The inner of two."""

    x: int


@dataclass
class Branch:
    """A dataclass that knows the other by its name only."""

    leaves: "list[Leaf]"


class Other:
    """A place for another class of the same name."""

    @dataclass
    class Leaf:
        """The namesake."""

        x: int


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Branch, Branch([Leaf(1)])),
        (TypeAliasType("Leaves", list[Leaf]), [Leaf(1)]),
        (tuple[Leaf, Other.Leaf], (Leaf(1), Other.Leaf(1))),
    ],
    ids=["quoted", "alias", "namesakes"],
)
def test_p1_classes_are_found_wherever_they_are_named(annotation: object, value: Any) -> None:
    """In quotes, behind a `type` alias, and under one name in two places."""
    known = KnownClasses(annotation)
    back = decode(encode_checked(value, known), known)
    assert back == value
    if isinstance(value, tuple):
        assert [type(each) for each in back] == [type(each) for each in value]


def test_p1_every_class_of_an_annotation_is_known() -> None:
    """Also where a field's type is made anew each time it is read, as a quoted one is."""
    leaves = [make_dataclass(f"Leaf{n}", [("x", int)]) for n in range(20)]
    trees = [
        make_dataclass(f"Tree{n}", [("leaves", list[Annotated[leaf, ""]])])  # type: ignore[valid-type]
        for n, leaf in enumerate(leaves)
    ]
    known = KnownClasses(tuple[tuple(trees)])  # type: ignore[misc]
    assert [cls for cls in (*leaves, *trees) if known.name_of(cls) is None] == []


@pytest.mark.parametrize("annotation", ["Missing", "1 +", "1 / 0", "int.missing"])
def test_an_annotation_that_cannot_be_read_names_nothing(annotation: str) -> None:
    """Whatever is wrong with it, the function can be decorated."""

    def function() -> Any: ...

    function.__annotations__["return"] = annotation
    assert KnownClasses.returned_by(function).name_of(Leaf) is None

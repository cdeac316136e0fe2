"""Classes with something odd to them, of which several tests of values make objects."""

from dataclasses import dataclass
from types import SimpleNamespace


class Attrs:
    """What the package `attrs` makes of a class, as far as it can be seen from outside."""

    __attrs_attrs__ = (SimpleNamespace(name="x"),)

    def __init__(self, x: int) -> None:
        self.x = x


class Alike(type):
    """A class of classes that call themselves equal."""

    def __eq__(cls, other: object) -> bool:
        return isinstance(other, Alike)

    def __hash__(cls) -> int:
        return 0


@dataclass
class One(metaclass=Alike):
    """One of them."""

    x: int = 1


@dataclass
class Other(metaclass=Alike):
    """Another one."""

    x: int = 1

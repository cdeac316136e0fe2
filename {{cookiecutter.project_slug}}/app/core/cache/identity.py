"""Which function it is: what keeps the entries of two functions apart that have one name.

A function is known by its module and qualified name, by the shape of what it returns, and by what
it captured if it is a closure. A factory of routers makes many functions of one name; they differ
in what they captured: a class, a table's name, another function. Where that has no identity, the
second function of the name is refused, for it would answer with the first one's results.
"""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import FunctionType, MethodType, ModuleType
from typing import Any
from uuid import UUID

from .canonical import UnkeyableError, canonical, text
from .classes import KnownClasses

_ATOMS = (
    *(type(None), bool, int, float, complex, str, bytes, Decimal, UUID),
    *(date, datetime, time, timedelta),
)
_OPAQUE = b"?"
_EMPTY = object()  # stands for a variable of a closure that has no value yet


def identity(func: Callable[..., object], classes: KnownClasses) -> bytes:
    """Return what tells `func` from other functions, the same in every process."""
    return _named(func) + text(classes.fingerprint()) + _captures(func)


def is_same(one: Callable[..., object], other: Callable[..., object]) -> bool:
    """Whether two functions of one identity are surely the same: same code, same captures."""
    if one is other:
        return True
    if not isinstance(one, FunctionType) or not isinstance(other, FunctionType):
        return False
    if one.__code__ != other.__code__:
        return False
    pairs = zip(_cells(one), _cells(other), strict=True)
    return all(_is_same_value(first, second) for first, second in pairs)


def _named(func: Callable[..., object]) -> bytes:
    return text(func.__module__ or "") + text(func.__qualname__)


def _cells(func: Callable[..., object]) -> list[object]:
    found: list[object] = []
    for cell in getattr(func, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            found.append(_EMPTY)
    return found


def _captures(func: Callable[..., object]) -> bytes:
    return b"".join(map(_captured, _cells(func)))


def _captured(value: object) -> bytes:
    """Write down a captured value; what has no identity as one that is not known."""
    if isinstance(value, FunctionType):
        return _named(value) + _captures(value)
    if isinstance(value, ModuleType):
        return text(value.__name__)
    try:
        return canonical(value)
    except (UnkeyableError, RecursionError):
        return _OPAQUE


def _is_same_value(one: Any, other: Any) -> bool:
    """Whether two captured values are one object, or equal for ever."""
    if one is other:
        return True
    if isinstance(one, (FunctionType, MethodType)):
        return is_same(one, other)
    if type(one) is not type(other) or not (isinstance(one, Enum) or type(one) in _ATOMS):
        both_tuples = type(one) is tuple and type(other) is tuple and len(one) == len(other)
        return both_tuples and all(map(_is_same_value, one, other))
    return canonical(one) == canonical(other)

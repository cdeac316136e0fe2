"""A function's signature, and what its annotations mean, each resolved for itself.

A name that exists for type checkers only, behind `TYPE_CHECKING`, cannot be resolved at run time. It
leaves out the one annotation that it stands in, and no other.
"""

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from inspect import Signature
from types import SimpleNamespace
from typing import Any

RETURN = "return"


def signature_of(func: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of `func`, whatever its annotations are; as FastAPI sees it."""
    if sys.version_info >= (3, 14):  # annotations are evaluated when they are asked for
        late = import_module("annotationlib")  # it is not there before
        return inspect.signature(func, annotation_format=late.Format.FORWARDREF)
    return inspect.signature(func)


def hints_of(func: Callable[..., Any], *, include_extras: bool = True) -> dict[str, Any]:
    """Return what the annotations of `func` mean, by parameter, and by "return" for the result.

    What cannot be resolved is left out. `Annotated` stays as it is, or is taken away.
    """
    try:
        signature = signature_of(func)
    except (TypeError, ValueError):  # a callable that has none
        return {}
    annotations = {name: each.annotation for name, each in signature.parameters.items()}
    annotations[RETURN] = signature.return_annotation
    annotations = {name: each for name, each in annotations.items() if each is not Signature.empty}
    innermost = inspect.unwrap(func)
    names, known = getattr(innermost, "__globals__", {}), captured(innermost)
    return _resolved(annotations, names, known, include_extras=include_extras)


def hints_of_class(cls: Any) -> dict[str, Any]:
    """Return what the annotations of a class mean. What cannot be resolved is left out."""
    with suppress(Exception):
        return typing.get_type_hints(cls, include_extras=True)
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        names = vars(sys.modules.get(base.__module__, typing))
        with suppress(Exception):
            found |= _resolved(vars(base).get("__annotations__", {}), names, dict(vars(base)))
    return found


def _resolved(
    annotations: Mapping[str, Any],
    names: dict[str, Any],
    known: dict[str, Any],
    *,
    include_extras: bool = True,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, annotation in annotations.items():
        one = SimpleNamespace(__annotations__={name: annotation})
        with suppress(Exception):  # a name that exists for type checkers only fails in many ways
            found |= typing.get_type_hints(one, names, known, include_extras=include_extras)
    return found


def captured(func: Callable[..., Any]) -> dict[str, Any]:
    """Return the variables that a closure has captured, by name."""
    names = getattr(getattr(func, "__code__", None), "co_freevars", ())
    found = {}
    for name, cell in zip(names, getattr(func, "__closure__", None) or (), strict=False):
        with suppress(ValueError):  # it has no value yet
            found[name] = cell.cell_contents
    return found

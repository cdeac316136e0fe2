"""The signature of a function, and its annotations, each resolved separately.

A name that is imported under `TYPE_CHECKING` cannot be resolved at run time. Only the annotation
that uses it is left out.
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
    """Return the signature of `func` as FastAPI sees it; annotations may have unknown names."""
    if sys.version_info >= (3, 14):  # annotations are evaluated lazily
        late = import_module("annotationlib")  # older versions do not have it
        return inspect.signature(func, annotation_format=late.Format.FORWARDREF)
    return inspect.signature(func)


def hints_of(func: Callable[..., Any], *, include_extras: bool = True) -> dict[str, Any]:
    """Return the resolved annotations of `func`, by parameter, and by "return" for the result.

    Those that cannot be resolved are left out. Without `include_extras`, `Annotated` is removed.
    """
    try:
        signature = signature_of(func)
    except (TypeError, ValueError):  # a callable without a signature
        return {}
    annotations = {name: each.annotation for name, each in signature.parameters.items()}
    annotations[RETURN] = signature.return_annotation
    annotations = {name: each for name, each in annotations.items() if each is not Signature.empty}
    innermost = inspect.unwrap(func)
    names, known = getattr(innermost, "__globals__", {}), captured(innermost)
    return _resolved(annotations, names, known, include_extras=include_extras)


def hints_of_class(cls: Any) -> dict[str, Any]:
    """Return the resolved annotations of a class. Those that cannot be resolved are left out."""
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
        with suppress(Exception):  # a name of `TYPE_CHECKING` may fail in many ways
            found |= typing.get_type_hints(one, names, known, include_extras=include_extras)
    return found


def captured(func: Callable[..., Any]) -> dict[str, Any]:
    """Return the variables that a closure has captured, by name."""
    names = getattr(getattr(func, "__code__", None), "co_freevars", ())
    found = {}
    for name, cell in zip(names, getattr(func, "__closure__", None) or (), strict=False):
        with suppress(ValueError):  # the variable has no value yet
            found[name] = cell.cell_contents
    return found

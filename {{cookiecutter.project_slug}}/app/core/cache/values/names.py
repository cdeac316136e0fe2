"""Names of classes and annotations, as text that is the same in every process.

`Page[User]` and `Page[Item]` have different names. This holds for Pydantic models, where each is a
class, and for dataclasses, where each is an alias of `typing`.

A class that was made in a function is not found by its name, and others may have the same name.
"""

import inspect
import sys
import typing
from collections.abc import Iterator
from enum import Enum
from types import FunctionType, MethodType, ModuleType
from typing import Any

from .state import UnkeyableError

LOCAL = "<"  # as in `<locals>` and `<lambda>`
_HEAP = 1 << 9  # `Py_TPFLAGS_HEAPTYPE`: the class was made at run time


def class_name(cls: type) -> str:
    """Return the name of a class with its type parameters, without its module."""
    made_of: Any = getattr(cls, "__pydantic_generic_metadata__", None)
    if not made_of or made_of["origin"] is None:
        return cls.__qualname__
    return f"{made_of['origin'].__qualname__}[{_all(made_of['args'])}]"


def described(annotation: Any) -> str:
    """Write down an annotation. A `repr` would not do: it may contain an address."""
    if isinstance(annotation, (str, list, tuple)):
        return repr(annotation) if isinstance(annotation, str) else f"[{_all(annotation)}]"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return f"Literal({','.join(map(_choice, arguments))})"
    if origin is typing.Annotated:
        return described(arguments[0])
    kind: Any = origin or annotation
    if isinstance(kind, typing.ForwardRef):
        return repr(kind.__forward_arg__)
    name = class_name(kind) if isinstance(kind, type) else getattr(kind, "__qualname__", None)
    name = name or getattr(kind, "__name__", None) or type(kind).__name__
    return f"{getattr(kind, '__module__', '')}.{name}[{_all(arguments)}]"


def _all(annotations: Any) -> str:
    return ",".join(map(described, annotations))


def _choice(value: object) -> str:
    if isinstance(value, Enum):
        return f"{described(type(value))}.{value.name}"
    return repr(value)


def is_found(value: Any) -> bool:
    """Whether the module and name of a function or class lead to this very object."""
    if isinstance(value, type) and value.__module__ == "builtins" and not value.__flags__ & _HEAP:
        return True  # `NoneType`, for example, is not in `builtins`
    found: Any = sys.modules.get(getattr(value, "__module__", None) or "")
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def is_imported(module: ModuleType) -> bool:
    """Whether a module is the one that is found by its name."""
    return sys.modules.get(module.__name__) is module


def chain(func: Any) -> Iterator[Any]:
    """Yield a function, the one that it wraps, and so on. It runs no `__getattr__` of a proxy."""
    seen: dict[int, Any] = {}
    while func is not None and id(func) not in seen:
        yield seen.setdefault(id(func), func)
        if isinstance(func, (staticmethod, classmethod)):
            func = func.__func__
        else:
            func = func.__func__ if isinstance(func, MethodType) else func
            func = inspect.getattr_static(func, "__wrapped__", None)


def is_alone(func: Any, *, is_defined: bool) -> bool:
    """Whether a function is, with its decorators, the only one of its name.

    It is if its module has it under that name. During its decoration the module does not have it
    yet. Then the module must not have the innermost function either, since others may wrap that.
    """
    *_, made = chain(func)
    if not isinstance(made, FunctionType) or LOCAL in made.__code__.co_qualname:
        return False
    found: Any = sys.modules.get(made.__globals__.get("__name__", ""))
    for name in made.__code__.co_qualname.split("."):
        found = inspect.getattr_static(found, name, None)
    under_name = list(chain(found))
    if any(each is func for each in under_name):
        return True
    return not is_defined and not any(each is made for each in under_name)


def refuse_unfound(annotation: Any) -> None:
    """Raise `UnkeyableError` if a class, or one in an annotation, is not found by its name."""
    if not _are_found(annotation):
        name = getattr(annotation, "__qualname__", None) or described(annotation)
        raise UnkeyableError(
            f"the class {name} is not found by its name; define it at the top of its module"
        )


def _are_found(annotation: Any) -> bool:
    """Whether all classes that an annotation names are found by their names."""
    made_of = getattr(annotation, "__pydantic_generic_metadata__", None) or {}
    origin = made_of.get("origin") or typing.get_origin(annotation)
    parts = [*(made_of.get("args") or typing.get_args(annotation)), *([origin] if origin else [])]
    if isinstance(annotation, (list, tuple)):  # the arguments of a `Callable`
        parts = list(annotation)
    if parts:
        return all(map(_are_found, parts))
    cls = type(annotation) if isinstance(annotation, Enum) else annotation  # in a `Literal`
    return not isinstance(cls, type) or is_found(cls)

"""What a function has captured from the function that made it, written down for its identity.

Every value is of one of three kinds. Most are what they are: text, settings, classes, functions with
what they have captured themselves. Some cannot decide about a result: locks, loggers, managers. All
others have no identity.
"""

import dataclasses
import logging
import sys
import typing
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from enum import Enum
from functools import cached_property, partial
from inspect import isdatadescriptor
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from fastapi.params import Depends
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from .canonical import UnkeyableError, canonical, text
from .classes import KnownClasses
from .hints import hints_of
from .names import described

_LOCKS = {
    *("lock", "Lock", "RLock", "Event", "EventAdapter", "Condition", "Barrier"),
    *("Semaphore", "BoundedSemaphore", "SemaphoreAdapter", "LockAdapter"),
    *("CapacityLimiter", "CapacityLimiterAdapter"),
}
_MODULES_OF_LOCKS = {"_thread", "threading", "asyncio", "anyio"}
_FILLED_LATER = (list, dict, set, bytearray)
_LOCAL = "<"  # as in `<locals>` and `<lambda>`
_OURS = f"{__package__}."


class Captures:
    """What a function is, and what it has captured.

    `written` is the same in every process, and so is `code`, that of the function itself, if it was
    made in another one. `objects` are compared by being the same object. `private` are those of them
    that have no identity, and `unknown` those that are to be told of, by the name of the variable.
    """

    def __init__(self) -> None:
        self.written, self.code = b"", b""
        self.objects: list[object] = []
        self.private: list[object] = []
        self.unknown: dict[str, object] = {}
        self._seen: dict[int, object] = {}
        self._in_wrapper = False

    @classmethod
    def of(cls, func: Callable[..., object]) -> "Captures":
        """Write down a function that is being decorated."""
        found = cls()
        if isinstance(func, FunctionType):
            found.written = found._function(func, "")
            if _LOCAL in func.__qualname__:
                found.code = _written(func.__code__)
            else:  # there is one of its name only, and what its decorators captured is the same
                found.private, found.unknown = [], {}
        else:
            found.written = _name(func) + found._value(getattr(func, "__func__", None), "")
            found.written += found._value(getattr(func, "__self__", None), "self")
        return found

    def _function(self, func: FunctionType, variable: str) -> bytes:
        """Write down a function by its name, and one that was made in another one by all it is."""
        written = _name(func)
        if id(func) in self._seen:
            return written
        self._seen[id(func)] = func
        if variable and _is_found(func):
            return written
        if variable:
            written += _written(func.__code__) if _LOCAL in func.__qualname__ else b""
            written += self._value([func.__defaults__, func.__kwdefaults__], variable)
        else:
            written += b"".join([self._provided(each) for each in _dependencies(func)])
        outer, self._in_wrapper = self._in_wrapper, "__wrapped__" in vars(func)
        for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
            if name in (func.__code__.co_name, "__class__"):  # it is itself, or its own class
                continue
            place = f"{name!r} of {variable}" if variable else repr(name)
            try:
                value = cell.cell_contents
            except ValueError:  # it has none yet
                value = cell
            if not variable and type(value) in _FILLED_LATER and not value:
                self.objects.append(value)
            written += text(name) + self._value(value, place)
        self._in_wrapper = outer
        wrapped = getattr(func, "__wrapped__", None)
        return written if wrapped is None else written + self._value(wrapped, variable)

    def _provided(self, provide: Any) -> bytes:
        """Write down what FastAPI calls for a parameter; another object is another function."""
        self.objects.append(provide)
        return b"" if provide is None else text(getattr(provide, "__qualname__", ""))

    def _value(self, value: Any, variable: str) -> bytes:
        """Write down a captured value; one without identity by its class only, and note it."""
        writer = next((writer for kind, writer in _WRITERS if isinstance(value, kind)), None)
        if writer is not None:
            return writer(self, value, variable)
        if typing.get_origin(value) is not None or type(value).__module__ == "typing":
            return text(described(value))
        if _cannot_decide(type(value)):
            return b""
        return self._other(value, variable)

    def _other(self, value: object, variable: str) -> bytes:
        try:
            return canonical(value)
        except (UnkeyableError, RecursionError):
            self.objects.append(value)
            self.private.append(value)
            # An iterator is used up here, and a decorator's own object, a tracer for one, is no
            # concern of who wrote the function: nothing is told, and nothing is shared either.
            if not (self._in_wrapper or isinstance(value, Iterator)):
                self.unknown.setdefault(variable, value)
            return text(f"{type(value).__module__}.{type(value).__qualname__}")

    def _method(self, value: Any, variable: str) -> bytes:
        owner = getattr(value, "__self__", None)
        written = text(getattr(value, "__qualname__", value.__name__))
        return written + self._value(owner, variable) + self._value(_function_of(value), variable)

    def _partial(self, value: partial[Any], variable: str) -> bytes:
        return self._value([value.func, value.args, value.keywords], variable)

    def _items(self, value: Any, variable: str) -> bytes:
        if type(value) not in (list, tuple):
            return self._other(value, variable)
        if id(value) in self._seen:
            return b""
        self._seen[id(value)] = value
        return canonical(len(value)) + b"".join([self._value(item, variable) for item in value])

    def _mapping(self, value: Any, variable: str) -> bytes:
        if type(value) is not dict:
            return self._other(value, variable)
        return self._items([[key, item] for key, item in value.items()], variable)

    def _class(self, cls: type, variable: str) -> bytes:
        """Write down a class by its name, and one that is not found by that by all it is."""
        written = text(cls.__module__) + text(cls.__qualname__)
        if _is_found(cls) or id(cls) in self._seen:
            return written
        self._seen[id(cls)] = cls
        written += text(KnownClasses(cls).fingerprint())
        return written + b"".join([self._value(part, variable) for part in _parts(cls)])


_WRITERS: tuple[tuple[Any, Callable[[Captures, Any, str], bytes]], ...] = (
    (FunctionType, Captures._function),
    ((MethodType, BuiltinFunctionType), Captures._method),
    (partial, Captures._partial),
    ((list, tuple), Captures._items),
    (dict, Captures._mapping),
    (type, Captures._class),
    (ModuleType, lambda _self, module, _variable: text(module.__name__)),
    ((logging.Logger, ContextVar), lambda _self, named, _variable: text(named.name)),
)


def _dependencies(func: FunctionType) -> list[Any]:
    """Return the dependencies that the parameters of a function name, if it was made in another."""
    if _LOCAL not in func.__qualname__:
        return []
    hints = hints_of(func)
    marks = [*(func.__defaults__ or ()), *(func.__kwdefaults__ or {}).values()]
    marks += [mark for hint in hints.values() for mark in getattr(hint, "__metadata__", ())]
    return [mark.dependency for mark in marks if isinstance(mark, Depends)]


def _written(code: CodeType) -> bytes:
    """Write down what code does. Not its file nor its lines, which change with every comment."""
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    written = canonical([code.co_code, *names])
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            written += _written(constant)
        elif constant is not ...:
            written += canonical(constant)
    return written


def _name(func: Callable[..., object]) -> bytes:
    return text(func.__module__ or "") + text(func.__qualname__)


def _function_of(method: object) -> object:
    return getattr(method, "__func__", None)


def _is_found(value: Any) -> bool:
    """Whether a function or a class is what its module has under its name."""
    found: Any = sys.modules.get(value.__module__ or "")
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _cannot_decide(cls: type) -> bool:
    """Whether no instance of a class says anything of a result: the cache's own, and locks."""
    if any(f"{base.__module__}.".startswith(_OURS) for base in cls.__mro__):
        return True
    if cls.__module__ == dataclasses.__name__:  # which says by them that there is no default
        return True
    return cls.__name__ in _LOCKS and cls.__module__.partition(".")[0] in _MODULES_OF_LOCKS


def _parts(cls: type) -> list[object]:
    """Return what a class consists of, besides what Python and Pydantic put into it."""
    parts: list[object] = list(cls.__bases__)
    if issubclass(cls, Enum):
        parts += [member.value for member in cls]
    if issubclass(cls, BaseModel):
        fields = cls.model_fields.values()
        parts += [each.default for each in fields if each.default is not PydanticUndefined]
        parts += [each.default_factory for each in fields]
    for name, each in sorted(vars(cls).items()):
        inner = getattr(each, "__func__", each)
        is_special = name.startswith(("__", "_abc_")) or issubclass(cls, Enum)
        if isinstance(each, property):
            parts += [each.fget, each.fset]
        elif isinstance(each, cached_property):
            parts.append(each.func)
        elif isinstance(inner, FunctionType) or not (is_special or isdatadescriptor(each)):
            parts.append(inner)
    return parts

"""The variables that a closure captured, written down for the identity of the function.

`canonical` writes plain data. Of a captured function, the name is written, and if it was made in
another function, also its code and captures. Other objects have no identity: an engine, a client,
a class that was made in a function. Nor has an empty list, because it will be filled later.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from functools import partial
from itertools import zip_longest
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from fastapi.params import Depends
from fastapi.security.base import SecurityBase
from pydantic.fields import FieldInfo

from ..here import PACKAGE
from .canonical import canonical, text
from .hints import hints_of, signature_of
from .kinds import dependencies_in
from .names import described, is_found

_LOCKS = {
    *("lock", "Lock", "RLock", "Event", "EventAdapter", "Condition", "Barrier"),
    *("Semaphore", "BoundedSemaphore", "SemaphoreAdapter", "LockAdapter"),
    *("CapacityLimiter", "CapacityLimiterAdapter"),
}
_MODULES_OF_LOCKS = {"_thread", "threading", "asyncio", "anyio"}
FILLED_LATER = (list, dict, set, bytearray)
_LOCAL = "<"  # as in `<locals>` and `<lambda>`


class Variable(NamedTuple):
    """The value of a variable, written down, and the objects in it that have no identity."""

    name: str
    written: bytes
    objects: list[object]

    def is_same(self, other: "Variable") -> bool:
        """Whether two variables hold equal values and identical objects."""
        pairs = zip(self.objects, other.objects, strict=False)
        return (
            self.written == other.written
            and len(self.objects) == len(other.objects)
            and all(mine is yours for mine, yours in pairs)
        )


_NONE = Variable("", b"", [])


class Captures:
    """The identity of a function: its name, its code, and the variables that it captured.

    `ignored` are the parameters that are not in its keys; their defaults and dependencies count.
    `before` are earlier captures: objects that had no identity then have none now.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        ignored: Collection[str] = (),
        before: "Captures | None" = None,
    ) -> None:
        known = [] if before is None else before.objects
        self.is_local = not isinstance(func, FunctionType) or _LOCAL in func.__qualname__
        """Whether there may be several functions with its name."""
        self.variables = [
            Variable(name, *_written(value, known))
            for name, value in [*_variables(func), *_dependencies(func, ignored)]
        ]
        self.code = b"".join(map(_written_code, _codes(func)))
        self.written = text(func.__module__ or "") + text(func.__qualname__)
        for variable in self.variables:
            self.written += text(variable.name) + variable.written

    @property
    def objects(self) -> list[object]:
        """The captured objects that have no identity."""
        return [each for variable in self.variables for each in variable.objects]

    def changed(self, now: "Captures") -> list[str]:
        """Return the names of the variables that have changed."""
        pairs = zip_longest(self.variables, now.variables, fillvalue=_NONE)
        return [one.name or other.name for one, other in pairs if not one.is_same(other)]


def _variables(func: Any) -> Iterator[tuple[str, object]]:
    """Yield the names and values that a function, and those that it wraps, captured."""
    if isinstance(func, MethodType):
        yield "'self'", func.__self__
        func = func.__func__
    while isinstance(func, FunctionType):
        for name, cell in _cells(func):
            yield repr(name), cell
        func = getattr(func, "__wrapped__", None)
    yield "what it wraps", func


def _codes(func: Any) -> Iterator[CodeType]:
    while isinstance(func, (FunctionType, MethodType)):
        yield func.__code__
        func = getattr(func, "__wrapped__", None)


def _cells(func: FunctionType) -> Iterator[tuple[str, CellType]]:
    if func.__globals__.get("__name__", "").startswith(PACKAGE):  # a decorator of the cache
        return
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
        if name not in (func.__code__.co_name, "__class__"):  # the function itself, or its class
            yield name, cell


def _dependencies(func: Any, ignored: Collection[str]) -> Iterator[tuple[str, object]]:
    """Yield the defaults and the dependencies of ignored parameters: neither is in the key."""
    if not ignored:
        return
    parameters, hints = signature_of(func).parameters, hints_of(func)
    for name in ignored:
        yield f"the default of {name!r}", parameters[name].default
        for mark in dependencies_in(None, hints.get(name)):
            yield f"the dependency of {name!r}", mark


def _metadata(hint: Any) -> tuple[object, ...]:
    return getattr(hint, "__metadata__", ())


def _written(value: object, known: Collection[object]) -> tuple[bytes, list[object]]:
    writer = _Writer(known)
    try:
        return writer.write(value), writer.objects
    except RecursionError:
        return b"", [value]


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # the variable has no value yet
        return cell


class _Writer:
    """Writes down a value. `objects` are those in it without an identity, as are all of `known`."""

    def __init__(self, known: Collection[object]) -> None:
        self.objects: list[object] = []
        self._known = {id(each) for each in known}
        self._seen: dict[int, tuple[int, object]] = {}

    def write(self, value: Any) -> bytes:
        """Return a value as bytes that are the same in every process."""
        if isinstance(value, CodeType):
            return _written_code(value)
        value = _content(value) if isinstance(value, CellType) else value
        is_empty = type(value) in FILLED_LATER and not value
        if is_empty or id(value) in self._known:
            return self._object(value)
        try:
            return canonical(value)
        except Exception:  # a `__cache_key__` may raise anything
            return self._by_parts(value)

    def _by_parts(self, value: Any) -> bytes:
        parts = _parts(value)
        if parts is None:
            return self._object(value)
        number = len(self._seen)
        place, _ = self._seen.setdefault(id(value), (number, value))
        if place != number:  # it occurs twice, or contains itself
            return b"^%d;" % place
        written = b"".join(map(self.write, parts))
        return text(type(value).__name__) + canonical(len(parts)) + written

    def _object(self, value: object) -> bytes:
        self.objects.append(value)
        return text(f"{type(value).__module__}.{type(value).__qualname__}")


def _parts(value: Any) -> list[Any] | None:
    """Return the parts of a value; `None` if they are not known."""
    if _decides_nothing(type(value)) or value is ...:
        return []
    if isinstance(getattr(value, "__qualname__", None), str) and is_found(value):
        return [value.__module__, value.__qualname__]
    if get_origin(value) is not None:
        named = [] if get_origin(value) is Annotated else [described(value)]
        return [*named, *get_args(value)]
    parts = next((parts for kind, parts in _PARTS if isinstance(value, kind)), None)
    return None if parts is None else parts(value)


def _parts_of_function(func: FunctionType) -> list[Any]:
    named = func.__kwdefaults__ or {}
    return [
        *(func.__module__, func.__qualname__, func.__code__),
        *(func.__defaults__ or ()),
        *(tuple(named), *named.values(), tuple(map(_metadata, hints_of(func).values()))),
        *(cell for _, cell in _cells(func)),
        getattr(func, "__wrapped__", None),
    ]


def _parts_of_field(field: Any) -> list[Any]:
    """Return the arguments of a field or a FastAPI parameter, not what was set on it later."""
    given, more = getattr(field, "_attributes_set", None), tuple(field.metadata)
    return [type(field), given, more, getattr(field, "convert_underscores", None)]


_PARTS: tuple[tuple[Any, Callable[[Any], list[Any] | None]], ...] = (
    (FunctionType, _parts_of_function),
    (
        (MethodType, BuiltinFunctionType),
        lambda each: [getattr(each, "__func__", None), each.__qualname__, each.__self__],
    ),
    (partial, lambda each: [each.func, each.args, each.keywords or None]),
    ((list, tuple), lambda each: list(each) if type(each) in (list, tuple) else None),
    (dict, lambda each: list(each.items()) if type(each) is dict else None),
    ((logging.Logger, ContextVar), lambda each: [each.name]),
    (ModuleType, lambda each: [each.__name__]),
    (
        Depends,
        lambda each: [type(each), each.dependency, each.use_cache, getattr(each, "scopes", None)],
    ),
    (FieldInfo, _parts_of_field),
    (SecurityBase, lambda each: [type(each), vars(each)]),
)


def _written_code(code: CodeType) -> bytes:
    """Write down code, without its file and line numbers, which change with every comment."""
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    written = canonical([code.co_code, code.co_exceptiontable, *names, *counts])
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            written += _written_code(constant)
        else:
            written += canonical(repr(constant) if constant is ... else constant)
    return written


def _decides_nothing(cls: type) -> bool:
    """Whether instances of a class never affect a result: the cache's own objects, and locks."""
    if any(f"{base.__module__}.".startswith(PACKAGE) for base in cls.__mro__):
        return True
    return cls.__name__ in _LOCKS and cls.__module__.partition(".")[0] in _MODULES_OF_LOCKS

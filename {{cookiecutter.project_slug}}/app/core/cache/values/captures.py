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
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin

from fastapi.params import Depends
from fastapi.security.base import SecurityBase
from pydantic.fields import FieldInfo

from ..here import is_module_of_cache
from .canonical import canonical, text
from .hints import hints_of, signature_of
from .kinds import dependencies_in
from .names import LOCAL, chain, described, is_alone, is_found, is_imported

_LOCKS = {
    *("lock", "Lock", "RLock", "Event", "EventAdapter", "Condition", "Barrier"),
    *("Semaphore", "BoundedSemaphore", "SemaphoreAdapter", "LockAdapter"),
    *("CapacityLimiter", "CapacityLimiterAdapter"),
}
_MODULES_OF_LOCKS = {"_thread", "threading", "asyncio", "anyio"}
FILLED_LATER = (list, dict, set, bytearray)


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
        self.has_more = any(map(_has_more, chain(func)))
        """Whether its name says too little: a closure, or a function that wraps another one."""
        self.is_local = self.has_more and not is_alone(func, is_defined=before is not None)
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
        wrapped = getattr(func, "__wrapped__", None)
        for name, value in _cells(func):
            if wrapped is None or _content(value) is not wrapped:  # that comes below
                yield repr(name), value
        if not _is_of_cache(func) and _attributes(func):
            yield f"the attributes of {func.__name__!r}", _attributes(func)
        if isinstance(wrapped, FunctionType):
            defaults = (wrapped.__defaults__, wrapped.__kwdefaults__)
            yield f"the defaults of {wrapped.__name__!r}", defaults
        func = wrapped
    yield "what it wraps", func


def _codes(func: Any) -> Iterator[CodeType]:
    return (each.__code__ for each in chain(func) if isinstance(each, (FunctionType, MethodType)))


def _has_more(func: Any) -> bool:
    if not isinstance(func, FunctionType) or _is_of_cache(func):
        return not isinstance(func, FunctionType)
    made = func.__code__.co_qualname  # `wraps` changes the names of the function, but not this
    return bool(func.__closure__) or LOCAL in made or made != func.__qualname__


def _is_of_cache(func: FunctionType) -> bool:
    """Whether a function is a decorator of the cache."""
    return is_module_of_cache(func.__globals__.get("__name__", ""))


def _cells(func: FunctionType) -> Iterator[tuple[str, CellType | None]]:
    """Yield the cells of a function, with `None` for the function itself and its class."""
    if not _is_of_cache(func):
        for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
            yield name, None if _is_its_own(func, name, cell) else cell


def _is_its_own(func: FunctionType, name: str, cell: CellType) -> bool:
    """Whether a variable holds, or will hold, the function, what decorates it, or its class."""
    value, code = _content(cell), func.__code__
    is_empty = value is cell
    if name == "__class__":  # which is there only after the methods
        return LOCAL not in code.co_qualname and (is_empty or is_found(value))
    return name == code.co_name if is_empty else any(each is func for each in chain(value))


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


def _content(cell: CellType | None) -> object:
    try:
        return None if cell is None else cell.cell_contents
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
        try:
            parts = _parts(value)
        except RecursionError:
            raise
        except Exception:  # of a proxy of what is not there yet
            parts = None
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
        *_attributes(func),
    ]


def _attributes(func: FunctionType) -> list[Any]:
    """Return the attributes of a function, without those of Python such as `__wrapped__`."""
    return [each for each in vars(func).items() if not each[0].startswith("__")]


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
    (logging.Logger, lambda each: [each.name] if logging.getLogger(each.name) is each else None),
    (ContextVar, lambda each: [each.name]),
    (TypeVar, lambda each: [each.__name__]),  # which a method of a generic class captures
    (ModuleType, lambda each: [each.__name__] if is_imported(each) else None),
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
        is_code = isinstance(constant, CodeType)
        written += _written_code(constant) if is_code else canonical(constant)
    return written


def _decides_nothing(cls: type) -> bool:
    """Whether instances of a class never affect a result: the cache's own objects, and locks."""
    if any(is_module_of_cache(f"{base.__module__}.") for base in cls.__mro__):
        return True
    return cls.__name__ in _LOCKS and cls.__module__.partition(".")[0] in _MODULES_OF_LOCKS

"""What a function has captured from the function that made it, written down for its identity.

Every value is of one of three kinds. Most are what they are: text, settings, classes, functions with
what they have captured themselves. Some cannot decide about a result: locks, loggers, managers. All
others have no identity.
"""

import dataclasses
import logging
import typing
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from enum import Enum
from functools import cached_property, partial
from types import (
    BuiltinFunctionType,
    CodeType,
    DynamicClassAttribute,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from fastapi.params import Body, Depends, Param
from fastapi.security.base import SecurityBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ..here import PACKAGE
from .canonical import UnkeyableError, canonical, is_found, text, write_classes_by
from .classes import KnownClasses
from .hints import hints_of
from .names import described
from .state import Whole

_LOCKS = {
    *("lock", "Lock", "RLock", "Event", "EventAdapter", "Condition", "Barrier"),
    *("Semaphore", "BoundedSemaphore", "SemaphoreAdapter", "LockAdapter"),
    *("CapacityLimiter", "CapacityLimiterAdapter"),
}
_MODULES_OF_LOCKS = {"_thread", "threading", "asyncio", "anyio"}
FILLED_LATER = (list, dict, set, bytearray)
_SLOTS = (MemberDescriptorType, GetSetDescriptorType)
_SAY_NOTHING = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__slots__"),
    *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"),
    *("__firstlineno__", "__static_attributes__", "__match_args__", "__signature__"),
    *("__parameters__", "__type_params__", "__orig_bases__", "__abstractmethods__"),
    *("__dataclass_fields__", "__dataclass_params__", "__attrs_attrs__", "__attrs_props__"),
    *("__class_vars__", "__private_attributes__", "model_fields", "model_computed_fields"),
}
"""Attributes of classes which say nothing, or what is written down of a class besides."""
_HINT = "hint"
_WITHOUT_METHODS = {"__init__", "__new__", "__repr__", "__str__", "__eq__", "__hash__"}
_LOCAL = "<"  # as in `<locals>` and `<lambda>`


class Captures:
    """What a function is, and what it has captured.

    `written` is the same in every process: what was `captured`, and what dependencies are `provided`.
    So is `code`, that of the function itself, if it was made in another one. `objects` are compared by
    being the same object, and `places` say where each of them was. `private` are those that have no
    identity, and `unknown` those that are to be told of, by the name of the variable. `variables` is
    what may change until the function is called first.
    """

    def __init__(self) -> None:
        self.written = self.captured = self.provided = self.code = b""
        self.objects: list[object] = []
        self.places: list[str] = []
        self.private: list[object] = []
        self.unknown: dict[str, object] = {}
        self.variables: dict[str, tuple[bytes, list[object]]] = {}
        self._seen: dict[int, tuple[int, object]] = {}
        self._open: list[int] = []
        self._in_wrapper = self._in_class = self._in_dependency = False

    @classmethod
    def of(cls, func: Callable[..., object]) -> "Captures":
        """Write down a function that is being decorated."""
        found = cls()
        if isinstance(func, FunctionType):
            found.captured = found._function(func, "")
            if _LOCAL in func.__qualname__:
                found.code = _written(func.__code__)
            else:  # there is one of its name only, and what its decorators captured is the same
                found.private, found.unknown, found.variables = [], {}, {}
        else:
            found.captured = _name(func) + found._value(getattr(func, "__func__", None), "")
            found.captured += found._variable(getattr(func, "__self__", None), "self")
        found.written = found.captured + found.provided
        return found

    @classmethod
    def of_class(cls, annotation: object) -> str:
        """Write down a class that is not found by its name, or what names one, by all it is.

        Raises `UnkeyableError` where something of it has no identity.
        """
        found = cls()
        written = found._hint(annotation, "")
        if found.private:
            raise UnkeyableError(
                f"the class {_named(annotation)} is not found by its name, and {found.places[0]} has "
                f"no identity that could stand for it; define the class at the top of its module"
            )
        return written.decode("latin-1")

    def _function(self, func: FunctionType, variable: str) -> bytes:
        """Write down a function by its name, and one that was made in another one by all it is."""
        written = _name(func)
        if (again := self._again(func)) is not None:
            return written + again
        if variable and is_found(func):
            return written
        if variable:
            is_one_of_many = self._in_class or _LOCAL in func.__qualname__
            written += _written(func.__code__) if is_one_of_many else b""
            written += self._value([func.__defaults__, func.__kwdefaults__], variable)
        if self._in_dependency:
            hints = hints_of(func).items()
            written += b"".join([text(name) + self._hint(each, variable) for name, each in hints])
        elif not variable:
            self.provided += b"".join([self._provided(each) for each in _dependencies(func)])
        outer, self._in_wrapper = self._in_wrapper, "__wrapped__" in vars(func)
        for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
            if name in (func.__code__.co_name, "__class__"):  # it is itself, or its own class
                continue
            place = f"{name!r} of {variable}" if variable else repr(name)
            try:
                value = cell.cell_contents
            except ValueError:  # it has none yet
                value = cell
            written += text(name) + self._variable(value, place)
        self._in_wrapper = outer
        wrapped = getattr(func, "__wrapped__", None)
        return written if wrapped is None else written + self._value(wrapped, variable)

    def _again(self, value: object) -> bytes | None:
        """Return which one it is of those that were written down before; note it otherwise."""
        number = len(self._seen)
        place, _ = self._seen.setdefault(id(value), (number, value))
        return None if place == number else text(str(place))

    def _variable(self, value: object, place: str) -> bytes:
        """Write down what a variable has; note what it is now, for it may change."""
        before = len(self.objects)
        if type(value) in FILLED_LATER and not value and (self._in_dependency or " " not in place):
            self._compare(value, place)
        written = self._value(value, place)
        if not (self._in_wrapper or self._in_dependency):
            self.variables[place] = written, self.objects[before:]
        return written

    def _compare(self, value: object, place: str) -> None:
        self.objects.append(value)
        self.places.append(place)

    def _provided(self, provide: Any) -> bytes:
        """Write down what FastAPI calls for a parameter.

        What has no identity there makes another function, but of it nothing is told: what it brings
        is an argument, which is in the key or does not count.
        """
        outer = self.private, self.unknown, self._in_wrapper
        self.private, self.unknown, self._in_dependency = [], {}, True
        name = getattr(provide, "__qualname__", type(provide).__qualname__)
        written = self._value(provide, f"the dependency {name}")
        self._in_dependency = False
        self.private, self.unknown, self._in_wrapper = outer
        return written

    def _value(self, value: Any, variable: str) -> bytes:
        """Write down a captured value; one without identity by its class only, and note it."""
        writer = next((writer for kind, writer in _WRITERS if isinstance(value, kind)), None)
        if writer is not None:
            return writer(self, value, variable)
        if value is ... or value is PydanticUndefined:
            return text(repr(value))
        if typing.get_origin(value) is not None or type(value).__module__ == "typing":
            return self._hint(value, variable)
        if _cannot_decide(type(value)):
            return b""
        return self._other(value, variable)

    def _other(self, value: object, variable: str) -> bytes:
        cls = type(value)
        try:
            return canonical(value)
        except (UnkeyableError, RecursionError):
            if dataclasses.is_dataclass(value) and _is_of_pydantic(cls):  # what annotations say
                items = [getattr(value, each.name, None) for each in dataclasses.fields(value)]
                return self._value([cls, *items], variable)
            state = _state_of(value)
            if state is not None:
                return self._class(cls, variable) + state
            self._compare(value, variable)
            self.private.append(value)
            # An iterator is used up here, and a decorator's own object, a tracer for one, is no
            # concern of who wrote the function: nothing is told, and nothing is shared either.
            if not (self._in_wrapper or isinstance(value, Iterator)):
                self.unknown.setdefault(variable, value)
            return text(f"{cls.__module__}.{cls.__qualname__}")

    def _method(self, value: Any, variable: str) -> bytes:
        owner = getattr(value, "__self__", None)
        written = text(getattr(value, "__qualname__", value.__name__))
        return written + self._value(owner, variable) + self._value(_function_of(value), variable)

    def _partial(self, value: partial[Any], variable: str) -> bytes:
        return self._value([value.func, value.args, value.keywords], variable)

    def _items(self, value: Any, variable: str) -> bytes:
        if type(value) not in (list, tuple):
            return self._other(value, variable)
        if id(value) in self._open:  # it contains itself
            return text(str(self._open.index(id(value))))
        self._open.append(id(value))
        written = canonical(len(value)) + b"".join([self._value(each, variable) for each in value])
        self._open.pop()
        return written

    def _mapping(self, value: Any, variable: str) -> bytes:
        if type(value) is not dict:
            return self._other(value, variable)
        return self._items([[key, item] for key, item in value.items()], variable)

    def _field(self, value: FieldInfo, variable: str) -> bytes:
        """Write down what a field of Pydantic, or a parameter of FastAPI, says."""
        slots = {name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())}
        said = {name: getattr(value, name, None) for name in sorted(slots) if name[0] != "_"}
        annotation = said.pop("annotation", None)
        if isinstance(value, (Param, Body)):  # into which FastAPI writes what it is put to use for
            annotation, said["alias"] = None, getattr(value, "_attributes_set", {}).get("alias")
        hint = self._hint(annotation, variable)
        return self._value([type(value), said, getattr(value, "__dict__", {})], variable) + hint

    def _hint(self, annotation: Any, variable: str) -> bytes:
        """Write down an annotation, what it says besides, and the classes that it names."""
        written = text(described(annotation))
        arguments = typing.get_args(annotation)
        if typing.get_origin(annotation) is typing.Annotated:
            written += self._hint(arguments[0], variable)
            return written + self._value(list(arguments[1:]), variable)
        if isinstance(annotation, (list, tuple)):  # of a `Callable`
            arguments = tuple(annotation)
        if isinstance(annotation, type) and not arguments:
            return written + self._class(annotation, variable)
        if isinstance(annotation, Enum):  # of a `Literal`
            return written + self._value(annotation, variable)
        origin = typing.get_origin(annotation)
        arguments += (origin,) if isinstance(origin, type) else ()
        return written + b"".join([self._hint(each, variable) for each in arguments])

    def _class(self, cls: type, variable: str) -> bytes:
        """Write down a class by its name, and one that is not found by that by all it is."""
        written = text(cls.__module__) + text(cls.__qualname__)
        if is_found(cls):
            return written
        if (again := self._again(cls)) is not None:
            return written + again
        outer, self._in_class = self._in_class, True
        written += text(KnownClasses(cls).fingerprint())
        for name, part in _parts(cls):
            place = f"{name!r} of {variable or cls.__qualname__}"
            written += text(name) + (self._hint if name == _HINT else self._value)(part, place)
        self._in_class = outer
        return written


_WRITERS: tuple[tuple[Any, Callable[[Captures, Any, str], bytes]], ...] = (
    (FunctionType, Captures._function),
    (
        (MethodType, BuiltinFunctionType, WrapperDescriptorType, MethodDescriptorType),
        Captures._method,
    ),
    (partial, Captures._partial),
    ((list, tuple), Captures._items),
    (dict, Captures._mapping),
    (type, Captures._class),
    (ModuleType, lambda _self, module, _variable: text(module.__name__)),
    ((logging.Logger, ContextVar), lambda _self, named, _variable: text(named.name)),
    (FieldInfo, Captures._field),
    (
        Depends,
        lambda self, mark, variable: self._value(
            [type(mark), getattr(mark, "dependency", None), getattr(mark, "use_cache", None)],
            variable,
        ),
    ),
    ((staticmethod, classmethod), lambda self, each, place: self._value(each.__func__, place)),
    (cached_property, lambda self, each, variable: self._value(each.func, variable)),
    (
        (property, DynamicClassAttribute),
        lambda self, each, variable: self._value([each.fget, each.fset, each.fdel], variable),
    ),
)


write_classes_by(Captures.of_class)


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


def _cannot_decide(cls: type) -> bool:
    """Whether no instance of a class says anything of a result: the cache's own, and locks."""
    if any(f"{base.__module__}.".startswith(PACKAGE) for base in cls.__mro__):
        return True
    if cls.__module__ == dataclasses.__name__:  # which says by them that there is no default
        return True
    return cls.__name__ in _LOCKS and cls.__module__.partition(".")[0] in _MODULES_OF_LOCKS


def _state_of(value: object) -> bytes | None:
    """Return all that an object of a class without methods consists of, or `None`.

    An object that can do something may change by that, and one with room for more will be filled.
    """
    cls, state = type(value), getattr(value, "__dict__", {})
    members = [each for base in cls.__mro__[:-1] for each in vars(base).items()]
    functions = {
        name
        for name, each in members
        if isinstance(each, (FunctionType, staticmethod, classmethod))
    }
    fields = state.keys() - {name for name, each in members if isinstance(each, cached_property)}
    is_data = functions <= _WITHOUT_METHODS or issubclass(cls, SecurityBase)
    if not (is_data and fields):
        return None
    if any(type(each) in FILLED_LATER and not each for each in state.values()):
        return None
    try:
        return canonical(dict(Whole(cls, fields).of(value)))
    except (TypeError, RecursionError):  # a part of it has no identity
        return None


def _is_of_pydantic(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in ("pydantic", "annotated_types")


def _parts(cls: type) -> Iterator[tuple[str, object]]:
    """Yield what a class consists of, by name, besides what Python and Pydantic put into it."""
    yield "metaclass", type(cls)
    for base in (*cls.__bases__, *vars(cls).get("__orig_bases__", ())):
        yield _HINT, base
    if issubclass(cls, Enum):
        yield "members", [[name, each.value] for name, each in cls.__members__.items()]
    yield "fields", _fields_of(cls)
    for name, each in sorted(vars(cls).items()):
        is_function = isinstance(each, (FunctionType, staticmethod, classmethod))
        if name in _SAY_NOTHING or name.startswith(("_abc_", "__pydantic_")):
            continue
        if type(each) in _SLOTS or name in getattr(cls, "_fields", ()):
            continue
        if (
            issubclass(cls, Enum)
            and not is_function
            and (name[0] == "_" or name in cls.__members__)
        ):
            continue
        if (
            name == "__hash__" and is_function and _is_of_pydantic(each)
        ):  # it follows from the fields
            continue
        yield name, each


def _fields_of(cls: Any) -> list[object]:
    """Return what is known of the fields of a class, and of the functions that check them."""
    said: list[object] = []
    for name in ("__pydantic_fields__", "__private_attributes__", "__dataclass_fields__"):
        fields = vars(cls).get(name) or {}
        said += [[key, _said(each)] for key, each in fields.items()]
    if issubclass(cls, BaseModel) and "__pydantic_fields__" not in vars(cls):  # older ones
        said += [[key, each] for key, each in cls.model_fields.items()]
    said += [_said(each) for each in vars(cls).get("__attrs_attrs__", ())]
    said.append(_said(vars(cls).get("__dataclass_params__")))
    checks = vars(cls).get("__pydantic_decorators__")
    for group in dataclasses.fields(checks) if dataclasses.is_dataclass(checks) else ():
        found = getattr(checks, group.name)
        said += [[group.name, name, each.func, each.info] for name, each in found.items()]
    return said


def _said(field: object) -> object:
    """Return what a field says, by the slots that are meant for everybody."""
    if field is None or isinstance(field, FieldInfo):
        return field
    slots = getattr(type(field), "__slots__", ())
    said = {name: getattr(field, name, None) for name in slots if name[0] != "_"}
    if "metadata" in said:
        said["metadata"] = dict(said["metadata"] or {})
    return said


def _named(annotation: Any) -> str:
    return str(getattr(annotation, "__qualname__", described(annotation)))

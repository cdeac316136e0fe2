"""The classes that a return annotation names. Stored values come back only as one of these.

A class name in a record is looked up in this list and never imported, so that bytes from Redis
cannot choose a class.
"""

import dataclasses
import typing
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple

from pydantic import BaseModel
from starlette.responses import Response
from typing_extensions import is_typeddict

from .hints import RETURN, hints_of, hints_of_class
from .names import class_name, described
from .state import MODEL_SLOTS, UnkeyableError, Whole, is_named_tuple
from .texts import Text, texts_of

_MOST_ALIASES = 100  # a class may name itself with new parameters, without end


class Known(NamedTuple):
    """A class, and the name under which its instances are stored."""

    cls: Any
    name: str
    whole: Whole | None
    """Reads the state of its instances; only for models and dataclasses."""

    def state_of(self, value: object) -> dict[str, Any]:
        """Return the state of an instance; raises `UnkeyableError` if it is not all visible."""
        if self.whole is None:
            raise UnkeyableError(f"a {self.cls.__qualname__} cannot be seen as a whole")
        return dict(self.whole.of(value))

    def checked(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return `fields`; raises `ValueError` if they cannot be those of an instance."""
        whole = self.whole
        if whole is None or not whole.required <= fields.keys() <= whole.fields.keys():
            raise ValueError("these are not the fields of the class")
        return fields


class KnownClasses:
    """The dataclasses, Pydantic models, named tuples, enums and responses in an annotation.

    This includes the classes of their fields, and of the fields of a `TypedDict`.
    """

    def __init__(self, annotation: object = None, *, is_of_function: bool = True) -> None:
        self._annotation, self.is_of_function = annotation, is_of_function
        self.texts: dict[str, Text] = {}
        """The types of `TEXTS` that the annotation names, by name."""
        self._shapes: dict[str, str] = {}
        self.aliases: dict[str, object] = {}
        """The generic dataclasses with parameters, `Page[User]`, by their description."""
        found: dict[int, Known] = {}
        self._collect(annotation, {}, found)
        # Two classes with the same name would be confused when they come back: neither is stored.
        times = Counter(known.name for known in found.values())
        # By address, because a metaclass may define equality.
        self._known = {place: each for place, each in found.items() if times[each.name] == 1}
        self._by_name = {known.name: known for known in self._known.values()}

    @classmethod
    def returned_by(cls, func: Callable[..., object]) -> "KnownClasses":
        """Collect from the return annotation of `func`; none if it cannot be resolved."""
        try:
            return cls(hints_of(func).get(RETURN))
        except Exception:  # code of a class or metaclass may raise anything
            return cls()

    def fingerprint(self) -> str:
        """Return the annotation and the shape of its classes as text, the same in every process.

        It changes when a field is added, removed, renamed or gets another type. So it keeps apart
        the entries of two versions of the code.
        """
        shapes = [f"{name}({shape})" for name, shape in self._shapes.items()]
        return "|".join([described(self._annotation), *sorted(shapes)])

    def known(self, cls: type) -> Known | None:
        """Return the entry of exactly `cls`, or `None`."""
        return self._known.get(id(cls))

    def name_of(self, cls: type) -> str | None:
        """Return the name under which instances of exactly `cls` are stored, or `None`."""
        known = self.known(cls)
        return None if known is None else known.name

    def stored_as(self, name: str, kind: Callable[[type], bool]) -> Known:
        """Return the entry of a class of this kind; raises `KeyError` for any other name."""
        known = self._by_name[name]
        if not kind(known.cls):
            raise KeyError(name)
        return known

    def _collect(self, annotation: Any, seen: dict[int, Any], found: dict[int, Known]) -> None:
        """Collect from an annotation. `seen` keeps the objects alive, so that no id is reused."""
        if id(annotation) in seen:
            return
        seen[id(annotation)] = annotation
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        parts = [*arguments, *_behind(annotation)]
        if origin is typing.Literal:
            parts = [type(argument) for argument in arguments]
        elif origin is not None:
            parts.append(origin)
        if arguments and isinstance(origin, type) and dataclasses.is_dataclass(origin):
            parts += self._of_alias(annotation, origin, arguments)  # pyright: ignore[reportOperatorIssue]
        elif isinstance(annotation, type) and not arguments:
            parts += self._of_class(annotation, found)  # pyright: ignore[reportOperatorIssue]
        elif isinstance(annotation, (list, tuple)):  # the arguments of a `Callable`
            parts += annotation
        for part in parts:
            self._collect(part, seen, found)

    def _of_alias(self, alias: Any, origin: Any, arguments: tuple[Any, ...]) -> Iterable[object]:
        """Note `Page[User]`; return the annotations of its fields with these parameters."""
        name = described(alias)
        if name in self.aliases or len(self.aliases) >= _MOST_ALIASES:
            return ()
        self.aliases[name] = alias
        given = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
        return [_with(given, hint) for hint in _fields(origin).values()]

    def _of_class(self, cls: type, found: dict[int, Known]) -> Iterable[object]:
        """Note a class, if its instances can be stored; return the annotations of its fields."""
        self.texts |= texts_of(cls)
        is_model = issubclass(cls, BaseModel)
        has_state = is_model or dataclasses.is_dataclass(cls)
        is_stored = has_state or issubclass(cls, (Enum, Response)) or is_named_tuple(cls)
        if not is_stored and not is_typeddict(cls):
            return ()
        fields, name = _fields(cls), f"{cls.__module__}.{class_name(cls)}"
        shape = sorted(f"{field}:{described(kind)}" for field, kind in fields.items())
        self._shapes[name] = ",".join(cls.__members__ if issubclass(cls, Enum) else shape)
        if is_stored:
            whole = Whole(cls, fields, MODEL_SLOTS if is_model else ()) if has_state else None
            found[id(cls)] = Known(cls, name, whole)
        return [*fields.values(), *getattr(cls, "__orig_bases__", ())]


def _behind(annotation: Any) -> list[Any]:
    """Return the types that a `NewType`, a `type` alias or a type variable stands for."""
    behind = [
        getattr(annotation, name, None)
        for name in ("__supertype__", "__value__", "__bound__", "__default__")
    ]
    return [*behind, *(getattr(annotation, "__constraints__", None) or ())]


def _with(given: dict[Any, Any], hint: Any) -> Any:
    """Return an annotation with its type variables replaced by these types."""
    parameters = getattr(hint, "__parameters__", ())
    if isinstance(hint, typing.TypeVar):
        return given.get(hint, hint)
    if isinstance(hint, type) or not parameters:
        return hint
    return hint[tuple(given.get(parameter, parameter) for parameter in parameters)]


def _fields(cls: Any) -> dict[str, Any]:
    """Return the fields of a class with their types."""
    if issubclass(cls, BaseModel):
        if not cls.__pydantic_complete__:  # it names a class that did not exist yet
            with suppress(Exception):
                cls.model_rebuild(raise_errors=False)
        return {name: field.annotation for name, field in cls.model_fields.items()}
    hints = hints_of_class(cls)
    if dataclasses.is_dataclass(cls):
        return {field.name: hints.get(field.name, field.type) for field in dataclasses.fields(cls)}
    if is_named_tuple(cls):
        return {name: hints.get(name, Any) for name in cls._fields}
    return hints if is_typeddict(cls) else {}


NO_CLASSES = KnownClasses()
BY_HAND = KnownClasses(is_of_function=False)
"""For `set` and the like, where no annotation can name a class."""

"""The classes that a return annotation names: the only ones that a stored value may come back as.

What Redis says is matched against this list and never imported, so that bytes from outside can
not choose a class.
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

_MOST_ALIASES = 100  # a class may name itself with ever other parameters


class Known(NamedTuple):
    """A class under the name under which its instances are stored."""

    cls: Any
    name: str
    whole: Whole | None
    """What reads the state of its instances; of models and dataclasses."""

    def state_of(self, value: object) -> dict[str, Any]:
        """Return the state of an instance; raises `UnkeyableError` where it is not seen whole."""
        if self.whole is None:
            raise UnkeyableError(f"a {self.cls.__qualname__} cannot be seen as a whole")
        return dict(self.whole.of(value))

    def checked(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return what may be the fields of an instance; raises `ValueError` for anything else."""
        whole = self.whole
        if whole is None or not whole.required <= fields.keys() <= whole.fields.keys():
            raise ValueError("these are not the fields of the class")
        return fields


class KnownClasses:
    """The dataclasses, Pydantic models, named tuples, enums and responses in an annotation.

    Those in the fields of these are known as well, and in those of a `TypedDict`.
    """

    def __init__(self, annotation: object = None, *, is_of_function: bool = True) -> None:
        self._annotation, self.is_of_function = annotation, is_of_function
        self.texts: dict[str, Text] = {}
        """What of `TEXTS` it names, by name."""
        self._shapes: dict[str, str] = {}
        self.aliases: dict[str, object] = {}
        """The generic dataclasses with parameters, `Page[User]`, by what they are written down as."""
        found: dict[int, Known] = {}
        self._collect(annotation, {}, found)
        # Two classes of one name cannot be told apart when they come back: neither is stored.
        times = Counter(known.name for known in found.values())
        # By address, for a class may call itself equal to another.
        self._known = {place: each for place, each in found.items() if times[each.name] == 1}
        self._by_name = {known.name: known for known in self._known.values()}

    @classmethod
    def returned_by(cls, func: Callable[..., object]) -> "KnownClasses":
        """Collect from the return annotation of `func`; none where it cannot be resolved."""
        try:
            return cls(hints_of(func).get(RETURN))
        except Exception:  # a class may answer in many ways to the question what it is
            return cls()

    def fingerprint(self) -> str:
        """Return the annotation and the shape of its classes as text, the same in every process.

        It changes when a field is added, removed, renamed or gets another type, so that it can
        keep apart what code of two versions has stored.
        """
        shapes = [f"{name}({shape})" for name, shape in self._shapes.items()]
        return "|".join([described(self._annotation), *sorted(shapes)])

    def known(self, cls: type) -> Known | None:
        """Return what is known of exactly `cls`, or `None`."""
        return self._known.get(id(cls))

    def name_of(self, cls: type) -> str | None:
        """Return the name under which instances of exactly `cls` are stored, or `None`."""
        known = self.known(cls)
        return None if known is None else known.name

    def stored_as(self, name: str, kind: Callable[[type], bool]) -> Known:
        """Return what is known of a class of this kind; raises `KeyError` for any other name."""
        known = self._by_name[name]
        if not kind(known.cls):
            raise KeyError(name)
        return known

    def _collect(self, annotation: Any, seen: dict[int, Any], found: dict[int, Known]) -> None:
        """Collect from an annotation. `seen` holds what it names, so that no address is reused."""
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
            parts += self._of_alias(annotation, origin, arguments)
        elif isinstance(annotation, type) and not arguments:
            parts += self._of_class(annotation, found)
        elif isinstance(annotation, (list, tuple)):  # the arguments of a `Callable`
            parts += annotation
        for part in parts:
            self._collect(part, seen, found)

    def _of_alias(self, alias: Any, origin: Any, arguments: tuple[Any, ...]) -> Iterable[object]:
        """Note `Page[User]`; return what its fields are with these parameters."""
        name = described(alias)
        if name in self.aliases or len(self.aliases) >= _MOST_ALIASES:
            return ()
        self.aliases[name] = alias
        given = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
        return [_with(given, hint) for hint in _fields(origin).values()]

    def _of_class(self, cls: type, found: dict[int, Known]) -> Iterable[object]:
        """Note a class, if it is one that is stored; return what its fields are."""
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
    """Return what stands behind a `NewType`, a `type` alias, a type variable."""
    behind = [
        getattr(annotation, name, None)
        for name in ("__supertype__", "__value__", "__bound__", "__default__")
    ]
    return [*behind, *(getattr(annotation, "__constraints__", None) or ())]


def _with(given: dict[Any, Any], hint: Any) -> Any:
    """Return an annotation with these parameters in their places."""
    parameters = getattr(hint, "__parameters__", ())
    if isinstance(hint, typing.TypeVar):
        return given.get(hint, hint)
    if isinstance(hint, type) or not parameters:
        return hint
    return hint[tuple(given.get(parameter, parameter) for parameter in parameters)]


def _fields(cls: Any) -> dict[str, Any]:
    """Return the fields of a class, and their types."""
    if issubclass(cls, BaseModel):
        if not cls.__pydantic_complete__:  # it names a class that was not there yet
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
"""For what is stored by hand: there is no annotation in which a class could be named."""

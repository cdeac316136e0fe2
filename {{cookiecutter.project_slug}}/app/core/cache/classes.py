"""The classes that a return annotation names: the only ones that a stored value may come back as.

What Redis says is matched against this list and never imported, so that bytes from outside can
not choose a class.
"""

import dataclasses
import typing
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response


class KnownClasses:
    """The dataclasses, Pydantic models, enums and responses in an annotation, nested ones too."""

    def __init__(self, annotation: object = None) -> None:
        self._annotation = annotation
        self._names: dict[type, str] = {}
        self._collect(annotation, {})
        # Two classes of one name cannot be told apart when they come back: neither is stored.
        times = Counter(self._names.values())
        self._names = {cls: name for cls, name in self._names.items() if times[name] == 1}
        self._by_name = {name: cls for cls, name in self._names.items()}

    @classmethod
    def returned_by(cls, func: Callable[..., object]) -> "KnownClasses":
        """Collect from the return annotation of `func`; none where it cannot be resolved."""
        try:
            return cls(typing.get_type_hints(func, include_extras=True).get("return"))
        except Exception:  # a name that exists for type checkers only fails in many ways
            return cls()

    def fingerprint(self) -> str:
        """Return the annotation and the shape of its classes as text, the same in every process.

        It changes when a field is added, removed, renamed or gets another type, so that it can
        keep apart what code of two versions has stored.
        """
        shapes = [f"{name}({_shape(cls)})" for cls, name in self._names.items()]
        return "|".join([_described(self._annotation), *sorted(shapes)])

    def name_of(self, cls: type) -> str | None:
        """Return the name under which instances of exactly `cls` are stored, or `None`."""
        return self._names.get(cls)

    def named(self, name: str, kind: Callable[[type], bool]) -> Any:
        """Return the class of this kind stored as `name`; raises `KeyError` for any other name."""
        cls = self._by_name[name]
        if not kind(cls):
            raise KeyError(name)
        return cls

    def _collect(self, annotation: object, seen: dict[int, object]) -> None:
        """Collect from an annotation. `seen` holds what it names, so that no address is reused."""
        if id(annotation) in seen:
            return
        seen[id(annotation)] = annotation
        for argument in typing.get_args(annotation):
            self._collect(argument, seen)
        self._collect(getattr(annotation, "__value__", None), seen)  # of `type Name = ...`
        if isinstance(annotation, type) and not typing.get_args(annotation):
            self._add(annotation, seen)

    def _add(self, cls: type, seen: dict[int, object]) -> None:
        if not (issubclass(cls, (BaseModel, Enum, Response)) or dataclasses.is_dataclass(cls)):
            return
        self._names[cls] = f"{cls.__module__}.{cls.__qualname__}"
        for annotation in _fields(cls).values():
            self._collect(annotation, seen)


def _fields(cls: type) -> dict[str, object]:
    if issubclass(cls, BaseModel):
        return {name: field.annotation for name, field in cls.model_fields.items()}
    if dataclasses.is_dataclass(cls):
        hints = typing.get_type_hints(cls)
        return {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return {}


def _shape(cls: type) -> str:
    if issubclass(cls, Enum):
        return ",".join(cls.__members__)
    return ",".join(f"{name}:{_described(kind)}" for name, kind in sorted(_fields(cls).items()))


def _described(annotation: object) -> str:
    """Write down an annotation. Not by `repr`, in which an address may stand."""
    if typing.get_origin(annotation) is typing.Literal:
        return f"Literal{typing.get_args(annotation)!r}"
    if typing.get_origin(annotation) is typing.Annotated:
        return _described(typing.get_args(annotation)[0])
    arguments = ",".join(map(_described, typing.get_args(annotation)))
    kind = typing.get_origin(annotation) or annotation
    name = getattr(kind, "__qualname__", None) or getattr(kind, "__name__", type(kind).__name__)
    return f"{getattr(kind, '__module__', '')}.{name}[{arguments}]"


NO_CLASSES = KnownClasses()

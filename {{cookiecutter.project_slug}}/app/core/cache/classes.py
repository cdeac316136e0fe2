"""The classes that a type annotation names: the only ones that a stored value may come back as.

What Redis says is matched against this list and never imported, so that bytes from outside can
not choose a class.
"""

import dataclasses
import typing
from collections import Counter
from collections.abc import Callable
from enum import Enum

from pydantic import BaseModel


class KnownClasses:
    """The dataclasses, Pydantic models and enums in an annotation, those in their fields too."""

    def __init__(self, annotation: object = None) -> None:
        self._names: dict[type, str] = {}
        self._collect(annotation, set())
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

    def name_of(self, cls: type) -> str | None:
        """Return the name under which instances of exactly `cls` are stored, or `None`."""
        return self._names.get(cls)

    def named(self, name: str) -> type:
        """Return the class stored as `name`; raises `KeyError` where it is not known."""
        return self._by_name[name]

    def _collect(self, annotation: object, seen: set[int]) -> None:
        if id(annotation) in seen:
            return
        seen.add(id(annotation))
        for argument in typing.get_args(annotation):
            self._collect(argument, seen)
        self._collect(getattr(annotation, "__value__", None), seen)  # of `type Name = ...`
        if isinstance(annotation, type) and not typing.get_args(annotation):
            self._add(annotation, seen)

    def _add(self, cls: type, seen: set[int]) -> None:
        fields: list[object] = []
        if issubclass(cls, BaseModel):
            fields = [field.annotation for field in cls.model_fields.values()]
        elif dataclasses.is_dataclass(cls):
            fields = list(typing.get_type_hints(cls).values())
        elif not issubclass(cls, Enum):
            return
        self._names[cls] = f"{cls.__module__}.{cls.__qualname__}"
        for annotation in fields:
            self._collect(annotation, seen)


NO_CLASSES = KnownClasses()

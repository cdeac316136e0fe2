"""Reads the whole state of an object, or refuses.

The state of an instance is its `__dict__` and the slots of its classes. `UnkeyableError` is raised
if that is more than the fields of its class, or if a part of it is in C and not visible. With only
a part of the state, two different instances would look equal.

Instances of an ORM are refused: their state is in a session, and reading an attribute may query the
database. So this module never reads attributes, but `__dict__` and slots.
"""

from collections.abc import Collection, Mapping
from functools import cached_property
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

ALIAS = "__orig_class__"
"""Where `typing` notes that an instance was made by `Page[User](...)`."""

MODEL_SLOTS = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
"""The slots of a Pydantic model that are not fields."""

_INSTRUMENTED = ("_sa_instance_state", "_sa_class_manager")  # of SQLAlchemy and libraries on it
_WORD = object.__basicsize__ // 2  # bytes of a pointer; an object begins with two


class UnkeyableError(TypeError):
    """A value has no identity that is the same in every process."""


def is_instrumented(cls: type) -> bool:
    """Whether an ORM keeps the state of the instances of a class."""
    return any(mark in vars(base) for base in cls.__mro__ for mark in _INSTRUMENTED)


def has_text(cls: type) -> bool:
    """Whether a class, or a base other than `object`, has its own `__str__`."""
    return any("__str__" in vars(base) for base in cls.__mro__[:-1])


def is_named_tuple(cls: type) -> bool:
    """Whether a class is a named tuple whose instances have no further slots."""
    plain = tuple.__basicsize__ + (cls.__dictoffset__ != 0) * _WORD
    return issubclass(cls, tuple) and hasattr(cls, "_fields") and cls.__basicsize__ <= plain


def refuse_more(value: object, *names: str) -> None:
    """Raise `UnkeyableError` if the `__dict__` of an instance has other names than these."""
    if not getattr(value, "__dict__", {}).keys() <= set(names):
        raise UnkeyableError(f"this {type(value).__qualname__} has attributes of its own")


class Whole:
    """Reads and restores the state of instances of exactly `cls`, which has these fields.

    `besides` are the slots of a model that are not fields. A model may lack any of its fields.
    """

    def __init__(self, cls: type, fields: Collection[str], besides: Collection[str] = ()) -> None:
        self.cls, self.fields = cls, dict.fromkeys(fields)
        self._names = frozenset([*fields, *besides])
        self._slots = _slots(cls)
        self._derived = _derived(cls) - self._names
        self._why_not = _why_not(cls, self._slots)
        slots = {name for name, _ in self._slots}
        self.required = frozenset(
            name for name in fields if not besides and (name in slots or not hasattr(cls, name))
        )
        """The fields that an instance must have: the class has no default for them."""
        self._has_dict_only = self.is_open and bool(cls.__dictoffset__) and not slots
        self.is_usual_model = self.is_open and slots == {*MODEL_SLOTS} == {*besides}
        """Whether instances are models without further slots."""

    @property
    def is_open(self) -> bool:
        """Whether all state of instances is visible from Python."""
        return self._why_not is None

    def of(self, value: Any) -> dict[str, Any]:
        """Return the state of an instance: the fields that it has, and `ALIAS`, if it has one.

        Do not change the returned dict. Values of a `cached_property` are left out, because they
        are computed from the rest. Raises `UnkeyableError` for an instance with more state.
        """
        if self._has_dict_only and value.__dict__.keys() == self._names:
            return value.__dict__  # type: ignore[no-any-return] # as most are
        if self._why_not is not None:
            raise UnkeyableError(self._why_not)
        state = dict(value.__dict__) if self.cls.__dictoffset__ else {}
        for name, slot in self._slots:
            try:
                state[name] = slot.__get__(value)
            except AttributeError:  # the slot is empty
                continue
        if not state.keys() <= self._names:
            self._leave_out(state)
        if not state.keys() >= self.required:
            raise UnkeyableError(f"this {_named(self.cls)} lacks some of its fields")
        return state

    def _leave_out(self, state: dict[str, Any]) -> None:
        more = state.keys() - self._names
        if not more.isdisjoint(_INSTRUMENTED):
            raise UnkeyableError(_row(self.cls))
        for name in more & self._derived:
            del state[name]
        more = more - self._derived - {ALIAS}
        if more:
            names = ", ".join(map(repr, sorted(map(str, more))))
            raise UnkeyableError(f"this {_named(self.cls)} has state that is no field: {names}")

    def restore(self, value: Any, state: Mapping[str, Any]) -> None:
        """Set the state of a new instance that has none."""
        if self._has_dict_only:
            value.__dict__.update(state)
            return
        slots = dict(self._slots)
        for name, item in state.items():
            if name in slots:
                slots[name].__set__(value, item)
            else:
                value.__dict__[name] = item


def _slots(cls: type) -> list[tuple[str, Any]]:
    return [
        (name, each)
        for base in cls.__mro__
        for name, each in vars(base).items()
        if type(each) is MemberDescriptorType
    ]


def _derived(cls: type) -> frozenset[str]:
    """Return the names of the cached properties of a class."""
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        found.update(vars(base))
    return frozenset(name for name, each in found.items() if isinstance(each, cached_property))


def _why_not(cls: type, slots: list[tuple[str, Any]]) -> str | None:
    """Return why the state of instances is not visible as a whole, or `None` if it is."""
    if is_instrumented(cls):
        return _row(cls)
    size = object.__basicsize__ + _WORD * (
        len(slots) + (cls.__weakrefoffset__ > 0) + (cls.__dictoffset__ > 0)
    )
    is_open = cls.__basicsize__ == size and not cls.__itemsize__ and len(dict(slots)) == len(slots)
    own = (vars(base)["__dict__"] for base in cls.__mro__ if "__dict__" in vars(base))
    if is_open and all(type(each) is GetSetDescriptorType for each in own):
        return None
    return f"a {_named(cls)} has state that cannot be seen from Python"


def _row(cls: type) -> str:
    return f"a {_named(cls)} is a row of an ORM, whose state lies in its session"


def _named(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"

"""Values as bytes that are the same in every process, whatever `PYTHONHASHSEED`.

Each value is written down with its type and its length, so that different values have different
bytes: `1`, `"1"` and `True` differ, and so do `["a,b"]` and `["a", "b"]`. The order of sets and
dicts does not matter.

Values without a stable identity raise `UnkeyableError`. A `repr` with a memory address is not
stable: another object may get the same address later.
"""

import dataclasses
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from types import EllipsisType
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from .names import class_name, described, refuse_unfound
from .state import (
    ALIAS,
    MODEL_SLOTS,
    UnkeyableError,
    Whole,
    has_text,
    is_instrumented,
    is_named_tuple,
    refuse_more,
)
from .texts import SECRETS, TEXTS, URL_BASES, pg_uuid


def canonical(value: object) -> bytes:
    """Return `value` and its type as bytes.

    Values that differ in type or content have different bytes, none a prefix of another.
    Raises `UnkeyableError` for a value without a stable identity.
    """
    return encoded(canonical_text((value,)))


def canonical_text(values: Iterable[Any], unknown: Callable[[Any], str] | None = None) -> str:
    """Return `values`, one after the other, as `canonical` does, but as text.

    `unknown` may write down those that have no identity by themselves. Every hit runs this, so it
    writes the most frequent types without a call for each. It checks for exact types, because a
    subclass may have its own `__format__` or `__len__`.
    """
    written = ""
    for value in values:
        cls = type(value)
        if cls is str:
            written += f"s{len(value)}:{value}"
        elif cls is int:
            written += f"i{value};"
        elif value is None:
            written += "n"
        else:
            writer = _WRITERS.get(cls)
            written += _instance(value, unknown) if writer is None else writer(value)
    return written


def encoded(written: str) -> bytes:
    """Return text as bytes. A lone surrogate is not valid UTF-8, but is encoded without loss."""
    try:
        return written.encode()
    except UnicodeEncodeError:
        return written.encode("utf-8", "surrogatepass")


def text(value: str) -> bytes:
    """Return a string as `canonical` writes it."""
    return encoded(_text(value))


def has_identity(cls: type) -> bool:
    """Whether `canonical` can write down instances of `cls`.

    It may still raise for a value that an instance contains.
    """
    return cls in _MOST_FREQUENT or cls in _WRITERS or any(has_it(cls) for has_it, _ in _FORMS)


def _text(value: str) -> str:
    return f"s{len(value)}:{value}"


def _items(tag: str, items: Collection[str]) -> str:
    return f"{tag}{len(items)}:{''.join(items)}"


def _sequence(tag: str) -> Callable[[Collection[object]], str]:
    return lambda value: f"{tag}{len(value)}:{canonical_text(value)}"


def _sorted(tag: str) -> Callable[[Iterable[object]], str]:
    return lambda value: _items(tag, sorted([canonical_text((item,)) for item in value]))


def _mapping(value: Mapping[Any, object]) -> str:
    return _items("m", sorted(map(canonical_text, value.items())))


def _as_text(name: str, form: Callable[[Any], str]) -> Callable[[Any], str]:
    head = f"x{len(name)}:{name}"

    def write(value: object) -> str:
        content = form(value)
        return f"{head}{len(content)}:{content}"

    return write


def _ordered(value: OrderedDict[Any, object]) -> str:
    refuse_more(value)
    return _items("M", list(map(canonical_text, value.items())))


def _counter(value: Counter[Any]) -> str:
    refuse_more(value)
    return f"C{_mapping(value)}"


def _default(value: defaultdict[Any, object]) -> str:
    return f"D{canonical_text((value.default_factory,))}{_mapping(value)}"


_MOST_FREQUENT = (str, int, type(None))  # `canonical_text` writes these itself
# The end of each form is known from a length, a number of items, or a character not in the form.
_WRITERS: dict[type, Callable[[Any], str]] = {
    bool: lambda value: "t" if value else "f",
    float: lambda value: f"d{value.hex()};",
    complex: lambda value: f"j{value!r};",
    list: _sequence("l"),
    tuple: _sequence("u"),
    set: _sorted("e"),
    frozenset: _sorted("z"),
    dict: _mapping,
    deque: lambda value: f"q{canonical_text((value.maxlen,))}{len(value)}:{canonical_text(value)}",
    OrderedDict: _ordered,
    Counter: _counter,
    defaultdict: _default,
    EllipsisType: lambda _: ".",
    slice: lambda value: f"S{canonical_text((value.start, value.stop, value.step))}",
    re.Pattern: lambda value: f"r{canonical_text((value.pattern, value.flags))}",
    **{cls: _as_text(each.name, each.write) for cls, each in TEXTS.items()},
}


def _instance(value: Any, unknown: Callable[[Any], str] | None = None) -> str:
    """Write down an instance of a class: the class, then the parts that identify the instance."""
    cls: type = type(value)
    form = _form_of(cls)
    if form is not None and form[0] is not cls:  # the cache found an equal class
        form = _form_of.__wrapped__(cls)
    if form is not None:
        _, head, parts = form
        return head + canonical_text(parts(value))
    if unknown is not None:
        return unknown(value)
    name = f"{cls.__module__}.{cls.__qualname__}"
    if is_instrumented(cls):
        raise UnkeyableError(f"a {name} is a row of an ORM, whose state lies in its session")
    more = "; give str(value), where that says all of it" if has_text(cls) else ""
    raise UnkeyableError(f"a {name} has no identity that outlives the process{more}")


Form = tuple[type, str, Callable[[Any], Iterable[object]]]
"""A class, the head of its form, and a function that returns a fixed number of parts."""


@lru_cache(maxsize=1024)
def _form_of(cls: type) -> Form | None:
    """Return the form of instances of `cls`, or `None` if there is none."""
    return next((form(cls) for has_it, form in _FORMS if has_it(cls)), None)


def _form(cls: type, parts: Callable[[Any], Iterable[object]], names: Sequence[str] = ()) -> Form:
    # A class with a `__cache_key__` defines the identity of its instances itself.
    if not callable(getattr(cls, "__cache_key__", None)):
        refuse_unfound(cls)
    head = f"o{_text(cls.__module__)}{_text(class_name(cls))}"
    return cls, head + _items("l", list(map(_text, names))), parts


class _Missing:
    """Stands for a field that an instance does not have."""


_MISSING = _Missing()
_WRITERS[_Missing] = lambda _: "-"


def _model_form(cls: type[BaseModel]) -> Form:
    names = tuple(cls.model_fields)
    all_names, whole = set(names), Whole(cls, names, MODEL_SLOTS)

    def parts(value: BaseModel) -> Iterable[object]:
        if whole.is_usual_model and (own := value.__dict__).keys() == all_names:  # as most are
            fields = [own[name] for name in names]
            were_set: Any = value.__pydantic_fields_set__
            extra, private = value.__pydantic_extra__, value.__pydantic_private__
        else:
            state = whole.of(value)
            fields = [state.get(name, _MISSING) for name in names]
            were_set, extra, private = map(state.get, MODEL_SLOTS)
        if private:
            private = {
                name: item for name, item in private.items() if item is not PydanticUndefined
            }
        return (*fields, None if were_set == all_names else were_set, extra, private)

    return _form(cls, parts, names)


def _fields_form(cls: type, fields: Iterable[Any]) -> Form:
    names = [field.name for field in fields]
    whole = Whole(cls, names)

    def parts(value: object) -> Iterable[object]:
        state = whole.of(value)
        alias = state.get(ALIAS)
        fields = [state.get(name, _MISSING) for name in names]
        if alias is None:
            return [*fields, None]
        refuse_unfound(alias)
        return [*fields, described(alias)]

    return _form(cls, parts, names)


def _exact_form(cls: type, part: Callable[[Any], object], *attributes: str) -> Form:
    """Write down one part; raises `UnkeyableError` for an instance with more attributes."""

    def parts(value: object) -> Iterable[object]:
        refuse_more(value, *attributes)
        return (part(value),)

    return _form(cls, parts)


def _form_by(part: Callable[[Any], object]) -> Callable[[type], Form]:
    return lambda cls: _form(cls, lambda value: (part(value),))


def _class_parts(cls: type) -> object:
    """Return module and name of a class; raises `UnkeyableError` if these do not lead to it."""
    refuse_unfound(cls)
    return cls.__module__, class_name(cls)


def _member(value: Enum) -> object:
    """Return the name of an enum's member, and its value if that has an identity."""
    try:
        return value.name, canonical_text((value.value,))
    except UnkeyableError:
        return value.name or value.value


def _is_subclass(*kinds: type) -> Callable[[type], bool]:
    return lambda cls: issubclass(cls, kinds)


# The identity of an instance. The first condition that is true counts.
_FORMS: tuple[tuple[Callable[[type], bool], Callable[[Any], Form]], ...] = (
    (_is_subclass(type), _form_by(_class_parts)),
    (
        lambda cls: callable(getattr(cls, "__cache_key__", None)),
        _form_by(lambda value: value.__cache_key__()),
    ),
    (_is_subclass(Enum), _form_by(_member)),
    (_is_subclass(BaseModel), _model_form),
    (dataclasses.is_dataclass, lambda cls: _fields_form(cls, dataclasses.fields(cls))),
    (
        lambda cls: hasattr(cls, "__attrs_attrs__"),
        lambda cls: _fields_form(cls, cls.__attrs_attrs__),
    ),
    (is_named_tuple, lambda cls: _exact_form(cls, lambda value: (cls._fields, tuple(value)))),
    (lambda cls: cls is pg_uuid(), _form_by(str)),
    (_is_subclass(*URL_BASES), lambda cls: _exact_form(cls, str, "_url")),
    (
        _is_subclass(*SECRETS),
        lambda cls: _exact_form(cls, lambda value: value.get_secret_value(), "_secret_value"),
    ),
)

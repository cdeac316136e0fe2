"""Values as bytes that are the same in every process, whatever `PYTHONHASHSEED`.

Each value is written down with its type and its length, so that no two of them read the same: `1`,
`"1"` and `True` differ, and so do `["a,b"]` and `["a", "b"]`. The order of sets and dicts does not
matter.

What has no stable identity is refused. A `repr` with a memory address in it would be one until the
address is used again, for somebody else's object.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import PurePath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import AnyUrl, BaseModel, SecretBytes, SecretStr
from pydantic_core import PydanticUndefined


class UnkeyableError(TypeError):
    """A value has no identity that is the same in every process."""


def canonical(value: object) -> bytes:
    """Return `value` and its type as bytes.

    No two values of different type or content share them, and none is the beginning of another.
    Raises `UnkeyableError` for a value without a stable identity.
    """
    return encoded(canonical_text((value,)))


def canonical_text(values: Iterable[Any], unknown: Callable[[Any], str] | None = None) -> str:
    """Return `values`, one after the other, as `canonical` does, but as text.

    `unknown` may write down those that have no identity by themselves. This is on the path of every
    hit, so the most frequent types are written here, without a call for each. Only exact types are:
    a subclass may have a `__format__` or a `__len__` of its own.
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
    """Return text as bytes; half a pair of surrogates is no text, but differs from all others."""
    try:
        return written.encode()
    except UnicodeEncodeError:
        return written.encode("utf-8", "surrogatepass")


def text(value: str) -> bytes:
    """Return a string as `canonical` writes it."""
    return encoded(_text(value))


def has_identity(cls: type) -> bool:
    """Whether instances of `cls` can have an identity: whether `canonical` knows a way.

    What they contain may still turn out to have none.
    """
    return cls in _MOST_FREQUENT or cls in _WRITERS or _form_of(cls) is not None


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


def _as_text(tag: str, form: Callable[[Any], str]) -> Callable[[Any], str]:
    def write(value: object) -> str:
        content = form(value)
        return f"{tag}{len(content)}:{content}"

    return write


def _moment(value: datetime | time) -> str:
    return f"{value.replace(tzinfo=None).isoformat()}/{value.fold}/{_zone(value.tzinfo)}"


def _zone(zone: tzinfo | None) -> str:
    """Return what a zone is. Not its offset: that may be another zone's on the same day."""
    if zone is None:
        return ""
    if isinstance(zone, timezone):
        return f"{zone.utcoffset(None)}/{zone.tzname(None)}"
    if isinstance(zone, ZoneInfo) and zone.key is not None:
        return f"/{zone.key}"
    raise UnkeyableError(f"a time zone of type {type(zone).__qualname__} has no name")


_MOST_FREQUENT = (str, int, type(None))  # which `canonical_text` writes itself
# Each form tells where it ends: by a length, a number of items, or a character that is not in it.
_WRITERS: dict[type, Callable[[Any], str]] = {
    bool: lambda value: "t" if value else "f",
    float: lambda value: f"d{value.hex()};",
    complex: lambda value: f"j{value!r};",
    bytes: lambda value: f"b{len(value)}:{value.decode('latin-1')}",
    list: _sequence("l"),
    tuple: _sequence("u"),
    set: _sorted("e"),
    frozenset: _sorted("z"),
    dict: _mapping,
    Decimal: _as_text("c", str),
    UUID: lambda value: f"g{value.hex};",
    date: _as_text("y", date.isoformat),
    datetime: _as_text("w", _moment),
    time: _as_text("h", _moment),
    timedelta: lambda value: f"p{value.days}/{value.seconds}/{value.microseconds};",
}

_AS_TEXT = (
    PurePath,
    AnyUrl,
    *(IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network),
)
_SECRETS = (SecretStr, SecretBytes)


def _instance(value: Any, unknown: Callable[[Any], str] | None = None) -> str:
    """Write down an instance of a class: the class, then what makes the instance what it is."""
    cls: type = type(value)
    form = _form_of(cls)
    if form is not None and form[0] is not cls:  # but a class that calls itself equal to it
        form = _form_of.__wrapped__(cls)
    if form is not None:
        _, head, parts = form
        return head + canonical_text(parts(value))
    if unknown is not None:
        return unknown(value)
    raise UnkeyableError(
        f"a {cls.__module__}.{cls.__qualname__} has no identity that outlives the process"
    )


Form = tuple[type, str, Callable[[Any], Iterable[object]]]
"""A class, what its instances begin with, and what of one follows: always as many values."""


@lru_cache(maxsize=1024)
def _form_of(cls: type) -> Form | None:
    """Return how instances of `cls` are written down, if there is a way."""
    return next((form(cls) for has_it, form in _FORMS if has_it(cls)), None)


def _form(cls: type, parts: Callable[[Any], Iterable[object]], names: Sequence[str] = ()) -> Form:
    return cls, f"o{_class(cls)}{_items('l', list(map(_text, names)))}", parts


def _model_form(cls: type[BaseModel]) -> Form:
    names = tuple(cls.model_fields)

    def parts(value: BaseModel) -> Iterable[object]:
        fields, private = value.__dict__, value.__pydantic_private__
        if private:
            private = {
                name: item for name, item in private.items() if item is not PydanticUndefined
            }
        return [*map(fields.get, names), value.__pydantic_extra__, private]

    return _form(cls, parts, names)


def _fields_form(cls: type, fields: Iterable[Any]) -> Form:
    names = [field.name for field in fields]
    return _form(cls, lambda value: [getattr(value, name) for name in names], names)


def _form_by(part: Callable[[Any], object]) -> Callable[[type], Form]:
    return lambda cls: _form(cls, lambda value: (part(value),))


def _is_subclass(*kinds: type) -> Callable[[type], bool]:
    return lambda cls: issubclass(cls, kinds)


# What makes an instance what it is, by the first of these that holds.
_FORMS: tuple[tuple[Callable[[type], bool], Callable[[Any], Form]], ...] = (
    (_is_subclass(type), _form_by(lambda value: (value.__module__, value.__qualname__))),
    (
        lambda cls: callable(getattr(cls, "__cache_key__", None)),
        _form_by(lambda value: value.__cache_key__()),
    ),
    (_is_subclass(Enum), _form_by(lambda value: value.name or value.value)),
    (_is_subclass(BaseModel), _model_form),
    (dataclasses.is_dataclass, lambda cls: _fields_form(cls, dataclasses.fields(cls))),
    (
        lambda cls: hasattr(cls, "__attrs_attrs__"),
        lambda cls: _fields_form(cls, cls.__attrs_attrs__),
    ),
    (_is_subclass(*_AS_TEXT), _form_by(str)),
    (_is_subclass(*_SECRETS), _form_by(lambda value: value.get_secret_value())),
)


def _class(cls: type) -> str:
    return _text(cls.__module__) + _text(cls.__qualname__)

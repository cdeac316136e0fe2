"""Values as bytes that are the same in every process, whatever `PYTHONHASHSEED`.

Each value is written down with its type and its length, so that no two of them read the same: `1`,
`"1"` and `True` differ, and so do `["a,b"]` and `["a", "b"]`. The order of sets and dicts does not
matter.

What has no stable identity is refused. A `repr` with a memory address in it would be one until the
address is used again, for somebody else's object.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
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


class UnkeyableError(TypeError):
    """A value has no identity that is the same in every process."""


def canonical(value: object) -> bytes:
    """Return `value` and its type as bytes.

    No two values of different type or content share them, and none is the beginning of another.
    Raises `UnkeyableError` for a value without a stable identity.
    """
    writer = WRITERS.get(type(value))
    return writer(value) if writer is not None else _instance(value)


def text(value: str) -> bytes:
    """Return a string as `canonical` writes it."""
    try:
        data = value.encode()
    except UnicodeEncodeError:  # half a pair of surrogates: no text, but a string like others
        data = value.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(data), data)


def has_identity(cls: type) -> bool:
    """Whether instances of `cls` can have an identity: whether `canonical` knows a way.

    What they contain may still turn out to have none.
    """
    return (
        cls in WRITERS
        or callable(getattr(cls, "__cache_key__", None))
        or issubclass(cls, (Enum, BaseModel, *_AS_TEXT, *_SECRETS))
        or dataclasses.is_dataclass(cls)
        or hasattr(cls, "__attrs_attrs__")
    )


def _framed(tag: bytes, content: bytes) -> bytes:
    return b"%b%d:%b" % (tag, len(content), content)


def _items(tag: bytes, items: Iterable[bytes]) -> bytes:
    return _framed(tag, b"".join(items))


def _list(value: list[object]) -> bytes:
    # As `canonical` does, without a call for each item.
    items = [
        writer(item) if (writer := WRITERS.get(type(item))) else _instance(item) for item in value
    ]
    return _framed(b"l", b"".join(items))


def _mapping(value: Mapping[Any, object]) -> bytes:
    return _items(b"m", sorted([canonical(key) + canonical(item) for key, item in value.items()]))


def _as_text(tag: bytes, form: Callable[[Any], str]) -> Callable[[Any], bytes]:
    return lambda value: _framed(tag, form(value).encode())


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


WRITERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"n",
    bool: lambda value: b"t" if value else b"f",
    int: lambda value: b"i%d;" % value,
    float: lambda value: b"d%b;" % value.hex().encode(),
    complex: lambda value: b"j%b;" % repr(value).encode(),
    str: text,
    bytes: lambda value: _framed(b"b", value),
    list: _list,
    tuple: lambda value: _items(b"u", map(canonical, value)),
    set: lambda value: _items(b"e", sorted(map(canonical, value))),
    frozenset: lambda value: _items(b"z", sorted(map(canonical, value))),
    dict: _mapping,
    Decimal: _as_text(b"c", str),
    UUID: lambda value: _framed(b"g", value.bytes),
    date: _as_text(b"y", date.isoformat),
    datetime: _as_text(b"w", _moment),
    time: _as_text(b"h", _moment),
    timedelta: _as_text(b"p", lambda value: f"{value.days}/{value.seconds}/{value.microseconds}"),
}

_AS_TEXT = (
    PurePath,
    AnyUrl,
    *(IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network),
)
_SECRETS = (SecretStr, SecretBytes)


def _instance(value: object) -> bytes:
    """Write down an instance of a class: the class, then what makes the instance what it is."""
    cls = type(value)
    if isinstance(value, type):
        return _framed(b"k", _class(value))
    return _framed(b"o", _class(cls) + canonical(_state(value)))


def _state(value: Any) -> object:
    for has_it, state in _STATES:
        if has_it(value):
            return state(value)
    cls = type(value)
    raise UnkeyableError(
        f"a {cls.__module__}.{cls.__qualname__} has no identity that outlives the process"
    )


def _model_state(value: BaseModel) -> object:
    state = value.__getstate__()
    fields = {name: state["__dict__"].get(name) for name in type(value).model_fields}
    return [fields, state["__pydantic_extra__"], state["__pydantic_private__"]]


def _field_values(value: Any, fields: Iterable[Any]) -> object:
    return {field.name: getattr(value, field.name) for field in fields}


# What makes an instance what it is, by the first of these that holds.
_STATES: tuple[tuple[Callable[[Any], bool], Callable[[Any], object]], ...] = (
    (
        lambda value: callable(getattr(type(value), "__cache_key__", None)),
        lambda value: value.__cache_key__(),
    ),
    (lambda value: isinstance(value, Enum), lambda value: value.name or value.value),
    (lambda value: isinstance(value, BaseModel), _model_state),
    (dataclasses.is_dataclass, lambda value: _field_values(value, dataclasses.fields(value))),
    (
        lambda value: hasattr(type(value), "__attrs_attrs__"),
        lambda value: _field_values(value, type(value).__attrs_attrs__),
    ),
    (lambda value: isinstance(value, _AS_TEXT), str),
    (lambda value: isinstance(value, _SECRETS), lambda value: value.get_secret_value()),
)


def _class(cls: type) -> bytes:
    return text(cls.__module__) + text(cls.__qualname__)

"""The key of a call: which function it was, and a digest of its arguments.

    {key prefix}:{key_prefix}:{function}:{digest}

The digest covers the function's module and qualified name and every argument, after binding them
to the signature and filling in the defaults: `f(1, b=2)` and `f(a=1, b=2)` are one call. Each
argument is written down with its type and its length, so that no two lists of arguments read the
same: `1`, `"1"` and `True` differ, and so do `["a,b"]` and `["a", "b"]`. The order of sets and
dicts does not matter, and neither do `PYTHONHASHSEED` or the process.

What has no stable identity is refused. A `repr` with a memory address in it would be one until
the address is used again, for somebody else's object.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel

_DIGEST_BYTES = 16
_LONGEST_READABLE = 100  # bytes of the function's name in a key
_LONGEST_KEY_PREFIX = 200  # bytes; with the rest of the key this stays below 512


class UnkeyableError(TypeError):
    """A value has no identity that is the same in every process."""


class KeyBuilder:
    """Builds the keys of one function's calls.

    `prefix` is the manager's, `key_prefix` the decorator's; parameters named in `ignore` are no
    part of the key. Raises `ValueError` for a `key_prefix` that could not be told apart in a
    pattern and for names in `ignore` that the function does not have.
    """

    def __init__(
        self,
        func: Callable[..., object],
        *,
        prefix: str,
        key_prefix: str,
        ignore: Collection[str] = (),
    ) -> None:
        check_key_prefix(key_prefix)
        self._signature = inspect.signature(func)
        if isinstance(ignore, str):
            raise TypeError(f"ignore={ignore!r} is a string; give a tuple: ignore=({ignore!r},)")
        unknown = [name for name in ignore if name not in self._signature.parameters]
        if unknown:
            raise ValueError(
                f"ignore={tuple(ignore)!r} names {unknown[0]!r}, which is no parameter of "
                f"{func.__qualname__}; it has {', '.join(self._signature.parameters) or 'none'}"
            )
        self._ignore = frozenset(ignore)
        readable = re.sub(r"[^A-Za-z0-9_.]", "", func.__qualname__.replace("<locals>.", ""))
        self._start = f"{prefix}:{key_prefix}:{readable[-_LONGEST_READABLE:]}:"
        self._function = blake2b(
            _text(func.__module__ or "") + _text(func.__qualname__), digest_size=_DIGEST_BYTES
        )

    def key(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Return the key of `func(*args, **kwargs)`.

        Raises `UnkeyableError`, which names the parameter, where an argument has no stable
        identity, and `TypeError` where the arguments do not fit the signature.
        """
        call = self._signature.bind(*args, **kwargs)
        call.apply_defaults()
        digest = self._function.copy()
        for name, value in call.arguments.items():
            if name in self._ignore:
                continue
            try:
                digest.update(_text(name) + canonical(value))
            except (UnkeyableError, RecursionError) as error:
                raise UnkeyableError(f"parameter {name!r}: {error}") from None
        return self._start + digest.hexdigest()


def check_key_prefix(key_prefix: str) -> None:
    """Raise for a decorator's `key_prefix` that is no text, empty, too long, or has a `*`."""
    if not isinstance(key_prefix, str):
        raise TypeError(f"key_prefix={key_prefix!r} is no string")
    if not key_prefix or "*" in key_prefix or len(key_prefix.encode()) > _LONGEST_KEY_PREFIX:
        raise ValueError(
            f"key_prefix={key_prefix!r} must have 1 to {_LONGEST_KEY_PREFIX} bytes and no '*', "
            f"which is the wildcard of patterns"
        )


def canonical(value: object) -> bytes:
    """Return `value` and its type as bytes that are the same in every process.

    No two values of different type or content share them, and none is the beginning of another.
    Raises `UnkeyableError` for a value without a stable identity.
    """
    writer = _WRITERS.get(type(value))
    return writer(value) if writer is not None else _instance(value)


def _framed(tag: bytes, content: bytes) -> bytes:
    return b"%b%d:%b" % (tag, len(content), content)


def _text(value: str) -> bytes:
    return _framed(b"s", value.encode("utf-8", "surrogatepass"))


def _items(tag: bytes, items: Iterable[bytes]) -> bytes:
    return _framed(tag, b"".join(items))


def _mapping(tag: bytes, value: Mapping[Any, object]) -> bytes:
    return _items(tag, sorted(canonical(key) + canonical(item) for key, item in value.items()))


def _as_text(tag: bytes, text: Callable[[Any], str]) -> Callable[[Any], bytes]:
    return lambda value: _framed(tag, text(value).encode())


def _moment(value: datetime | time) -> str:
    zone = value.tzinfo
    # A zone of the same offset today may have another one tomorrow: its name counts.
    name = "" if zone is None else f"{type(zone).__qualname__}:{getattr(zone, 'key', None)}"
    return f"{value.isoformat()}/{value.fold}/{name}"


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"n",
    bool: lambda value: b"t" if value else b"f",
    int: lambda value: b"i%d;" % value,
    float: lambda value: b"d%b;" % value.hex().encode(),
    str: _text,
    bytes: lambda value: _framed(b"b", value),
    list: lambda value: _items(b"l", map(canonical, value)),
    tuple: lambda value: _items(b"u", map(canonical, value)),
    set: lambda value: _items(b"e", sorted(map(canonical, value))),
    frozenset: lambda value: _items(b"z", sorted(map(canonical, value))),
    dict: lambda value: _mapping(b"m", value),
    Decimal: _as_text(b"c", str),
    UUID: lambda value: _framed(b"g", value.bytes),
    date: _as_text(b"y", date.isoformat),
    datetime: _as_text(b"w", _moment),
    time: _as_text(b"h", _moment),
    timedelta: _as_text(b"p", lambda value: f"{value.days}/{value.seconds}/{value.microseconds}"),
}


def _instance(value: object) -> bytes:
    """Write down an instance of a class: the class, then what makes the instance what it is."""
    cls = type(value)
    if isinstance(value, type):
        return _framed(b"k", _class(value))
    if callable(getattr(cls, "__cache_key__", None)):
        content = canonical(value.__cache_key__())  # type: ignore[attr-defined]
    elif isinstance(value, Enum):
        content = _text(value.name) if value.name else canonical(value.value)
    elif isinstance(value, BaseModel):
        state = value.__getstate__()
        content = canonical(
            [
                {name: state["__dict__"].get(name) for name in type(value).model_fields},
                state["__pydantic_extra__"],
                state["__pydantic_private__"],
            ]
        )
    elif dataclasses.is_dataclass(value):
        content = canonical(
            {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        )
    elif isinstance(value, PurePath):
        content = _text(str(value))
    else:
        raise UnkeyableError(
            f"a {cls.__module__}.{cls.__qualname__} has no identity that outlives the process"
        )
    return _framed(b"o", _class(cls) + content)


def _class(cls: type) -> bytes:
    return _text(cls.__module__) + _text(cls.__qualname__)

"""Values as JSON, with tags for other types, so that a value comes back equal in value and type.

Plain JSON data is stored as plain JSON. Other types become an object with one key that begins with
`$`: `{"$set": [1, 2]}`. A dict that looks like such an object, or that has keys other than strings,
is stored as `$dict`, a list of pairs.

Only exact types are stored, because a subclass may have more state. Dataclasses, Pydantic models,
named tuples and enums are stored if a return annotation names them (see `classes`), with their
whole state or not at all (see `state`).
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic_core import from_json, to_json

from ..values import BY_HAND, NO_CLASSES, KnownClasses
from .tagged import pack, unpack
from .unstorable import UnstorableError

__all__ = [
    "BY_HAND",
    "CorruptError",
    "UnstorableError",
    "decode",
    "decoder",
    "encode",
    "encode_checked",
]

_TAG_IN_JSON = re.compile(rb'\{\s*"\$')
_CONTAINERS = frozenset({dict, list})
_LITTLE, _FEW = 1024, 32


class CorruptError(ValueError):
    """Bytes that `encode` did not make."""


def encode(value: object, classes: KnownClasses = NO_CLASSES) -> bytes:
    """Return `value` as JSON in UTF-8.

    Raises `UnstorableError` with the reason if the value would not come back equal in value and
    type.
    """
    return _encoded(value, classes)[0]


def decode(data: bytes, classes: KnownClasses = NO_CLASSES) -> Any:
    """Return the value that `encode` wrote as `data`.

    Raises `CorruptError` for other bytes. Never executes or imports anything from them.
    """
    try:
        value = _parsed(data)
        return unpack(value, classes) if b'"$' in data and _has_tags(data) else value
    except Exception as error:
        raise CorruptError(f"not a stored value: {type(error).__name__}") from None


def decoder(data: bytes, classes: KnownClasses = NO_CLASSES) -> tuple[Callable[[], Any], int]:
    """Return a function that decodes `data`, and about how many bytes of memory it keeps.

    Small plain JSON is parsed once and then copied, which takes a fifth of the time. `CorruptError`
    may be raised here or by the function.
    """
    containers = data.count(b"{") + data.count(b"[")
    if len(data) > _LITTLE or containers > _FEW or b'"$' in data:
        return partial(decode, data, classes), len(data)
    return _copier(decode(data)), 400 * (1 + containers) + 8 * len(data)


def _copier(value: Any) -> Callable[[], Any]:
    """Return a function that returns copies of JSON data."""
    if type(value) not in _CONTAINERS:
        return lambda: value
    places = value.items() if type(value) is dict else enumerate(value)
    inner = [(place, _copier(item)) for place, item in places if type(item) in _CONTAINERS]
    shallow: Callable[[], Any] = value.copy
    if not inner:
        return shallow

    def copy() -> Any:
        new = shallow()
        for place, make in inner:
            new[place] = make()
        return new

    return copy


def encode_checked(value: object, classes: KnownClasses = NO_CLASSES) -> bytes:
    """Encode `value`, and check that the decoded value would be encoded as the same bytes.

    Raises `UnstorableError` if not, which can happen because classes may build instances their way.
    """
    data, parsed = _encoded(value, classes)
    if _has_tags(data):
        try:
            same = encode(unpack(parsed, classes), classes) == data
        except Exception:  # code of a class may raise anything
            same = False
    else:  # without tags no class is built, so a comparison is enough
        same = parsed == value
    if not same:
        raise UnstorableError(f"a {type(value).__qualname__} comes back different from JSON")
    return data


def _encoded(value: object, classes: KnownClasses) -> tuple[bytes, Any]:
    """Return `value` as JSON, and that JSON parsed: some JSON can be written but not read."""
    try:
        data = to_json(pack(value, classes))
    except (RecursionError, ValueError) as error:
        if "surrogates" in str(error):
            raise UnstorableError("a string in the value is not valid Unicode") from None
        raise UnstorableError("the value is nested too deeply, or contains itself") from None
    try:
        return data, _parsed(data)
    except ValueError:
        raise UnstorableError(
            "the value is nested too deeply, or a number in it has too many digits"
        ) from None


_parsed: Callable[[bytes], Any] = partial(from_json, allow_inf_nan=False, cache_strings="keys")


def _has_tags(data: bytes) -> bool:
    return _TAG_IN_JSON.search(data) is not None

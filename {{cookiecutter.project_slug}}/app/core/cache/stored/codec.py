"""Values as JSON, with tags for what JSON lacks, so that what comes back is equal in value and type.

Plain JSON data is stored as plain JSON. What JSON cannot say becomes an object with one key that
begins with `$`: `{"$set": [1, 2]}`. Data that looks like that itself is stored as `$dict`, a list
of pairs, and so is a dict with other keys than strings.

Only exact types are stored: a subclass may carry more than its base shows. Dataclasses, Pydantic
models, named tuples and enums are stored where a return annotation names them (see `classes`), with
their whole state or not at all (see `state`).
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
    """Bytes are not what `encode` makes."""


def encode(value: object, classes: KnownClasses = NO_CLASSES) -> bytes:
    """Return `value` as JSON in UTF-8.

    Raises `UnstorableError`, which says where and what, for a value that would not come back
    equal in value and type.
    """
    return _encoded(value, classes)[0]


def decode(data: bytes, classes: KnownClasses = NO_CLASSES) -> Any:
    """Return the value that `encode` made `data` of.

    Raises `CorruptError` for bytes that are anything else, and runs nothing of them.
    """
    try:
        value = _parsed(data)
        return unpack(value, classes) if b'"$' in data and _has_tags(data) else value
    except Exception as error:
        raise CorruptError(f"not a stored value: {type(error).__name__}") from None


def decoder(data: bytes, classes: KnownClasses = NO_CLASSES) -> tuple[Callable[[], Any], int]:
    """Return what decodes `data` again and again, and how many bytes it keeps for that, about.

    Little plain JSON is parsed once, and copied then: a copy takes a fifth of the time. Raises
    `CorruptError`, now or then.
    """
    containers = data.count(b"{") + data.count(b"[")
    if len(data) > _LITTLE or containers > _FEW or b'"$' in data:
        return partial(decode, data, classes), len(data)
    return _copier(decode(data)), 300 * (1 + containers) + 8 * len(data)


def _copier(value: Any) -> Callable[[], Any]:
    """Return what makes copies of what JSON says."""
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
    """Encode `value` and make sure that what comes back would be stored as the same bytes.

    Raises `UnstorableError` where it would not: a class may build its instances in its own way.
    """
    data, parsed = _encoded(value, classes)
    if _has_tags(data):
        try:
            same = encode(unpack(parsed, classes), classes) == data
        except Exception:  # of a class
            same = False
    else:  # there is no class to build: it is enough to compare
        same = parsed == value
    if not same:
        raise UnstorableError(f"a {type(value).__qualname__} comes back different from JSON")
    return data


def _encoded(value: object, classes: KnownClasses) -> tuple[bytes, Any]:
    """Return `value` as JSON, and that parsed again: not all that can be written can be read."""
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

"""Values as JSON, with tags for what JSON lacks, so that what comes back is equal in value and type.

Plain JSON data is stored as plain JSON. What JSON cannot say becomes an object with one key that
begins with `$`: `{"$set": [1, 2]}`. Data that looks like that itself is stored as `$dict`, a list
of pairs, and so is a dict with other keys than strings.

Only exact types are stored: a subclass may carry more than its base shows. Dataclasses, Pydantic
models and enums are stored where a return annotation names them (see `classes`).
"""

import dataclasses
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from functools import partial
from math import isfinite
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from .classes import NO_CLASSES, KnownClasses

_TAG = "$"
_TAG_IN_JSON = re.compile(rb'\{\s*"\$')
_ATOMS = frozenset({type(None), bool, int, str})
"""What JSON says as it is. Not floats: those that are no number it cannot say."""
_STRINGS = frozenset({str})
_CONTAINERS = frozenset({dict, list})
_LITTLE, _FEW = 1024, 32


class UnstorableError(TypeError):
    """A value would not come back from JSON equal in value and type."""


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
        return _unpack(value, classes) if b'"$' in data and _has_tags(data) else value
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
            same = encode(_unpack(parsed, classes), classes) == data
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
        data = to_json(_pack(value, classes))
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


# --- Packing: from a value to what JSON can say -------------------------------------------------


def _pack(value: object, classes: KnownClasses) -> object:
    packer = _PACKERS.get(type(value))
    if packer is not None:
        return packer(value, classes)
    name = classes.name_of(type(value))
    if name is None:
        raise UnstorableError(_advice(value))
    if isinstance(value, Enum):
        if value.name not in type(value).__members__:
            raise UnstorableError(f"{value!r} has no name of its own in its enum")
        return {"$enum": [name, value.name]}
    if isinstance(value, BaseModel):
        return {"$model": [name, _pack_model(value, classes)]}
    return {"$dataclass": [name, _pack_fields(value, classes)]}


def _pack_fields(value: Any, classes: KnownClasses) -> object:
    names = [field.name for field in dataclasses.fields(value)]
    more = set(getattr(value, "__dict__", ())).difference(names)
    if more:
        raise UnstorableError(f"a {type(value).__qualname__} carries {more}, which is no field")
    return {name: _pack(getattr(value, name), classes) for name in names}


def _advice(value: object) -> str:
    cls = type(value)
    what = f"a {cls.__module__}.{cls.__qualname__} does not come back from JSON as it was"
    if isinstance(value, (BaseModel, Enum)) or dataclasses.is_dataclass(value):
        return f"{what}; name the class in the return annotation of the cached function"
    return f"{what}; return plain data, a dataclass or a Pydantic model"


def _pack_itself(value: object, _classes: KnownClasses) -> object:
    return value


def _pack_float(value: float, _classes: KnownClasses) -> object:
    return value if isfinite(value) else {"$float": repr(value)}


def _pack_items(value: Iterable[object], classes: KnownClasses) -> list[object]:
    return [item if type(item) in _ATOMS else _pack(item, classes) for item in value]


def _pack_dict(value: dict[object, object], classes: KnownClasses) -> object:
    if _STRINGS.issuperset(map(type, value)) and not _looks_tagged(value):
        return {
            key: item if type(item) in _ATOMS else _pack(item, classes)
            for key, item in value.items()
        }
    return {"$dict": [[_pack(key, classes), _pack(item, classes)] for key, item in value.items()]}


def _pack_model(value: BaseModel, classes: KnownClasses) -> object:
    state = value.__getstate__()
    known = type(value).model_fields
    fields = {name: item for name, item in state["__dict__"].items() if name in known}
    extra, private = state["__pydantic_extra__"], state["__pydantic_private__"]
    return [
        _pack(fields, classes),
        sorted(state["__pydantic_fields_set__"]),
        _pack(extra, classes),
        _pack(private, classes),
    ]


def _pack_datetime(value: datetime, _classes: KnownClasses) -> object:
    naive = value.replace(tzinfo=None).isoformat()
    return {"$datetime": [naive, _pack_zone(value.tzinfo), value.fold]}


def _pack_time(value: time, _classes: KnownClasses) -> object:
    naive = value.replace(tzinfo=None).isoformat()
    return {"$time": [naive, _pack_zone(value.tzinfo), value.fold]}


def _pack_zone(zone: tzinfo | None) -> object:
    if zone is None:
        return None
    if type(zone) is timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        return [_seconds(offset), *([] if name == timezone(offset).tzname(None) else [name])]
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    raise UnstorableError(
        f"a time zone of type {type(zone).__qualname__} does not come back from JSON as it was; "
        f"use datetime.timezone or zoneinfo.ZoneInfo"
    )


def _seconds(offset: timedelta) -> list[int]:
    return [offset.days, offset.seconds, offset.microseconds]


def _looks_tagged(value: dict[Any, object]) -> bool:
    return len(value) == 1 and next(iter(value)).startswith(_TAG)


def _tagged(tag: str, form: Callable[[Any], object]) -> Callable[[Any, KnownClasses], object]:
    return lambda value, _classes: {tag: form(value)}


def _tagged_items(tag: str) -> Callable[[Any, KnownClasses], object]:
    return lambda value, classes: {tag: _pack_items(value, classes)}


def _tagged_set(tag: str) -> Callable[[Any, KnownClasses], object]:
    # In one order whatever order the set was filled in, so that equal sets are equal bytes.
    return lambda value, classes: {tag: sorted(_pack_items(value, classes), key=to_json)}


_PACKERS: dict[type, Callable[[Any, KnownClasses], object]] = {
    type(None): _pack_itself,
    bool: _pack_itself,
    int: _pack_itself,
    str: _pack_itself,
    float: _pack_float,
    list: _pack_items,
    dict: _pack_dict,
    tuple: _tagged_items("$tuple"),
    set: _tagged_set("$set"),
    frozenset: _tagged_set("$frozenset"),
    bytes: _tagged("$bytes", lambda value: b64encode(value).decode()),
    Decimal: _tagged("$decimal", str),
    UUID: _tagged("$uuid", str),
    date: _tagged("$date", date.isoformat),
    timedelta: _tagged("$timedelta", _seconds),
    datetime: _pack_datetime,
    time: _pack_time,
}


# --- Unpacking: the same way back ---------------------------------------------------------------


def _unpack(value: Any, classes: KnownClasses) -> Any:
    """Put what the tags mean in their places. Changes `value`, which nobody else has."""
    if type(value) is dict:
        if len(value) == 1:
            ((tag, content),) = value.items()
            if tag.startswith(_TAG):
                return _UNPACKERS[tag](content, classes)
        for key, item in value.items():
            if type(item) in _CONTAINERS:
                value[key] = _unpack(item, classes)
    elif type(value) is list:
        for place, item in enumerate(value):
            if type(item) in _CONTAINERS:
                value[place] = _unpack(item, classes)
    return value


def _unpack_zone(zone: Any) -> tzinfo | None:
    if zone is None:
        return None
    if isinstance(zone, str):
        return ZoneInfo(zone)
    offset, *name = zone
    return timezone(timedelta(*offset), *name)


def _unpack_datetime(content: Any, _classes: KnownClasses) -> datetime:
    naive, zone, fold = content
    return datetime.fromisoformat(naive).replace(tzinfo=_unpack_zone(zone), fold=fold)


def _unpack_time(content: Any, _classes: KnownClasses) -> time:
    naive, zone, fold = content
    return time.fromisoformat(naive).replace(tzinfo=_unpack_zone(zone), fold=fold)


def _unpack_enum(content: Any, classes: KnownClasses) -> Enum:
    name, member = content
    member_of: type[Enum] = classes.named(name, lambda cls: issubclass(cls, Enum))
    return member_of[member]


def _unpack_model(content: Any, classes: KnownClasses) -> BaseModel:
    name, (fields, fields_set, extra, private) = content
    cls: type[BaseModel] = classes.named(name, lambda cls: issubclass(cls, BaseModel))
    # The state that was taken from a valid model: validators that change their input do not run
    # again, and fields that were not set stay unset.
    model = cls.__new__(cls)
    model.__setstate__(
        {
            "__dict__": _unpack(fields, classes),
            "__pydantic_fields_set__": set(fields_set),
            "__pydantic_extra__": _unpack(extra, classes),
            "__pydantic_private__": _unpack(private, classes),
        }
    )
    return model


def _unpack_dataclass(content: Any, classes: KnownClasses) -> object:
    name, fields = content
    cls = classes.named(name, dataclasses.is_dataclass)
    value: object = object.__new__(cls)
    for field in dataclasses.fields(cls):
        object.__setattr__(value, field.name, _unpack(fields[field.name], classes))
    return value


def _untagged(back: Callable[[Any], object]) -> Callable[[Any, KnownClasses], object]:
    return lambda content, _classes: back(content)


def _untagged_items(back: Callable[[Any], object]) -> Callable[[Any, KnownClasses], object]:
    return lambda content, classes: back(_unpack(item, classes) for item in content)


_UNPACKERS: dict[str, Callable[[Any, KnownClasses], object]] = {
    "$float": _untagged(float),
    "$dict": lambda content, classes: {
        _unpack(k, classes): _unpack(v, classes) for k, v in content
    },
    "$tuple": _untagged_items(tuple),
    "$set": _untagged_items(set),
    "$frozenset": _untagged_items(frozenset),
    "$bytes": _untagged(lambda content: b64decode(content, validate=True)),
    "$decimal": _untagged(Decimal),
    "$uuid": _untagged(UUID),
    "$date": _untagged(date.fromisoformat),
    "$timedelta": _untagged(lambda content: timedelta(*content)),
    "$datetime": _unpack_datetime,
    "$time": _unpack_time,
    "$enum": _unpack_enum,
    "$model": _unpack_model,
    "$dataclass": _unpack_dataclass,
}

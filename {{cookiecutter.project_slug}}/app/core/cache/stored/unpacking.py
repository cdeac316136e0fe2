"""From what JSON said back to the value. What comes here came from outside, and may be anything.

Whatever is not what `packing` makes raises, and takes no longer than to read it: sets and dicts are
built of members only if those do not collide. Nor does what comes back take longer to use than what
was stored: of numbers that a few bytes make huge, none is read (see `texts`).
"""

import dataclasses
from base64 import b64decode
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum
from itertools import groupby
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel
from pydantic_core import TzInfo

from ..values import (
    ALIAS,
    FACTORIES,
    MODEL_SLOTS,
    TEXTS,
    Known,
    KnownClasses,
    decimal_from,
    from_text,
    is_named_tuple,
    pg_uuid,
)

_TAG = "$"
_CONTAINERS = frozenset({dict, list})
_STRINGS = frozenset({str})
_MOST_ALIKE = 16
"""Members of a set that may have one hash; chance makes two, and 100,000 would take minutes."""
_NOT_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def unpack(value: Any, classes: KnownClasses) -> Any:
    """Put what the tags mean in their places. Changes `value`, which nobody else has."""
    if type(value) is dict:
        if len(value) == 1:
            ((tag, content),) = value.items()
            if tag.startswith(_TAG):
                return _UNPACKERS[tag](content, classes)
        for key, item in value.items():
            if type(item) in _CONTAINERS:
                value[key] = unpack(item, classes)
    elif type(value) is list:
        for place, item in enumerate(value):
            if type(item) in _CONTAINERS:
                value[place] = unpack(item, classes)
    return value


def _hashable(members: list[Any]) -> list[Any]:
    """Return what is to be hashed; raises `ValueError` for members that collide.

    The hashes of texts differ in each process, those of numbers can be chosen by whoever writes
    them down. They are sorted, for a set of them would be as slow as that of the members.
    """
    if len(members) > _MOST_ALIKE and not _STRINGS.issuperset(map(type, members)):
        hashes = sorted(map(hash, members))
        if max(len(list(alike)) for _, alike in groupby(hashes)) > _MOST_ALIKE:
            raise ValueError("too many members have one hash")
    return members


def _items(content: Any, classes: KnownClasses) -> list[Any]:
    return [unpack(item, classes) for item in content]


def _pairs(content: Any, classes: KnownClasses) -> Iterable[tuple[Any, Any]]:
    keys = _hashable([unpack(key, classes) for key, _ in content])
    return zip(keys, [unpack(item, classes) for _, item in content], strict=True)


def _unpack_default(content: Any, classes: KnownClasses) -> defaultdict[Any, Any]:
    name, pairs = content
    return defaultdict(FACTORIES[name], _pairs(pairs, classes))


def _unpack_deque(content: Any, classes: KnownClasses) -> deque[Any]:
    items, most = content
    return deque(_items(items, classes), most)


def _unpack_zone(zone: Any) -> tzinfo | None:
    if zone is None:
        return None
    if isinstance(zone, str):
        return ZoneInfo(zone)
    if isinstance(zone, int):
        return TzInfo(zone)
    offset, *name = zone
    return timezone(timedelta(*offset), *name)


def _unpack_datetime(content: Any, _classes: KnownClasses) -> datetime:
    naive, zone, fold = content
    return datetime.fromisoformat(naive).replace(tzinfo=_unpack_zone(zone), fold=fold)


def _unpack_time(content: Any, _classes: KnownClasses) -> time:
    naive, zone, fold = content
    return time.fromisoformat(naive).replace(tzinfo=_unpack_zone(zone), fold=fold)


def _unpack_text(content: Any, classes: KnownClasses) -> Any:
    name, text = content
    if not classes.has_text_class(name) or type(text) is not str:
        raise KeyError(name)
    return from_text(TEXTS[name], text)


def _unpack_pg_uuid(content: Any, _classes: KnownClasses) -> Any:
    return pg_uuid()(content)  # where nobody has loaded asyncpg, it is a miss


def _unpack_enum(content: Any, classes: KnownClasses) -> Enum:
    name, member = content
    member_of: type[Enum] = classes.named(name, lambda cls: issubclass(cls, Enum))
    return member_of[member]


def _unpack_model(content: Any, classes: KnownClasses) -> BaseModel:
    name, (fields, were_set, extra, private) = content
    known = classes.stored_as(name, lambda cls: issubclass(cls, BaseModel))
    cls: type[BaseModel] = known.cls
    fields = unpack(fields, classes)
    _check_names(known, fields)
    if not _STRINGS.issuperset(map(type, were_set)):
        raise ValueError("the names of fields are texts")
    # The state that was taken from a valid model: validators that change their input do not run
    # again, and fields that were not set stay unset.
    model = cls.__new__(cls)
    slots = (set(were_set), unpack(extra, classes), unpack(private, classes))
    model.__setstate__({"__dict__": fields, **dict(zip(MODEL_SLOTS, slots, strict=True))})
    return model


def _unpack_dataclass(content: Any, classes: KnownClasses) -> object:
    name, fields, *alias = content
    known = classes.stored_as(name, dataclasses.is_dataclass)
    if known.whole is None:
        raise KeyError(name)
    _check_names(known, fields)
    state = {field: unpack(item, classes) for field, item in fields.items()}
    if alias:
        state[ALIAS] = classes.aliases[alias[0]]
    value: object = object.__new__(known.cls)
    known.whole.restore(value, state)
    return value


def _check_names(known: Known, fields: dict[str, Any]) -> None:
    whole = known.whole
    if whole is None or not whole.required <= fields.keys() <= whole.fields.keys():
        raise ValueError("these are not the fields of the class")


def _unpack_namedtuple(content: Any, classes: KnownClasses) -> object:
    name, items = content
    cls = classes.named(name, is_named_tuple)
    if len(items) != len(cls._fields):
        raise ValueError("a named tuple has as many items as names")
    return tuple.__new__(cls, _items(items, classes))


def _untagged(back: Callable[[Any], object]) -> Callable[[Any, KnownClasses], object]:
    return lambda content, _classes: back(content)


def _untagged_items(back: Callable[[Any], object]) -> Callable[[Any, KnownClasses], object]:
    return lambda content, classes: back(_items(content, classes))


def _untagged_set(back: Callable[[Any], object]) -> Callable[[Any, KnownClasses], object]:
    return lambda content, classes: back(_hashable(_items(content, classes)))


_UNPACKERS: dict[str, Callable[[Any, KnownClasses], object]] = {
    "$float": _untagged(lambda content: _NOT_FINITE[content]),
    "$dict": lambda content, classes: dict(_pairs(content, classes)),
    "$ordered": lambda content, classes: OrderedDict(_pairs(content, classes)),
    "$counter": lambda content, classes: Counter(dict(_pairs(content, classes))),
    "$defaultdict": _unpack_default,
    "$deque": _unpack_deque,
    "$tuple": _untagged_items(tuple),
    "$set": _untagged_set(set),
    "$frozenset": _untagged_set(frozenset),
    "$bytes": _untagged(lambda content: b64decode(content, validate=True)),
    "$decimal": _untagged(decimal_from),
    "$uuid": _untagged(UUID),
    "$pguuid": _unpack_pg_uuid,
    "$date": _untagged(date.fromisoformat),
    "$timedelta": _untagged(lambda content: timedelta(*content)),
    "$datetime": _unpack_datetime,
    "$time": _unpack_time,
    "$zone": _untagged(_unpack_zone),
    "$text": _unpack_text,
    "$enum": _unpack_enum,
    "$model": _unpack_model,
    "$dataclass": _unpack_dataclass,
    "$namedtuple": _unpack_namedtuple,
}

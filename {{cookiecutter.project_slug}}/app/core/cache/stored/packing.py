"""From a value to what JSON can say, with tags for what it lacks. The way back is `unpacking`."""

from base64 import b64encode
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from math import isfinite
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ByteSize
from pydantic_core import TzInfo, to_json

from ..values import (
    ALIAS,
    FACTORIES,
    MODEL_SLOTS,
    MOST_DIGITS,
    SECRETS,
    TEXTS,
    Known,
    KnownClasses,
    StateError,
    described,
    has_more,
    has_text,
    is_bounded,
    is_instrumented,
    is_named,
    is_named_tuple,
    pg_uuid,
    text_of,
)

_TAG = "$"
_ATOMS = frozenset({type(None), bool, int, str})
"""What JSON says as it is. Not floats: those that are no number it cannot say."""
_STRINGS = frozenset({str})


class UnstorableError(TypeError):
    """A value would not come back from JSON equal in value and type."""


def pack(value: object, classes: KnownClasses) -> object:
    """Return what JSON can say of a value; raises `UnstorableError` where that is not all."""
    cls = type(value)
    packer = _PACKERS.get(cls)
    if packer is not None:
        return packer(value, classes)
    known = classes.known(cls)
    if known is None or is_instrumented(cls):
        return _pack_other(value, classes)
    try:
        return _pack_known(value, known, classes)
    except StateError as error:
        raise UnstorableError(str(error)) from None


def _pack_known(value: Any, known: Known, classes: KnownClasses) -> object:
    if isinstance(value, Enum):
        if value.name not in known.cls.__members__:  # type: ignore[attr-defined] # an enum has them
            raise UnstorableError(f"{value!r} has no name of its own in its enum")
        return {"$enum": [known.name, value.name]}
    if isinstance(value, BaseModel):
        return {"$model": [known.name, _pack_model(value, known, classes)]}
    if known.whole is not None:
        return {"$dataclass": [known.name, *_pack_fields(value, known, classes)]}
    if not is_named_tuple(known.cls) or has_more(value):
        raise UnstorableError(f"this {known.cls.__qualname__} has attributes of its own")
    return {"$namedtuple": [known.name, _pack_items(value, classes)]}


def _pack_fields(value: Any, known: Known, classes: KnownClasses) -> list[object]:
    state = _state_of(value, known)
    alias = state.pop(ALIAS, None)
    fields = {name: pack(item, classes) for name, item in state.items()}
    if alias is None:
        return [fields]
    name = described(alias)
    if classes.aliases.get(name) != alias:
        raise UnstorableError(
            f"this {known.cls.__qualname__} was made by {alias!r}, which the return annotation "
            f"does not name"
        )
    return [fields, name]


def _pack_model(value: BaseModel, known: Known, classes: KnownClasses) -> object:
    state = _state_of(value, known)
    were_set, extra, private = [state.pop(name, None) for name in MODEL_SLOTS]
    state.pop(ALIAS, None)
    return [
        pack(state, classes),
        sorted(were_set or ()),
        pack(extra, classes),
        pack(private, classes),
    ]


def _state_of(value: object, known: Known) -> dict[str, Any]:
    if known.whole is None:
        raise StateError(f"a {known.cls.__qualname__} cannot be seen as a whole")
    return dict(known.whole.of(value))


def _pack_other(value: object, classes: KnownClasses) -> object:
    """Pack what is not known before it is there."""
    cls = type(value)
    if cls is pg_uuid():
        return {"$pguuid": str(value)}
    if TEXTS.get(cls.__name__) is cls and classes.has_text_class(cls.__name__):
        if cls is ByteSize and has_more(value):
            raise UnstorableError("this ByteSize has attributes of its own")
        if isinstance(value, Fraction):
            _refuse_unbounded(value)
        return {"$text": [cls.__name__, text_of(value)]}
    raise UnstorableError(_advice(value, classes))


def _advice(value: object, classes: KnownClasses) -> str:
    """Return why a value is not stored, and what to do: in a function, or by hand."""
    cls, give = type(value), "return" if classes.is_of_function else "store"
    name = f"{cls.__module__}.{cls.__qualname__}"
    if is_instrumented(cls):
        return f"a {name} is a row of an ORM; {give} what is made of it, by model_dump() for one"
    what = f"a {name} does not come back from JSON as it was"
    if isinstance(value, SECRETS):
        return f"{what}: it is secret, and Redis would show it; {give} what may be seen"
    can_be_named = isinstance(value, (BaseModel, Enum)) or is_dataclass(value)
    if can_be_named or is_named_tuple(cls) or TEXTS.get(cls.__name__) is cls:
        if classes.is_of_function:
            return f"{what}; name the class in the return annotation of the cached function"
        return f"{what}; store plain data, what model_dump(), asdict() or str() makes of it"
    more = ", a dataclass or a Pydantic model" if classes.is_of_function else ""
    return f"{what}; {give} plain data{', str(value) for one' if has_text(cls) else ''}{more}"


def _pack_itself(value: object, _classes: KnownClasses) -> object:
    return value


def _pack_float(value: float, _classes: KnownClasses) -> object:
    return value if isfinite(value) else {"$float": repr(value)}


def _pack_decimal(value: Decimal, _classes: KnownClasses) -> object:
    _refuse_unbounded(value)
    return {"$decimal": str(value)}


def _refuse_unbounded(value: Decimal | Fraction) -> None:
    if not is_bounded(value):
        raise UnstorableError(
            f"a {type(value).__qualname__} in it has more than {MOST_DIGITS} digits or zeros; round "
            f"it, or give it as a str"
        )


def _pack_items(value: Iterable[object], classes: KnownClasses) -> list[object]:
    return [item if type(item) in _ATOMS else pack(item, classes) for item in value]


def _pack_dict(value: dict[object, object], classes: KnownClasses) -> object:
    if _STRINGS.issuperset(map(type, value)) and not _looks_tagged(value):
        return {
            key: item if type(item) in _ATOMS else pack(item, classes)
            for key, item in value.items()
        }
    return {"$dict": _pack_pairs(value, classes)}


def _pack_pairs(value: Mapping[Any, object], classes: KnownClasses) -> list[object]:
    if type(value) is not dict and has_more(value):
        raise UnstorableError(f"this {type(value).__qualname__} has attributes of its own")
    return [[pack(key, classes), pack(item, classes)] for key, item in value.items()]


def _pack_default(value: defaultdict[Any, object], classes: KnownClasses) -> object:
    factory = value.default_factory
    name = next((name for name, each in FACTORIES.items() if each is factory), None)
    if name is None:
        raise UnstorableError(f"a defaultdict of {factory!r} does not come back; give a dict")
    return {"$defaultdict": [name, _pack_pairs(value, classes)]}


def _pack_deque(value: deque[object], classes: KnownClasses) -> object:
    return {"$deque": [_pack_items(value, classes), value.maxlen]}


def _pack_datetime(value: datetime, _classes: KnownClasses) -> object:
    naive = value.replace(tzinfo=None).isoformat()
    return {"$datetime": [naive, _pack_zone(value.tzinfo), value.fold]}


def _pack_time(value: time, _classes: KnownClasses) -> object:
    naive = value.replace(tzinfo=None).isoformat()
    return {"$time": [naive, _pack_zone(value.tzinfo), value.fold]}


def _pack_zone(zone: tzinfo | None) -> object:
    """Return what a zone is: a name, a number of seconds for one of Pydantic, or an offset."""
    if zone is None:
        return None
    if type(zone) is timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        return [_seconds(offset), *([] if name == timezone(offset).tzname(None) else [name])]
    if type(zone) is TzInfo:
        return round((zone.utcoffset(None) or timedelta()).total_seconds())
    if type(zone) is ZoneInfo and is_named(zone):
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


def _tagged_pairs(tag: str) -> Callable[[Any, KnownClasses], object]:
    return lambda value, classes: {tag: _pack_pairs(value, classes)}


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
    deque: _pack_deque,
    OrderedDict: _tagged_pairs("$ordered"),
    Counter: _tagged_pairs("$counter"),
    defaultdict: _pack_default,
    bytes: _tagged("$bytes", lambda value: b64encode(value).decode()),
    Decimal: _pack_decimal,
    UUID: _tagged("$uuid", str),
    date: _tagged("$date", date.isoformat),
    timedelta: _tagged("$timedelta", _seconds),
    datetime: _pack_datetime,
    time: _pack_time,
    timezone: lambda value, _classes: {"$zone": _pack_zone(value)},
    ZoneInfo: lambda value, _classes: {"$zone": _pack_zone(value)},
    TzInfo: lambda value, _classes: {"$zone": _pack_zone(value)},
}

"""Types that JSON lacks, as objects with one key that begins with `$`: how to pack and unpack each.

Data from Redis may be forged. Data that `pack` did not make raises an exception, in about the time
to parse it: members of sets and keys of dicts are checked for hash collisions first.
"""

import dataclasses
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import to_json

from ..values import (
    ALIAS,
    MODEL_SLOTS,
    TEXTS,
    Known,
    KnownClasses,
    Text,
    UnkeyableError,
    described,
    is_instrumented,
    is_named_tuple,
    pg_uuid,
    refuse_more,
)
from .unstorable import UnstorableError, advice, hashable

_TAG = "$"
_ATOMS = frozenset({type(None), bool, int, str})
"""Types that are plain JSON. Not `float`, because JSON has no NaN and no infinity."""
_STRINGS, _CONTAINERS = frozenset({str}), frozenset({dict, list})
_NOT_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
_FACTORIES: dict[str, Any] = {"None": None} | {
    each.__name__: each
    for each in (bool, int, float, str, bytes, list, dict, set, tuple, frozenset, Decimal)
}
"""The factories that a `defaultdict` may have, by name."""

Pack = Callable[[Any, KnownClasses], object]
Unpack = Callable[[Any, KnownClasses], Any]


def pack(value: object, classes: KnownClasses) -> object:
    """Return a value as JSON data; raises `UnstorableError` if something would be lost."""
    packer = _PACKERS.get(type(value), _pack_instance)
    try:
        return packer(value, classes)
    except UnkeyableError as error:
        raise UnstorableError(str(error)) from None


def unpack(value: Any, classes: KnownClasses) -> Any:
    """Replace tagged objects by their values. It changes `value` in place."""
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


def _pack_items(value: Iterable[object], classes: KnownClasses) -> list[object]:
    return [item if type(item) in _ATOMS else pack(item, classes) for item in value]


def _pack_set(value: Iterable[object], classes: KnownClasses) -> list[object]:
    # Sorted, so that equal sets are equal bytes.
    return sorted(_pack_items(value, classes), key=to_json)


def _pack_dict(value: dict[Any, object], classes: KnownClasses) -> object:
    is_plain = _STRINGS.issuperset(map(type, value))
    if is_plain and not (len(value) == 1 and next(iter(value)).startswith(_TAG)):
        return {
            key: item if type(item) in _ATOMS else pack(item, classes)
            for key, item in value.items()
        }
    return {"$dict": _pack_pairs(value, classes)}


def _pack_pairs(value: Mapping[Any, object], classes: KnownClasses) -> list[object]:
    refuse_more(value)
    return [[pack(key, classes), pack(item, classes)] for key, item in value.items()]


def _pack_default(value: defaultdict[Any, object], classes: KnownClasses) -> object:
    factory = value.default_factory
    name = next((name for name, each in _FACTORIES.items() if each is factory), None)
    if name is None:
        raise UnstorableError(f"a defaultdict of {factory!r} does not come back; give a dict")
    return [name, _pack_pairs(value, classes)]


def _pack_deque(value: deque[object], classes: KnownClasses) -> object:
    return [_pack_items(value, classes), value.maxlen]


def _items(content: Any, classes: KnownClasses) -> list[Any]:
    return [unpack(item, classes) for item in content]


def _members(content: Any, classes: KnownClasses) -> list[Any]:
    return hashable(_items(content, classes))


def _pairs(content: Any, classes: KnownClasses) -> dict[Any, Any]:
    keys = _members([key for key, _ in content], classes)
    return dict(zip(keys, [unpack(item, classes) for _, item in content], strict=True))


def _default(content: Any, classes: KnownClasses) -> defaultdict[Any, Any]:
    name, pairs = content
    return defaultdict(_FACTORIES[name], _pairs(pairs, classes))


def _deque(content: Any, classes: KnownClasses) -> deque[Any]:
    items, most = content
    return deque(_items(items, classes), most)


def _reading(text: Text) -> Unpack:
    read = text.read

    def unpack_text(content: Any, _classes: KnownClasses) -> Any:
        if type(content) is not str:
            raise TypeError("this is no text")
        return read(content)

    return unpack_text


def _named_text(content: Any, classes: KnownClasses) -> Any:
    name, text = content
    return _reading(classes.texts[name])(text, classes)


def _then(make: Callable[[Any], Any], read: Unpack) -> Unpack:
    return lambda content, classes: make(read(content, classes))


class _Kind(NamedTuple):
    """A kind of classes: their tag, and how to pack and unpack the parts of an instance."""

    tag: str
    has: Callable[[type], bool]
    pack: Callable[[Any, Known, KnownClasses], list[object]]
    unpack: Callable[[list[Any], Known, KnownClasses], object]


def _pack_instance(value: object, classes: KnownClasses) -> object:
    cls = type(value)
    if cls is pg_uuid():
        return {"$pguuid": str(value)}
    text, known = TEXTS.get(cls), classes.known(cls)
    if text is not None and text.name in classes.texts:
        return {"$text": [text.name, text.write(value)]}
    kind = None if known is None else next((kind for kind in _KINDS if kind.has(cls)), None)
    if known is None or kind is None or is_instrumented(cls):
        raise UnstorableError(advice(value, classes))
    return {kind.tag: [known.name, *kind.pack(value, known, classes)]}


def _unpacking(kind: _Kind) -> Unpack:
    make, has = kind.unpack, kind.has

    def unpack_instance(content: Any, classes: KnownClasses) -> object:
        return make(content[1:], classes.stored_as(content[0], has), classes)

    return unpack_instance


def _pack_enum(value: Enum, known: Known, _classes: KnownClasses) -> list[object]:
    if value.name not in known.cls.__members__:
        raise UnstorableError(f"{value!r} has no name of its own in its enum")
    return [value.name]


def _enum(parts: list[Any], known: Known, _classes: KnownClasses) -> object:
    (name,) = parts
    return known.cls[name]


def _pack_model(value: object, known: Known, classes: KnownClasses) -> list[object]:
    state = known.state_of(value)
    were_set, extra, private = [state.pop(name, None) for name in MODEL_SLOTS]
    more = _pack_items((extra, private), classes)
    return [[_pack_dict(state, classes), sorted(were_set or ()), *more]]


def _model(parts: list[Any], known: Known, classes: KnownClasses) -> object:
    ((fields, were_set, extra, private),) = parts
    fields = known.checked(unpack(fields, classes))
    if not _STRINGS.issuperset(map(type, were_set)):
        raise ValueError("the names of fields are texts")
    # Only the state is set: validators that change their input must not run again, and fields that
    # were not set stay unset.
    model: Any = known.cls.__new__(known.cls)
    slots = (set(were_set), unpack(extra, classes), unpack(private, classes))
    model.__setstate__({"__dict__": fields, **dict(zip(MODEL_SLOTS, slots, strict=True))})
    return model


def _pack_dataclass(value: object, known: Known, classes: KnownClasses) -> list[object]:
    state = known.state_of(value)
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


def _dataclass(parts: list[Any], known: Known, classes: KnownClasses) -> object:
    fields, *alias = parts
    state = known.checked({field: unpack(item, classes) for field, item in fields.items()})
    if alias:
        state[ALIAS] = classes.aliases[alias[0]]
    value: object = object.__new__(known.cls)
    if known.whole is not None:
        known.whole.restore(value, state)
    return value


def _pack_named_tuple(value: Any, _known: Known, classes: KnownClasses) -> list[object]:
    refuse_more(value)
    return [_pack_items(value, classes)]


def _named_tuple(parts: list[Any], known: Known, classes: KnownClasses) -> object:
    (items,), cls = parts, known.cls
    if len(items) != len(cls._fields):
        raise ValueError("a named tuple has as many items as names")
    return tuple.__new__(cls, _items(items, classes))


_BUILT_IN: tuple[tuple[type, str, Pack, Unpack], ...] = (
    (tuple, "$tuple", _pack_items, _then(tuple, _items)),
    (set, "$set", _pack_set, _then(set, _members)),
    (frozenset, "$frozenset", _pack_set, _then(frozenset, _members)),
    (OrderedDict, "$ordered", _pack_pairs, _then(OrderedDict, _pairs)),
    (Counter, "$counter", _pack_pairs, _then(Counter, _pairs)),
    (defaultdict, "$defaultdict", _pack_default, _default),
    (deque, "$deque", _pack_deque, _deque),
)
_KINDS = (
    _Kind("$enum", lambda cls: issubclass(cls, Enum), _pack_enum, _enum),
    _Kind("$model", lambda cls: issubclass(cls, BaseModel), _pack_model, _model),
    _Kind("$dataclass", dataclasses.is_dataclass, _pack_dataclass, _dataclass),
    _Kind("$namedtuple", is_named_tuple, _pack_named_tuple, _named_tuple),
)


def _tagging(tag: str, pack_content: Pack) -> Pack:
    return lambda value, classes: {tag: pack_content(value, classes)}


def _writing(text: Text) -> Pack:
    tag, write = f"${text.name}", text.write
    return lambda value, _classes: {tag: write(value)}


_PACKERS: dict[type, Pack] = {
    **dict.fromkeys(_ATOMS, lambda value, _classes: value),
    float: lambda value, _classes: value if isfinite(value) else {"$float": repr(value)},
    list: _pack_items,
    dict: _pack_dict,
    **{cls: _tagging(tag, packer) for cls, tag, packer, _ in _BUILT_IN},
    **{cls: _writing(text) for cls, text in TEXTS.items() if not text.is_named},
}
_UNPACKERS: dict[str, Unpack] = {
    "$float": lambda content, _classes: _NOT_FINITE[content],
    "$dict": _pairs,
    "$text": _named_text,
    "$pguuid": lambda content, _classes: pg_uuid()(content),  # a miss without asyncpg
    **{tag: unpacker for _, tag, _, unpacker in _BUILT_IN},
    **{f"${text.name}": _reading(text) for text in TEXTS.values() if not text.is_named},
    **{kind.tag: _unpacking(kind) for kind in _KINDS},
}

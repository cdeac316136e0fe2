"""An exception for each of those who share one: equal, but nobody's but his own.

Whoever raises an exception adds to its traceback, and may add notes or change what it holds. One
object for a hundred callers would grow with each of them, and each would log what all have added.

A copy is made without running any code of the exception's class: its constructor may want other
arguments than it keeps, or do something besides. It is made only where all of its state is known:
that of Python's own exceptions, `__dict__` and `__slots__`. Where there may be more, as in one that
an extension made, the one object is raised again, and its traceback begins anew each time.

One that holds an object which is no data, a response or a session for one, is not shared at all: what its
handler makes of that may be for one caller.
"""

from collections.abc import Iterable, Iterator
from types import MemberDescriptorType, TracebackType
from typing import Any

from starlette.responses import Response

from ..here import FOLDER
from ..stored import FOR_ONE, why_not_stored
from ..values import canonical_text

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a `class` statement, or by an extension
_POINTER = 8
_EMPTY = object()
_OF_EACH = ("args", "__context__", "__cause__", "__suppress_context__")
"""What every exception has; a cause, when it is set, suppresses the context."""
_LINES = [[name, value] for name in (str, bytes) for value in (str, bytes)]
_CONTAINERS = (tuple, list, set, frozenset)

TELLING = FOR_ONE | {
    *("cache-control", "pragma", "expires", "age", "vary", "connection", "content-range"),
}
"""Headers that are for one client, or say whether what they stand beside is."""


def is_for_one(error: BaseException) -> bool:
    """Whether an exception may be for one caller, in itself or in what it comes from.

    It may, unless it holds nothing but data, and among that no headers of a response which must not
    be stored.
    """
    try:
        return any(map(_is_for_one, _held(error)))
    except Exception:  # it holds what cannot be looked at
        return True


def _held(error: BaseException) -> Iterator[Any]:
    """Yield what an exception holds, in containers too: these first, then what is in them."""
    todo: list[Any] = [error]
    seen: dict[int, Any] = {}
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, BaseException):
            values = [_value(slot, value) for slot in _slots(type(value))]
            more = getattr(value, "headers", None)  # which its class may work out
            todo += [value.args, vars(value), more, value.__cause__, value.__context__, *values]
        elif type(value) is dict:
            yield value.items()
            todo += [*value, *value.values()]
        elif type(value) in _CONTAINERS:
            yield value
            todo += value
        elif value is not _EMPTY:
            canonical_text((value,))  # which raises for what is no data


def _is_for_one(items: Iterable[Any]) -> bool:
    """Whether there are header lines among some things, names and values, that forbid to store."""
    response = Response()
    response.raw_headers = [
        (_line(each[0]), _line(each[1]))
        for each in items
        if type(each) in (tuple, list) and [*map(type, each)] in _LINES and _name(each) in TELLING
    ]
    return why_not_stored(response) is not None


def _name(line: Any) -> str:
    return _line(line[0]).decode("latin-1").lower()


def _line(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")


def own(error: Exception, traceback: TracebackType | None) -> Exception:
    """Return an exception equal to `error`, for one of those who share it.

    Its traceback begins with `traceback`. It is `error` itself where that cannot be copied.
    """
    try:
        copy = _copy(error)
    except Exception:  # of a class that does not let itself be copied
        copy = None
    return (error if copy is None else copy).with_traceback(traceback)


def without_own_frames(error: BaseException) -> None:
    """Take the frames of the cache off the beginning of a traceback, if others follow them."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(FOLDER):
        traceback = traceback.tb_next
    if traceback is not None:
        error.with_traceback(traceback)


def _copy(error: Exception) -> Exception | None:
    """Return a copy, or `None` where there may be more to it than is known."""
    cls = type(error)
    base = next(each for each in cls.__mro__ if not each.__flags__ & _HEAP_TYPE)
    derived = cls.__mro__[: cls.__mro__.index(base)]
    if base.__module__ != "builtins" or not all(map(_is_plain, derived)):
        return None
    seen: dict[int, Any] = {}
    args = _unshared(error.args, seen)
    copy: Exception = base.__new__(cls, *args)
    for slot in _slots(cls):
        _fill(slot, error, copy, seen)
    copy.__dict__.update({name: _unshared(value, seen) for name, value in vars(error).items()})
    for name in _OF_EACH:
        object.__setattr__(copy, name, args if name == "args" else getattr(error, name))
    return copy


def _is_plain(cls: type) -> bool:
    """Whether a class adds nothing to its base in memory but slots and what every class may add."""
    if cls.__base__ is None:
        return False
    slots = sum(isinstance(each, MemberDescriptorType) for each in vars(cls).values())
    more = cls.__basicsize__ - cls.__base__.__basicsize__ - slots * _POINTER
    return more == 0 or (more == _POINTER and "__weakref__" in vars(cls))


def _slots(cls: type) -> list[MemberDescriptorType]:
    """Return the places in which objects of a class keep something, besides their `__dict__`."""
    return [
        each
        for base in cls.__mro__
        if base is not BaseException
        for each in vars(base).values()
        if isinstance(each, MemberDescriptorType)
    ]


def _fill(
    slot: MemberDescriptorType, error: Exception, copy: Exception, seen: dict[int, Any]
) -> None:
    """Put into a slot of the copy what is in that of the original."""
    value = _value(slot, error)
    if value is _value(slot, copy):  # both are empty, or both were filled when they were made
        return
    try:
        slot.__set__(copy, _unshared(value, seen))
    except (AttributeError, TypeError):  # it cannot be changed
        if _value(slot, copy) != value:
            raise


def _value(slot: MemberDescriptorType, error: BaseException) -> Any:
    """Return what is in a slot; one that is empty may be `None`, if it is one of Python's own."""
    try:
        return slot.__get__(error)
    except AttributeError:
        return _EMPTY


def _unshared(value: Any, seen: dict[int, Any]) -> Any:
    """Return a copy of a container, and of those inside; anything else is handed on as it is."""
    if type(value) not in (list, dict, set, tuple):
        return value
    if id(value) in seen:
        return seen[id(value)]
    if type(value) is list:
        seen[id(value)] = items = []
        items.extend([_unshared(each, seen) for each in value])
        return items
    if type(value) is dict:
        seen[id(value)] = entries = {}
        entries.update({key: _unshared(each, seen) for key, each in value.items()})
        return entries
    seen[id(value)] = other = (
        set(value) if type(value) is set else tuple([_unshared(each, seen) for each in value])
    )
    return other

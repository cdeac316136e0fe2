"""Copies of an exception: one for each caller that shares a failure.

A caller that raises an exception adds to its traceback, and may add notes or change its state. One
object for a hundred callers would grow with each of them, and each would log what all have added.

Only plain exceptions are shared. They keep their state in `args` and `__dict__`, which hold only
data and plain exceptions, and no name of a header for one client. Their cause and context are
plain, too. They are copied without running any code of their classes. Any other exception may hold
data for one caller only: then each caller runs the function for itself.
"""

from datetime import date, timedelta
from decimal import Decimal
from enum import EnumType
from types import NoneType
from typing import Any
from uuid import UUID

from ..here import is_of_cache
from ..stored import FOR_ONE

TELLING = FOR_ONE | {
    *("cache-control", "pragma", "expires", "age", "vary", "connection", "content-range"),
}
"""Headers that are for one client, or that say whether the response is for one client."""

_ATOMS = {NoneType, bool, int, float, complex, str, bytes, UUID, Decimal, date, timedelta}
_CONTAINERS = {list, tuple, set, frozenset}
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a `class` statement, or by an extension
_POINTER = 8  # bytes, of the list of weak references that a class may add
_NOT_PLAIN = {"headers", "__getattr__", "__getattribute__", "__del__"}
"""With these a class may show headers that it does not hold, or run code when a copy is deleted."""
# These read and write the attributes even if a class defines attributes with the same names.
_PARTS = [
    vars(BaseException)[name]
    for name in ("__dict__", "__cause__", "__context__", "__suppress_context__")
]
_ARGS = vars(BaseException)["args"]
_TRACEBACK = vars(BaseException)["__traceback__"]


def copied(error: Exception) -> Exception | None:
    """Return an exception for another caller, or `None` if this one may be for one caller only.

    Its traceback begins with that of `error`.
    """
    try:
        copy: Exception = _copied(error, {})
    except Exception:  # also for data that refers to itself, or is too deep for the stack
        return None
    return copy


def holds_only_data(error: Exception) -> bool:
    """Whether an exception holds nothing but data, and no name of a header for one client."""
    try:
        _copied([*_ARGS.__get__(error), vars(error)], {})
    except Exception:  # as in `copied`
        return False
    return True


def is_plain(cls: type[BaseException]) -> bool:
    """Whether the objects of a class keep their state in `args` and `__dict__`, and nowhere else."""
    base = next(each for each in cls.__mro__ if not each.__flags__ & _HEAP_TYPE)
    return _is_plain(cls, base) and not issubclass(base, OSError)


def without_own_frames(error: BaseException) -> None:
    """Remove the frames of the cache from the beginning of a traceback, if others follow them."""
    traceback = error.__traceback__
    while traceback is not None and is_of_cache(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    if traceback is not None:
        error.with_traceback(traceback)


def _copied(value: Any, done: dict[int, Any]) -> Any:
    """Return a copy of data or of an exception; `done` has the copies so far, by `id`.

    Raises `TypeError` for an object that is no data, and for the name of a header for one client.
    """
    cls = type(value)
    if id(value) in done:
        return done[id(value)]
    if cls in _ATOMS or type(cls) is EnumType:
        text = value.decode("latin-1") if cls is bytes else value
        if isinstance(text, str) and text.lower() in TELLING:
            raise TypeError("it may be a header for one client")
        return value
    if cls is dict:
        copy: Any = {_copied(key, done): _copied(each, done) for key, each in value.items()}
    elif cls in _CONTAINERS:
        copy = cls([_copied(each, done) for each in value])
    elif issubclass(cls, BaseException):
        copy = _copied_exception(value, done)
    else:
        raise TypeError(f"a {cls.__qualname__} is no data")
    done[id(value)] = copy
    return copy


def _copied_exception(error: BaseException, done: dict[int, Any]) -> BaseException:
    cls = type(error)
    base: Any = next(each for each in cls.__mro__ if not each.__flags__ & _HEAP_TYPE)
    if not _is_plain(cls, base):
        raise TypeError(f"a {cls.__qualname__} may hold more than is known")
    args = [_copied(each, done) for each in base.__reduce__(error)[1]]
    copy: BaseException = base.__new__(cls, *args)
    base.__init__(copy, *args)
    if base.__str__(copy) != base.__str__(error):
        raise TypeError(f"a {cls.__qualname__} was changed after it was made")
    for part in _PARTS:
        part.__set__(copy, _copied(part.__get__(error), done))
    return BaseException.with_traceback(copy, _TRACEBACK.__get__(error))


def _is_plain(cls: type, base: type) -> bool:
    """Whether a class keeps its state where its `base`, the first of Python's own, keeps it."""
    own = cls.__mro__[: cls.__mro__.index(base)]
    is_known = base.__basicsize__ == BaseException.__basicsize__ or issubclass(base, OSError)
    more = _POINTER if cls.__weakrefoffset__ > 0 else 0
    return (
        base.__module__ == "builtins"
        and is_known
        and cls.__basicsize__ == base.__basicsize__ + more
        and not any(_NOT_PLAIN.intersection(vars(each)) for each in own)
    )

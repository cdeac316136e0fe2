"""A response, and background tasks, that note what is read of them, whatever the way.

FastAPI hands the same response and the same tasks to the dependencies of a route and to its function.
What a dependency has put there is in no key. So a cached function is given doubles: what it writes
reaches the real ones, and what it reads is noted. The few ways to write are known, and hand nothing
back; everything else counts as reading, that there is nothing as well. Only what the function itself
has set before is its own.
"""

import functools
from collections.abc import Callable, MutableSequence
from typing import Any

from starlette.background import BackgroundTasks
from starlette.datastructures import MutableHeaders
from starlette.responses import Response

from .requests import header

KINDS = (Response, BackgroundTasks)
WHERE = ("of the response", "of the background tasks")
"""What is noted of them ends so."""
_ALL = "all headers of the response"
_WRITERS = frozenset({"set_cookie", "delete_cookie", "add_task"})


def watched(thing: Any, noted: set[str]) -> Any:
    """Return a double of a response or of background tasks; what is read of it is noted."""
    kind: Any = type(thing)
    double: Any = object.__new__(_double_of(kind))
    object.__setattr__(double, "_watch", (thing, noted, set[str]()))
    return double


def original(thing: Any) -> Any:
    """Return what is behind a double, or behind a double of one; anything else as it is."""
    while hasattr(type(thing), "_is_handed"):
        thing = object.__getattribute__(thing, "_watch")[0]
    return thing


class _Handed:
    """What all doubles have before what their class has."""

    __slots__ = ()
    _is_handed = True

    def __getattribute__(self, name: str) -> Any:
        thing, noted, own = object.__getattribute__(self, "_watch")
        is_response = isinstance(thing, Response)
        if is_response and name == "headers":
            return _WatchedHeaders(thing.headers, noted, own)
        if is_response and name == "raw_headers" and name not in own:
            return _WatchedLines(thing.raw_headers, noted)
        if name in _WRITERS:
            return functools.partial(_write, getattr(thing, name))
        if name == "__class__":
            return type(original(self))
        if name not in own:
            what = "the response" if is_response else "the background tasks"
            noted.add(f"the attribute {name!r} of {what}")
        return getattr(thing, name)

    def __setattr__(self, name: str, value: Any) -> None:
        thing, _, own = object.__getattribute__(self, "_watch")
        if isinstance(value, _WatchedLines):
            if value.are_of(self):  # they were added to in place
                return
            value = list(value)
        setattr(thing, name, value)
        own.add(name)

    def __delattr__(self, name: str) -> None:
        delattr(object.__getattribute__(self, "_watch")[0], name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce_ex__(protocol)  # that of the real one, by the way of all attributes

    def __eq__(self, other: object) -> bool:
        return bool(original(self) == original(other))

    def __hash__(self) -> int:
        return hash(original(self))


@functools.lru_cache(maxsize=256)  # classes may be made in functions
def _double_of(cls: Any) -> Any:
    """Make, once for each class, the class of its doubles."""
    if hasattr(cls, "_is_handed"):  # a function has handed its double on to another one
        return cls
    return type(cls)(cls.__name__, (_Handed, cls), {"__slots__": ("_watch",)})


class _WatchedLines(MutableSequence[Any]):
    """Header lines of a response that note when they are read; lines may be added unread."""

    def __init__(self, lines: Any, noted: set[str]) -> None:
        self._lines, self._noted = lines, noted

    def are_of(self, response: Any) -> bool:
        lines = self._lines
        while isinstance(lines, _WatchedLines):
            lines = lines._lines
        return lines is original(response).raw_headers

    def _all(self) -> Any:
        self._noted.add(_ALL)
        return self._lines

    def append(self, value: Any) -> None:
        self._lines.append(value)

    def extend(self, values: Any) -> None:
        self._lines.extend(values)

    def insert(self, index: int, value: Any) -> None:
        self._lines.insert(index, value)

    def __getitem__(self, index: Any) -> Any:
        return self._all()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._all()[index] = value

    def __delitem__(self, index: Any) -> None:
        del self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._all(), name)  # what else a list has

    def __add__(self, other: Any) -> Any:
        return [*self._all(), *other]

    def __radd__(self, other: Any) -> Any:
        return [*other, *self._all()]

    def __eq__(self, other: object) -> bool:
        return bool(list(self._all()) == other)

    __hash__ = None  # type: ignore[assignment] # as that of a list

    def __repr__(self) -> str:
        return repr(self._all())

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return list, (list(self._all()),)


def _write(method: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    method(*args, **kwargs)


class _WatchedHeaders(MutableHeaders):
    """Headers of a response that note which of them are looked up, and else that all may be.

    Every method of `MutableHeaders` reads `_list`; those below write, or know which header they want.
    """

    def __init__(self, headers: MutableHeaders, noted: set[str], own: set[str]) -> None:
        self._headers, self._noted, self._own = headers, noted, own

    @property
    def _list(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override] # an attribute there
        self._noted.add(_ALL)
        return self._headers.raw

    def _note(self, key: object) -> None:
        word = header(str(key))
        if word not in self._own:
            self._noted.add(f"{word} of the response")

    def __getitem__(self, key: str) -> str:
        self._note(key)
        return self._headers[key]

    def get(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return self._headers.get(key, default)

    def __contains__(self, key: object) -> bool:
        self._note(key)
        return key in self._headers

    def getlist(self, key: str) -> list[str]:
        self._note(key)
        return self._headers.getlist(key)

    def setdefault(self, key: str, value: str) -> str:
        self._note(key)
        return self._headers.setdefault(key, value)

    def __setitem__(self, key: str, value: str) -> None:
        self._headers[key] = value
        self._own.add(header(key))

    def __delitem__(self, key: str) -> None:
        del self._headers[key]
        self._own.add(header(key))

    def append(self, key: str, value: str) -> None:
        self._headers.append(key, value)

    def add_vary_header(self, vary: str) -> None:
        self._headers.add_vary_header(vary)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return MutableHeaders, (None, list(self._list))

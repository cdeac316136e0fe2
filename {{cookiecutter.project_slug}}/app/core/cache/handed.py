"""A response, and background tasks, that note what is read of them, whatever the way.

FastAPI hands the same response and the same tasks to the dependencies of a route and to its function.
What a dependency has put there is in no key. So a cached function is given doubles: what it writes
reaches the real ones, and what it reads is noted. The few ways to write are known, and hand nothing
back; everything else counts as reading, that there is nothing as well. Only what the function itself
has set before is its own.
"""

import functools
from collections.abc import Callable
from typing import Any

from starlette.background import BackgroundTasks
from starlette.datastructures import MutableHeaders
from starlette.responses import Response

from .requests import header

KINDS = (Response, BackgroundTasks)
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


@functools.cache
def _double_of(cls: Any) -> Any:
    """Make, once for each class, the class of its doubles."""
    if hasattr(cls, "_is_handed"):  # a function has handed its double on to another one
        return cls
    what = "the response" if issubclass(cls, Response) else "the background tasks"

    class Double(cls):  # type: ignore[misc] # whichever class it is
        __slots__ = ("_watch",)
        _is_handed = True

        def __getattribute__(self, name: str) -> Any:
            thing, noted, own = object.__getattribute__(self, "_watch")
            if name == "headers" and issubclass(cls, Response):
                return _WatchedHeaders(thing.headers, noted, own)
            if name in _WRITERS:
                return functools.partial(_write, getattr(thing, name))
            if name == "__class__":
                return type(original(self))
            if name not in own:
                noted.add(f"the attribute {name!r} of {what}")
            return getattr(thing, name)

        def __setattr__(self, name: str, value: Any) -> None:
            thing, _, own = object.__getattribute__(self, "_watch")
            setattr(thing, name, value)
            own.add(name)

        def __delattr__(self, name: str) -> None:
            delattr(object.__getattribute__(self, "_watch")[0], name)

        def __reduce_ex__(self, protocol: Any) -> Any:
            return self.__reduce_ex__(protocol)

        def __eq__(self, other: object) -> bool:
            return bool(original(self) == original(other))

        def __hash__(self) -> int:
            return hash(original(self))

    Double.__name__ = Double.__qualname__ = cls.__name__
    return Double


def _write(method: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    method(*args, **kwargs)


class _WatchedHeaders(MutableHeaders):
    """Headers of a response that note which of them are looked up, and else that all may be.

    Every method of `MutableHeaders` reads `_list`; those below write, or know which header they want.
    """

    def __init__(self, headers: MutableHeaders, noted: set[str], own: set[str]) -> None:
        self._headers, self._noted, self._own = headers, noted, own

    @property
    def _list(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override]
        self._noted.add("all headers of the response")
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

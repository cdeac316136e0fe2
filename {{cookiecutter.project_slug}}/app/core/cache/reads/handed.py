"""Doubles of a response and of background tasks, which note when they are read.

FastAPI passes the same response and tasks to the dependencies of a route and to its function. No
key holds what a dependency has stored there. So a cached function gets doubles. Writes reach the
real objects. Every other use counts as a read, even of what the function itself has written.
"""

import functools
from collections.abc import Callable
from typing import Any

from starlette.background import BackgroundTasks
from starlette.datastructures import MutableHeaders
from starlette.responses import Response

KINDS = (Response, BackgroundTasks)
WHERE = ("of the response", "of the background tasks")
"""The ends of the notes about them."""
_WRITERS = frozenset({"set_cookie", "delete_cookie", "add_task"})


def watched(thing: Any, noted: set[str]) -> Any:
    """Return a double of a response or of background tasks, which adds its reads to `noted`."""
    kind: Any = type(thing)
    double: Any = object.__new__(_double_of(kind))
    object.__setattr__(double, "_watch", (thing, noted))
    return double


def original(thing: Any) -> Any:
    """Return the real object of a double, or of a double of a double; else `thing` itself."""
    while hasattr(type(thing), "_is_handed"):
        thing = object.__getattribute__(thing, "_watch")[0]
    return thing


class _Handed:
    """The methods that doubles have in front of those of their class."""

    __slots__ = ()
    _is_handed = True

    def __getattribute__(self, name: str) -> Any:
        thing, noted = object.__getattribute__(self, "_watch")
        if name in _WRITERS:
            return functools.partial(_write, getattr(thing, name))
        if name == "__class__":
            return type(original(self))
        is_response = isinstance(thing, Response)
        if is_response and name == "headers":
            return _WatchedHeaders(thing.headers, noted)
        noted.add(f"the attribute {name!r} {WHERE[not is_response]}")
        return getattr(thing, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_watch")[0], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(object.__getattribute__(self, "_watch")[0], name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce_ex__(protocol)  # the method of the real object, by `__getattribute__`

    def __eq__(self, other: object) -> bool:
        return bool(original(self) == original(other))

    def __hash__(self) -> int:
        return hash(original(self))


@functools.lru_cache(maxsize=256)  # bounded, because classes may be made in functions
def _double_of(cls: Any) -> Any:
    """Make the class of the doubles of `cls`, once for each class."""
    if hasattr(cls, "_is_handed"):  # a cached function passed its double to another one
        return cls
    return type(cls)(cls.__name__, (_Handed, cls), {"__slots__": ("_watch",)})


def _write(method: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    method(*args, **kwargs)


class _WatchedHeaders(MutableHeaders):
    """Headers of a response that note reads. Every method that reads uses `_list`."""

    def __init__(self, headers: MutableHeaders, noted: set[str]) -> None:
        self._headers, self._noted = headers, noted

    @property
    def _list(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override] # an attribute there
        self._noted.add(f"the headers {WHERE[0]}")
        return self._headers.raw

    def __setitem__(self, key: str, value: str) -> None:
        self._headers[key] = value

    def __delitem__(self, key: str) -> None:
        del self._headers[key]

    def append(self, key: str, value: str) -> None:
        self._headers.append(key, value)

    def add_vary_header(self, vary: str) -> None:
        self._headers.add_vary_header(vary)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return MutableHeaders, (None, list(self._list))

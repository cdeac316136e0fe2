"""A double of a request, which notes all reads.

A cached function that takes the request may read any part of it. Its result may be shared only if
it depends on nothing that the key lacks. So the function gets a double of the request. The scope of
the double holds all that the server and the middlewares know, and notes each key that is read.
Other attributes and the body are noted, too. An unusual way to read is noted more coarsely, for
example as "the whole scope", but never missed.
"""

import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.datastructures import URL, Headers
from starlette.requests import HTTPConnection
from starlette.types import Message

from ..values import UnkeyableError, canonical_text

C = TypeVar("C", bound=HTTPConnection)

WHOLE = "the whole scope"
HOST, SCHEME = "the header 'host'", "the scheme"
BODY = "the body"
IN_IDENTITY = frozenset(
    {
        *("the method", "the path", "the query_string", "the path_params"),
        *("the root_path", "the app_root_path"),
    }
)
"""The notes for the parts of a request that `identity` holds."""

# These are the same for every request that reaches the function.
_CONSTANT = frozenset({"type", "asgi", "app", "router"})
_OF_THE_ROUTE = frozenset({"route", "endpoint"})  # by which of its routes it is reached
_WORDS = {"client": "the client's address", "headers": "all headers"}

# Attributes of Starlette's connections: internals, and values that it computes from the scope.
_PLUMBING = frozenset(
    {"scope", "_receive", "_send", "_stream_consumed", "_is_disconnected"},
)
_READ_AGAIN = frozenset(
    {"_headers", "_cookies", "_url", "_base_url", "_query_params", "_state"},
)
_OF_THE_BODY = frozenset({"_body", "_json", "_form"})


def header(name: str) -> str:
    """Return the note for a header of the request."""
    return f"the header {name.lower()!r}"


def identity(connection: HTTPConnection) -> str:
    """Return the part of a key for a request: method, root path, path, query, path parameters.

    Raises `UnkeyableError` for a WebSocket, and for a path parameter without an identity.
    """
    scope = connection.scope
    if scope["type"] != "http":
        raise UnkeyableError("a connection that is no request has no identity")
    query = scope.get("query_string", b"").decode("latin-1")
    written = canonical_text((scope["method"], scope.get("root_path", ""), scope["path"], query))
    params = scope.get("path_params")  # `Host` routes have parameters, too
    return f"q{written}{canonical_text((params,)) if params else ''};"


def watched(connection: C, noted: set[str]) -> C:
    """Return a double of a connection, which adds its reads to `noted`.

    Writes to the double, or to its scope, reach the connection.
    """
    cls = _double_of(type(connection))
    double: C = object.__new__(cls)  # pyright: ignore[reportAssignmentType]
    state = vars(double)
    state |= {name: vars(connection)[name] for name in _PLUMBING & vars(connection).keys()}
    state["scope"] = _WatchedScope(connection.scope, noted)
    if "_receive" in state:
        state["_receive"] = _watched_receive(state["_receive"], noted)
    state["_watch"] = (connection, noted)
    return double


def changed(connection: C, changes: Mapping[str, Any]) -> C:
    """Return a copy of a connection, with these changes of its scope."""
    connection = _innermost(connection)
    other: C = object.__new__(type(connection))
    vars(other).update({k: v for k, v in vars(connection).items() if k not in _READ_AGAIN})
    vars(other)["scope"] = {**connection.scope, **changes}
    return other


@functools.cache
def _double_of(cls: type[C]) -> type[C]:
    """Make the class of the doubles of `cls`, once for each class."""
    if hasattr(cls, "_is_double"):  # a cached function passed its double to another one
        return cls

    class Double(cls):  # type: ignore[misc, valid-type] # whichever class it is
        __slots__ = ()
        _is_double = True

        def __getattribute__(self, name: str) -> Any:
            """Run methods of the class on the watched scope; note attributes of the connection."""
            own: dict[str, Any] = object.__getattribute__(self, "__dict__")
            if name in own or name in _READ_AGAIN or name.startswith("__"):
                return super().__getattribute__(name)
            connection, noted = own["_watch"]
            if name in vars(_innermost(connection)) or not hasattr(cls, name):
                noted.add(BODY if name in _OF_THE_BODY else f"the attribute {name!r}")
                return getattr(connection, name)
            return super().__getattribute__(name)

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name not in _PLUMBING and name not in _READ_AGAIN:
                setattr(self._watch[0], name, value)

        def __eq__(self, other: object) -> bool:
            return _innermost(self) is _innermost(other)

        def __hash__(self) -> int:
            return hash(_innermost(self))

    # Instead of Starlette's own: these note single headers, and parts of the URL.
    for name, read in (("headers", _headers), ("url", _url), ("base_url", _base_url)):
        if getattr(cls, name) is getattr(HTTPConnection, name):
            setattr(Double, name, property(read))
    Double.__name__ = Double.__qualname__ = cls.__name__
    return Double  # pyright: ignore[reportReturnType]


def _innermost(connection: Any) -> Any:
    """Return the real connection of a double, or of a double of a double."""
    while hasattr(type(connection), "_is_double"):
        connection = object.__getattribute__(connection, "_watch")[0]
    return connection


def _headers(double: Any) -> Headers:
    connection, noted = double._watch
    return _WatchedHeaders(connection.headers, noted)


def _url(double: Any) -> URL:
    connection, noted = double._watch
    return _WatchedURL(connection.url, noted)


def _base_url(double: Any) -> URL:
    connection, noted = double._watch
    noted.update((HOST, SCHEME, "the root_path", "the app_root_path"))
    url: URL = connection.base_url
    return url


def _watched_receive(
    receive: Callable[[], Awaitable[Message]], noted: set[str]
) -> Callable[[], Awaitable[Message]]:
    async def watched_receive() -> Message:
        message = await receive()
        if not message["type"].endswith(".disconnect"):  # a disconnect has no part of the body
            noted.add(BODY)
        return message

    return watched_receive


if TYPE_CHECKING:
    _EmptyDict = dict[str, Any]
else:  # at run time `get`, `items` and others call the five abstract methods

    class _EmptyDict(MutableMapping, dict):
        """A mapping that is also an instance of `dict`."""


class _WatchedScope(_EmptyDict):
    """An ASGI scope that notes which of its keys are read. Writes reach the real scope.

    As a `dict` it is empty, so C code that bypasses the methods below finds nothing. The keys are
    in https://asgi.readthedocs.io/en/latest/specs/www.html.
    """

    def __init__(self, scope: MutableMapping[str, Any], noted: set[str]) -> None:
        self._scope, self._noted = scope, noted

    def __getitem__(self, key: str) -> Any:
        if key in _OF_THE_ROUTE:
            self._noted.update(("the method", "the path"))
        elif key not in _CONSTANT:
            self._noted.add(_WORDS.get(key, f"the {key}"))
        return self._scope[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._scope[key] = value

    def __delitem__(self, key: str) -> None:
        del self._scope[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def __repr__(self) -> str:
        return repr(self._whole())

    def copy(self) -> dict[str, Any]:
        return dict(self._whole())

    def __reduce_ex__(self, _protocol: Any) -> Any:  # `copy.copy` uses it, too
        return dict, (self.copy(),)

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def _whole(self) -> Mapping[str, Any]:
        self._noted.add(WHOLE)
        return self._scope


class _WatchedHeaders(Headers):
    """Headers that note the names that are looked up. Any other read counts as all headers.

    Every method of `Headers` reads `_list`, except the methods below, which know the name.
    """

    def __init__(self, headers: Headers, noted: set[str]) -> None:
        self._headers, self._noted = headers, noted

    @property
    def _list(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override] # an attribute there
        self._noted.add(_WORDS["headers"])
        return self._headers.raw

    def __getitem__(self, key: str) -> str:
        self._noted.add(header(key))
        return self._headers[key]

    def __contains__(self, key: object) -> bool:
        self._noted.add(header(str(key)))
        return key in self._headers

    def getlist(self, key: str) -> list[str]:
        self._noted.add(header(key))
        return self._headers.getlist(key)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return Headers, (None, list(self._list))


class _WatchedURL(URL):
    """A URL that notes which part is read: path, query, or all, which includes the host.

    Every other method of `URL` reads `_url`; those that change the URL call `replace`.
    """

    def __init__(self, url: URL, noted: set[str]) -> None:
        self._real, self._noted = url, noted

    @property
    def _url(self) -> str:  # type: ignore[override] # an attribute there
        self._noted.update((HOST, SCHEME, "the path", "the query_string"))
        return str(self._real)

    @property
    def path(self) -> str:
        self._noted.add("the path")
        return self._real.path

    @property
    def query(self) -> str:
        self._noted.add("the query_string")
        return self._real.query

    def replace(self, **changes: Any) -> URL:
        return URL(self._url).replace(**changes)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return URL, (self._url,)


_WatchedHeaders.__name__, _WatchedURL.__name__ = "Headers", "URL"  # for their `repr`

"""A request that notes what is read of it, whatever the way.

A cached function that takes the request may read anything of it, and only what is in the key may
decide about a result that others get. So the function is given a double of the request. Its scope,
through which all that the server and the middlewares know is read, notes each key that is looked up,
and so do what it carries besides and its body. No reader has to be known for that: what is read in
a way that nobody thought of is noted more coarsely, never less.
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
"""What `identity` holds of a request, in the words in which it is noted."""

# The same for every request that reaches the function.
_CONSTANT = frozenset({"type", "asgi", "app", "router"})
_OF_THE_ROUTE = frozenset({"route", "endpoint"})  # by which of its routes it is reached
_WORDS = {"client": "the client's address", "headers": "all headers"}

# What Starlette keeps of a connection besides: its plumbing, and what it can read again.
_PLUMBING = frozenset(
    {"scope", "_receive", "_send", "_stream_consumed", "_is_disconnected"},
)
_READ_AGAIN = frozenset(
    {"_headers", "_cookies", "_url", "_base_url", "_query_params", "_state"},
)
_OF_THE_BODY = frozenset({"_body", "_json", "_form"})


def header(name: str) -> str:
    """Return the word for a header of the request."""
    return f"the header {name.lower()!r}"


def identity(connection: HTTPConnection) -> str:
    """Return what a key takes from a request: method, path, its parameters, and query.

    Raises `UnkeyableError` for a WebSocket, and for a path parameter without an identity.
    """
    scope = connection.scope
    if scope["type"] != "http":
        raise UnkeyableError("a connection that is no request has no identity")
    query = scope.get("query_string", b"").decode("latin-1")
    written = canonical_text((scope["method"], scope.get("root_path", ""), scope["path"], query))
    params = scope.get("path_params")  # some may be of the host, not of the path
    return f"q{written}{canonical_text((params,)) if params else ''};"


def watched(connection: C, noted: set[str]) -> C:
    """Return a double of a connection, which adds to `noted` what is read of it.

    What is written to the double, or to its scope, reaches the connection.
    """
    cls = _double_of(type(connection))
    double: C = object.__new__(cls)
    state = vars(double)
    state |= {name: vars(connection)[name] for name in _PLUMBING & vars(connection).keys()}
    state["scope"] = _WatchedScope(connection.scope, noted)
    if "_receive" in state:
        state["_receive"] = _watched_receive(state["_receive"], noted)
    state["_watch"] = (connection, noted)
    return double


def changed(connection: C, changes: Mapping[str, Any]) -> C:
    """Return a connection like this one, whose scope has this in it."""
    connection = _innermost(connection)
    other: C = object.__new__(type(connection))
    vars(other).update({k: v for k, v in vars(connection).items() if k not in _READ_AGAIN})
    vars(other)["scope"] = {**connection.scope, **changes}
    return other


@functools.cache
def _double_of(cls: type[C]) -> type[C]:
    """Make, once for each class of connections, the class of their doubles."""
    if hasattr(cls, "_is_double"):  # a function has handed its double on to another one
        return cls

    class Double(cls):  # type: ignore[misc, valid-type] # whichever class it is
        __slots__ = ()
        _is_double = True

        def __getattribute__(self, name: str) -> Any:
            """Return what the class has, for the watched scope, unless the connection carries it."""
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

    # In place of Starlette's own: these note single headers, and parts of the address.
    for name, read in (("headers", _headers), ("url", _url), ("base_url", _base_url)):
        if getattr(cls, name) is getattr(HTTPConnection, name):
            setattr(Double, name, property(read))
    Double.__name__ = Double.__qualname__ = cls.__name__
    return Double


def _innermost(connection: Any) -> Any:
    """Return the connection behind a double, or behind a double of one."""
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
        if not message["type"].endswith(".disconnect"):  # that a client has gone is no answer
            noted.add(BODY)
        return message

    return watched_receive


if TYPE_CHECKING:
    _EmptyDict = dict[str, Any]
else:  # at run time its `get`, `items` and the like call the five methods of a mapping

    class _EmptyDict(MutableMapping, dict):
        """A mapping that is a `dict`, too."""


class _WatchedScope(_EmptyDict):
    """An ASGI scope that notes which of its keys are read; what is written reaches the real one.

    It is a `dict` that is empty, in front of the real one: what reads past the methods below, as C
    code may, finds nothing. See https://asgi.readthedocs.io/en/latest/specs/www.html for its keys.
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

    def __reduce_ex__(self, _protocol: Any) -> Any:  # of a copy, too
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
    """Headers that note the names of those that are looked up, and else that all may be read.

    Every method of `Headers` reads `_list`; those below know which header they want.
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
    """A URL that notes which part of it is read: path, query, or all of it, the host among it.

    Every method of `URL` reads `_url`, and those that change it call `replace`.
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


_WatchedHeaders.__name__, _WatchedURL.__name__ = "Headers", "URL"  # as their `repr` has it

"""A request that notes what is read of it.

A cached function that takes the request may read anything of it, and only what is part of the key
may decide about the result. Method, path, path parameters and query are. Whatever else is read is
noted, so that a result which depends on it is not stored for everybody.
"""

import functools
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from starlette.datastructures import URL, Headers
from starlette.requests import Request
from starlette.types import Receive

from .canonical import canonical_text

# Part of the key, or the same for every request that reaches the function.
_HARMLESS = frozenset(
    {
        *("type", "asgi", "http_version", "method", "path", "raw_path", "root_path"),
        *("app_root_path", "query_string", "path_params", "app", "router", "route", "endpoint"),
        "extensions",
    }
)
_NAMES = {"client": "the client's address"}


def noting(request: Request, vary: Collection[str]) -> tuple[Request, set[str]]:
    """Return a request like this one, and the set in which it notes what is read of it.

    Headers named in `vary`, in lower case, are not noted.
    """
    noted: set[str] = set()
    double: Request = object.__new__(_noting_class(type(request)))
    # With what was read before, a body for one, which can be read only once.
    double.__dict__.update(request.__dict__)
    for cached in ("_headers", "_cookies", "_url", "_base_url", "_state"):
        double.__dict__.pop(cached, None)
    double.__dict__["_note"] = _Note(noted, frozenset(vary))
    double.scope = _NotedScope(request.scope, noted)
    return double, noted


def identity(request: Request, vary: Collection[str]) -> str:
    """Return what a key takes from a request: method, path, query, and the headers in `vary`.

    A header that is absent and one that is empty differ, and so do one line of it and two.
    """
    scope = request.scope
    query = scope.get("query_string", b"").decode("latin-1")
    written = canonical_text((scope["method"], scope.get("root_path", ""), scope["path"], query))
    if vary:
        headers = Headers(raw=scope["headers"])
        written += canonical_text([headers.getlist(name) for name in vary])
        written += canonical_text([scope.get("scheme") if "host" in vary else None])
    return f"q{written}"


class _Note:
    """Where a request and its parts note what is read."""

    def __init__(self, noted: set[str], vary: frozenset[str]) -> None:
        self._noted = noted
        self._vary = vary

    def header(self, name: str) -> None:
        if name.lower() not in self._vary:
            self._noted.add(f"the header {name.lower()!r}")

    def other(self, name: str) -> None:
        self._noted.add(name)


class _NotedHeaders(Headers):
    """Headers that note their names where one is read, and all of them where all are.

    `keys`, `values` and `items` are lists, not views of a mapping, as Starlette's own are.
    """

    def __init__(self, raw: list[tuple[bytes, bytes]], note: _Note) -> None:
        super().__init__(raw=raw)
        self._note = note

    def __getitem__(self, key: str) -> str:
        self._note.header(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._note.header(str(key))
        return super().__contains__(key)

    def getlist(self, key: str) -> list[str]:
        self._note.header(key)
        return super().getlist(key)

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        self._note.other("all headers")
        return super().raw

    def keys(self) -> list[str]:  # type: ignore[override]
        self._note.other("all headers")
        return super().keys()

    def values(self) -> list[str]:  # type: ignore[override]
        self._note.other("all headers")
        return super().values()

    def items(self) -> list[tuple[str, str]]:  # type: ignore[override]
        self._note.other("all headers")
        return super().items()

    def __iter__(self) -> Iterator[Any]:
        self._note.other("all headers")
        return super().__iter__()


class _NotedURL(URL):
    """A URL that notes when more than its path and query is read."""

    def __init__(self, url: URL, note: _Note) -> None:
        super().__init__(str(url))
        self._note = note

    @property
    def components(self) -> Any:
        self._note.header("host")
        return super().components

    @property
    def path(self) -> str:
        return super().components.path

    @property
    def query(self) -> str:
        return super().components.query

    def __str__(self) -> str:
        self._note.header("host")
        return super().__str__()

    def __repr__(self) -> str:
        self._note.header("host")
        return super().__repr__()


class _NotedScope(dict[str, Any]):
    """An ASGI scope that notes which of its parts are read; what is written reaches the real one.

    See https://asgi.readthedocs.io/en/latest/specs/www.html for its parts.
    """

    def __init__(self, scope: Any, noted: set[str]) -> None:
        super().__init__(scope)
        self._scope = scope
        self._noted = noted

    def _read(self, key: object) -> None:
        if key not in _HARMLESS and not str(key).startswith("fastapi"):
            self._noted.add(_NAMES.get(str(key), f"the {key}"))

    def __getitem__(self, key: str) -> Any:
        self._read(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._read(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self._read(key)
        return super().__contains__(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._read(key)
        super().__setitem__(key, value)
        self._scope[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        if not super().__contains__(key):
            self[key] = default
        return self[key]

    def __iter__(self) -> Iterator[str]:
        self._noted.add("the whole scope")
        return super().__iter__()

    def _all(self) -> Any:
        self._noted.add("the whole scope")
        return dict(self._scope)

    def keys(self) -> Any:
        return self._all().keys()

    def values(self) -> Any:
        return self._all().values()

    def items(self) -> Any:
        return self._all().items()

    def copy(self) -> Any:
        return self._all()


if TYPE_CHECKING:
    _Base = Request
else:  # at run time it stands in front of the class of the request, whichever that is
    _Base = object


class _Noting(_Base):
    """Put in front of a class of requests: what it reads of headers, address and body is noted."""

    _note: _Note
    scope: _NotedScope

    @property
    def headers(self) -> Headers:
        return _NotedHeaders(self.scope._scope["headers"], self._note)

    @property
    def url(self) -> URL:
        return _NotedURL(URL(scope=self.scope._scope), self._note)

    @property
    def base_url(self) -> URL:
        self._note.header("host")
        plain = Request(self.scope._scope)
        return plain.base_url

    @property
    def receive(self) -> Receive:
        self._note.other("the body")
        return super().receive

    def stream(self) -> Any:
        self._note.other("the body")
        return super().stream()

    async def body(self) -> bytes:
        self._note.other("the body")
        return await super().body()

    async def json(self) -> Any:
        self._note.other("the body")
        return await super().json()

    def form(self, **limits: Any) -> Any:
        self._note.other("the body")
        return super().form(**limits)


@functools.cache
def _noting_class(cls: type[Request]) -> type[Request]:
    """Make, once for each class of requests, the class of those that note."""
    return type(f"Noting{cls.__name__}", (_Noting, cls), {})

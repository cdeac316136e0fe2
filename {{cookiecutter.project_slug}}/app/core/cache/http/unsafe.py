"""Unsafe methods: what they succeed in changing is not served as it was before (RFC 9111, 4.4).

An entry of an endpoint has one more tag, which its path names. A successful request by an unsafe
method gives this tag a new nonce before the response leaves. So no entry for the path is served any
more, whatever its query and its key are, and what is being computed is overtaken, in all processes.

An entry has the tag of one path. If two paths lead to one key, each misses what the other stored.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from starlette.types import ASGIApp, Message, Scope, Send

from ..calls import CachedCalls, Store, routes_of
from ..keys import KeyPattern, tag_keys_of
from ..reads import steps

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.1
_NAMING = (b"location", b"content-location")


def is_unsafe(method: str) -> bool:
    """Whether requests by a method may change something; those by an unknown one may."""
    return method not in _SAFE


def path_tags(key_prefix: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the keys of the tags of paths, which are decoded and have no query.

    Any client can ask for any path, so there are 65,536 tags for all of them: now and then a write
    invalidates one path more.
    """
    digests = [blake2b(path.encode("utf-8", "surrogatepass"), digest_size=2) for path in paths]
    return tag_keys_of(key_prefix, [f"~path:{each.hexdigest()}" for each in digests])


def without_root(path: str, root: str) -> str:
    """Return a path without the `root_path`, which some servers name in paths, and others do not."""
    return path.removeprefix(root) or "/"


class Managers:
    """The managers of the cached endpoints of an application, and of those mounted in it.

    They are searched when they are first needed, and when the application has got more routes.
    """

    def __init__(self) -> None:
        self._found: dict[Store, None] = {}
        self._routes = 0

    def note(self, manager: Store) -> None:
        """Note one whose endpoint has answered a request."""
        self._found[manager] = None

    def of(self, app: Any) -> list[Store]:
        """Return those of an application, or of the one that a middleware is around."""
        while not hasattr(app, "routes") and hasattr(app, "app"):
            app = app.app
        count = _count(app)
        if self._routes != count:
            self._routes = count
            self._found |= dict.fromkeys(_managers(app))
        return [*self._found]


class UnsafeRequest:
    """A request by an unsafe method, and what it invalidates."""

    def __init__(self, scope: Scope, send: Send, managers: Managers, within: ASGIApp) -> None:
        # Now, for routing changes the scope. A middleware around an application finds none there.
        self._app: Any = scope.get("app") or within
        self._path, self._send = scope["path"], send
        self._managers = managers
        self._root = scope.get("root_path", "")
        host = dict(scope["headers"]).get(b"host", b"")
        raw = scope.get("raw_path") or quote(self._path).encode()
        self._url = f"http://{(host + raw).decode('latin-1')}"
        self._has_answer = False

    async def send(self, message: Message) -> None:
        """Send a message; first invalidate, if it is the start of a response that is no error."""
        if message["type"] == "http.response.start":
            if 200 <= message["status"] < 400:
                for manager, tags in self._tags(message["headers"]):
                    await manager.invalidations.renew_tags(tags)
            self._has_answer = True
        await self._send(message)

    def abandon(self, error: BaseException) -> None:
        """Invalidate later, if it was cancelled: it may have changed something before that."""
        if not (self._has_answer or isinstance(error, Exception)):
            for manager, tags in self._tags(()):
                manager.invalidations.defer([KeyPattern((tag,)) for tag in tags])

    def _tags(
        self, lines: Iterable[tuple[bytes, bytes]]
    ) -> Iterator[tuple[Store, tuple[str, ...]]]:
        """Yield each manager of the application, and the tags to invalidate there."""
        paths = [self._path]
        with suppress(ValueError):  # of a `Host` that is none: a client may send anything
            paths += self._named(lines)
        paths = [without_root(path, self._root) for path in paths]
        for manager in self._managers.of(self._app):
            yield manager, path_tags(manager.key_prefix, dict.fromkeys(paths))

    def _named(self, lines: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
        """Yield the paths that a response names on the host of the request."""
        host = urlsplit(self._url).hostname
        for name, value in lines:
            if name.lower() in _NAMING:
                with suppress(ValueError):  # it is no URL
                    url = urlsplit(urljoin(self._url, value.decode("utf-8", "replace")))
                    if url.hostname == host:
                        yield unquote(url.path)


def _count(app: Any) -> int:
    """Return how many routes an application has, with those mounted and included in it."""
    routes = getattr(app, "routes", ())
    inner = [getattr(each, "original_router", getattr(each, "app", None)) for each in routes]
    return len(routes) + sum(_count(each) for each in inner if hasattr(each, "routes"))


def _managers(app: Any) -> Iterator[Store]:
    """Yield the managers of the cached endpoints of an application, and of those mounted in it."""
    for _, route in routes_of(app):
        for each in steps(getattr(route, "endpoint", None)):
            calls = getattr(each, "calls", None)
            if isinstance(calls, CachedCalls):
                yield calls.store
        yield from _managers(route)

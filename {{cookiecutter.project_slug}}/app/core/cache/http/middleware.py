"""The middleware that makes cached endpoints good origins of HTTP. Optional.

    app.add_middleware(CacheMiddleware)     # before any other, so that it is the innermost

For each response of an endpoint with `cache_response` to a GET or a HEAD it adds what clients and
proxies need to cache it (see `control`), and answers conditional requests (see `conditional`). It
stores responses as they were rendered, so that a hit renders nothing. HEAD is answered by the
endpoint for GET. Other endpoints are left alone. What a request says in `Cache-Control` counts only
where that is allowed (see `client_control`).
"""

import inspect
import logging
import time
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..calls import EXCHANGE, CachedCalls, Exchange, Rendering, Standing, Wish, routes_of
from ..coherence import Outcome
from ..stored import RenderedResponse
from .client_control import wish_of
from .conditional import failed_condition, not_modified
from .control import dressed, not_met, status_of, tagged
from .early import Target, Targets
from .forms import calls_of, rendering_of
from .unsafe import Managers, UnsafeRequest, is_unsafe, path_tags

logger = logging.getLogger(__name__)

_SAFE = ("GET", "HEAD")


class CacheMiddleware:
    """ASGI middleware for the responses of cached endpoints.

    `name` is the name of this cache in `Cache-Status`, by default the prefix of the keys. With
    `show_keys` that header holds the key.

    `client_control` is called with the scope of a GET or HEAD that has a `Cache-Control` or a
    `Pragma`. If it returns `True`, the request has a say: its `no-cache`, `no-store`, `max-age` and
    `only-if-cached` are heeded. Without it, that setting of the manager decides. It is off by
    default, for anybody could have the function run at each request.

    With `invalidate_unsafe`, a request by POST, PUT, PATCH, DELETE or another method that is not safe
    invalidates, in all processes, what cached endpoints have stored for its path, and for those in its
    `Location` and `Content-Location`. That happens before the response leaves, if its status is 2xx
    or 3xx. Commit in the endpoint: what is written later, after the response, comes too late. Each hit
    then reads one nonce more. All processes should have the option: one without it invalidates
    nothing, and its entries are misses here.

    Raises `TypeError` for a `client_control` that is no plain function.
    """

    def __init__(
        self,
        app: ASGIApp,
        name: str = "",
        *,
        show_keys: bool = False,
        client_control: Callable[[Scope], bool] | None = None,
        invalidate_unsafe: bool = False,
    ) -> None:
        is_plain = callable(client_control) and not inspect.iscoroutinefunction(client_control)
        if client_control is not None and not is_plain:
            raise TypeError(f"{client_control=} must be a plain function of the scope, or None")
        self.app, self._name, self._show_keys = app, name, show_keys
        self._client_control, self.invalidates = client_control, invalidate_unsafe
        self.managers = Managers()
        self._targets = Targets()
        self._within: str | None = None
        """What lies between this middleware and the router; `None` if that is not known yet."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and make its response one that others may cache."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        target = self._targets.find(scope)
        wish = None if target is None else self.wish(target.calls, scope)
        if target is not None and wish is None:
            body = target.read_now()
            if body is None:
                body = await target.read()
            if body is not None:
                start, body = self._judged(scope, self._start_of(target), body)
                scope.update(target.scope)
                await send(start)
                await send({"type": "http.response.body", "body": body})
                return
        unsafe = None
        if self.invalidates and is_unsafe(scope["method"]):
            unsafe = UnsafeRequest(scope, send, self.managers)
        answer = Answer(self, scope, send if unsafe is None else unsafe.send)
        if target is not None:
            answer.hear(wish)
        method = scope["method"]
        if method == "HEAD" and _is_for_get(scope):
            scope = {**scope, "method": "GET"}
        scope[EXCHANGE] = answer
        try:
            await self.app(scope, receive, answer.send)
        except BaseException as error:
            answer.abandon(error)
            if unsafe is not None:
                unsafe.abandon(error)
            raise
        if answer.outcome is Outcome.HIT and method in _SAFE:
            self._targets.learn(answer, scope, method)

    def wish(self, calls: CachedCalls, scope: Scope) -> Wish | None:
        """Return what a request wants of the cache; `None` if nothing, or if it has no say."""
        admits = self._client_control
        if admits is None and not calls.store.client_control:
            return None
        wish = wish_of(scope["headers"]) if scope["method"] in _SAFE else None
        if wish is None or admits is None:
            return wish
        try:
            return wish if admits(scope) is True else None
        except Exception as error:
            logger.warning("client_control failed, and a request has no say: %r", error)
            return None

    def _start_of(self, target: Target) -> Message:
        """Return the start of the response for the entry that a target has read."""
        second = int(time.time())
        if target.start is None or target.start[0] != second:
            exchange, entry = target.exchange(), target.entry
            start = {"status": entry.status, "headers": entry.lines}
            target.start = second, self._dressed(exchange, start, "GET")
        return target.start[1]

    def rendering(self, calls: CachedCalls, standing: Standing, scope: Scope) -> Rendering | None:
        """Return how the route of a scope renders; `None` if something may change the response."""
        if self._within is None:
            self._within = _within(self.app, scope)
            if self._within:
                logger.warning(
                    "CacheMiddleware is not the innermost middleware, for %s lies within it: "
                    "responses are not stored as they are rendered; add it before all others",
                    self._within,
                )
        if self._within or scope.get("router") is not scope["app"].router:
            return None
        return rendering_of(calls, standing, scope, kind=APIRoute, is_plain=_is_plain)

    def finished(
        self, exchange: Exchange, scope: Scope, start: Message, body: bytes | None
    ) -> tuple[Message, bytes]:
        """Return the start and the body of the answer to a request; `None` for a stream."""
        start = self._dressed(exchange, start, scope["method"], body)
        return self._judged(scope, start, body or b"")

    def _dressed(
        self, exchange: Exchange, start: Message, method: str, body: bytes | None = None
    ) -> Message:
        """Return the start of a response with what it says to other caches."""
        now, calls = int(time.time() * 1000), exchange.calls
        lines, status = list(start["headers"]), start["status"]
        if method in _SAFE:
            lines = dressed(exchange, status, lines, now)
            if 200 <= status < 300 and (body is not None or exchange.rendered is not None):
                lines = tagged(lines, exchange.rendered, body or b"")
        name = self._name or (calls.store.key_prefix if calls is not None else "")
        said = status_of(exchange, name, now, with_key=self._show_keys)
        lines.append((b"cache-status", said.encode()))
        return {"type": "http.response.start", "status": status, "headers": lines}

    def _judged(self, scope: Scope, start: Message, body: bytes) -> tuple[Message, bytes]:
        """Return the start and the body of a response, or of the 304 or 412 in its place."""
        status, lines, method = start["status"], start["headers"], scope["method"]
        if 200 <= status < 300:
            failed = failed_condition(scope["headers"], method, lines)
            if failed is not None:
                lines = not_modified(lines) if failed == 304 else not_met(lines)
                return {"type": start["type"], "status": failed, "headers": lines}, b""
        copy = {"type": start["type"], "status": status, "headers": [*lines]}
        return copy, b"" if method == "HEAD" else body


class Answer(Exchange):
    """One request, and its response on the way out."""

    _start: Message | None = None
    _is_heard = False

    def __init__(self, middleware: CacheMiddleware, scope: Scope, send: Send) -> None:
        self.rendering = middleware.rendering
        self._middleware, self._scope, self._send = middleware, scope, send
        self._path = scope["path"]  # which a mounted application may change

    def begin(self, calls: CachedCalls, standing: Standing, scope: Scope, injected: object) -> bool:
        """Note whose request it is, and what it wants; return whether that was not known."""
        is_new = super().begin(calls, standing, scope, injected)
        if is_new and self._middleware.invalidates and self._scope["method"] in _SAFE:
            self._middleware.managers.note(calls.store)
            self.more_tags = path_tags(calls.store.key_prefix, [self._path])
        if is_new and not self._is_heard:
            self.hear(self._middleware.wish(calls, self._scope))
        return is_new

    def hear(self, wish: Wish | None) -> None:
        """Note what the request wants, which is found out once."""
        self.wish, self._is_heard = wish, True
        self.is_refused = wish is not None and not wish.oldest

    async def send(self, message: Message) -> None:
        """Send a message; the start of a cached endpoint's response waits for its body."""
        if self.calls is None:
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self._send_body(message)
        else:
            await self._begin(message)

    async def _begin(self, message: Message) -> None:
        """Send the start of the response, and its body, or the first part of it."""
        start, body = self._start or {}, message.get("body", b"")
        self._start = None
        is_whole = not message.get("more_body", False)
        lines = tuple(start["headers"])
        made = RenderedResponse(start["status"], lines, bytes(body)).response()
        await self.finish(made if is_whole else None)
        start, body = self._middleware.finished(
            self, self._scope, start, body if is_whole else None
        )
        await self._send(start)
        await self._send_body({**message, "body": body} if is_whole else message)

    async def _send_body(self, message: Message) -> None:
        if self._scope["method"] == "HEAD" and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def _within(app: Any, scope: Scope) -> str:
    """Return the name of what lies between a middleware and the router; empty if nothing does."""
    router = scope["app"].router
    if type(app) is ExceptionMiddleware:
        app = app.app
    if type(app).__module__.startswith("fastapi.middleware."):  # FastAPI's own
        app = app.app
    if app is router and getattr(router, "middleware_stack", router.app) == router.app:
        return ""
    return f"{type(app).__module__}.{type(app).__qualname__}"


def _is_plain(route: Any) -> bool:
    """Whether a route sends what its response class renders, and nothing else."""
    return type(route) is APIRoute or (
        type(route).__module__ == __package__ and type(route).__name__ == "CachedRoute"
    )


def _is_for_get(scope: Scope) -> bool:
    """Whether a HEAD has no endpoint of its own, and a GET has a cached one."""
    asked = {**scope, "method": "GET"}
    for route, original in routes_of(scope["app"]):
        if route.matches(scope)[0] is Match.FULL:
            return False
        if route.matches(asked)[0] is Match.FULL:
            return calls_of(getattr(original, "endpoint", None)) is not None
    return False

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
import sys
import time
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute, APIRouter
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..calls import EXCHANGE, CachedCalls, Exchange, Rendering, Standing, Wish, routes_of
from ..coherence import Outcome
from ..stored import RenderedResponse
from .client_control import wish_of
from .conditional import failed_condition, not_modified
from .control import dressed, not_met, status_of
from .early import Kept, Target, Targets
from .forms import calls_of, rendering_of
from .routed import before_routing
from .unsafe import Managers, UnsafeRequest, is_unsafe, path_tags

logger = logging.getLogger(__name__)

_SAFE = ("GET", "HEAD")
_BODY = "http.response.body"
_BODIES = (_BODY, "http.response.pathsend", "http.response.zerocopysend")
"""Messages with a body, or a part of one; the last two are extensions for files."""


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

    Raises `TypeError` for a `name` that is no text, and a `client_control` that is no plain function.
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
        if not isinstance(name, str):
            raise TypeError(
                f"{name=} must be a text; an empty one stands for the prefix of the keys"
            )
        self.app, self._name, self._show_keys = app, name, show_keys
        self._client_control, self.invalidates = client_control, invalidate_unsafe
        self.managers = Managers()
        self._targets = Targets()
        self._home: Any = None
        """The application that this is the middleware of; known with its first request."""
        self._within: str | None = None
        """What lies between this middleware and the router; `None` if that is not known yet."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and make its response one that others may cache."""
        if scope["type"] != "http":
            _tell(scope)
            await self.app(scope, receive, send)
            return
        if self._home is None:
            self._home = scope.get("app")
        target = self._targets.find(scope)
        wish = None if target is None else self.wish(target.calls, scope)
        if target is not None and wish is None:
            found = target.read_now()
            if found is None:
                found = await target.read()
            if found is not None:
                start, body = self._judged(scope, self._start_of(target, found[0]), found[1])
                scope.update(target.routed())
                await send(start)
                await send({"type": _BODY, "body": body})
                return
        unsafe = None
        if self.invalidates and is_unsafe(scope["method"]):
            unsafe = UnsafeRequest(scope, send, self.managers, self.app)
        answer = Answer(self, scope, send if unsafe is None else unsafe.send)
        if target is not None:
            answer.hear(wish)
        method = scope["method"]
        if method == "HEAD" and _is_for_get(scope):
            answer.is_for_get = True
            scope = {**scope, "method": "GET"}
        scope[EXCHANGE] = answer
        try:
            await self.app(scope, receive, answer.send)
        except BaseException as error:
            answer.abandon(error)
            if unsafe is not None:
                unsafe.abandon(error)
            raise
        finally:
            answer.let_go()
        if answer.outcome is Outcome.HIT and method in _SAFE and self._is_next(scope):
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

    def _start_of(self, target: Target, kept: Kept) -> Message:
        """Return the start of the response for the entry that a target has read."""
        now, entry = int(time.time() * 1000), kept.entry
        seconds = (now - entry.made) // 1000, (entry.until - now) // 1000
        if kept.start is None or kept.start[0] != seconds:
            start = {"status": entry.status, "headers": entry.lines}
            kept.start = seconds, self._dressed(target.exchange(kept), start, "GET")
        return kept.start[1]

    def rendering(self, calls: CachedCalls, standing: Standing, scope: Scope) -> Rendering | None:
        """Return how the route of a scope renders; `None` if something may change the response."""
        if not self._is_next(scope):
            return None
        return rendering_of(calls, standing, scope, kind=APIRoute)

    def _is_next(self, scope: Scope) -> bool:
        """Whether nothing lies between this middleware and the route, such as a mounted application."""
        is_home = self._home in (None, scope.get("app"))  # around an application it is not known
        return is_home and self._is_innermost(scope)

    def _is_innermost(self, scope: Scope) -> bool:
        """Whether no other middleware lies between this one and the router; warn once if one does."""
        if self._within is None:
            self._within = _within(self.app, scope)
            if self._within:
                logger.warning(
                    "CacheMiddleware is not the innermost middleware, for %s lies within it: "
                    "responses are not stored as they are rendered; add it before all others",
                    self._within,
                )
        return not self._within

    def finished(
        self, exchange: Exchange, scope: Scope, start: Message, body: bytes | None
    ) -> tuple[Message, bytes]:
        """Return the start and the body of the answer to a request; `None` for a stream."""
        if not self._is_next(scope):
            exchange.rendered = None  # the entry of a `CachedRoute`, which others may have changed
        start = self._dressed(exchange, start, scope["method"], body)
        return self._judged(scope, start, body or b"")

    def _dressed(
        self, exchange: Exchange, start: Message, method: str, body: bytes | None = None
    ) -> Message:
        """Return the start of a response with what it says to other caches."""
        now, calls = int(time.time() * 1000), exchange.calls
        lines, status = list(start["headers"]), start["status"]
        if method in _SAFE:
            lines = dressed(exchange, status, lines, body, now)
        name = self._name or (calls.store.key_prefix if calls is not None else "")
        said = status_of(exchange, name, now, with_key=self._show_keys)
        lines.append((b"cache-status", said.encode()))
        return {**start, "type": "http.response.start", "headers": lines}

    def _judged(self, scope: Scope, start: Message, body: bytes) -> tuple[Message, bytes]:
        """Return the start and the body of a response, or of the 304 or 412 in its place."""
        status, lines, method = start["status"], start["headers"], scope["method"]
        if method in _SAFE and 200 <= status < 300:  # others have changed something already
            failed = failed_condition(scope["headers"], method, lines)
            if failed is not None:
                lines = not_modified(lines) if failed == 304 else not_met(lines)
                return {"type": start["type"], "status": failed, "headers": lines}, b""
        copy = {**start, "headers": [*lines]}
        return copy, b"" if method == "HEAD" else body


class Answer(Exchange):
    """One request, and its response on the way out."""

    is_for_get = False
    """Whether it is a HEAD that the endpoint for GET answers."""
    _start: Message | None = None
    _is_over = False
    """Whether a 304 or a 412 has taken the place of a stream, which goes on."""
    _is_heard = False

    def __init__(self, middleware: CacheMiddleware, scope: Scope, send: Send) -> None:
        self.rendering, self._around = middleware.rendering, sys.exception()
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

    def let_go(self) -> None:
        """Let go of the scope, which holds this: else each request waits for the garbage collector."""
        self._scope = {}

    async def send(self, message: Message) -> None:
        """Send a message; the start of a cached endpoint's response waits for its body."""
        if self.calls is not None and message["type"] == "http.response.start":
            self._start = message
        elif self._start is not None and message["type"] in _BODIES:
            await self._begin(self._start, message)
        elif not self._is_over:
            await self._send_body(message)

    async def _begin(self, start: Message, message: Message) -> None:
        """Send the start of the response, and its body, or the first part of it."""
        self._start = None
        body, status = bytes(message.get("body", b"")), start["status"]
        is_whole = message["type"] == _BODY and not message.get("more_body", False)
        if self.is_waiting:
            error = sys.exception()
            if error is not None and error is not self._around:
                self.abandon(error)  # a handler of exceptions answers, and not the endpoint
            made = RenderedResponse(status, tuple(start["headers"]), body).response()
            await self.finish(made if is_whole else None)
        start, body = self._middleware.finished(
            self, self._scope, start, body if is_whole else None
        )
        await self._send(start)
        self._is_over = not is_whole and start["status"] != status
        if is_whole or self._is_over:
            message = {"type": _BODY, "body": body}
        await self._send_body(message)

    async def _send_body(self, message: Message) -> None:
        is_ours = self.is_for_get or self.calls is not None
        if is_ours and self._scope["method"] == "HEAD" and message["type"] in _BODIES:
            message = {"type": _BODY, "more_body": message.get("more_body", False)}
        await self._send(message)


def _tell(scope: Scope) -> None:
    """At start, write into the log which endpoints are answered before routing, and why others not."""
    is_start = scope["type"] == "lifespan" and "app" in scope
    if not (is_start and logger.isEnabledFor(logging.INFO)):
        return
    told = before_routing(scope["app"])
    early = [each.path for each in told if not each.why_routed]
    others = [f"{each.path} ({each.why_routed})" for each in told if each.why_routed]
    logger.info(
        "hits are answered before routing: %s; the ordinary way: %s",
        ", ".join(early) or "none",
        ", ".join(others) or "none",
    )


def _within(app: Any, scope: Scope) -> str:
    """Return the name of what lies between a middleware and the router; empty if nothing does."""
    router = getattr(scope.get("app"), "router", None)
    if type(app) is ExceptionMiddleware:
        app = app.app
    if type(app).__module__.startswith("fastapi.middleware."):  # FastAPI's own
        app = app.app
    if (
        app is router
        and type(router) is APIRouter
        # Older routers have neither: they can have no middlewares of their own.
        and getattr(router, "middleware_stack", None) == getattr(router, "app", None)
    ):
        return ""
    return f"{type(app).__module__}.{type(app).__qualname__}"


def _is_for_get(scope: Scope) -> bool:
    """Whether a HEAD has no endpoint of its own, and a GET has a cached one."""
    asked, found = {**scope, "method": "GET"}, None
    for route, original in routes_of(scope.get("app")):
        is_for_get = route.matches(asked)[0] is Match.FULL
        if route.matches(scope)[0] is Match.FULL and (found is None or not is_for_get):
            return False  # one for GET, too, such as a mounted application, has no HEAD of its own
        if is_for_get and found is None:
            found = calls_of(getattr(original, "endpoint", None))
            if found is None:
                return False
    return found is not None

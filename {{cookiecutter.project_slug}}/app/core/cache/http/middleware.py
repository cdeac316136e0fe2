"""The middleware that makes cached endpoints good origins of HTTP. Optional.

    app.add_middleware(CacheMiddleware)     # before any other, so that it is the innermost

For each response of an endpoint with `cache_response` to a GET or a HEAD it adds what clients and
proxies need to cache it (see `control`), and answers conditional requests (see `conditional`). It
stores responses as they were rendered, so that a hit renders nothing. HEAD is answered by the
endpoint for GET. Other endpoints are left alone.
"""

import logging
import sys
import time
from typing import Any

from fastapi.routing import APIRoute, APIRouter
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..calls import EXCHANGE, CachedCalls, Exchange, Rendering, Standing, routes_of
from ..coherence import Outcome
from ..stored import RenderedResponse
from .conditional import failed_condition, not_modified
from .control import dressed, not_met, status_of, tagged
from .early import Target, Targets
from .forms import calls_of, rendering_of

logger = logging.getLogger(__name__)

_SAFE = ("GET", "HEAD")
_BODY = "http.response.body"
_BODIES = (_BODY, "http.response.pathsend", "http.response.zerocopysend")
"""Messages with a body, or a part of one; the last two are extensions for files."""


class CacheMiddleware:
    """ASGI middleware for the responses of cached endpoints.

    `name` is the name of this cache in `Cache-Status`, by default the prefix of the keys. With
    `show_keys` that header holds the key.
    """

    def __init__(self, app: ASGIApp, name: str = "", *, show_keys: bool = False) -> None:
        self.app, self._name, self._show_keys = app, name, show_keys
        self._targets = Targets()
        self._home: Any = None
        """The application that this is the middleware of; known with its first request."""
        self._within: str | None = None
        """What lies between this middleware and the router; `None` if that is not known yet."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and make its response one that others may cache."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._home is None:
            self._home = scope.get("app")
        target = self._targets.find(scope)
        if target is not None:
            body = target.read_now()
            if body is None:
                body = await target.read()
            if body is not None:
                start, body = self._judged(scope, self._start_of(target), body)
                scope.update(target.scope)
                await send(start)
                await send({"type": _BODY, "body": body})
                return
        answer = Answer(self, scope, send)
        method = scope["method"]
        scope[EXCHANGE], outer = answer, scope
        if method == "HEAD" and _is_for_get(scope):
            answer.is_for_get = True
            scope = {**scope, "method": "GET"}
        try:
            await self.app(scope, receive, answer.send)
        except BaseException as error:
            answer.abandon(error)
            raise
        finally:
            if scope is not outer:  # those around may look at the route
                outer.update(scope, method=method)
        if answer.outcome is Outcome.HIT and method in _SAFE:
            self._targets.learn(answer, scope, method)

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
        if scope["app"] is not self._home:  # an application that is mounted there
            return None
        if self._within is None:
            self._within = _within(self.app, scope)
            if self._within:
                logger.warning(
                    "CacheMiddleware is not the innermost middleware, for %s lies within it: "
                    "responses are not stored as they are rendered; add it before all others",
                    self._within,
                )
        if self._within:
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

    def __init__(self, middleware: CacheMiddleware, scope: Scope, send: Send) -> None:
        self.rendering, self._around = middleware.rendering, sys.exception()
        self._middleware, self._scope, self._send = middleware, scope, send

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
        made = RenderedResponse(status, tuple(start["headers"]), body).response()
        error = sys.exception()
        if error is not None and error is not self._around:
            self.abandon(error)  # a handler of exceptions answers, and not the endpoint
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


def _within(app: Any, scope: Scope) -> str:
    """Return the name of what lies between a middleware and the router; empty if nothing does."""
    router = scope["app"].router
    if type(app) is ExceptionMiddleware:
        app = app.app
    if type(app).__module__.startswith("fastapi.middleware."):  # FastAPI's own
        app = app.app
    if (
        app is router
        and type(router) is APIRouter
        and getattr(router, "middleware_stack", router.app) == router.app
    ):
        return ""
    return f"{type(app).__module__}.{type(app).__qualname__}"


def _is_plain(route: Any) -> bool:
    """Whether a route sends what its response class renders, and nothing else."""
    return type(route) is APIRoute or (
        type(route).__module__ == f"{__package__}.route" and type(route).__name__ == "CachedRoute"
    )


def _is_for_get(scope: Scope) -> bool:
    """Whether a HEAD has no endpoint of its own, and a GET has a cached one."""
    asked = {**scope, "method": "GET"}
    for route, original in routes_of(scope.get("app")):
        if route.matches(scope)[0] is Match.FULL:
            return False
        if route.matches(asked)[0] is Match.FULL:
            return calls_of(getattr(original, "endpoint", None)) is not None
    return False

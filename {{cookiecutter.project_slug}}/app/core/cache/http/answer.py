"""The answer to one request: what an endpoint has sent, and what is sent in its place."""

import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Scope, Send

from ..calls import CachedCalls, Exchange, Rendering, Standing, Wish, routes_of
from ..coherence import Outcome
from ..stored import RenderedResponse
from .conditional import Lines, failed_condition, not_modified
from .control import not_met, status_of, with_control
from .forms import calls_of, is_known
from .scopes import Scopes
from .unsafe import Managers, UnsafeRequest, path_tags

SAFE = ("GET", "HEAD")
BODY = "http.response.body"
_BODIES = (BODY, "http.response.pathsend", "http.response.zerocopysend")
"""Messages with a body, or a part of one; the last two are extensions for files."""
_MOST_KNOWN = 1024
"""The most starts of responses that are kept."""


class Teller:
    """What a middleware says in the responses of cached endpoints, under a name."""

    def __init__(self, name: str, *, show_keys: bool) -> None:
        self._name, self._show_keys = name, show_keys
        self._known: dict[Any, Message] = {}
        """The starts of responses for the last hits; each is good for a second."""

    def finished(
        self, exchange: Exchange, scope: Scope, start: Message, body: bytes | None
    ) -> tuple[Message, bytes]:
        """Return the start and the body of the answer to a request; `None` for a stream."""
        start = self.dressed(exchange, start, scope["method"], body)
        return judged(scope, start, body or b"")

    def dressed(
        self, exchange: Exchange, start: Message, method: str, body: bytes | None = None
    ) -> Message:
        """Return the start of a response with what it says to other caches."""
        now, calls = int(time.time() * 1000), exchange.calls
        place = self._place_of_hit(exchange, start, now) if method in SAFE else None
        if place in self._known:
            return self._known[place]
        lines, status = list(start["headers"]), start["status"]
        if method in SAFE:
            lines = with_control(exchange, status, lines, body, now)
        name = self._name or (calls.store.key_prefix if calls is not None else "")
        said = status_of(exchange, name, now, with_key=self._show_keys)
        lines.append((b"cache-status", said.encode()))
        made = {**start, "type": "http.response.start", "headers": lines}
        if place is not None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[place] = made
        return made

    def _place_of_hit(self, exchange: Exchange, start: Message, now: int) -> Any:
        """Return all that decides about the start of the response of a hit; `None` for others."""
        rendered = exchange.rendered
        if exchange.outcome is not Outcome.HIT or rendered is None or "trailers" in start:
            return None
        seconds = (now - rendered.made) // 1000, (rendered.until - now) // 1000
        who = exchange.standing, exchange.may_be_changed
        says = (*who, exchange.is_near, exchange.key if self._show_keys else "")
        return start["status"], tuple(start["headers"]), rendered.etag, seconds, says


def judged(scope: Scope, start: Message, body: bytes) -> tuple[Message, bytes]:
    """Return the start and the body of a response, or of the 304 or 412 in its place."""
    status, lines, method = start["status"], start["headers"], scope["method"]
    if method in SAFE and 200 <= status < 300:  # others have changed something already
        failed = failed_condition(scope["headers"], method, lines)
        if failed is not None:
            lines = not_modified(lines) if failed == 304 else not_met(lines)
            return {"type": start["type"], "status": failed, "headers": lines}, b""
    copy = {**start, "headers": [*lines]}
    return copy, b"" if method == "HEAD" else body


Start = tuple[Message, Callable[[Lines], Message | None]]
"""The start of a response, and what makes the one of a 304 for preconditions of a request."""


def unmodified_of(start: Message) -> Callable[[Lines], Message | None]:
    """Return what answers the preconditions of a request that has this very response with a 304.

    It does what `judged` does for most conditional requests, in a fraction of the time. It returns
    `None` for all others.
    """
    tag = next((value for name, value in start["headers"] if name == b"etag"), b"")
    asks = [(b"if-none-match", tag)]
    is_same = start["status"] // 100 == 2 and failed_condition(asks, "GET", start["headers"]) == 304
    lines = not_modified(start["headers"])

    def answer(asked: Lines) -> Message | None:
        if not is_same or asked != asks:
            return None
        return {"type": start["type"], "status": 304, "headers": [*lines]}

    return answer


class Middleware(Protocol):
    """The part of a middleware that an answer needs."""

    app: ASGIApp
    teller: Teller
    managers: Managers
    scopes: Scopes
    invalidates: bool

    def is_next(self, scope: Scope) -> bool:  # pyright: ignore[reportReturnType]
        """Return whether nothing lies between the middleware and the route."""

    def rendering(self, calls: CachedCalls, standing: Standing, scope: Scope) -> Rendering | None:
        """Return how the route of a scope renders."""

    def wish(self, calls: CachedCalls, scope: Scope) -> Wish | None:
        """Return what a request wants of the cache."""


class Answer(Exchange):
    """One request, and its response on the way out."""

    is_for_get = False
    """Whether it is a HEAD that the endpoint for GET answers."""
    _start: Message | None = None
    _is_over = False
    """Whether a 304 or a 412 has taken the place of a stream, which goes on."""
    _is_heard = False
    _unsafe: UnsafeRequest | None = None
    _around: BaseException | None = None
    """The exception that is being handled when the endpoint begins."""
    path = ""
    _is_next = False
    """Whether nothing lies between the middleware and the route."""

    def __init__(self, middleware: Middleware, scope: Scope, send: Send) -> None:
        self._middleware, self.scope, self._send = middleware, scope, send

    def for_get(self) -> Scope:
        """Return the scope that the application gets for a HEAD: that of a GET, if that is cached."""
        if not _is_for_get(self.scope):
            return self.scope
        self.is_for_get = True
        return {**self.scope, "method": "GET"}

    def let_invalidate(self, scope: Scope, managers: Managers) -> None:
        """Have the response invalidate what is stored for the path, before it is sent."""
        self._unsafe = UnsafeRequest(scope, self._send, managers, self._middleware.app)
        self._send = self._unsafe.send

    def abandon(self, error: BaseException) -> None:
        """End the fill without a response."""
        super().abandon(error)
        if self._unsafe is not None:
            self._unsafe.abandon(error)

    def begin(self, calls: CachedCalls, standing: Standing, scope: Scope, injected: object) -> bool:
        """Note whose request it is, and what it wants; return whether that was not known."""
        if standing.is_known is None:
            standing.is_known = is_known(scope["route"])
        self._is_next = standing.is_known and self._middleware.is_next(scope)
        self._around = sys.exception()
        if self.rendering is None:
            self.rendering = self._middleware.rendering
        is_new = super().begin(calls, standing, scope, injected)
        if is_new and self._middleware.invalidates and self.scope["method"] in SAFE:
            self._middleware.managers.note(calls.store)
            self.more_tags = path_tags(calls.store.key_prefix, [self.path])
        if is_new and not self._is_heard:
            asked = {**scope, "method": self.scope["method"]}
            self.hear(self._middleware.wish(calls, asked))
        return is_new

    def hear(self, wish: Wish | None) -> None:
        """Note what the request wants, which is found out once."""
        self.wish, self._is_heard = wish, True
        self.is_refused = wish is not None and not wish.oldest

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message; the start of a cached endpoint's response waits for its body."""
        if self.calls is None and not self.is_for_get:  # of another endpoint
            return self._send(message)
        return self._sent(message)

    async def _sent(self, message: Message) -> None:
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
        is_whole = message["type"] == BODY and not message.get("more_body", False)
        if self.is_waiting:
            error = sys.exception()
            if error is not None and error is not self._around:
                self.abandon(error)  # a handler of exceptions answers, and not the endpoint
            made = RenderedResponse(status, tuple(start["headers"]), body).response()
            await self.finish(made if is_whole else None)
        if not self._is_next:
            self.rendered, self.may_be_changed = None, True  # `CachedRoute` has stored it below
        if self._middleware.scopes.say_more(self.scope):
            self.may_be_changed = True
        start, body = self._middleware.teller.finished(
            self, self.scope, start, body if is_whole else None
        )
        await self._send(start)
        self._is_over = not is_whole and start["status"] != status
        if is_whole or self._is_over:
            message = {"type": BODY, "body": body}
        await self._send_body(message)

    async def _send_body(self, message: Message) -> None:
        is_ours = self.is_for_get or self.calls is not None
        if is_ours and self.scope["method"] == "HEAD" and message["type"] in _BODIES:
            message = {"type": BODY, "more_body": message.get("more_body", False)}
        await self._send(message)


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

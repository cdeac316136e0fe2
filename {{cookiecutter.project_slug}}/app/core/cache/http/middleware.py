"""The middleware that makes cached endpoints good origins of HTTP. Optional.

    app.add_middleware(CacheMiddleware)     # before any other, so that it is the innermost

For each response of an endpoint with `cache_response` to a GET or a HEAD it adds what clients and
proxies need to cache it (see `control`), and answers conditional requests (see `conditional`). It
stores responses as they were rendered, so that a hit renders nothing. HEAD is answered by the
endpoint for GET. Other endpoints are left alone. What a request says in `Cache-Control` counts only
where that is allowed (see `client_control`).
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute, APIRouter
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ..calls import EXCHANGE, CachedCalls, Rendering, Standing, Wish, check_flags
from ..coherence import Outcome
from ..loops import returns_at_once
from ..stored import Shown
from .answer import BODY, SAFE, Answer, Start, Teller, judged, unmodified_of
from .client_control import wish_of
from .conditional import conditions_of
from .early import Entry, Target, Targets
from .forms import rendering_of
from .routed import before_routing
from .scopes import Scopes
from .unsafe import Managers, is_unsafe, without_root

logger = logging.getLogger(__name__)


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
        if not isinstance(name, str):
            raise TypeError(
                f"{name=} must be a text; an empty one stands for the prefix of the keys"
            )
        if client_control is not None and not returns_at_once(client_control):
            raise TypeError(f"{client_control=} must be a plain function of the scope, or None")
        check_flags(show_keys=show_keys, invalidate_unsafe=invalidate_unsafe)
        self.app, self.teller = app, Teller(name, show_keys=show_keys)
        self._client_control, self.invalidates = client_control, invalidate_unsafe
        self.managers = Managers()
        self.scopes = Scopes()
        self._targets = Targets(self.scopes)
        self.home: Any = None
        """The application that this is the middleware of; known with its first request."""
        self._within: str | None = None
        """What lies between this middleware and the router; `None` if that is not known yet."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and make its response one that others may cache."""
        # Every request to the application runs this, so small steps are written out and not called.
        if scope["type"] != "http":
            self._start(scope)
            await self.app(scope, receive, send)
            return
        # What somebody outside has found in the request is no part of a target.
        is_placed = bool(scope.get("path_params"))
        target, wish = None if is_placed else self._targets.find(scope), None
        if target is not None:
            began = time.perf_counter() if target.calls.store.is_special else 0.0
            if self._client_control is not None or target.calls.store.client_control:
                wish = self.wish(target.calls, {**scope, **target.routed()})
            found, look = (None, None) if wish is not None else (target.read_now(), None)
            if found is None and wish is None and not target.is_here:
                look = await target.look()
                found = target.seen(look)
            if found is not None:
                await self._answer(target, *found, scope, send, began=began)
                return
        answer = Answer(self, scope, send)
        answer.may_be_changed = is_placed
        if target is not None:
            answer.hear(wish)
            answer.look = None if look is None else (target.key, target.tags, look)  # pyright: ignore[reportPossiblyUnboundVariable]
        if self.invalidates or self.home is None:
            self._prepare(answer, scope)
        inner = answer.for_get() if scope["method"] == "HEAD" else scope
        inner[EXCHANGE] = answer
        try:
            await self.app(inner, receive, answer.send)
        except BaseException as error:
            answer.abandon(error)
            raise
        finally:
            answer.scope = {}  # which holds this, so that both would wait for the garbage collector
            if inner is not scope:  # those around may look at the route
                scope.update(inner, method="HEAD")
        if answer.outcome is Outcome.HIT and not is_placed and self.is_next(inner):
            self._targets.learn(answer, inner, scope["method"])

    async def _answer(
        self, target: Target, entry: Entry, body: bytes, scope: Scope, send: Send, *, began: float
    ) -> None:
        """Answer a request before routing, with an entry that is a hit; if `began`, tell of it."""
        start, unmodified = self._start_of(target, entry)
        asked = conditions_of(scope["headers"])
        same = unmodified(asked) if asked else None
        if same is not None:
            start, body = same, b""
        elif asked or scope["method"] == "HEAD":
            start, body = judged(scope, start, body)
        else:  # as most are
            start = {**start, "headers": [*start["headers"]]}
        scope.update(target.routed())
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s", Outcome.HIT.value, Shown(target.key))
        await send(start)
        await send({"type": BODY, "body": body})
        if began:
            target.tell(entry, time.perf_counter() - began)

    def _start(self, scope: Scope) -> None:
        """Note what the lifespan yields, if it begins, and tell of the endpoints."""
        if scope["type"] == "lifespan":
            self.scopes.start(scope)
            _tell(scope)

    def _prepare(self, answer: Answer, scope: Scope) -> None:
        """Note what few requests need: the application, and what an unsafe method invalidates."""
        if self.home is None:
            self.home = scope.get("app")
        if self.invalidates:
            # Now, for a mounted application may change both.
            answer.path = without_root(scope["path"], scope.get("root_path", ""))
            if is_unsafe(scope["method"]):
                answer.let_invalidate(scope, self.managers)

    def wish(self, calls: CachedCalls, scope: Scope) -> Wish | None:
        """Return what a request wants of the cache; `None` if nothing, or if it has no say."""
        admits = self._client_control
        if admits is None and not calls.store.client_control:
            return None
        wish = wish_of(scope["headers"]) if scope["method"] in SAFE else None
        if wish is None or admits is None:
            return wish
        try:
            return wish if admits(scope) is True else None
        except Exception as error:
            logger.warning("client_control failed, and a request has no say: %r", error)
            return None

    def _start_of(self, target: Target, entry: Entry) -> Start:
        """Return the start of the response for an entry of a target, and what makes one of a 304."""
        now, rendered = int(time.time() * 1000), entry.rendered
        seconds = (now - rendered.made) // 1000, (rendered.until - now) // 1000
        if entry.start is None or entry.start[0] != seconds:
            start = {"status": rendered.status, "headers": rendered.lines}
            told = self.teller.dressed(target.exchange(entry), start, "GET")
            entry.start = seconds, (told, unmodified_of(told))
        return entry.start[1]

    def rendering(self, calls: CachedCalls, standing: Standing, scope: Scope) -> Rendering | None:
        """Return how the route of a scope renders; `None` if something may change the response."""
        if not self.is_next(scope):
            return None
        return rendering_of(calls, standing, scope, kind=APIRoute)

    def is_next(self, scope: Scope) -> bool:
        """Whether nothing lies between this middleware and the route, such as a mounted application."""
        is_home = self.home in (None, scope.get("app"))  # around an application it is not known
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


def _tell(scope: Scope) -> None:
    """At start, write into the log which endpoints are answered before routing, and why others not."""
    if "app" not in scope or not logger.isEnabledFor(logging.INFO):
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

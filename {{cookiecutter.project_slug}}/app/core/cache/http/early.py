"""Hits before routing: the targets of requests, and the keys that they led to.

The middleware remembers which key the target of a request led to: its path, its query, and the
headers that the key holds. The next such request is answered without routing, dependencies or
validation, if that is right for the endpoint (see `routed`).
"""

import time
from collections import OrderedDict
from contextlib import suppress
from typing import Any

from starlette.types import Scope

from ..base import Nonces
from ..calls import CachedCalls, Exchange, Hit, Standing
from ..coherence import Look, Outcome
from ..events import CacheEvent
from ..stored import Head, RenderedResponse
from .routed import why_routed
from .scopes import Scopes

MOST = 4096
"""The most targets that are remembered."""
LONGEST = 2048
"""The most characters of a target, with its headers and its key."""
SMALL = 8192
"""The most bytes of a body that is kept with its target."""
_ROUTED = ("route", "endpoint", "path_params", "router", "fastapi")
"""What routing puts into a scope, for middlewares outside to read; the last is FastAPI's own."""
_METHODS = ("GET", "HEAD")
SECONDS = 60.0
"""How long a target is remembered: after that it goes the ordinary way once more."""


class Entry:
    """An entry that was read, without its body: it is never changed, but for `start`."""

    __slots__ = ("head", "is_near", "nonces", "rendered", "start", "whole")

    def __init__(
        self,
        rendered: RenderedResponse,
        *,
        is_near: bool,
        head: Head | None = None,
        nonces: Nonces = (),
    ) -> None:
        self.rendered = rendered._replace(body=b"")
        self.whole = rendered if is_near and len(rendered.body) <= SMALL else None
        """The entry with its body, if the near cache has it, and it is small."""
        self.is_near, self.head, self.nonces = is_near, head, nonces
        self.start: tuple[tuple[int, int], Any] | None = None
        """What the response begins with, and for how many seconds of age and freshness that is."""


Found = tuple[Entry, bytes]
"""An entry, and its body."""


class Target:
    """What a target led to, and the entry that was read there last."""

    __slots__ = ("_entry", "_scope", "_standing", "calls", "form", "key", "tags", "until", "used")

    def __init__(self, exchange: Exchange, calls: CachedCalls, scope: Scope) -> None:
        self.calls, self._standing, self.form = calls, exchange.standing, exchange.form
        self.key, self.tags = exchange.key, exchange.tags
        self._scope = {name: scope[name] for name in _ROUTED if name in scope}
        self.used = time.time()
        self.until = self.used + SECONDS
        self._entry: Entry | None = None

    @property
    def is_right(self) -> bool:
        """Whether the routes of the function still render in the same way."""
        return self.calls.form == self.form

    @property
    def is_off(self) -> bool:
        """Whether the cache is switched off here."""
        return self.calls.store.is_special and self.calls.store.switch.is_off

    def read_now(self) -> Found | None:
        """Return the entry and its body, if it is a hit in this process."""
        calls, fence = self.calls, self.calls.store.fence
        if fence.near is not None and fence.may_read_near():
            hit = calls.reader.near_hit(self.key, fence.near, self.tags, calls.freshness, self.form)
            if hit is not None:
                entry = self._entry
                if entry is not None and entry.whole is not None and hit[0] is entry.whole:
                    return entry, entry.whole.body
                return self._found(hit, is_near=True)
        look = fence.look_now(self.key, self.tags) if fence.looks_now else None
        return None if look is None else self.seen(look)

    @property
    def is_here(self) -> bool:
        """Whether all entries are in this process."""
        return self.calls.store.fence.looks_now

    async def look(self) -> Look:
        """Ask the backend for the entry."""
        return await self.calls.store.fence.looks.look(self.key, self.tags)

    def routed(self) -> dict[str, Any]:
        """Return what routing puts into the scope."""
        return {**self._scope, "path_params": {**self._scope["path_params"]}}

    def exchange(self, entry: Entry) -> Exchange:
        """Return a request that an entry has answered."""
        exchange = Exchange()
        exchange.calls, exchange.standing = self.calls, self._standing
        exchange.key, exchange.outcome = self.key, Outcome.HIT
        exchange.rendered, exchange.is_near = entry.rendered, entry.is_near
        return exchange

    def tell(self, entry: Entry, seconds: float) -> None:
        """Tell those who listen of a hit."""
        calls, near = self.calls, entry.is_near
        event = CacheEvent("hit", calls.name, calls.key_prefix, self.key, seconds, near=near)
        calls.store.events.tell(event)

    def seen(self, look: Look) -> Found | None:
        """Return the entry in a look, and its body; the same record takes less time."""
        (data, nonces, _), entry, calls = look, self._entry, self.calls
        if entry is not None and entry.head is not None and type(data) is bytes:
            body = entry.head.payload(data) if nonces == entry.nonces else None
            if body is not None and not self._may_be_due(entry):
                return entry, body
        hit = calls.reader.hit(self.key, look, self.tags, calls.freshness, self.form)
        if hit is None or data is None:
            return None
        return self._found(hit, is_near=False, head=Head.of(data), nonces=nonces)

    def _may_be_due(self, entry: Entry) -> bool:
        """Whether an entry may have to be computed again."""
        freshness = self.calls.freshness
        if freshness.early:
            return True
        return bool(freshness.stale) and freshness.now() * 1000 >= entry.rendered.until

    def _found(self, hit: Hit, **more: Any) -> Found | None:
        """Note an entry, and return it with its body, if it is no more than a rendered response."""
        rendered, changes = hit
        if changes is not None or type(rendered) is not RenderedResponse:
            return None
        self._entry = entry = Entry(rendered, **more)
        return entry, rendered.body


class Targets:
    """The targets of one middleware that may be answered before routing."""

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes
        self._known: OrderedDict[Any, Target | frozenset[bytes]] = OrderedDict()
        self._why: dict[Standing, str] = {}
        """Why endpoints are not answered before routing."""
        self._routes = 0
        """How many routes the application has."""

    def __len__(self) -> int:
        return len(self._known)

    def find(self, scope: Scope) -> Target | None:
        """Return what a request leads to; `None` if it has to go the ordinary way."""
        place: Any = scope["path"], scope["query_string"], scope["method"], scope.get("root_path")
        found = self._known.get(place)
        if found is None:
            return None
        if type(found) is frozenset:
            place = _varied(place, scope, found)
            found = self._known.get(place)
        if type(found) is not Target or not self._is_ordinary(scope) or found.is_off:
            return None
        now = time.time()
        if now > found.until or not found.is_right:
            self._known.pop(place, None)
            return None
        if now > found.used + 1:
            found.used = now
            with suppress(KeyError):  # another thread may have just removed it
                self._known.move_to_end(place)
        return found

    def _is_ordinary(self, scope: Scope) -> bool:
        """Whether routes and dependencies are as they were, and nobody outside looks for more."""
        app = scope["app"]
        if self._has_new_routes(app):
            return False
        if app.dependency_overrides or "fastapi.telemetry" in scope:  # which tells of each step
            return False
        return not self._scopes.say_more(scope)

    def _has_new_routes(self, app: Any) -> bool:
        """Whether the number of routes has changed; if it has, forget all targets."""
        count = len(app.router.routes)
        if count == self._routes:
            return False
        self._known.clear()
        self._why.clear()
        self._routes = count
        return True

    def learn(self, exchange: Exchange, scope: Scope, method: str) -> None:
        """Remember what a request led to, if it was a hit of a rendered response."""
        calls, standing = exchange.calls, exchange.standing
        if calls is None or exchange.rendered is None or exchange.outcome is not Outcome.HIT:
            return
        if method not in _METHODS:
            return
        app = scope["app"]
        self._has_new_routes(app)
        if standing not in self._why:
            self._why[standing] = why_routed(calls, app, scope["route"])
        if self._why[standing]:
            return
        names = frozenset(name.encode("latin-1") for name in standing.varying)
        place: Any = scope["path"], scope["query_string"], method, scope.get("root_path")
        whole = _varied(place, scope, names) if names else place
        if len(str(whole)) + len(exchange.key) > LONGEST:
            return
        if names:
            self._keep(place, names)
        self._keep(whole, Target(exchange, calls, scope))

    def _keep(self, place: Any, value: Target | frozenset[bytes]) -> None:
        self._known[place] = value
        while len(self._known) > MOST:
            try:
                self._known.popitem(last=False)
            except KeyError:  # other threads have emptied it
                return


def _varied(place: tuple[Any, ...], scope: Scope, names: frozenset[bytes]) -> tuple[Any, ...]:
    """Return the place of a request among those that differ in headers; `host` needs the scheme."""
    lines = [(*line,) for line in scope["headers"] if line[0] in names]  # some servers have lists
    return (*place, scope.get("scheme"), *lines)

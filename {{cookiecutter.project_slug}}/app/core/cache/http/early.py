"""Hits before routing: which endpoints may be answered so, and which key a target has.

The middleware remembers which key the target of a request led to: its path, its query, and the
headers that the key holds. The next such request is answered without routing, dependencies or
validation. That is right only if the endpoint would do nothing else on a hit, and if the target
leads to the same key each time. So all that the route has must be known to be harmless; whatever is
not known goes the ordinary way.
"""

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from enum import Enum, EnumType
from inspect import isroutine
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin
from uuid import UUID

import annotated_types
from fastapi.routing import APIRoute
from starlette.types import Scope

from ..base import Nonces
from ..calls import CachedCalls, Exchange, Hit, routes_of
from ..coherence import Look, Outcome
from ..stored import Head, RenderedResponse
from .forms import calls_of, form_of

MOST = 4096
"""The most targets that are remembered."""
LONGEST = 2048
"""The most characters of a target, with its headers and its key."""
SMALL = 8192
"""The most bytes of a body that is kept with its target."""
SECONDS = 60.0
"""How long a target is remembered: after that it goes the ordinary way once more."""

_PLAIN = frozenset(
    {
        *(str, int, float, bool, NoneType, UUID, Decimal),
        *(date, datetime, time_of_day, timedelta),
    }
)
"""Types that are parsed by Pydantic alone, and always in the same way."""
_LIMITS = (
    *(annotated_types.Gt, annotated_types.Ge, annotated_types.Lt, annotated_types.Le),
    *(annotated_types.MinLen, annotated_types.MaxLen, annotated_types.MultipleOf),
)
_CONTAINERS = (list, set, frozenset, tuple)
_UNIONS = tuple({get_origin(int | str), get_origin(Annotated[int | str, 0] | None)})
_FORBIDDEN = ("request_param_name", "websocket_param_name", "security_scopes_param_name")


class Target:
    """What a target led to, and the entry that was read there last."""

    __slots__ = (
        "_calls",
        "_head",
        "_last",
        "_nonces",
        "_standing",
        "entry",
        "form",
        "is_near",
        "key",
        "scope",
        "start",
        "tags",
        "until",
        "used",
    )

    entry: RenderedResponse
    """The entry that was read last, without its body."""

    def __init__(self, exchange: Exchange, calls: CachedCalls, scope: Scope) -> None:
        self._calls, self._standing, self.form = calls, exchange.standing, exchange.form
        self.key, self.tags = exchange.key, exchange.tags
        self.scope = {name: scope[name] for name in ("route", "endpoint", "path_params")}
        """What routing puts into the scope."""
        self.used = time.time()
        self.until = self.used + SECONDS
        self.is_near = False
        """Whether the near cache had the entry."""
        self.start: tuple[int, Any] | None = None
        """The start of the response for the entry, and the second in which it was made."""
        self._last: RenderedResponse | None = None
        """The entry, if it is small."""
        self._head: Head | None = None
        self._nonces: Nonces = ()

    @property
    def calls(self) -> CachedCalls:
        """The calls of the endpoint."""
        return self._calls

    @property
    def is_right(self) -> bool:
        """Whether the routes of the function still render in the same way."""
        return self._calls.form == self.form

    def read_now(self) -> bytes | None:
        """Return the body of the entry, if it is a hit in this process."""
        calls, fence = self._calls, self._calls.store.fence
        if fence.near is not None and fence.may_read_near():
            hit = calls.reader.near_hit(self.key, fence.near, self.tags, calls.freshness, self.form)
            if hit is not None:
                last = self._last
                is_last = last is not None and hit[0] is last and self.is_near
                return last.body if last and is_last else self._found(hit, is_near=True)
        look = fence.look_now(self.key, self.tags) if fence.looks_now else None
        return None if look is None else self._seen(look)

    async def read(self) -> bytes | None:
        """Return the body of the entry, if it is a hit; it is not in this process."""
        fence = self._calls.store.fence
        return None if fence.looks_now else self._seen(await fence.looks.look(self.key, self.tags))

    def exchange(self) -> Exchange:
        """Return a request that the entry has answered."""
        exchange = Exchange()
        exchange.calls, exchange.standing = self._calls, self._standing
        exchange.key, exchange.outcome = self.key, Outcome.HIT
        exchange.rendered, exchange.is_near = self.entry, self.is_near
        return exchange

    def _seen(self, look: Look) -> bytes | None:
        """Return the body of the entry in a look; that of the same record takes less time."""
        data, nonces, _ = look
        if self._head is not None and nonces == self._nonces and type(data) is bytes:
            body = self._head.payload(data)
            if body is not None and not self._may_be_due():
                return body
        self._head = None
        calls = self._calls
        hit = calls.reader.hit(self.key, look, self.tags, calls.freshness, self.form)
        body = None if hit is None else self._found(hit, is_near=False)
        if body is not None and data is not None:
            self._head, self._nonces = Head.of(data), nonces
        return body

    def _may_be_due(self) -> bool:
        """Whether the entry that was read last may have to be computed again."""
        freshness = self._calls.freshness
        if freshness.early:
            return True
        return bool(freshness.stale) and freshness.now() * 1000 >= self.entry.until

    def _found(self, hit: Hit, *, is_near: bool) -> bytes | None:
        """Note an entry, and return its body; `None` if it is more than a rendered response."""
        rendered, changes = hit
        if changes is not None or type(rendered) is not RenderedResponse:
            return None
        body = rendered.body
        self._last = rendered if len(body) <= SMALL else None
        self._head, self.start, self.is_near = None, None, is_near
        self.entry = rendered._replace(body=b"")
        return body


class Targets:
    """The targets of one middleware that may be answered before routing."""

    def __init__(self) -> None:
        self._known: OrderedDict[Any, Target | frozenset[bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, scope: Scope) -> Target | None:
        """Return what a request leads to; `None` if it has to go the ordinary way."""
        place: Any = (
            scope["path"],
            scope["query_string"],
            scope["method"],
            scope.get("root_path"),
        )
        found = self._known.get(place)
        if found is None:
            return None
        if type(found) is frozenset:
            place = _varied(place, scope, found)
            found = self._known.get(place)
        if type(found) is not Target or not _is_ordinary(scope):
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

    def learn(self, exchange: Exchange, scope: Scope, method: str) -> None:
        """Remember what a request led to, if it was a hit of a rendered response."""
        calls, standing = exchange.calls, exchange.standing
        if calls is None or exchange.rendered is None or exchange.outcome is not Outcome.HIT:
            return
        if standing.why_routed is None:
            standing.why_routed = why_routed(calls, scope["app"], scope["route"])
        if standing.why_routed:
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
    return (*place, scope.get("scheme"), *[line for line in scope["headers"] if line[0] in names])


def _is_ordinary(scope: Scope) -> bool:
    """Whether nothing replaces dependencies, and nobody wants to see each step of a request."""
    return not scope["app"].dependency_overrides and "fastapi.telemetry" not in scope


def why_routed(calls: CachedCalls, app: Any, route: Any) -> str:
    """Return why hits of an endpoint go the ordinary way; empty if they are answered before routing.

    `route` is the route as it was made. It counts as it is, and wherever it is included.
    """
    places = [context for context, original in routes_of(app) if original is route]
    if not places:
        return "its route is not one of the application itself"
    found = (reason for each in places for reason in _reasons(calls, each, route))
    return next(found, "")


def _reasons(calls: CachedCalls, place: Any, route: Any) -> Iterator[str]:
    tree = place.dependant
    if route.endpoint is not calls.decorated:
        yield "there is a decorator above cache_response"
    if form_of(place) is None:
        yield "its response class or its response model has no form that can be compared"
    for each in tree.dependencies:
        yield f"it has the dependency {_name(each.call)}"
    for name in filter(None, (getattr(tree, kind) for kind in _FORBIDDEN)):
        yield f"it takes the request, as {name!r}"
    if tree.http_connection_param_name in calls.parameters.signature.parameters:
        yield f"it takes the connection, as {tree.http_connection_param_name!r}"
    if tree.body_params or tree.cookie_params:
        yield "it takes a body or a cookie"
    if calls.keys.has_own_function:
        yield "its key= is a function"
    if calls.vary.variables:
        yield "vary= names what is not in the request"
    if calls.derives:
        yield "its tags= has a function"
    for field in (*tree.path_params, *tree.query_params, *tree.header_params):
        info = field.field_info
        if not (_is_plain(info.annotation, info) and _is_fixed(info)):
            yield f"its parameter {field.name!r} is parsed by code that may do anything"


def _is_plain(annotation: Any, info: Any = None) -> bool:
    """Whether values of an annotation are parsed by Pydantic alone, and always in the same way."""
    metadata = list(getattr(info, "metadata", ()))
    if getattr(info, "default_factory", None) is not None:
        return False
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        annotation, *more = arguments
        return not more and _is_plain(annotation)
    if not all(isinstance(each, _LIMITS) or _is_pattern(each) for each in metadata):
        return False
    if origin in _UNIONS or origin in _CONTAINERS:
        return all(each is ... or _is_plain(each) for each in arguments)
    if type(annotation) is EnumType:
        missing: Any = annotation._missing_  # type: ignore[attr-defined] # of its members' class
        return missing.__func__ is Enum._missing_.__func__  # type: ignore[attr-defined] # a classmethod
    return origin is Literal or annotation in _PLAIN


def _is_fixed(info: Any) -> bool:
    """Whether the default of a parameter, if there is one, cannot change."""
    return info.is_required() or type(info.default) in _PLAIN or isinstance(info.default, Enum)


def _is_pattern(metadata: object) -> bool:
    """Whether it is what Pydantic makes of the arguments of a field, such as `pattern`."""
    return type(metadata).__module__ == "pydantic._internal._fields"


def _name(call: Any) -> str:
    named = call if isroutine(call) or isinstance(call, type) else type(call)
    return f"{named.__module__}.{named.__qualname__}"


class Told(NamedTuple):
    """An endpoint with `cache_response`, and why its hits are not answered before routing."""

    path: str
    why_routed: str


def before_routing(app: Any) -> list[Told]:
    """Return for each cached endpoint of an application whether its hits come before routing."""
    return [
        Told(context.path, why_routed(calls, app, original))
        for context, original in routes_of(app)
        if isinstance(original, APIRoute) and (calls := calls_of(original.endpoint)) is not None
    ]

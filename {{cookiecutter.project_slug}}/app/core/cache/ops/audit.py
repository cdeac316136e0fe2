"""An audit of an application: what of its caching does not work, told before there is any traffic.

    audit_cache(app, level="error")     # in development, in tests and in CI

It walks the routes, and examines what the decorators have made of their functions. It runs none of
these, and asks no server.
"""

import functools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from fastapi import FastAPI
from fastapi.routing import APIRoute

from ..calls import CachedCalls, Made, check_choice
from .at_routes import identity, left_out, lifetime, method, misplaced
from .coverage import Keys, sets_by_hand, texts_by_hand, void
from .endpoints import Place, Use, is_cached, named_in, namespaces_of, places_of, uses_of
from .findings import Finding, name_of_call
from .prefixes import shared_prefixes
from .types_kept import parameters, result

logger = logging.getLogger(__name__)

_UNKNOWN = "CacheMiddleware is not there: its files were deleted"
_WITHOUT = "its application has no CacheMiddleware"
_NO_ROUTE = "its route is not one of FastAPI's"


class Told(NamedTuple):
    """An endpoint with `cache_response`, and why its hits are not answered before routing."""

    path: str
    why_routed: str
    """Empty if they are."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit has found."""

    findings: tuple[Finding, ...]
    routes: tuple[Told, ...]
    """Of each cached endpoint, whether its hits are answered before routing. No mistake."""

    def __str__(self) -> str:
        """Return a text for people: each finding, and each endpoint whose hits are routed."""
        count = len(self.findings)
        lines = [f"{count} finding{'s' * (count != 1)} in the cache of this application"]
        lines += [f"- {each}" for each in self.findings]
        late = [f"  {each.path}: {each.why_routed}" for each in self.routes if each.why_routed]
        lines += ["Not answered before routing, which is no mistake:", *late] if late else []
        return "\n".join(lines)


class CacheAuditError(Exception):
    """An audit has findings; `audit` has all of them."""

    def __init__(self, audit: Audit) -> None:
        super().__init__(str(audit))
        self.audit = audit


def audit_cache(app: FastAPI, *, level: Literal["error", "warning"] = "warning") -> Audit:
    """Examine what decorators of the cache have made of an application; return what is wrong.

    Call it when all routes are there. It includes routers and mounted applications. With "warning"
    each finding is a line of the log. With "error", `CacheAuditError` is raised if there are any.
    """
    check_choice("level", level, ("error", "warning"))
    if not hasattr(app, "routes"):
        raise TypeError(
            f"app={app!r} has no routes: give the application itself, without what is around it"
        )
    places = places_of(app)
    uses = uses_of(places)
    audit = Audit(tuple(dict.fromkeys(_found(places, uses))), tuple(_told(uses)))
    if audit.findings and level == "error":
        raise CacheAuditError(audit)
    for finding in audit.findings:
        logger.warning("%s", finding)
    return audit


def _found(places: list[Place], uses: list[Use]) -> Iterator[Finding]:
    used = {id(use.made): use for use in uses}
    namespaces = namespaces_of(places)
    named = {id(each): each for each in named_in(namespaces)}
    others = [each for place, each in named.items() if place not in used]

    def where(made: Made) -> str:
        return used[id(made)].where if id(made) in used else name_of_call(made.below)

    yield from _safely(misplaced(places), "the routes")
    for use in uses:
        yield from _safely(_of_use(use), use.where)
    yield from method(uses)
    for made in others:
        yield from _safely(_of_function(made, where(made)), where(made))
    functions = [*(use.made for use in used.values()), *others]
    keys, by_hand = Keys(functions), functools.cache(lambda: texts_by_hand(namespaces))
    sets = functools.cache(lambda: sets_by_hand(namespaces))
    for made in functions:
        if not is_cached(made):
            is_sure = id(made) in used and not sets()
            found = void(made, where(made), keys, by_hand, is_sure=is_sure)
            yield from _safely(found, where(made))
    yield from shared_prefixes([each for each in functions if is_cached(each)], where)


def _safely(found: Iterator[Finding], where: str) -> Iterator[Finding]:
    """Yield findings; classes and annotations may have code of their own, which raises anything."""
    try:
        yield from found
    except Exception as error:
        logger.warning("the audit cannot examine %s: %r", where, error)


def _of_use(use: Use) -> Iterator[Finding]:
    """Find what is wrong with a function that a route calls."""
    yield from parameters(use.made, use, use.where)
    if not is_cached(use.made):
        return
    middleware = _middleware_of(use.place.app)
    more = getattr(middleware, "kwargs", None) or getattr(middleware, "options", None) or {}
    yield from identity(use)
    yield from left_out(use)
    yield from result(use.made, use, use.where, is_rendered=_is_rendered(use, middleware))
    yield from lifetime(
        use.made, use.where, has_more_tags=bool(more.get("invalidate_unsafe")) and use.is_endpoint
    )


def _of_function(made: Made, where: str) -> Iterator[Finding]:
    """Find what is wrong with a function that no route calls, and that is known by its name."""
    yield from parameters(made, None, where)
    if is_cached(made):
        yield from result(made, None, where, is_rendered=False)
        yield from lifetime(made, where)


def _is_rendered(use: Use, middleware: Any) -> bool:
    """Whether what the route sends may be stored, in place of what the function returns."""
    is_own = use.place.endpoint is use.made.function
    classes = [name_of_call(each) for each in type(use.place.route).__mro__]
    has_class = any(each.endswith(".http.route.CachedRoute") for each in classes)
    return is_own and (has_class or middleware is not None)


def _middleware_of(app: Any) -> Any:
    """Return the `CacheMiddleware` of an application, as it was added, or `None`."""
    try:
        from ..http import CacheMiddleware  # noqa: PLC0415 - its file may be deleted
    except ImportError:
        return None
    added = getattr(app, "user_middleware", ())
    return next((each for each in added if each.cls is CacheMiddleware), None)


def _told(uses: list[Use]) -> Iterator[Told]:
    """Tell of each cached endpoint whether its hits are answered before routing."""
    for use in uses:
        if use.is_endpoint and is_cached(use.made):
            why = _why_routed(use)
            yield from (Told(path, why) for path in use.place.paths)


def _why_routed(use: Use) -> str:
    try:
        from ..http import why_routed  # noqa: PLC0415 - its file may be deleted
    except ImportError:
        return _UNKNOWN
    place, calls = use.place, use.made.calls
    if _middleware_of(place.app) is None:
        return _WITHOUT
    if not isinstance(calls, CachedCalls) or not isinstance(place.route, APIRoute):
        return _NO_ROUTE
    return why_routed(calls, place.alone, place.route)

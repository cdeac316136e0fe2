"""Which endpoints are answered before routing, and why others are not.

All that a route has must be known to do nothing else on a hit, and to lead from one target to one
key. What is not known goes the ordinary way.
"""

from collections.abc import Iterator
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
from starlette.routing import Host

from ..calls import CachedCalls, routes_of
from .forms import ROUTING, calls_of, form_of, is_known

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
_UNIONS = tuple({get_origin(int | str), get_origin(Annotated[int | str, 0] | None)})  # pyright: ignore[reportOperatorIssue]
_FORBIDDEN = ("request_param_name", "websocket_param_name", "security_scopes_param_name")


def why_routed(calls: CachedCalls, app: Any, route: Any) -> str:
    """Return why hits of an endpoint go the ordinary way; empty if they are answered before routing.

    `route` is the route as it was made. It counts as it is, and wherever it is included.
    """
    places = [context for context, original in routes_of(app) if original is route]
    if not places:
        return "its route is not one of the application itself"
    if "GET" not in route.methods:
        return "it is not for GET"
    unknown = next(_beyond_the_target(app.router), None)
    if unknown is not None:
        return f"a route of the class {_name(type(unknown))} may look at more than the target"
    found = (reason for each in places for reason in _reasons(calls, each, route))
    return next(found, "")


def _beyond_the_target(router: Any) -> Iterator[Any]:
    """Yield routers and routes that may look at more of a request than its path and its method."""
    kind, names = type(router), ("__call__", "app", "matches", "handle")
    how = [getattr(kind, name, kind.__call__) for name in names]  # not all versions have all
    if any(each.__module__ not in ROUTING for each in how):
        yield router
    for route in router.routes:
        matches = type(route).matches
        if matches.__module__ not in ROUTING or matches is Host.matches or _converts(route):
            yield route
        if hasattr(route, "original_router"):  # it is included
            yield from _beyond_the_target(route.original_router)


def _converts(route: Any) -> bool:
    """Whether a route has a path convertor of somebody else, which may look at anything."""
    kinds = map(type, getattr(route, "param_convertors", {}).values())
    return any(kind.__module__ != "starlette.convertors" for kind in kinds)


def _reasons(calls: CachedCalls, place: Any, route: Any) -> Iterator[str]:
    tree = place.dependant
    if _converts(place):
        yield "its path has a convertor that may look at anything"
    if not is_known(route):
        yield f"its route is of the class {_name(type(route))}, or something has been put around it"
    if route.endpoint is not calls.decorated:
        yield "there is a decorator above cache_response"
    yield from _of_the_tree(tree, calls)
    if calls.keys.has_own_function:
        yield "its key= is a function"
    if calls.vary.variables:
        yield "vary= names what is not in the request"
    if calls.derives:
        yield "its tags= has a function"
    if form_of(place) is None:  # the last, as it takes longest
        yield "its response class or its response model has no form that can be compared"


def _of_the_tree(tree: Any, calls: CachedCalls) -> Iterator[str]:
    """Yield what the dependencies and parameters of a route do besides."""
    for each in tree.dependencies:
        yield f"it has the dependency {_name(each.call)}"
    for name in filter(None, (getattr(tree, kind) for kind in _FORBIDDEN)):
        yield f"it takes the request, as {name!r}"
    for name in (tree.response_param_name, tree.http_connection_param_name):
        if name in calls.parameters.signature.parameters:
            yield f"it takes the response or the connection, as {name!r}"
    if tree.body_params or tree.cookie_params:
        yield "it takes a body or a cookie"
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
        is_own = hasattr(annotation, "__get_pydantic_core_schema__")
        missing: Any = annotation._missing_  # type: ignore[attr-defined] # of its members' class
        return not is_own and missing.__func__ is Enum._missing_.__func__  # type: ignore[attr-defined] # a classmethod
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

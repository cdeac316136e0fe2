"""What is wrong with a decorated function at the routes that call it."""

import dis
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any, Literal

from starlette.requests import HTTPConnection

from ..calls import UNSEEN, CachedCalls, Made, decorators_above, reaches, standing, subtree
from ..coherence import TAG_MS
from ..reads import function_of, may_read_all, parameters_used, steps
from ..values import RETURN, hints_of, kinds_of
from .endpoints import Place, Use, is_cached
from .findings import Finding, short_name

_UNKEYED = {"headers", "cookies", "client", "user", "auth", "session", "state"}
"""Attributes of a request that are no part of its identity in a key."""
_IDENTITY = {"method", "url", "base_url", "query_params", "path_params", "url_for"}
"""Those that are, unless `key=` makes the key."""


def misplaced(places: list[Place]) -> Iterator[Finding]:
    """Find decorators above that of the route: FastAPI calls the function below them."""
    called = [step for place in places for step in list(steps(place.endpoint))[1:]]
    for place in places:
        function = place.endpoint
        above = sorted(decorators_above(function))
        if not above or _is_meant(function, called):
            continue
        names = " and ".join(above)
        yield Finding(
            "misplaced",
            place.where(function),
            f"{names} is above the decorator of the route, so FastAPI never calls what it makes",
            f"put {names} below the decorator of the route, directly above {short_name(function)}",
        )


def _is_meant(function: Any, called: list[Any]) -> bool:
    """Whether a route calls a function that is decorated elsewhere, under another name, on purpose.

    The name of a function in its module leads to what the decorators on top of it have made.
    """
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    below = list(steps(found))
    if any(each is function for each in below):
        return found is function
    return any(each is function for each in called)  # its name leads nowhere: it is a local one


def identity(use: Use) -> Iterator[Finding]:
    """Find what a route knows of who asks, and the key does not have."""
    calls: Any = use.made.calls
    if calls.is_shared:
        return
    scope = {"app": use.place.alone, "route": use.place.route, "endpoint": use.place.endpoint}
    known = standing(
        scope,
        lambda call: reaches(call, use.made.function),
        calls.keys.names,
        calls.vary,
        calls.ignored,
    )
    reason = known.reason
    if reason is None:
        empty = [why for name, why in known.silent if _returns_nothing(use, name)]
        reason = empty[0] if empty else UNSEEN if calls.unseen else None
    if reason is not None:
        what, _, mend = reason.partition("; ")
        name = short_name(use.made.below)
        yield Finding("identity", use.where, f"it runs uncached, for {what}", f"in {name}, {mend}")
    if not calls.keys.has_own:
        yield from _unkeyed_reads(use, _UNKEYED)


def _returns_nothing(use: Use, parameter: str) -> bool:
    """Whether the dependency of a parameter returns only `None`, by its annotation."""
    call = dependency_of(use, parameter)
    hints = hints_of(call) if call is not None else {}
    return hints.get(RETURN, object) is type(None)


def dependency_of(use: Use, parameter: str) -> Any:
    """Return the dependency that makes an argument of a decorated function, or `None`."""
    for each in (each for tree in use.place.trees for each in subtree(tree)):
        if reaches(each.call, use.made.function):
            for inner in each.dependencies:
                if inner.name == parameter:
                    return inner.call
    return None


def left_out(use: Use) -> Iterator[Finding]:
    """Find parameters that count, and that the key leaves out."""
    made, calls = use.made, use.made.calls
    if not isinstance(calls, CachedCalls) or calls.is_shared:
        return
    if calls.keys.has_own:
        yield from _unkeyed_reads(use, _UNKEYED | _IDENTITY)
    ignored = {each for each in made.given["ignore"] if isinstance(each, str)}
    in_path = {field.name for tree in use.place.trees for field in tree.path_params}
    used = set() if may_read_all(made.below) else parameters_used(made.below)
    for name in sorted(ignored & in_path & used):
        yield Finding(
            "key",
            use.where,
            f"ignore= leaves {name!r} out of the key, which the path has and "
            f"{short_name(made.below)} reads: its callers get each other's results",
            f"take {name!r} out of ignore={tuple(sorted(ignored))!r}"
            + (f", and name {{{name}}} in key=" if made.given["key"] is not None else ""),
        )


def _unkeyed_reads(use: Use, attributes: set[str]) -> Iterator[Finding]:
    """Find reads of the request that keep results from being stored."""
    calls: Any = use.made.calls
    parameters, name = calls.parameters, short_name(use.made.below)
    for request in parameters.signature.parameters:
        kinds = kinds_of(parameters.hints.get(request, object))
        is_request = any(issubclass(kind, HTTPConnection) for kind in kinds)
        is_held = calls.keys.has_own and request not in calls.keys.unused
        read = attributes & _read_of(use.made.below, request) if is_request else set()
        if calls.vary.headers:
            read -= {"headers", "cookies"} if "cookie" in calls.vary.headers else {"headers"}
        if not read or is_held:
            continue
        kind: Literal["key", "identity"] = "key" if calls.keys.has_own else "identity"
        key = "key= leaves" if calls.keys.has_own else "the key leaves"
        words = ", ".join(f"{request}.{each}" for each in sorted(read))
        more = ", or name a header in vary=" if read <= {"headers", "cookies"} else ""
        yield Finding(
            kind,
            use.where,
            f"{key} {request!r} out, of which it reads {words}: then its result is not stored",
            f"make what it reads a parameter of {name}, as a dependency that returns it does"
            + (", and name that in key=" if calls.keys.has_own else more),
        )


def _read_of(call: Any, parameter: str) -> set[str]:
    """Return the attributes that the code of a function takes directly from a parameter."""
    found, code = set(), getattr(function_of(call), "__code__", None)
    for this, after in pairwise(dis.get_instructions(code) if code is not None else ()):
        if this.opname.startswith(("LOAD_FAST", "LOAD_DEREF")) and this.argval == parameter:
            found |= {after.argval} if after.opname in ("LOAD_ATTR", "LOAD_METHOD") else set()
    return found


def method(uses: list[Use]) -> Iterator[Finding]:
    """Find endpoints none of whose routes takes a request that has entries."""
    by_function: dict[int, list[Use]] = {}
    for use in uses:
        if use.is_endpoint and is_cached(use.made):
            by_function.setdefault(id(use.made), []).append(use)
    for group in by_function.values():
        made, answers = group[0].made, group[0].made.given["method"]
        wanted = {answers, "HEAD"} if answers == "GET" else {answers}
        if any(use.place.methods is None or use.place.methods & wanted for use in group):
            continue
        name = short_name(made.below)
        for use in group:
            taken = " or ".join(sorted(use.place.methods or ()))
            yield Finding(
                "method",
                use.where,
                f"method={answers!r} is for requests by {answers}, and the route takes {taken}: "
                f"it runs each time",
                f"take cache_response off {name}, with invalidate_cache in its place if it changes "
                f"anything; only if its answers may be kept, say method={taken.split(' ')[0]!r}",
            )


def lifetime(made: Made, where: str, *, has_more_tags: bool = False) -> Iterator[Finding]:
    """Find entries that are to live longer than the nonces of their tags."""
    calls: Any = made.calls
    ms = calls.freshness.expire + calls.freshness.stale
    if ms > TAG_MS and (calls.tags or has_more_tags):
        longest, own = timedelta(milliseconds=TAG_MS), timedelta(milliseconds=ms)
        yield Finding(
            "lifetime",
            where,
            f"expire= and stale= are {own} together, and the nonces of its tags are kept for "
            f"{longest}: its entries end with these",
            f"let them be {longest} or less together, as expire={longest.days * 86400} in "
            f"cache_response of {short_name(made.below)}",
        )

"""The routes of an application, and the decorated functions that they call or know by name."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from starlette.applications import Starlette

from ..calls import CachedCalls, CachedMethod, Made, made_of, routes_of, subtree
from ..here import is_own
from ..reads import function_of, steps
from .findings import name_of_call

_MOST = 5000
"""The most namespaces that are searched for names."""


@dataclass(slots=True, eq=False)
class Place:
    """A route as it was made, in one application, and its form wherever that includes it."""

    app: Any
    """The application that requests to it name in their scope."""
    route: Any
    contexts: list[Any] = field(default_factory=list)
    """Its form at each place where the application includes it."""
    paths: list[str] = field(default_factory=list)
    methods: frozenset[str] | None = None
    """`None` if it takes all of them."""

    @property
    def endpoint(self) -> Any:
        """What the route calls."""
        return self.route.endpoint

    @property
    def trees(self) -> list[Any]:
        """FastAPI's trees of dependencies, one for each inclusion; none for routes of Starlette."""
        found = (getattr(each, "dependant", None) for each in self.contexts)
        return [tree for tree in found if tree is not None]

    @property
    def alone(self) -> Any:
        """What its application would be with this route alone: there is less to search."""
        return SimpleNamespace(
            routes=self.contexts,
            router=getattr(self.app, "router", None),
            dependency_overrides=getattr(self.app, "dependency_overrides", None),
        )

    def where(self, function: Any) -> str:
        """Return the route, and a function that it calls, in words."""
        methods = ",".join(sorted((self.methods or {"*"}) - {"HEAD"})) or "HEAD"
        return f"{methods} {' '.join(self.paths)} ({name_of_call(function)})"


def places_of(app: Any) -> list[Place]:
    """Return the routes of an application, of its routers, and of what is mounted in it."""
    found: dict[tuple[int, int], Place] = {}
    _collect(app, app, "", found, [])
    return list(found.values())


def _collect(
    holder: Any, app: Any, before: str, found: dict[tuple[int, int], Place], within: list[Any]
) -> None:
    if any(each is holder for each in within):  # it is mounted in itself
        return
    for context, original in routes_of(holder):
        path = f"{before}{getattr(context, 'path', None) or ''}"
        if hasattr(original, "endpoint"):
            place = found.setdefault((id(app), id(original)), Place(app, original))
            place.paths += [path] * (path not in place.paths)
            place.contexts.append(context)
            methods = getattr(context, "methods", None)
            place.methods = None if methods is None else frozenset(methods)
        else:
            inner = _mounted(original)
            its_app = inner if isinstance(inner, Starlette) else app
            _collect(inner, its_app, path.rstrip("/"), found, [*within, holder])


def _mounted(route: Any) -> Any:
    """Return what a route has mounted, without the middlewares around it; `None` for nothing."""
    inner, seen = getattr(route, "app", None), list[Any]()
    while inner is not None and not hasattr(inner, "routes") and len(seen) < 100:
        seen.append(inner)
        inner = getattr(inner, "app", None)
    return inner


class Use(NamedTuple):
    """A decorated function that a route calls, as its endpoint or as a dependency."""

    place: Place
    made: Made
    is_endpoint: bool

    @property
    def where(self) -> str:
        """The route and the function in words."""
        return self.place.where(self.made.below)


def uses_of(places: Iterable[Place]) -> list[Use]:
    """Return the decorated functions that routes call."""
    found: dict[tuple[int, int], Use] = {}
    for place in places:
        calls = [each.call for tree in place.trees for each in subtree(tree)]
        for call in [place.endpoint, *calls]:
            for made in made_in(call):
                use = Use(place, made, call is place.endpoint)
                found.setdefault((id(place), id(made)), use)
    return list(found.values())


def made_in(call: Any) -> Iterator[Made]:
    """Yield how a function was made by decorators of the cache, the outermost one first."""
    for each in steps(call):
        made = made_of(each)
        if made is not None:
            yield made


def is_cached(made: Made) -> bool:
    """Whether `cache_response` has made it."""
    return isinstance(made.calls, CachedCalls)


def namespaces_of(places: Iterable[Place]) -> list[dict[str, Any]]:
    """Return the global names of the functions of routes, and of each module that these lead to."""
    calls = [place.endpoint for place in places]
    calls += [each.call for place in places for tree in place.trees for each in subtree(tree)]
    waiting = [getattr(function_of(call), "__globals__", {}) for call in calls]
    found: dict[int, dict[str, Any]] = {}
    while waiting and len(found) < _MOST:
        names = waiting.pop()
        if id(names) not in found and is_own(str(names.get("__file__", ""))):
            found[id(names)] = names
            waiting += [vars(module) for module in _modules_in(names)]
    return list(found.values())


def _modules_in(names: dict[str, Any]) -> Iterator[ModuleType]:
    found = set()
    for value in list(names.values()):
        if type(value) is ModuleType:
            found.add(value.__name__)
        elif is_of(value, FunctionType, type):
            found.add(value.__module__)
    for name in found:
        module = sys.modules.get(name) if isinstance(name, str) else None
        if module is not None:
            yield module


def is_of(value: Any, *kinds: type) -> bool:
    """Whether a value is of one of these classes; a proxy may raise if it is asked for its class."""
    return issubclass(type(value), kinds)


def functions_in(names: dict[str, Any]) -> Iterator[Any]:
    """Yield the functions among global names, and those in the bodies of classes of the module."""
    for value in list(names.values()):
        held = [value]
        if is_of(value, type) and value.__module__ == names.get("__name__"):
            held = list(vars(value).values())
        for each in held:
            function = each.__func__ if is_of(each, classmethod, staticmethod) else each
            if is_of(function, FunctionType, CachedMethod):
                yield function


def named_in(namespaces: Iterable[dict[str, Any]]) -> Iterator[Made]:
    """Yield how decorated functions among global names were made."""
    for names in namespaces:
        for function in functions_in(names):
            yield from made_in(function)

"""What the dependencies of a route know and a key does not (promise P8).

A dependency may learn who asks, and tell the function in ways that nobody sees: by a context
variable, or by an argument that is ignored. So the tree of dependencies that FastAPI keeps for a route
is looked through, once: whatever it takes from the request has to be made into an argument that is
part of the key, be part of the key itself, or be in a context variable that `vary=` names.
"""

import copy
import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import routing
from fastapi.dependencies.utils import get_dependant
from fastapi.security.base import SecurityBase
from pydantic import BaseModel

from ..keys import Vary, name_of
from ..reads import CONNECTION, context_variables, function_of, only_reads, steps
from ..values import RETURN, hints_of

_contexts: Callable[[Any], Any] = getattr(routing, "iter_route_contexts", iter)
"""Lists routes as they are where they are included; once, each inclusion was a route of its own."""

_FIELDS = ("path", "query", "header", "cookie", "body")
_REQUEST = ("request_param_name", "websocket_param_name", "http_connection_param_name")
_SILENT = (None, type(None), typing.NoReturn, typing.Never)

Holding = tuple[str, str]
"""What is taken of a request: where it stands, and its name there."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a cached function is to a route that calls it."""

    is_endpoint: bool
    reason: str | None
    """Why its results are not for everybody, if they are not."""
    silent: tuple[str, ...] = ()
    """Arguments which, where they are `None`, say nothing of what their dependency has learned."""
    headers: frozenset[str] = frozenset()
    """The headers that arguments in the key are made of, in lower case."""

    def why_private(self, arguments: typing.Mapping[str, object]) -> str | None:
        """Return why a call is not for everybody, or `None` if it may be."""
        if self.reason is not None:
            return self.reason
        for name in self.silent:
            if arguments.get(name) is None:
                return f"its argument {name!r} does not say what its dependency has learned"
        return None


def overrides_of(app: Any) -> dict[Any, Any]:
    """Return what an application has put in the places of dependencies."""
    return getattr(app, "dependency_overrides", None) or {}


def standing(
    scope: typing.Mapping[str, Any],
    is_ours: Callable[[object], bool],
    keyed: Collection[str],
    vary: Vary,
) -> Standing:
    """Return what a function is to the route that answers a request.

    `is_ours` tells the function, `keyed` are its parameters whose arguments are in the key.
    """
    is_endpoint = is_ours(scope.get("endpoint"))
    route, app = scope.get("route"), scope.get("app")
    overrides = overrides_of(app)
    trees = [_overridden(each.dependant, overrides) for each in _as_included(route, app)]
    reasons: list[str] = []
    silent: list[str] = []
    headers: set[str] = set()
    for tree in trees:
        for own in [tree] if is_endpoint else [*_calls_of(tree, is_ours)] or [tree]:
            judged = _Judged(own, [] if own is tree else _besides(tree, own), keyed, vary)
            reasons += judged.reasons
            silent += judged.silent
            headers |= judged.headers
    return Standing(is_endpoint, reasons[0] if reasons else None, tuple(silent), frozenset(headers))


def unseen(trees: Iterable[Any], keyed: Collection[str], vary: Vary) -> str | None:
    """Return why the results of a function are not for everybody which is called in these trees.

    Nobody can tell which of its calls are made there; so what holds for one tree holds for all.
    """
    for tree in trees:
        if tree is None:
            return _reason("a decorator above it", "what cannot be seen")
        judged = _Judged(tree, (), keyed, vary)
        if judged.reasons or judged.silent:
            return judged.reasons[0] if judged.reasons else _reason("a dependency", "the request")
    return None


class _Judged:
    """A function in a tree of dependencies, and what is known there and not in its key."""

    def __init__(self, own: Any, others: Iterable[Any], keyed: Collection[str], vary: Vary) -> None:
        self.reasons: list[str] = []
        self.silent: list[str] = []
        in_key = {holding for name, holding in _fields(own) if name in keyed}
        self.headers = {name for where, name in in_key if where == "header"}
        self._in_key = in_key | {("header", name) for name in vary.headers}
        if "cookie" in vary.headers:
            self._in_key |= {each for _, each in _fields(own) if each[0] == "cookie"}
        self._variables = vary.read
        self._made = {
            inner.call
            for each in own.dependencies
            if each.name in keyed and _returns_nothing(each.call) is not True
            for inner in _subtree(each)
        }
        """The dependencies of which arguments in the key are made."""
        for name, holding in _fields(own):
            if holding[0] in ("header", "cookie") and not (
                name in keyed or holding in self._in_key
            ):
                self.reasons.append(_reason(f"its parameter {name!r}", _words(holding)))
        for each in others:
            self._judge(each, is_other=True)
        for each in own.dependencies:
            self._judge(each, is_keyed=each.name in keyed)

    def _judge(self, dependency: Any, *, is_keyed: bool = False, is_other: bool = False) -> None:
        """Judge a dependency: of the function, or another one of its route, which ran before it."""
        variables = {
            found
            for each in _subtree(dependency)
            for found in context_variables(each.call, or_sets=True)
        }
        hands_out = dependency.name is not None and not is_other
        # One that hands out nothing may look at what an argument in the key is made of: a gate.
        taken = set(_secrets(dependency, () if hands_out else self._made))
        if variables or (hands_out and not is_keyed):
            taken |= {holding for each in _subtree(dependency) for _, holding in _fields(each)}
        unknown = taken - self._in_key
        untold = variables - self._variables
        says_nothing = _returns_nothing(dependency.call) if hands_out else True
        if hands_out and not (is_keyed or says_nothing):
            self._judge_ignored(dependency)
        if not unknown:
            return
        if hands_out and not (is_keyed or says_nothing):
            is_told = False  # the function has its value, which no key has
        elif is_keyed and not says_nothing:
            is_told = not untold
            if says_nothing is None:
                self.silent.append(dependency.name)
        else:  # it tells by context variables, or not at all
            is_told = bool(variables) and not untold
            if is_other and dependency.name is not None and not variables:
                is_told = True  # its value is that of another parameter
        if not is_told:
            what = ", ".join(sorted(map(_words, unknown)))
            self.reasons.append(_reason(f"the dependency {_name(dependency.call)}", what))

    def _judge_ignored(self, dependency: Any) -> None:
        """Judge a dependency whose value the function has, and no key, by the variables that it reads."""
        calls = [each.call for each in _subtree(dependency)]
        read = {found for call in calls for found in context_variables(call)}
        lacking = sorted(map(name_of, read - self._variables))
        if lacking:
            who = f"the dependency {_name(dependency.call)}"
            self.reasons.append(_reason(who, ", ".join(lacking)))


def _reason(who: str, what: str) -> str:
    return (
        f"{who} reads {what}, and no argument in the key is made of it; make it a parameter that is "
        f"in the key, or name the header or the context variable in vary=; only if the answer is "
        f"the same for everybody, whoever asks, say shared=True"
    )


def reaches(call: object, function: object) -> bool:
    """Whether a call is a function, or leads to it through decorators that say so."""
    return any(each is function for each in steps(call))


def routes_of(app: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the routes of an application, each as it is where it is included, and as it was made."""
    for context in _contexts(getattr(app, "routes", ())):
        yield context, getattr(context, "original_route", context)


def _as_included(route: Any, app: Any) -> Iterator[Any]:
    """Yield a route, and what it is wherever the application includes it."""
    if getattr(route, "dependant", None) is not None:
        yield route
        for context, original in routes_of(app):
            if original is route and context is not route:
                yield context


def _subtree(dependant: Any) -> Iterator[Any]:
    yield dependant
    for each in dependant.dependencies:
        yield from _subtree(each)


def _besides(tree: Any, own: Any) -> list[Any]:
    """Return the dependencies in a tree that are neither below a function nor lead to it."""
    found = []
    for each in tree.dependencies:
        if each is own:
            continue
        if any(inner is own for inner in _subtree(each)):
            found += _besides(each, own)
        else:
            found.append(each)
    return found


def _overridden(tree: Any, overrides: dict[Any, Any]) -> Any:
    """Return a tree with what the application has put in the places of dependencies."""
    if not overrides:
        return tree
    inner = []
    for each in tree.dependencies:
        replaced, call = each, overrides.get(each.call)
        if call is not None:
            replaced = get_dependant(path=each.path or "/", call=call, name=each.name)
        inner.append(_overridden(replaced, overrides))
    changed = copy.copy(tree)
    changed.dependencies = inner
    return changed


def _calls_of(tree: Any, is_ours: Callable[[object], bool]) -> Iterator[Any]:
    return (each for each in _subtree(tree) if is_ours(each.call))


def _fields(dependant: Any) -> list[tuple[str, Holding]]:
    """Return the names of parameters that FastAPI fills in from the request, and what with."""
    found = []
    for where in _FIELDS:
        for field in getattr(dependant, f"{where}_params"):
            alias = field.alias.lower() if where == "header" else field.alias
            if _is_model(getattr(field.field_info, "annotation", None)):
                alias = f"*{alias}"  # a model of several
            found.append((field.name, (where, alias)))
    return found


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _besides_those(dependant: Any, known: Collection[Any]) -> Iterator[Any]:
    """Yield a dependency and those that it depends on, but not the `known` ones and theirs."""
    if dependant.call not in known:
        yield dependant
        for each in dependant.dependencies:
            yield from _besides_those(each, known)


def _secrets(dependency: Any, known: Collection[Any] = ()) -> Iterator[Holding]:
    """Yield what a dependency, and those that it depends on, may learn of who asks."""
    for each in _besides_those(dependency, known):
        yield from (holding for _, holding in _fields(each) if holding[0] in ("header", "cookie"))
        call = each.call
        if isinstance(call, SecurityBase):
            yield _of_scheme(call)
        elif any(
            name is not None and name != CONNECTION and not only_reads(call, name, "app")
            for name in (getattr(each, attribute) for attribute in _REQUEST)
        ):
            yield "request", ""


def _of_scheme(scheme: Any) -> Holding:
    """Return what a security scheme reads, by its model; see FastAPI's `fastapi.security`."""
    if not type(scheme).__call__.__module__.startswith("fastapi.security."):
        return "scheme", type(scheme).__qualname__  # one that reads in a way of its own
    model = scheme.model
    place = getattr(getattr(model, "in_", None), "value", None)
    if place in ("header", "query", "cookie"):
        return place, model.name.lower() if place == "header" else model.name
    return "header", "authorization"


def _words(holding: Holding) -> str:
    where, name = holding
    if where == "request":
        return "the request"
    return f"the security scheme {name!r}" if where == "scheme" else f"the {where} {name!r}"


def _name(call: Any) -> str:
    named = call if hasattr(call, "__qualname__") else type(call)
    return f"{named.__module__}.{named.__qualname__}"


def _returns_nothing(call: Any) -> bool | None:
    """Whether a dependency hands out nothing but `None`; `None` where its annotation is silent."""
    if inspect.isclass(call):
        return False
    hints = hints_of(call)
    if RETURN not in hints:
        return None if hasattr(function_of(call), "__code__") else False
    kind = hints[RETURN]
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is not None and arguments and _yields(call):
        kind = arguments[0]
    return kind in _SILENT


def _yields(call: Any) -> bool:
    function = function_of(call)
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)

"""What the dependencies of a route know and a key does not (promise P8).

A dependency may learn who the client is, and pass that on to the function by a hidden way. So
FastAPI's tree of dependencies for a route is searched once. All that it reads of the request must
be in the key: by an argument that is made from it, or by a header or a context variable in `vary=`.
"""

import copy
import inspect
import typing
from collections.abc import Callable, Collection, Iterator
from typing import Any

from fastapi import routing
from fastapi.dependencies.utils import get_dependant
from fastapi.security.base import SecurityBase

from ..keys import Vary, name_of
from ..reads import Variable, context_variables, steps
from ..values import RETURN, hints_of
from .holdings import OF_WHO_ASKS, Holding, fields_of, secrets_of, subtree

_contexts: Callable[[Any], Any] = getattr(routing, "iter_route_contexts", iter)
"""Lists each route as it is included; in older FastAPI, each inclusion is a route of its own."""

_WHO = {"authorization", "cookie", "proxy-authorization"}
"""Headers that say who asks."""
_NEGOTIATED = {"accept", "accept-charset", "accept-encoding", "accept-language"}
"""Headers that do not: RFC 9110, section 12.5."""
_NOTHING = (None, type(None))

UNSEEN = (
    "a decorator above it takes no **kwargs, so nobody can tell which request a call belongs to; let the "
    "decorator take **kwargs and hand them on, or put it below cache_response"
)


class Standing:
    """The part that a cached function has in a route that calls it."""

    __slots__ = (
        "headers",
        "is_endpoint",
        "is_known",
        "is_listed",
        "is_named",
        "is_private",
        "reason",
        "silent",
        "varying",
    )

    def __init__(  # noqa: PLR0917 - it is made at one place
        self,
        is_endpoint: bool,
        reason: str | None,
        silent: tuple[tuple[str, str], ...] = (),
        headers: frozenset[str] = frozenset(),
        is_private: bool = True,
        is_named: bool = False,
        varying: frozenset[str] = frozenset(),
        is_listed: bool | None = None,
        is_known: bool | None = None,
    ) -> None:
        self.is_endpoint = is_endpoint
        self.reason = reason
        """Why its results are private, or `None`."""
        self.silent = silent
        """Arguments that, if `None`, hide what their dependency knows; and the reason for each."""
        self.headers = headers
        """The headers from which arguments in the key are made, in lower case."""
        self.is_private = is_private
        """Whether the key may hold who asks: then no cache may share the response."""
        self.is_named = is_named
        """Whether `varying` names all that the key may hold of who asks."""
        self.varying = varying
        """The headers of the request that the key may hold, in lower case."""
        self.is_listed = is_listed
        """Whether the application lists the route; `None` if nobody has looked yet."""
        self.is_known = is_known
        """Whether the route is known to send what it renders; `None` if nobody has looked yet."""

    def why_private(self, arguments: typing.Mapping[str, object]) -> str | None:
        """Return why the result of a call is private, or `None` if it is for everybody."""
        if self.reason is not None:
            return self.reason
        return next((why for name, why in self.silent if arguments.get(name) is None), None)


def overrides_of(app: Any) -> dict[Any, Any]:
    """Return the dependency overrides of an application."""
    return getattr(app, "dependency_overrides", None) or {}


def standing(
    scope: typing.Mapping[str, Any],
    is_ours: Callable[[object], bool],
    keyed: Collection[str],
    vary: Vary,
    ignored: Collection[Variable] = (),
) -> Standing:
    """Return the part that a function has in the route that answers a request.

    `is_ours` recognises the function, `keyed` are the parameters whose arguments are in the key,
    and `ignored` context variables have no influence on the result.
    """
    is_endpoint = is_ours(scope.get("endpoint"))
    route, app = scope.get("route"), scope.get("app")
    reasons: list[str] = []
    silent: list[tuple[str, str]] = []
    headers: set[str] = set()
    holdings: set[Holding] = {("header", name) for name in vary.headers}
    is_private, is_named = bool(vary.variables), not vary.variables
    for each in _as_included(route, app):
        tree = _overridden(each.dependant, overrides_of(app))
        own_fields = {holding for _, holding in fields_of(tree) if holding[0] in OF_WHO_ASKS}
        holdings = holdings.union(own_fields, *map(secrets_of, tree.dependencies))
        is_private = is_private or any(map(_says_who, tree.dependencies))
        is_named = is_named and not any(map(_variables, tree.dependencies))
        calls = [] if is_endpoint else [each for each in subtree(tree) if is_ours(each.call)]
        for own in calls or [tree]:
            judged = _judged(tree, own, keyed, vary, ignored)
            reasons += judged.reasons
            silent += judged.silent
            headers |= judged.headers
    varying = {name for where, name in holdings if where == "header"}
    varying |= {where for where, _ in holdings if where == "cookie"}
    places = {where for where, _ in holdings}
    is_private = is_private or not places <= {"header", "query"}
    is_named = is_named and places <= {"header", "query", "cookie"}
    return Standing(
        is_endpoint,
        reasons[0] if reasons else None,
        tuple(silent),
        frozenset(headers),
        is_private or not varying.isdisjoint(_WHO),
        is_named,
        frozenset(varying),
    )


class _Judged:
    """A function in a tree of dependencies, and what the tree reads that is not in its key."""

    def __init__(self, own: Any, keyed: Collection[str], vary: Vary) -> None:
        self.reasons: list[str] = []
        self._own, self._keyed, self._vary = own, keyed, vary
        written = {holding for name, holding in fields_of(own, whole=True) if name in keyed}
        self.headers = {name for where, name in written if where == "header"}
        self._written = written | {("header", name) for name in vary.headers}
        """What the key holds of the request, unchanged."""
        self._made = set(self._written)
        """That, and what arguments in the key are made from."""
        mute = []
        for each in own.dependencies:
            if each.name in keyed and _may_return_nothing(each.call):
                mute.append(each)
            elif each.name in keyed:
                self._made |= secrets_of(each)
        unknown = [(each, self._untold(each)) for each in mute]
        self.silent = [(each.name, f"{_named(each)} {what}") for each, what in unknown if what]
        for each in mute:  # `silent` refuses a call where such an argument is `None`
            self._made |= secrets_of(each)

    def judge(self, gates: Collection[Any], ignored: Collection[Variable]) -> None:
        """Judge gates, which return nothing, and the function's arguments that the key lacks."""
        for name, holding in fields_of(self._own):
            if holding[0] in OF_WHO_ASKS and name not in self._keyed:
                self._note(f"its parameter {name!r}", self._unknown({holding}, self._written))
        for gate in gates:
            self._note(_named(gate), self._untold(gate))
        for each in self._own.dependencies:
            if each.name is not None and each.name not in self._keyed:
                taken = {holding for inner in subtree(each) for _, holding in fields_of(inner)}
                self._note(_named(each), self._unknown(taken | secrets_of(each), self._written))
                read = _variables(each) - self._vary.read - set(ignored)
                self._note(_named(each), _told(map(name_of, read), can_vary=True))

    def _note(self, who: str, what: str) -> None:
        if what:
            self.reasons.append(f"{who} {what}")

    def _unknown(self, taken: set[Holding], known: set[Holding], variables: object = ()) -> str:
        """Tell what is taken and not known; the header `cookie` holds all cookies.

        A gate with context variables is told from others by these, so `vary=` helps it.
        """
        has_cookies = "cookie" in self._vary.headers
        unknown = [each for each in taken - known if not (has_cookies and each[0] == "cookie")]
        can_vary = bool(variables) or all(where in OF_WHO_ASKS for where, _ in unknown)
        return _told(map(_words, unknown), can_vary=can_vary)

    def _untold(self, dependency: Any) -> str:
        """Return what a gate reads that is not in the key, unless `vary=` has all its variables."""
        variables = _variables(dependency)
        is_told = bool(variables) and variables <= self._vary.read
        return "" if is_told else self._unknown(secrets_of(dependency), self._made, variables)


def _judged(
    tree: Any, own: Any, keyed: Collection[str], vary: Vary, ignored: Collection[Variable]
) -> _Judged:
    judged = _Judged(own, keyed, vary)
    gates = [gate for gate in tree.dependencies if gate.name is None]
    judged.judge([gate for gate in gates if not _holds(gate, own)], ignored)
    return judged


def _told(words: Iterator[str], *, can_vary: bool) -> str:
    """Tell what is read and not in the key, and what to do; nothing if nothing is."""
    read = ", ".join(sorted(words))
    more = "or name the header or the context variable in vary=" if can_vary else "and return that"
    return read and (
        f"reads {read}, and no argument in the key is made of it; make it a parameter that is in the "
        f"key, {more}; only if the answer is the same for everybody, whoever asks, say shared=True"
    )


def reaches(call: object, function: object) -> bool:
    """Whether a call is a function, or a decorator around it that has `__wrapped__`."""
    return any(each is function for each in steps(call))


def routes_of(app: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the routes of an application: each as it is included, and as it was made."""
    for context in _contexts(getattr(app, "routes", ())):
        yield context, getattr(context, "original_route", context)


def _as_included(route: Any, app: Any) -> Iterator[Any]:
    """Yield a route, and its form at each place where the application includes it."""
    if getattr(route, "dependant", None) is not None:
        yield route
        for context, original in routes_of(app):
            if original is route and context is not route:
                yield context


def _holds(dependant: Any, inner: Any) -> bool:
    return any(each is inner for each in subtree(dependant))


def _overridden(tree: Any, overrides: dict[Any, Any]) -> Any:
    """Return a tree of dependencies with the overrides of the application in it."""
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


def _is_who(holding: Holding) -> bool:
    """Whether what a dependency reads may say who asks; what it is for is not known."""
    return holding[0] == "header" and holding[1] not in _NEGOTIATED


def _says_who(dependency: Any) -> bool:
    """Whether a dependency may say who asks: by a context variable, a header, or as a scheme."""
    schemes = (isinstance(each.call, SecurityBase) for each in subtree(dependency))
    return any(schemes) or bool(_variables(dependency)) or any(map(_is_who, secrets_of(dependency)))


def _variables(dependency: Any) -> set[Variable]:
    """Return the context variables that the code of a dependency, and of those below it, names."""
    return set[Variable]().union(*(context_variables(each.call) for each in subtree(dependency)))


def _words(holding: Holding) -> str:
    where, name = holding
    if where == "request":
        return "the request"
    return f"the security scheme {_name(name)}" if where == "scheme" else f"the {where} {name!r}"


def _named(dependency: Any) -> str:
    return f"the dependency {_name(dependency.call)}"


def _name(call: Any) -> str:
    named = call if hasattr(call, "__qualname__") else type(call)
    return f"{named.__module__}.{named.__qualname__}"


def _may_return_nothing(call: Any) -> bool:
    """Whether a dependency returns or yields only `None` by its annotation, or has none."""
    function = call if inspect.isroutine(call) or inspect.isclass(call) else type(call).__call__
    if inspect.isclass(function):
        return False
    kind = hints_of(function).get(RETURN)
    return kind in _NOTHING or typing.get_args(kind)[:1] == (type(None),)

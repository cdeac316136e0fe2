"""The part that a cached function has in the routes that call it; each is examined once."""

import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..keys import Vary
from ..reads import Variable
from .dependencies import Standing, overrides_of, standing

_MOST = 1000


class Routes:
    """The routes that call one function, in all applications.

    Requests by `method` have entries. `is_ours` recognises the function, `keyed` are the parameters
    whose arguments are in the key, and `ignored` context variables do not change the result.
    """

    def __init__(
        self,
        method: str,
        is_ours: Callable[[object], bool],
        keyed: Collection[str],
        vary: Vary,
        ignored: Collection[Variable],
    ) -> None:
        if not isinstance(method, str) or not method.isalpha() or not method.isupper():
            raise ValueError(f"method={method!r} must be a method of HTTP, such as 'POST'")
        self._method, self._is_ours = method, is_ours
        self._keyed, self._vary, self._ignored = keyed, vary, ignored
        self._standings: dict[tuple[int, ...], tuple[tuple[object, ...], Standing]] = {}
        """By the `id` of route, application and overrides; these are kept, so an `id` is unique."""
        self._last: tuple[object, object, Standing] | None = None

    def standing(self, scope: Mapping[str, Any]) -> Standing:
        """Return the part that the function has in the route of a request."""
        app, endpoint = scope.get("app"), scope.get("route") or scope.get("endpoint")
        overrides = overrides_of(app)
        if not overrides:
            last = self._last
            if last is not None and last[0] is endpoint and last[1] is app:
                return last[2]
        route = endpoint, app, *overrides, *overrides.values()
        place = tuple([id(each) for each in route])
        known = self._standings.get(place)
        if known is None or any(map(operator.is_not, known[0], route)):
            if len(self._standings) >= _MOST:
                self._standings.clear()
            found = standing(scope, self._is_ours, self._keyed, self._vary, self._ignored)
            known = route, found
            self._standings[place] = known
        if not overrides:
            self._last = endpoint, app, known[1]
        return known[1]

    def why_no_entry(self, scope: Mapping[str, Any]) -> str | None:
        """Return why requests of this method have no entries, or `None` if they have.

        The reason is an empty text for HEAD and OPTIONS, where nobody expects entries.
        """
        method = scope.get("method")
        if method == self._method or (method == "HEAD" and self._method == "GET"):
            return None
        if method in ("HEAD", "OPTIONS"):
            return ""
        return f"a {method} runs each time; if its answers may be kept, say method={method!r}"

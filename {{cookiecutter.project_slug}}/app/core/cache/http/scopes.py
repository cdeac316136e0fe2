"""What a scope says: whether somebody outside has put something there that tells who asks."""

from collections.abc import Mapping
from typing import Any

from starlette.types import Scope

from ..calls import EXCHANGE

_KNOWN = frozenset(
    {
        EXCHANGE,
        *("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string"),
        *("root_path", "headers", "client", "server", "state", "extensions"),
        *("app", "app_root_path", "router", "route", "endpoint", "path_params"),
    }
)
"""The keys of ASGI, of Starlette, and of the cache."""
_FRAMEWORKS = ("fastapi", "starlette.")


class Scopes:
    """The scopes of the requests to an application."""

    def __init__(self) -> None:
        self._state: Mapping[str, Any] = {}
        """What the lifespan has put into the state of each request."""

    def start(self, scope: Scope) -> None:
        """Note the state of the lifespan, which fills it while it starts."""
        self._state = scope.get("state", self._state)

    def say_more(self, scope: Scope) -> bool:
        """Whether a scope has what neither servers, nor the framework, nor the lifespan put there.

        `SessionMiddleware` puts `session` there, `AuthenticationMiddleware` `user`, and middlewares of
        applications `request.state.user`. They may refuse who asks, or add a cookie to the response.
        """
        if not _KNOWN.issuperset(scope):
            others = scope.keys() - _KNOWN  # in C, for this is done at each hit
            if not all(key.startswith(_FRAMEWORKS) for key in others):
                return True
        state, ours = scope.get("state"), self._state
        if not state:
            return False
        return type(state) is not dict or not all(
            name in ours and ours[name] is value for name, value in state.items()
        )

"""Routes whose hits are sent as they were sent before.

    router = APIRouter(route_class=CachedRoute)     # and app.router.route_class = CachedRoute

FastAPI validates and encodes whatever an endpoint returns. On a route of this class that happens
once: what is stored is the body as it was rendered, and a hit hands it out, with the headers and
the status that dependencies set for this request. This is FastAPI's documented way to a route of
one's own (`get_route_handler`), inside all middlewares.

An endpoint is one that `cache_response` has decorated, with nothing above it but the route. On a miss
it returns the function's value; FastAPI renders it, and the handler, around all that, stores what was
rendered before it leaves.

Where FastAPI renders what cannot be stored as it is, or where one function has two routes that
render differently, the value is stored, as without this class.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from ..calls import CachedCalls, ResponseCapture, routes_of
from .forms import form_of


class CachedRoute(APIRoute):
    """A route that sends again what it has sent for a call of a cached endpoint."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, with what is stored around it."""
        handle, calls, status = (
            super().get_route_handler(),
            calls_of(self.endpoint),
            self.status_code,
        )
        if calls is None:
            return handle
        is_known = False

        async def handle_cached(request: Request) -> Response:
            nonlocal is_known
            if not is_known:  # FastAPI makes the routes of an included router when it needs them
                _learn(calls, request.app)
                is_known = True
            form = calls.form
            if form is None:
                return await handle(request)
            sending = ResponseCapture(calls, form, status)
            try:
                with sending:
                    response = await handle(request)
            except BaseException as error:
                sending.abandon(error)
                raise
            await sending.finish(response)
            return response

        return handle_cached


def calls_of(endpoint: object) -> CachedCalls | None:
    """Return the cached calls of an endpoint, if that is what the decorator has made.

    Not those of a function with another decorator above: it has the attributes of what it wraps.
    """
    calls = getattr(endpoint, "calls", None)
    return calls if isinstance(calls, CachedCalls) and calls.decorated is endpoint else None


def _learn(calls: CachedCalls, app: Any) -> None:
    """Look at all routes of an application that have this endpoint, and how they render."""
    for route, original in routes_of(app):
        if isinstance(original, CachedRoute) and calls_of(original.endpoint) is calls:
            calls.forms.add(form_of(route))
    calls.form = next(iter(calls.forms)) if len(calls.forms) == 1 else None

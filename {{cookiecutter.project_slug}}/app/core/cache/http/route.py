"""Routes that send on a hit the bytes that they sent on the miss. Optional, with `forms`.

    router = APIRouter(route_class=CachedRoute)     # and app.router.route_class = CachedRoute

FastAPI validates and encodes the result of an endpoint. On a route of this class that happens only
on a miss. The rendered body is stored. A hit sends it with the headers and the status that
dependencies set for this request. FastAPI documents such route classes (`get_route_handler`).
Middlewares run around the route as usual.

`cache_response` must be directly below the decorator of the route. On a miss the endpoint returns
the function's value, FastAPI renders it, and the handler here stores the rendered response.

The value is stored instead, as without this class, if the response cannot be stored as it is, or if
one function has two routes that render differently.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from ..calls import CachedCalls, ResponseCapture, routes_of
from .forms import form_of


class CachedRoute(APIRoute):
    """A route that stores the rendered response of a cached endpoint, and sends it on a hit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, and store what it renders."""
        handle, calls = super().get_route_handler(), calls_of(self.endpoint)
        status = self.status_code
        if calls is None:
            return handle
        is_known = False

        async def handle_cached(request: Request) -> Response:
            nonlocal is_known
            if not is_known:  # not earlier: FastAPI makes the routes of an included router late
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
    """Return the cached calls of an endpoint that `cache_response` made, or `None`.

    `functools.wraps` copies the attribute `calls` to a decorator above; that one returns `None`.
    """
    calls = getattr(endpoint, "calls", None)
    return calls if isinstance(calls, CachedCalls) and calls.decorated is endpoint else None


def _learn(calls: CachedCalls, app: Any) -> None:
    """Find all routes of an application with this endpoint, and how they render."""
    for route, original in routes_of(app):
        if isinstance(original, CachedRoute) and calls_of(original.endpoint) is calls:
            calls.forms.add(form_of(route))
    calls.form = next(iter(calls.forms)) if len(calls.forms) == 1 else None

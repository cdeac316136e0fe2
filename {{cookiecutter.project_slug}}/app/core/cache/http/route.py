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
from functools import partial
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from ..calls import EXCHANGE, Exchange
from .forms import calls_of, rendering_of


class CachedRoute(APIRoute):
    """A route that stores the rendered response of a cached endpoint, and sends it on a hit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, and store what it renders."""
        handle = super().get_route_handler()
        if calls_of(self.endpoint) is None:
            return handle

        async def handle_cached(request: Request) -> Response:
            exchange = request.scope.get(EXCHANGE)
            if exchange is None:
                exchange = request.scope[EXCHANGE] = Exchange()
            exchange.rendering = partial(rendering_of, kind=CachedRoute)
            try:
                response = await handle(request)
            except BaseException as error:
                exchange.abandon(error)
                raise
            await exchange.finish(response)
            return response

        return handle_cached

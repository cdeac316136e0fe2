"""The `Cache-Status` header (RFC 9211), which tells what the cache did for a request. Optional.

`CacheMiddleware` adds it, too, with all the rest that HTTP has for caches.
"""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..calls import EXCHANGE, Exchange
from ..coherence import Outcome

STATUS: Final = {
    Outcome.HIT: "hit",
    Outcome.STALE: "hit",
    Outcome.SHARED: "fwd=miss; collapsed",
    Outcome.STORED: "fwd=miss; stored",
    **dict.fromkeys((Outcome.NOT_STORED, Outcome.AWAY, Outcome.OVERTAKEN), "fwd=miss"),
    Outcome.BYPASS: "fwd=bypass",
}


class CacheStatusMiddleware:
    """ASGI middleware that adds `Cache-Status` if a cached endpoint answered the request.

    `name` is the name of this cache in the header: a token as in RFC 9110, section 5.6.2.
    """

    def __init__(self, app: ASGIApp, name: str = "app") -> None:
        self.app = app
        self.name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application and add the header to the start of its response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = scope[EXCHANGE] = Exchange()

        async def send_with_status(message: Message) -> None:
            if message["type"] == "http.response.start" and exchange.outcome is not None:
                status = f"{self.name}; {STATUS[exchange.outcome]}"
                MutableHeaders(scope=message).append("Cache-Status", status)
            await send(message)

        await self.app(scope, receive, send_with_status)

"""What the cache did for a request, told in the `Cache-Status` header (RFC 9211).

The middleware opens a slot for each request, the decorator fills it, and the middleware writes it
into the response.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..loops import reset
from .outcome import Slot
from .outcome import slot as slot_of_request


class CacheStatusMiddleware:
    """ASGI middleware that adds `Cache-Status` where a cached function took part in a response.

    `name` is how this cache calls itself in the header: a token as in RFC 9110, section 5.6.2.
    """

    def __init__(self, app: ASGIApp, name: str = "app") -> None:
        self.app = app
        self.name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application and add the header to the start of its response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        slot = Slot()

        async def send_with_status(message: Message) -> None:
            if message["type"] == "http.response.start" and slot.outcome is not None:
                MutableHeaders(scope=message).append(
                    "Cache-Status", f"{self.name}; {slot.outcome.parameters}"
                )
            await send(message)

        token = slot_of_request.set(slot)
        try:
            await self.app(scope, receive, send_with_status)
        finally:
            reset(slot_of_request, token)

"""The `Cache-Status` header (RFC 9211), which tells what the cache did for a request. Optional."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..coherence import Slot


class CacheStatusMiddleware:
    """ASGI middleware that adds `Cache-Status` if the request called a cached function.

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
        with Slot() as slot:

            async def send_with_status(message: Message) -> None:
                if message["type"] == "http.response.start" and slot.outcome is not None:
                    status = f"{self.name}; {slot.outcome.status}"
                    MutableHeaders(scope=message).append("Cache-Status", status)
                await send(message)

            await self.app(scope, receive, send_with_status)

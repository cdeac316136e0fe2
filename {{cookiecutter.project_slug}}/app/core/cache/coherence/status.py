"""What the cache did for a request, told in the `Cache-Status` header (RFC 9211).

The middleware opens a slot for each request, the decorator fills it, and the middleware writes it
into the response. The slot is one object that both see, so it does not matter that the endpoint
may run in another thread or in a copy of the context.
"""

from contextvars import ContextVar
from enum import StrEnum

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..loops import reset


class Outcome(StrEnum):
    """What became of one call of a cached function, as parameters of `Cache-Status`."""

    HIT = "hit"
    SHARED = "fwd=miss; collapsed"
    STORED = "fwd=miss; stored"
    NOT_STORED = "fwd=miss"
    BYPASS = "fwd=bypass"


class _Slot:
    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome: Outcome | None = None


_slot: ContextVar[_Slot | None] = ContextVar("cache_status", default=None)
current_slot = _slot.get
"""Returns the slot of the request that is being answered, or `None`."""


def note(outcome: Outcome) -> None:
    """Note what became of a call. Where several cached functions ran, the last to end counts.

    That is the endpoint itself where it is cached. Outside a request this does nothing.
    """
    slot = current_slot()
    if slot is not None:
        slot.outcome = outcome


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
        slot = _Slot()

        async def send_with_status(message: Message) -> None:
            if message["type"] == "http.response.start" and slot.outcome is not None:
                MutableHeaders(scope=message).append("Cache-Status", f"{self.name}; {slot.outcome}")
            await send(message)

        token = _slot.set(slot)
        try:
            await self.app(scope, receive, send_with_status)
        finally:
            reset(_slot, token)

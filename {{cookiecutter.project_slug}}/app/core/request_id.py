"""The id of a request: in each of its log lines, and in its response."""

import re
import uuid
from contextvars import ContextVar
from typing import ClassVar, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER: Final = b"x-request-id"
_TAKEN = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}")


class RequestIdMiddleware:
    """ASGI middleware that gives each HTTP request an id, and its response the same `X-Request-ID`.

    The id is what the client, or a proxy, sends in `X-Request-ID`, if that is 1 to 128 of the
    characters `A-Z a-z 0-9 . _ ~ + / = : @ -`. Otherwise it is a new one, of 32 hexadecimal digits.
    The header replaces one that the application, or a cache in it, has set.

    It is to be the outermost middleware, so that the answer for an exception has the header, too.
    The scope stays as it is. Websockets and the lifespan have no id.
    """

    # A global would count as read wherever the cache cannot see what is read (on Python 3.11 in
    # functions that use threads), and their results would not be stored. Log lines alone read it.
    _current: ClassVar[ContextVar[str | None]] = ContextVar("request_id", default=None)

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with the id of the request."""
        if scope["type"] != "http":
            self._current.set(None)  # a websocket may begin on the connection of a request
            await self.app(scope, receive, send)
            return
        request_id = _sent(scope) or uuid.uuid4().hex
        line = HEADER, request_id.encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A new message: that of a hit may be sent again.
                lines = [each for each in message.get("headers", ()) if each[0].lower() != HEADER]
                message = {**message, "headers": [*lines, line]}
            await send(message)

        token = self._current.set(request_id)
        await self.app(scope, receive, send_with_id)
        # Not after an exception: the line that the server logs about it has the id, too.
        self._current.reset(token)

    @classmethod
    def current(cls) -> str | None:
        """Return the id of the request that runs here, for a log line; `None` outside of one."""
        return cls._current.get()


def _sent(scope: Scope) -> str | None:
    """Return the id that a request brings, if it is one; of several, the first counts."""
    for name, value in scope["headers"]:
        if name == HEADER:
            return value.decode() if _TAKEN.fullmatch(value) else None
    return None

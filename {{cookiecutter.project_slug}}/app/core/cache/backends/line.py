"""The line: one connection that all reads of an event loop share.

Commands that are asked in one turn of the event loop leave in one write, and replies are matched in
order. Nobody waits for a free connection, and nobody's cancellation disturbs the others: the reply
is dropped when it comes. redis-py's `Connection` does the connecting; then the line takes its
transport over. One timer watches for all: a reply that is late fails all who wait.
The idea is that of rueidis, "auto pipelining" (https://github.com/redis/rueidis).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis
from redis._parsers import BaseParser
from redis.exceptions import InvalidResponse

from .connections import AnyConnection

_BUFFER_BYTES = 65536
_STALLED_SECONDS = 0.05
"""A timer that is so late was held up by this process: once, there is a little time to read."""


_INCOMPLETE = object()


class BrokenLineError(Exception):
    """The connection broke after the question was asked; another try may have an answer."""


class _Wait:
    """A question that has been asked."""

    __slots__ = ("answer", "count", "deadline", "replies", "respited")

    def __init__(self, answer: "asyncio.Future[list[Any]]", count: int, deadline: float) -> None:
        self.answer, self.count, self.deadline = answer, count, deadline
        self.replies: list[Any] = []
        self.respited = False


class Line(asyncio.BufferedProtocol):
    """The shared connection of one event loop, from its first question until it breaks.

    `connect` opens it when it is first needed. `failed` is called, once, with the error when it
    could not be opened, or broke or was late while somebody waited.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[AnyConnection]], failed: Callable[[Exception], None]
    ) -> None:
        self._connect, self._failed = connect, failed
        self._loop = asyncio.get_running_loop()
        self.is_over = False
        """Whether it is broken or closed: it will not answer any more."""
        self._connection: AnyConnection | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._waits: deque[_Wait] = deque()
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))  # which TLS can slice
        self._reader: Any = None

    async def ask(self, packed: bytes, count: int, deadline: float) -> list[Any]:
        """Send commands and return their `count` replies, errors among them.

        Raises `BrokenLineError` where the connection broke meanwhile, `TimeoutError` where the
        server was late, and what connecting raises.
        """
        if self.is_over:
            raise BrokenLineError("the connection is broken")
        answer: asyncio.Future[list[Any]] = self._loop.create_future()
        alone = not self._waits
        self._waits.append(_Wait(answer, count, deadline))
        if self._timer is None or deadline < self._timer.when():
            self._set_timer(deadline)
        self._unsent.append(packed)
        if alone and self._transport is not None:
            self._send()
        elif len(self._unsent) == 1:
            self._loop.call_soon(self._send)
        return await answer

    def end(self, error: Exception) -> None:
        """Close the connection, and fail who waits."""
        self.is_over = True
        self._transport = None
        waits, self._waits = self._waits, deque()
        if self._timer is not None:
            self._timer.cancel()
        if self._opening is not None and self._opening is not asyncio.current_task():
            self._opening.cancel()
        if self._connection is not None:
            self._connection.unanswered = bool(waits)
            self._connection.drop()
        for wait in waits:
            if not wait.answer.done():
                wait.answer.set_exception(error)

    async def close(self) -> None:
        """Close the connection, and wait until that is done."""
        self.end(BrokenLineError("the cache was closed"))
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Lend the buffer into which the event loop reads."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on the replies that are complete."""
        if self.is_over:
            return
        waits, gets = self._waits, self._reader.gets
        try:
            self._reader.feed(self._buffer, 0, nbytes)
            while (reply := gets()) is not _INCOMPLETE:
                if type(reply) is hiredis.PushNotification:
                    continue
                wait = waits[0]  # an answer without a question raises
                wait.replies.append(reply)
                if len(wait.replies) == wait.count:
                    waits.popleft()
                    if not wait.answer.done():
                        wait.answer.set_result(wait.replies)
        except Exception as error:
            self._break(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the other side has closed the connection."""
        if not self.is_over:
            self._break(exc or ConnectionResetError("the server closed the connection"))

    def _break(self, error: Exception) -> None:
        if self._waits:
            self._failed(error)
        self.end(BrokenLineError(str(error)))

    def _give_up(self, error: Exception) -> None:
        self._failed(error)
        self.end(error)

    def _send(self) -> None:
        if self.is_over:
            return
        if self._transport is not None:
            unsent, self._unsent = self._unsent, []
            try:
                self._transport.write(b"".join(unsent))
            except Exception as error:  # of a transport that was closed at the wrong moment
                self._break(error)
        elif self._opening is None:
            self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            self._connection = await self._connect()
            self._reader = hiredis.Reader(
                protocolError=InvalidResponse,
                replyError=BaseParser.parse_error,
                notEnoughData=_INCOMPLETE,
            )
            self._transport = self._connection.take_over(self)
        except Exception as error:
            self._give_up(error)
            return
        self._opening = None
        self._send()

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        """Fail all if the first of them has waited too long, else who has; then set the timer anew.

        Somebody behind the first, on a second try, may have less time left.
        """
        self._timer, now = None, self._loop.time()
        if not self._waits:
            return
        first = self._waits[0]
        if now > first.deadline + _STALLED_SECONDS and not first.respited:
            first.deadline, first.respited = now + _STALLED_SECONDS, True
        if now >= first.deadline:
            self._give_up(TimeoutError())
            return
        waiting = [wait for wait in self._waits if not wait.answer.done()]
        for wait in waiting:
            if now >= wait.deadline and wait is not first:
                wait.answer.set_exception(TimeoutError())
        later = [wait.deadline for wait in waiting if wait.deadline > now]
        self._set_timer(min(later, default=first.deadline))

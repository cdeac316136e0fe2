"""A pipeline: commands of many callers leave together, and their replies come back in order.

redis-py's `Connection` connects; then a pipeline takes over its transport. One timer serves all who
wait: if the next reply is late, all of them fail.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import hiredis
from redis._parsers import BaseParser
from redis.exceptions import InvalidResponse

from ...errors import UnansweredError
from .connections import AnyConnection
from .requests import BrokenConnectionError, Gets, Hook, Sealed, Wait, WaitOfGet, answer_of

_BUFFER_BYTES = 65536
_CLOSE_SECONDS = 1.0
LARGE_BYTES = 128 * 1024
"""A larger value would delay the small ones of others: next time it goes over the pool."""
MOST_UNSENT = 32
"""So many commands are sent before the event loop's turn ends, so that the server can begin."""

STALL_GRACE_SECONDS = 0.05
"""If a timer is later than this, this process stalled; there is as long, once, to read replies."""

_INCOMPLETE = object()


class Pipeline(asyncio.BufferedProtocol):
    """A connection of one event loop, from its first command until it breaks.

    `connect` opens it when it is first needed. `failed` is called once, with the error, if it could
    not be opened, or if it broke or was late while somebody waited. `worked` is called when GETs
    were answered, and `large` with the key of a large value.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[AnyConnection]],
        failed: Callable[[Exception], None],
        worked: Callable[[], None] = lambda: None,
        large: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self._connect, self.failed = connect, failed
        self._worked, self._large = worked, large
        self._loop = asyncio.get_running_loop()
        self.is_over = False
        """Whether it is broken or closed: it will not answer any more."""
        self._connection: AnyConnection | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._waits: deque[Wait | WaitOfGet] = deque()
        self._unsent: list[bytes] = []
        self._is_due = False
        """Whether `_send` is scheduled for the end of this turn of the event loop."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf  # a handle of uvloop that is due at once has no time
        self._grace_ends = 0.0
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))  # TLS slices it
        self._reader: Any = None
        self._lost = asyncio.Event()

    @property
    def is_waiting(self) -> bool:
        """Whether there are replies that have not come yet."""
        return bool(self._waits)

    async def ask(self, sealed: Sealed, deadline: float, hook: Hook | None = None) -> list[Any]:
        """Send commands and return their replies; `hook` is called with them when they arrive."""
        if self.is_over:
            raise BrokenConnectionError("the connection is broken")
        answer: asyncio.Future[list[Any]] = self._loop.create_future()
        alone = not self._waits
        self._enqueue(sealed, deadline, answer, hook)
        if alone and self._transport is not None:
            self._send()
        else:
            self._send_soon()
        return await answer

    def end(self, error: Exception) -> None:
        """Close the connection, and fail with `error` all who wait."""
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
            answer, deadline = answer_of(wait)
            if answer is None:
                continue
            if isinstance(error, BrokenConnectionError):
                answer.set_exception(BrokenConnectionError(str(error), deadline))
            else:
                answer.set_exception(error)

    async def close(self) -> None:
        """Close the connection, and wait until that is done, for a second at most."""
        self.end(BrokenConnectionError("the cache was closed"))
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._reader is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), _CLOSE_SECONDS)

    def get_buffer(self, _sizehint: int) -> memoryview:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Lend the buffer into which the event loop reads."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on the complete replies, and the messages between them."""
        if self.is_over:
            return
        waits, gets, worked = self._waits, self._reader.gets, False
        try:
            self._reader.feed(self._buffer, 0, nbytes)
            while (reply := gets()) is not _INCOMPLETE:
                if type(reply) is hiredis.PushNotification:
                    self._on_push(reply)
                    continue
                wait = waits[0]  # raises for a reply that nobody has asked for
                if not isinstance(wait, tuple):
                    self._hand_on(reply, wait)
                    continue
                waits.popleft()
                answer, _, get = wait
                if type(reply) is bytes:
                    worked = True
                    if not reply.startswith(get.start) or len(reply) > LARGE_BYTES:
                        self._look_at(reply, wait)
                elif reply is None:
                    worked = True
                # If the reply is an error, the caller sends a full request, and that is judged.
                if not answer.done():
                    answer.set_result(reply)
        except Exception as error:
            self._break(error)
        if worked:
            self._worked()

    def _hand_on(self, reply: Any, wait: Wait) -> None:
        wait.replies.append(reply)
        if len(wait.replies) < wait.sealed.count:
            return
        sealed = wait.sealed
        replies = sealed.unsealed(wait.replies)
        if type(sealed) is Gets and not any(isinstance(each, Exception) for each in replies):
            self._worked()
            if len(replies[0] or b"") > LARGE_BYTES:
                self._large(sealed.name)
        if wait.hook is not None:
            wait.hook(replies)
        self._waits.popleft()
        if wait.answer is not None and not wait.answer.done():
            wait.answer.set_result(replies)

    def _look_at(self, reply: bytes, wait: WaitOfGet) -> None:
        """Note a large value; do not accept a value that names another key."""
        answer, deadline, get = wait
        if len(reply) > LARGE_BYTES:
            self._large(get.name)
        names_another = reply.startswith(get.label) and not reply.startswith(get.start)
        if names_another and not answer.done():
            # Somebody put it at this key, or the connection is out of step: a request will show.
            answer.set_exception(UnansweredError("a reply that names another key", deadline))

    def _opened(self) -> None:
        """Prepare the connection before the first command is sent."""

    def _on_push(self, message: list[Any]) -> None:
        """Act on a message that came between replies."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is closed, by whichever side."""
        self._lost.set()
        if not self.is_over:
            self._break(exc or ConnectionResetError("the server closed the connection"))

    def _break(self, error: Exception) -> None:
        if self._waits:
            self.failed(error)
        self.end(BrokenConnectionError(str(error)))

    def _enqueue(
        self,
        sealed: Sealed,
        deadline: float,
        answer: "asyncio.Future[list[Any]] | None" = None,
        hook: Hook | None = None,
    ) -> None:
        self._waits.append(Wait(answer, deadline, sealed, hook))
        if deadline < self._timer_at:
            self._set_timer(deadline)
        self._unsent.append(sealed.packed)

    def _send_soon(self) -> None:
        if len(self._unsent) >= MOST_UNSENT:
            self._send()
        elif not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._is_due = False
        if self.is_over or not self._unsent:
            return
        if self._transport is not None:
            unsent, self._unsent = self._unsent, []
            try:
                self._transport.write(b"".join(unsent))
            except Exception as error:  # the transport was closed at the wrong moment
                self._break(error)
        elif self._opening is None:
            self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            connection = await self._connect()
            if self.is_over:  # `end` was called while it was connecting
                connection.drop()
                return
            self._connection = connection
            self._reader = hiredis.Reader(
                protocolError=InvalidResponse,
                replyError=BaseParser.parse_error,
                notEnoughData=_INCOMPLETE,
            )
            self._transport = connection.take_over(self)
        except Exception as error:
            self.failed(error)
            self.end(error)
            return
        self._opening = None
        self._opened()
        self._send()

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(when, self._on_timer), when

    def _on_timer(self) -> None:
        """Fail all if the first one is late, else only those that are; then set the timer again.

        A caller behind the first, on a second try, may have less time left. After a stall of this
        process nobody fails at first: replies may have arrived, and are read next.
        """
        now, due, self._timer_at = self._loop.time(), self._timer_at, math.inf
        if not self._waits:
            return
        is_late = now > due + STALL_GRACE_SECONDS
        if is_late and now >= self._grace_ends and due != self._grace_ends:
            self._grace_ends = now + STALL_GRACE_SECONDS
        if now < self._grace_ends:
            self._set_timer(self._grace_ends)
            return
        _, first = answer_of(self._waits[0])
        if now >= first:
            self.failed(TimeoutError())
            self.end(TimeoutError())
            return
        later = []
        for answer, deadline in map(answer_of, self._waits):
            if answer is not None and deadline > now:
                later.append(deadline)
            elif answer is not None:
                answer.set_exception(TimeoutError())
        self._set_timer(min(later, default=first))

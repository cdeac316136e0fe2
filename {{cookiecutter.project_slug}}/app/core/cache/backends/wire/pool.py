"""A pool of connections: who finds none free waits in line, instead of failing."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from .connections import AnyConnection


class Pool:
    """Connections of one event loop, at most `size`; who finds none free waits in line.

    A connection that bears another `era` than the one that is asked for is dropped, not lent.
    """

    def __init__(self, connect: Callable[[], Awaitable[AnyConnection]], size: int) -> None:
        self._connect = connect
        self._free = size
        self._idle: list[AnyConnection] = []
        self._line: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def turn(self) -> None:
        """Wait in line for a connection; call `take` then."""
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._next()  # it was this one's turn, and goes to the next
            raise

    async def take(self, era: object) -> AnyConnection:
        """Lend a connection on which nothing is left to be read, after `turn` has returned.

        Give it back with `give`.
        """
        try:
            while self._idle:
                connection = self._idle.pop()  # the one that was used last
                if connection.era is era and not await _is_spoilt(connection):
                    return connection
                await connection.disconnect(nowait=True)
            connection = await self._connect()
            connection.era = era
        except BaseException:
            self._next()
            raise
        return connection

    async def give(self, connection: AnyConnection, era: object) -> None:
        """Take a connection back; one that waits for an answer is dropped."""
        if connection.unanswered or connection.era is not era or self._closed:
            await connection.disconnect(nowait=True)
        else:
            self._idle.append(connection)
        self._next()

    async def close(self) -> None:
        """Close the connections; those that are lent now are closed when they come back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().disconnect()

    def abandon(self) -> None:
        """Close the connections, of an event loop that is closed."""
        self._closed = True
        while self._idle:
            self._idle.pop().abandon()

    def _next(self) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


async def _is_spoilt(connection: AnyConnection) -> bool:
    """Whether a connection was closed by the other side, or has an answer that nobody asked for."""
    try:
        return await connection.can_read()
    except Exception:
        return True

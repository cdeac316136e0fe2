"""A pool of connections: who finds none free waits in line, instead of failing."""

import asyncio
from collections.abc import Awaitable, Callable

from .connections import AnyConnection


class Pool:
    """Connections of one event loop, at most `size`.

    A connection that bears another `generation` than the one that is asked for is dropped, not lent.
    """

    def __init__(self, connect: Callable[[], Awaitable[AnyConnection]], size: int) -> None:
        self._connect = connect
        self._turns = asyncio.Semaphore(size)
        self._idle: list[AnyConnection] = []
        self._closed = False

    async def wait(self) -> None:
        """Wait in line for a connection; call `acquire` then."""
        await self._turns.acquire()

    async def acquire(self, generation: object) -> AnyConnection:
        """Lend a connection on which nothing is left to be read, after `wait` has returned.

        Give it back with `release`.
        """
        try:
            while self._idle:
                connection = self._idle.pop()  # the one that was used last
                if connection.generation is generation and not await _is_spoilt(connection):
                    return connection
                await connection.disconnect(nowait=True)
            connection = await self._connect()
            connection.generation = generation
        except BaseException:
            self._turns.release()
            raise
        return connection

    async def release(self, connection: AnyConnection, generation: object) -> None:
        """Take a connection back; one that waits for an answer is dropped."""
        if connection.unanswered or connection.generation is not generation or self._closed:
            await connection.disconnect(nowait=True)
        else:
            self._idle.append(connection)
        self._turns.release()

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


async def _is_spoilt(connection: AnyConnection) -> bool:
    """Whether a connection was closed by the other side, or has an answer that nobody asked for."""
    try:
        return await connection.can_read()
    except Exception:
        return True

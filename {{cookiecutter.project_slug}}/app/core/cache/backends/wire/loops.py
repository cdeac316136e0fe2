"""The connections of one event loop, which end with it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from weakref import WeakSet

from .connections import AnyConnection
from .multiplexed import MultiplexedConnection
from .pool import Pool
from .requests import BrokenConnectionError


class LoopConnections:
    """A pool, and two connections that many share, one for reads and one for the steps of fills.

    When there is a new `generation`, all of them are replaced.
    """

    def __init__(self, new_pool: Callable[[], Pool]) -> None:
        self._new_pool = new_pool
        self.pool = new_pool()
        self.reads: MultiplexedConnection | None = None
        self.stores: MultiplexedConnection | None = None
        self.generation: object = None
        self.opened: WeakSet[AnyConnection] = WeakSet()
        # `asyncio.run` closes the asynchronous generators of its loop (`loop.shutdown_asyncgens`).
        # This one closes the connections, so a loop for each test or request leaves none open.
        self._ends = self._closed_at_the_end()
        with suppress(StopIteration):
            self._ends.asend(None).send(None)  # it runs up to its `yield`

    async def _closed_at_the_end(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            pipelines = [*self.pool.end(), *self._shared()]
            await asyncio.gather(*(pipeline.close() for pipeline in pipelines))

    def _shared(self) -> list[MultiplexedConnection]:
        return [shared for shared in (self.reads, self.stores) if shared is not None]

    def renew(self, generation: object) -> None:
        """Replace the connections if they are of another generation."""
        if self.generation is not generation:
            self.pool.replace()
            for shared in self._shared():
                shared.end(BrokenConnectionError("there is a newer one"))
            self.pool, self.generation = self._new_pool(), generation

    async def close(self) -> None:
        """Close the connections."""
        with suppress(RuntimeError):  # the event loop ends, and is about to close them itself
            await self._ends.aclose()

    def abandon(self) -> None:
        """Close the connections of an event loop that is closed."""
        for connection in self.opened:
            connection.abandon()

"""What a topology is, and the simplest: one server, which has all the keys."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from redis.exceptions import AskError, ResponseError

from ..wire.multiplexed import Get
from ..wire.server import Question, Server


class Topology(Protocol):
    """Where the keys are."""

    one_slot: bool
    """Whether the keys of one command have to be in one slot."""

    async def ask(self, question: Question) -> list[Any]:
        """Return the replies to a question, one for each command; an error may be one."""

    def look(self, get: Get) -> "asyncio.Future[Any] | None":
        """Ask what stands at a key, if that can be done at once; an error may be the answer."""

    async def ping(self) -> bool:
        """Return whether every server answers."""

    def walk(self) -> AsyncIterator[Server]:
        """Yield the servers such that whoever asks each for its keys sees every key."""

    def on_recovery(self, step: Callable[[], Awaitable[None]]) -> None:
        """Have `step` awaited when a server that was unwell works again."""

    def on_takeover(self, step: Callable[[], None]) -> bool:
        """Have `step` called when another server takes over; return whether that can be."""

    async def close(self) -> None:
        """Close the connections of the running event loop."""


class Single:
    """One server, which has all the keys."""

    one_slot = False
    """Whether the keys of one command have to be in one slot."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.look = server.look
        """Ask what stands at a key, if that can be done at once."""

    async def ask(self, question: Question) -> list[Any]:
        """Return the replies to a question."""
        replies = await self._server.exchange(question)
        if isinstance(replies[0], AskError):
            self._server.refuse(ResponseError("it belongs to a cluster: set REDIS_CLUSTER=true"))
        return replies

    async def ping(self) -> bool:
        """Return whether the server answers."""
        try:
            await self._server.ping()
        except ResponseError:
            return False
        return True

    async def walk(self) -> AsyncIterator[Server]:
        """Yield the server."""
        yield self._server

    def on_recovery(self, step: Callable[[], Awaitable[None]]) -> None:
        """Have `step` awaited when the server works again after it was unwell."""
        self._server.breaker.on_recovery.append(step)

    def on_takeover(self, _step: Callable[[], None]) -> bool:
        """Return that there is no other server."""
        return False

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        await self._server.close()

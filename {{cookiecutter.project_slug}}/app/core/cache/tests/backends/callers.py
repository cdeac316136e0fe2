"""Callers of a multiplexed connection, for its tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from ...backends.wire.connections import Connector
from ...backends.wire.multiplexed import MultiplexedConnection
from ...backends.wire.requests import Get, Sealed
from ...backends.wire.tracking import InvalidationTracker
from ...stored.record import start_of_record
from ...testing.redis_server import RedisServer
from ..faults import soon

LOOPS: Final = ["asyncio", "uvloop"] if find_spec("uvloop") else ["asyncio"]


SOON: Final = 0.3
"""A deadline that passes, in seconds."""


FOREVER: Final = 60.0
"""One that no test can wait for."""


Command = tuple[Any, ...]


@dataclass
class Caller:
    """Who asks over a connection, and notes when that fails."""

    multiplexed: MultiplexedConnection
    failures: list[Exception]
    large: list[bytes]
    """The keys of large answers."""
    worked: list[str]
    """How often looks were answered."""

    async def ask(self, *commands: Command, within: float = FOREVER) -> list[Any]:
        """Ask these commands in one request."""
        deadline = asyncio.get_running_loop().time() + within
        return await self.multiplexed.ask(Sealed(commands), deadline)

    def look(self, key: str, since: object = None) -> "asyncio.Future[Any]":
        """Look what stands at a key."""
        answer = self.multiplexed.read_nowait(get_of(key), since)
        assert answer is not None
        return answer


@asynccontextmanager
async def line_to(
    server: RedisServer, host: str, port: int, budget: float = FOREVER
) -> AsyncIterator[Caller]:
    """Lend a connection to this port, behind which is this server, not yet open."""
    connector = Connector(password=server.password, db=server.db, timeout=FOREVER)
    caller = caller_over(lambda: connector.connect(host, port), budget)
    try:
        yield caller
    finally:
        await caller.multiplexed.close()


def caller_over(connect: Callable[[], Awaitable[Any]], budget: float = FOREVER) -> Caller:
    """Make a connection whose connection is opened like this."""
    failures: list[Exception] = []
    tracker = InvalidationTracker(None, lambda *_: None)
    large: list[bytes] = []
    worked: list[str] = []

    def has_worked() -> None:
        worked.append("at once")

    multiplexed = MultiplexedConnection(
        connect, failures.append, has_worked, large.append, tracker, budget=budget
    )
    return Caller(multiplexed, failures, large, worked)


class Noting:
    """A transport that notes how often it is written to, and what it raises then."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self.transport = transport
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.transport.write(data)


async def all_of(*questions: Awaitable[Any]) -> list[Any]:
    """Await all questions at once; errors are results."""
    return await soon(asyncio.gather(*questions, return_exceptions=True))


def get_of(key: str) -> Get:
    """Return the GET of a key."""
    return Get.of(key.encode(), start_of_record(key), b"cache/2 ")

"""The protocol of topologies, and the simplest one: one server has all the keys."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Protocol

from redis.exceptions import AskError, ResponseError

from ..addresses import Address
from ..wire.connections import Connector
from ..wire.requests import Command, Get, Gets, Request
from ..wire.server import Options, Server


def server_at(
    address: Address, connector: Connector, options: Options, probe: Command = ("PING",)
) -> Server:
    """Return the server at an address."""
    host, port = address
    connect = partial(connector.connect, host, port)
    return Server(f"redis at {host}:{port}", connect, options, host=host, probe=probe)


class Topology(Protocol):
    """Where the keys are."""

    one_slot: bool
    """Whether the keys of one command have to be in one slot."""
    has_replicas: bool
    """Whether a replica may take the place of a server."""

    async def execute(self, request: Request) -> list[Any]:  # pyright: ignore[reportReturnType]
        """Return the replies to a request, one for each command; a reply may be an error."""

    def read_nowait(self, get: Get | Gets) -> "asyncio.Future[Any] | None":
        """Send a GET and return the future of its reply; `None` if it cannot be sent now."""

    async def ping(self) -> bool:  # pyright: ignore[reportReturnType]
        """Return whether every server answers."""

    def walk(self) -> AsyncIterator[Server]:  # pyright: ignore[reportReturnType]
        """Yield servers, some perhaps twice; together they show every key."""

    async def close(self) -> None:
        """Close the connections of the running event loop."""


class Single:
    """One server, which has all the keys."""

    one_slot = has_replicas = False

    def __init__(self, server: Server) -> None:
        self._server = server
        self.read_nowait = server.read_nowait

    async def execute(self, request: Request) -> list[Any]:
        replies = await self._server.execute(request)
        if isinstance(replies[0], AskError):
            self._server.refuse(ResponseError("it belongs to a cluster: set REDIS_CLUSTER=true"))
        return replies

    async def ping(self) -> bool:
        try:
            await self._server.ping()
        except ResponseError:
            return False
        return True

    async def walk(self) -> AsyncIterator[Server]:
        yield self._server

    async def close(self) -> None:
        await self._server.close()

"""Cluster: which server has a key, also while keys move and masters change.

The map of the 16,384 slots is read from any server and corrected by replies: MOVED says that a slot
has another owner; ASK says that a key of a migrating slot has moved already. See
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.

A walk over all keys visits the masters one after the other. It would miss a key that moves from a
master not yet visited to one already visited. So each master is asked, before and after, which
slots it owns and which of them migrate. If that changed, or a slot migrates, all masters are
visited once more: a key that moves in one round stays where it is in the other.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ResponseError

from ...errors import UnavailableError
from ...resilience import BackgroundRetry, Use
from ..addresses import Address
from ..wire.connections import Connector
from ..wire.requests import Command, Get, Gets, Request, key_of
from ..wire.server import Options, Server
from .single import server_at

T = TypeVar("T")

_HOPS = 5  # redirections that one command may meet
_PAUSE_SECONDS = 0.2  # between two readings of the map


class Cluster:
    """The servers of a cluster. `seeds` are the addresses that are known from the beginning.

    A probe removes `probe_key`, which never exists. Unlike a PING, this fails while the cluster is
    down.
    """

    one_slot = has_replicas = True

    def __init__(
        self, seeds: Iterable[Address], connector: Connector, options: Options, probe_key: bytes
    ) -> None:
        self._budget = options.budget
        self._new_server = partial(
            server_at, connector=connector, options=options, probe=("UNLINK", probe_key)
        )
        self._seeds = tuple(seeds)
        self._servers: dict[Address, Server] = {}
        self._owners: dict[int, Server] = {}
        self._masters: tuple[Server, ...] = ()
        self._replicas: set[Address] = set()
        self._read_at = 0.0
        self._reading = BackgroundRetry(
            self._read_slots, initial_delay=0.0, max_delay=_PAUSE_SECONDS
        )
        self._first_reading: asyncio.Task[None] | None = None

    async def execute(self, request: Request) -> list[Any]:
        deadline = request.deadline or asyncio.get_running_loop().time() + self._budget
        try:
            places: dict[Server, list[int]] = defaultdict(list)
            for place, key in enumerate(map(key_of, request.commands)):
                places[await self._owner(key, deadline)].append(place)
            parts = [self._part(server, mine, request, deadline) for server, mine in places.items()]
            answers = [await parts[0]] if len(parts) == 1 else await _all(parts)  # pyright: ignore[reportArgumentType]
        except UnavailableError:
            self._refresh_slots()
            raise
        replies: list[Any] = [None] * len(request.commands)
        for mine, answer in zip(places.values(), answers, strict=True):
            for place, reply in zip(mine, answer, strict=True):
                replies[place] = reply
        return replies

    def read_nowait(self, get: Get | Gets) -> "asyncio.Future[Any] | None":
        """Send a GET, or several, if one server has all the keys and can be asked at once."""
        names = (get.name,) if isinstance(get, Get) else get.names
        owners = {self._owners.get(key_slot(name)) for name in names}
        owner = owners.pop()
        return None if owner is None or owners else owner.read_nowait(get)

    async def _part(
        self, server: Server, places: list[int], request: Request, deadline: float
    ) -> list[Any]:
        commands = [request.commands[place] for place in places]
        replies = await server.execute(replace(request, commands=commands), deadline)
        return [
            await self._redirected(server, command, request, reply, deadline)
            if isinstance(reply, AskError)
            else reply
            for command, reply in zip(commands, replies, strict=True)
        ]

    async def _redirected(
        self,
        server: Server,
        command: Command,
        request: Request,
        reply: AskError,
        deadline: float,
    ) -> Any:
        if request.changed is not None:
            request.changed.cancel()
        for _ in range(_HOPS):
            address = _host(reply.host, server), int(reply.port)
            server = self._server(address)
            self._note_master(address)
            commands: list[Command] = [command]
            if isinstance(reply, MovedError):
                self._owners[reply.slot_id] = server
                self._refresh_slots()
            else:
                commands = [("ASKING",), command]
            request = replace(request, commands=commands, changed=None)
            *_, answer = await server.execute(request, deadline)
            if not isinstance(answer, AskError):
                return answer
            reply = answer
        raise UnavailableError(f"a key is sent from server to server, more than {_HOPS} times")

    async def ping(self) -> bool:
        await self._wait_for_slots()
        pings = (server.ping() for server in self._masters)
        unwell = any(await asyncio.gather(*pings, return_exceptions=True))
        if unwell:  # another one may be the master by now
            self._refresh_slots()
        return not unwell

    async def walk(self) -> AsyncIterator[Server]:
        """Yield each master once, and each again if keys may have moved meanwhile."""
        await self._wait_for_slots()
        before = await self._slot_ownership()
        for server in self._masters:
            yield server
        await self._read_slots()
        after = await self._slot_ownership()
        if before != after or any("[" in owned for owned in after.values()):
            for server in self._masters:
                yield server

    async def close(self) -> None:
        await self._reading.stop()
        for server in [*self._servers.values()]:
            await server.close()

    async def _slot_ownership(self) -> dict[str, str]:
        """Return which slots each master owns and which of them migrate, as it says itself."""
        owned = {}
        for server in self._masters:
            try:
                (nodes,) = await server.execute(Request([("CLUSTER", "NODES")], Use.READ))
            except UnavailableError:
                self._refresh_slots()
                raise
            if isinstance(nodes, ResponseError):
                raise UnavailableError(str(nodes))
            for line in nodes.decode().splitlines():
                fields = line.split(" ")
                if "myself" in fields[2]:  # epoch, link state and slots
                    owned[fields[0]] = " ".join(fields[6:])
        return owned

    async def _owner(self, key: bytes, deadline: float) -> Server:
        slot = key_slot(key)
        owner = self._owners.get(slot)
        if owner is None:
            await self._wait_for_slots(deadline)
            owner = self._owners.get(slot)
            if owner is None:
                raise UnavailableError("the cluster has no server for some keys")
        return owner

    async def _wait_for_slots(self, deadline: float | None = None) -> None:
        """Wait until the map has been read once. One task of an event loop reads it for all."""
        if self._masters:
            return
        loop = asyncio.get_running_loop()
        deadline = deadline or loop.time() + self._budget
        reading = self._first_reading
        if reading is None or reading.done() or reading.get_loop() is not loop:
            reading = self._first_reading = loop.create_task(self._read_slots())
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(reading)
        except TimeoutError:
            raise UnavailableError("no server of the cluster answers in time") from None

    def _refresh_slots(self) -> None:
        """Read the map again, in the background, unless that was just done."""
        if time.monotonic() - self._read_at > _PAUSE_SECONDS:
            self._reading.start()

    async def _read_slots(self) -> None:
        """Read the map of slots from any server that answers."""
        self._read_at = time.monotonic()
        known = [*self._servers, *(seed for seed in self._seeds if seed not in self._servers)]
        random.shuffle(known)
        # Replicas come last: nothing else is sent to them.
        for address in [*known, *self._replicas]:
            server = self._server(address)
            try:
                (ranges,) = await server.execute(Request([("CLUSTER", "SLOTS")], Use.READ))
            except UnavailableError:
                continue
            if ranges and not isinstance(ranges, ResponseError):  # an error is logged, once
                await self._apply_slots(server, ranges)
                return
        raise UnavailableError("no server of the cluster answers")

    async def _apply_slots(self, asked: Server, ranges: list[Any]) -> None:
        owners: dict[int, Server] = {}
        replicas: set[Address] = set()
        for first, last, master, *others in ranges:
            owner = self._server(_address(master, asked))
            owners |= dict.fromkeys(range(first, last + 1), owner)
            self._note_master(_address(master, asked))
            replicas |= {_address(other, asked) for other in others}
        self._owners, self._replicas = owners, replicas
        self._masters = tuple(dict.fromkeys(owners.values()))
        for address, server in list(self._servers.items()):
            if server not in self._masters and address not in self._seeds:
                del self._servers[address]
                server.retired = True
                await server.close()

    def _note_master(self, address: Address) -> None:
        """Note that a server is a master. If it was a replica until now, it has taken over."""
        if address in self._replicas:
            self._replicas.discard(address)
            self._server(address).take_over()

    def _server(self, address: Address) -> Server:
        server = self._servers.get(address)
        if server is None:
            server = self._servers[address] = self._new_server(address)
            server.on_renewal = self._refresh_slots
        return server


async def _all(parts: list[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all, and only then raise what one of them raised."""
    done = await asyncio.gather(*parts, return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", done)


def _address(node: list[Any], asked: Server) -> Address:
    """Return the address in an entry of the map."""
    host, port, *_ = node
    return _host(host.decode() if host else "", asked), int(port)


def _host(told: str, asked: Server) -> str:
    """Return the host of a reply; if that is empty or "?", the host that was asked."""
    return asked.host if told in ("", "?") else told

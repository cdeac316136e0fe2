"""Cluster: which server has a key, also while keys move and masters change.

The map of the 16,384 slots is read from any server and corrected by what servers answer: MOVED says
that a slot has another owner, ASK that one key of a slot in motion has left already. See
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.

A walk over all keys visits the masters one after the other. A key that moves from one not yet
visited to one already visited would escape it. So the masters tell, before and after, what they own
and what is in motion; if any of that changed, or is in motion, all are visited once more. A key
that moved during the first round stays where it is during the second, and the other way round.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ResponseError

from ...base import UnavailableError
from ...resilience import BackgroundRetry, Use
from ..addresses import Address
from ..wire.multiplexed import Get
from ..wire.server import Command, Question, Server

T = TypeVar("T")

_HOPS = 5  # redirections that one command may meet
_PAUSE_SECONDS = 0.2  # between two readings of the map


class Cluster:
    """The servers of a cluster. `seeds` are those that are known from the beginning.

    Nothing stands at `probe_key`.
    """

    one_slot = True
    """Whether the keys of one command have to be in one slot."""

    def __init__(
        self,
        seeds: Iterable[Address],
        make_server: Callable[[Address], Server],
        *,
        budget: float,
        probe_key: bytes,
    ) -> None:
        self._make_server, self._budget, self._probe_key = make_server, budget, probe_key
        self._seeds = tuple(seeds)
        self._servers: dict[Address, Server] = {}
        self._retired: dict[Address, Server] = {}
        self._owners: dict[int, Server] = {}
        self._masters: tuple[Server, ...] = ()
        self._replicas: set[Address] = set()
        self._read_at = 0.0
        self._reading = BackgroundRetry(self._read, initial_delay=0.0, max_delay=_PAUSE_SECONDS)
        self._first_reading: asyncio.Task[None] | None = None
        self._recovery: list[Callable[[], Awaitable[None]]] = []
        self._takeover: list[Callable[[], None]] = []

    def on_recovery(self, step: Callable[[], Awaitable[None]]) -> None:
        """Have `step` awaited when a server that was unwell works again."""
        self._recovery.append(step)
        for server in [*self._servers.values(), *self._retired.values()]:
            server.breaker.on_recovery.append(step)

    def on_takeover(self, step: Callable[[], None]) -> bool:
        """Have `step` called when a replica takes the place of its master."""
        self._takeover.append(step)
        for server in [*self._servers.values(), *self._retired.values()]:
            server.on_takeover.append(step)
        return True

    async def ask(self, question: Question) -> list[Any]:
        """Return the replies to a question; each server has its part of it in one write."""
        deadline = question.deadline or asyncio.get_running_loop().time() + self._budget
        try:
            places: dict[Server, list[int]] = defaultdict(list)
            for place, key in enumerate(question.keys):
                places[await self._owner(key, deadline)].append(place)
            parts = [
                self._part(server, mine, question, deadline) for server, mine in places.items()
            ]
            answers = [await parts[0]] if len(parts) == 1 else await _all(parts)
        except UnavailableError:
            self._retry_read()
            raise
        replies: list[Any] = [None] * len(question.commands)
        for mine, answer in zip(places.values(), answers, strict=True):
            for place, reply in zip(mine, answer, strict=True):
                replies[place] = reply
        return replies

    def look(self, get: Get) -> "asyncio.Future[Any] | None":
        """Ask what stands at a key, if that can be done at once."""
        owner = self._owners.get(key_slot(get.name))
        return None if owner is None else owner.look(get)

    async def _part(
        self, server: Server, places: list[int], question: Question, deadline: float
    ) -> list[Any]:
        commands = [question.commands[place] for place in places]
        part = replace(question, keys=[question.keys[place] for place in places], commands=commands)
        if places[0] != 0:
            part.of_key = None
        replies = await server.exchange(part, deadline)
        return [
            await self._redirected(server, command, question, reply, deadline)
            if isinstance(reply, AskError)
            else reply
            for command, reply in zip(commands, replies, strict=True)
        ]

    async def _redirected(
        self,
        server: Server,
        command: Command,
        question: Question,
        reply: AskError,
        deadline: float,
    ) -> Any:
        if question.changed is not None:
            question.changed.cancel()
        question = replace(question, keys=(), of_key=None, keeps=False, changed=None)
        for _ in range(_HOPS):
            address = _host(reply.host, server), int(reply.port)
            server = self._server(address)
            self._note_master(address)
            commands: list[Command] = [command]
            if isinstance(reply, MovedError):
                self._owners[reply.slot_id] = server
                self._retry_read()
            else:
                commands = [("ASKING",), command]
            question = replace(question, commands=commands)
            *_, answer = await server.exchange(question, deadline)
            if not isinstance(answer, AskError):
                return answer
            reply = answer
        raise UnavailableError(f"a key is sent from server to server, more than {_HOPS} times")

    async def ping(self) -> bool:
        """Return whether every master answers."""
        await self._know()
        pings = (server.ping() for server in self._masters)
        unwell = any(await asyncio.gather(*pings, return_exceptions=True))
        if unwell:  # another one may be the master by now
            self._retry_read()
        return not unwell

    async def walk(self) -> AsyncIterator[Server]:
        """Yield each master once, and each again if keys may have moved meanwhile."""
        await self._know()
        before = await self._picture()
        for server in self._masters:
            yield server
        await self._read()
        after = await self._picture()
        if before != after or any("[" in owned for owned in after.values()):
            for server in self._masters:
                yield server

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        await self._reading.stop()
        for server in [*self._servers.values(), *self._retired.values()]:
            await server.close()

    async def _picture(self) -> dict[str, str]:
        """Return what each master says that it owns, and what of that is in motion."""
        owned = {}
        for server in self._masters:
            try:
                (nodes,) = await server.exchange(_question("CLUSTER", "NODES"))
            except UnavailableError:
                self._retry_read()
                raise
            if isinstance(nodes, ResponseError):
                raise UnavailableError(str(nodes))
            for line in nodes.decode().splitlines():
                fields = line.split(" ")
                if "myself" in fields[2]:  # from its configuration's epoch on
                    owned[fields[0]] = " ".join(fields[6:])
        return owned

    async def _owner(self, key: bytes, deadline: float) -> Server:
        slot = key_slot(key)
        owner = self._owners.get(slot)
        if owner is None:
            await self._know(deadline)
            owner = self._owners.get(slot)
            if owner is None:
                raise UnavailableError("the cluster has no server for some keys")
        return owner

    async def _know(self, deadline: float | None = None) -> None:
        """Wait until the map has been read once. One of an event loop reads it for all."""
        if self._masters:
            return
        loop = asyncio.get_running_loop()
        deadline = deadline or loop.time() + self._budget
        reading = self._first_reading
        if reading is None or reading.done() or reading.get_loop() is not loop:
            reading = self._first_reading = loop.create_task(self._read())
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(reading)
        except TimeoutError:
            raise UnavailableError("no server of the cluster answers in time") from None

    def _retry_read(self) -> None:
        """Read the map anew, in the background, unless that was just done."""
        if time.monotonic() - self._read_at > _PAUSE_SECONDS:
            self._reading.start()

    async def _read(self) -> None:
        """Read the map of slots from any server that answers."""
        self._read_at = time.monotonic()
        known = [*self._servers, *(seed for seed in self._seeds if seed not in self._servers)]
        random.shuffle(known)
        # Replicas only if nobody else answers: they are servers that we do not talk to otherwise.
        for address in [*known, *self._replicas]:
            server = self._server(address)
            try:
                (ranges,) = await server.exchange(_question("CLUSTER", "SLOTS"))
            except UnavailableError:
                continue
            if ranges and not isinstance(ranges, ResponseError):  # which is in the log, once
                await self._draw(server, ranges)
                return
        raise UnavailableError("no server of the cluster answers")

    async def _draw(self, asked: Server, ranges: list[Any]) -> None:
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
                self._retired[address] = self._servers.pop(address)
                server.retired = True
                await server.close()

    def _note_master(self, address: Address) -> None:
        """Note that there is a master. It may have been a replica until now."""
        if address in self._replicas:
            self._replicas.discard(address)
            self._server(address).take_over()

    def _server(self, address: Address) -> Server:
        server = self._servers.get(address)
        if server is None:
            server = self._retired.pop(address, None) or self._new_server(address)
            server.retired = False
            self._servers[address] = server
        return server

    def _new_server(self, address: Address) -> Server:
        server = self._make_server(address)
        server.breaker.on_recovery += [partial(self._insist_on_cluster, server), *self._recovery]
        server.breaker.on_opening.append(self._retry_read)
        server.on_takeover += self._takeover
        return server

    async def _insist_on_cluster(self, server: Server) -> None:
        """Raise `UnavailableError` while a server has no cluster, which does not show at a PING."""
        if not server.retired:
            await server.exchange(Question((), (("UNLINK", self._probe_key),), Use.REMOVE))


def _question(*command: str) -> Question:
    return Question((), (command,), Use.READ, sealed=True)


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
    """Return a host as told; where that is not known, it is that of who was asked."""
    return asked.host if told in ("", "?") else told

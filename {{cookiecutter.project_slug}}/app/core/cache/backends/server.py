"""One server: a budget for every exchange with it, its circuit breaker, and connections by loop."""

import asyncio
import itertools
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.exceptions import (
    AskError,
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from ..base import UnavailableError
from ..breaker import Breaker, Use
from ..outage import Outage, reason
from ..record import is_of_another_key
from .connections import AnyConnection, Pool

Command = tuple[bytes | str | int, ...]
"""A Redis command and its arguments."""

QUIET_SECONDS = 5.0
"""So long without a failure, and an outage of single failures is over."""


@dataclass(slots=True)
class Question:
    """Commands that leave together, each about the key in the same place of `keys`.

    If `of_key` is given, the first reply must not be another key's record. One that is `sealed`
    ends with a PING that nobody else has sent, so that its replies cannot be those to others.
    """

    keys: Sequence[bytes]
    commands: Sequence[Command]
    use: Use
    of_key: str | None = None
    sealed: bool = False


class StrayReplyError(Exception):
    """A connection answered with what belongs to another key."""


class Server:
    """Exchanges commands for replies with one server.

    An exchange takes `budget` seconds at most: to wait for a free connection, to connect, to send
    and to receive. It is tried a second time, on another connection, if the first one broke: idle
    connections die unnoticed. `connect` opens a connection; each event loop has `max_connections`.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[AnyConnection]],
        *,
        host: str = "",
        budget: float,
        max_connections: int,
        logger: logging.Logger,
    ) -> None:
        self.name, self.host = name, host
        self.retired = False
        """Whether nobody needs it any more, so that it is no use to ask whether it is well."""
        self._connect, self._budget, self._max = connect, budget, max_connections
        self._logger = logger
        self._lock = threading.Lock()
        # A connection belongs to the event loop that it was made in.
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._era = object()
        self._refused: set[str] = set()
        self._seals = itertools.count()
        self.on_renewal: Callable[[], None] | None = None
        self.breaker = Breaker(Outage(name, logger, quiet=QUIET_SECONDS), self.ping)
        self.breaker.on_opening.append(self.renew)

    def __repr__(self) -> str:
        return f"Server({self.name!r})"

    async def exchange(self, question: Question, deadline: float | None = None) -> list[Any]:
        """Send a question in one write and return the replies, one for each of its commands.

        A reply may be a `ResponseError`. With a `deadline`, in the event loop's time, that is the
        end of the budget. Raises `UnavailableError` if the server is unwell.
        """
        self.breaker.admit(question.use)
        try:
            async with asyncio.timeout_at(deadline or self.deadline()):
                replies = await self._exchange(question)
        except Exception as error:
            self.breaker.failed(_told(error, self._budget), question.use)
            raise UnavailableError(reason(error)) from None
        errors = [reply for reply in replies if isinstance(reply, ResponseError)]
        if errors:
            self._judge(errors, question.use)
        else:
            self.breaker.worked(question.use)
        return replies

    def deadline(self) -> float:
        """Return when an exchange that begins now has to be over, in the event loop's time."""
        return asyncio.get_running_loop().time() + self._budget

    def renew(self) -> None:
        """Use new connections from now on: the ones that there are lead nowhere, or elsewhere."""
        self._era = object()
        if self.on_renewal is not None:
            self.on_renewal()

    async def close(self) -> None:
        """Close the connections of the running event loop; a later use makes new ones."""
        await self.breaker.leave()
        with self._lock:
            pool = self._pools.pop(asyncio.get_running_loop(), None)
            self._pools = _alive(self._pools)
        if pool is not None:
            await pool.close()

    async def ping(self) -> None:
        """Raise `UnavailableError` or what the server says if it does not answer as it should."""
        if self.retired:
            return
        (reply,) = await self.exchange(Question((), (("PING",),), Use.READ))
        if isinstance(reply, ResponseError):
            raise reply

    async def _exchange(self, question: Question) -> list[Any]:
        with suppress(Exception):  # the connection had died, or what came over it made no sense
            return await self._once(question, trusting=False)
        # What another connection says again, if it seems astray, does stand there.
        return await self._once(question, trusting=True)

    async def _once(self, question: Question, *, trusting: bool) -> list[Any]:
        seal = b"%d" % next(self._seals) if question.sealed else None
        sent = question.commands if seal is None else (*question.commands, ("PING", seal))
        pool = self._pool()
        connection = await pool.take(self._era)
        connection.unanswered = True
        try:
            packed = b"".join([_packed(command) for command in sent])
            await connection.send_packed_command(packed, check_health=False)
            replies = [await _reply(connection) for _ in sent]
            self._refuse_strays(replies, question, seal, trusting=trusting)
            connection.unanswered = False
            return replies[: len(question.commands)]
        finally:
            await pool.give(connection, self._era)

    def _refuse_strays(
        self, replies: list[Any], question: Question, seal: bytes | None, *, trusting: bool
    ) -> None:
        astray = seal is not None and replies[-1] != seal
        if question.of_key is not None and not trusting and isinstance(replies[0], bytes):
            astray = astray or is_of_another_key(question.of_key, replies[0])
        if astray:
            self._logger.warning("%s: a reply that belongs to another command", self.name)
            raise StrayReplyError

    def _judge(self, errors: list[ResponseError], use: Use) -> None:
        """Tell errors of the server from those of an entry or of a command."""
        for error in errors:
            if isinstance(error, ClusterDownError):
                self.breaker.failed(error, use)
            elif isinstance(error, OutOfMemoryError):
                self.breaker.rest(error, Use.STORE)
            elif isinstance(error, ReadOnlyError) or _code(error) in ("MISCONF", "NOREPLICAS"):
                self.breaker.rest(error, Use.STORE, Use.REMOVE)
                self.renew()  # after a failover the address may be another server's
            elif not isinstance(error, AskError | NoScriptError) and _code(error) != "WRONGTYPE":
                self.refuse(error)

    def refuse(self, error: ResponseError) -> None:
        """Log, once, that the server refuses a command: for want of a permission, for one."""
        text = reason(error)
        if text not in self._refused and len(self._refused) < 100:
            self._refused.add(text)
            self._logger.warning("%s refuses a command: %s", self.name, text)

    def _pool(self) -> Pool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            with self._lock:
                # Loops that ended without a `close` took their connections with them.
                self._pools = _alive(self._pools)
                pool = self._pools[loop] = Pool(self._connect, self._max)
        return pool


def _alive(
    pools: dict[asyncio.AbstractEventLoop, Pool],
) -> dict[asyncio.AbstractEventLoop, Pool]:
    return {loop: pool for loop, pool in pools.items() if not loop.is_closed()}


def _code(error: ResponseError) -> str:
    return str(error).partition(" ")[0]


def _told(error: Exception, budget: float) -> Exception:
    return (
        TimeoutError(f"no answer within {budget:g} s") if isinstance(error, TimeoutError) else error
    )


async def _reply(connection: AnyConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _packed(command: Command) -> bytes:
    """Return a command as the protocol has it.

    See https://redis.io/docs/latest/develop/reference/protocol-spec/.
    """
    items = [_as_bytes(item) for item in command]
    return b"*%d\r\n%b" % (
        len(items),
        b"".join([b"$%d\r\n%b\r\n" % (len(item), item) for item in items]),
    )


def _as_bytes(item: bytes | str | int) -> bytes:
    if isinstance(item, bytes):
        return item
    return item.encode() if isinstance(item, str) else b"%d" % item


class Single:
    """One server, which has all the keys."""

    one_slot = False
    """Whether the keys of one command have to be in one slot."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def ask(self, question: Question) -> list[Any]:
        """Return the replies to a question."""
        replies = await self._server.exchange(question)
        if any(isinstance(reply, AskError) for reply in replies):
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

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        await self._server.close()

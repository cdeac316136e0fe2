"""One server: a budget for every exchange with it, its circuit breaker, and connections by loop."""

import asyncio
import logging
import math
import threading
import time
from asyncio import get_running_loop
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis.exceptions import (
    AskError,
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from ...base import UnavailableError, is_nonce
from ...resilience import Breaker, Outage, Use, reason
from ...stored import is_of_another_key, is_record_of, names_its_key
from ..near import NearCache
from .connections import AnyConnection
from .deadline import within
from .multiplexed import (
    LARGE_BYTES,
    BrokenConnectionError,
    ForeignRecordError,
    Get,
    Hook,
    MultiplexedConnection,
    new_seal,
    packed,
)
from .pool import Pool
from .tracking import Messages

Command = tuple[bytes | str | int, ...]
"""A Redis command and its arguments."""

QUIET_SECONDS = 5.0
"""So long without a failure, and an outage of single failures is over."""


@dataclass(slots=True)
class Question:
    """Commands that leave together, each about the key in the same place of `keys`.

    If `of_key` is given, the first reply must not be another key's record. One that is `sealed`
    ends with a PING that nobody else has sent, so that its replies cannot be those to others. One
    that `overtakes` is an invalidation: what is read after it must not be from before. What one
    that `keeps` gets goes into the near cache. `changed` is done when the server tells that the one
    key has changed that was asked for, and cancelled where nobody would tell.
    """

    keys: Sequence[bytes]
    commands: Sequence[Command]
    use: Use
    of_key: str | None = None
    sealed: bool = False
    overtakes: bool = False
    keeps: bool = False
    changed: "asyncio.Future[None] | None" = None
    deadline: float | None = None
    """When all has to be over, in the event loop's time, for one that was asked before over another
    connection; else it has the server's budget."""


_MOST_LARGE = 1000
_MOST_DOUBTED = 1000
_FOR_EVER = -1  # as PTTL says it
_TRIALS = 10
"""So many connections may break one after the other before a read is given up."""


_WORDS: dict[bytes | str | int, bytes] = {"SET": b"OK", "PING": b"PONG", "ASKING": b"OK"}
_TYPES: dict[bytes | str | int, tuple[type, ...]] = {"SCAN": (list,), "CLUSTER": (list, bytes)}


class StrayReplyError(Exception):
    """A connection answered with what belongs to another key."""


class TakenOverError(Exception):
    """A connection leads to another server than those before, which is not ready yet."""


@dataclass(slots=True)
class _Home:
    """The connections of one event loop."""

    pool: Pool
    multiplexed: MultiplexedConnection | None = None
    """That which reads share."""
    stores: MultiplexedConnection | None = None
    """That which the steps of fills share."""
    era: object = None
    ends: AsyncGenerator[None] | None = None
    """What closes it when the event loop ends."""

    async def close(self) -> None:
        for multiplexed in (self.multiplexed, self.stores):
            if multiplexed is not None:
                await multiplexed.close()
        await self.pool.close()

    async def closed_at_the_end(self) -> AsyncGenerator[None]:
        """Close these connections when this generator is closed: by hand, or by its event loop.

        A loop closes the generators that have begun in it before it ends, as `asyncio.run` lets it
        (see `loop.shutdown_asyncgens`), so that a loop for each test or request leaves nothing.
        """
        try:
            yield
        finally:
            await self.close()

    def abandon(self) -> None:
        """Close the connections of an event loop that is closed."""
        for multiplexed in (self.multiplexed, self.stores):
            if multiplexed is not None:
                multiplexed.abandon()
        self.pool.abandon()


class Server:
    """Exchanges commands for replies with one server.

    An exchange takes `budget` seconds at most: to wait for a free connection, to connect, to send
    and to receive. It is tried again, on another connection, if the first one broke: idle ones die
    unnoticed. `connect` opens a connection. Each event loop has `max_connections`, of which reads
    share one and the steps of fills another, so that neither holds up the other; invalidations and
    what is large go over the rest. Of two, reads share one; one is for all in turn.
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
        near: NearCache | None = None,
    ) -> None:
        self._near = near
        self.name, self.host = name, host
        self.retired = False
        """Whether nobody needs it any more, so that it is no use to ask whether it is well."""
        self._dial, self._budget, self._max = connect, budget, max_connections
        self._shared = min(max_connections - 1, 2)
        self._logger = logger
        self._lock = threading.Lock()
        # A connection belongs to the event loop that it was made in.
        self._homes: dict[asyncio.AbstractEventLoop, _Home] = {}
        self._era = object()
        self._refused: set[str] = set()
        # Keys at which a record of another key was read, once: the next answer tells why.
        self._doubted: set[bytes] = set()
        # Keys whose values would hold up the small ones of others on a shared connection.
        self._large: set[bytes] = set()
        self._overtaken = object()
        """Another object after each invalidation."""
        self.on_renewal: Callable[[], None] | None = None
        self.on_takeover: list[Callable[[], None]] = []
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
        deadline = deadline or question.deadline or self.deadline()
        if self._shares(question):
            replies = await self._by_multiplexed(question, deadline)
            first = replies[0]
            if question.keys and type(first) is bytes and len(first) > LARGE_BYTES:
                self._note_large(question.keys[0])
        else:
            if question.changed is not None:
                question.changed.cancel()
            replies = await self._by_pool(question, deadline)
        for reply in replies:
            if isinstance(reply, Exception):
                self._judge([each for each in replies if isinstance(each, Exception)], question.use)
                break
        else:
            self.breaker.worked(question.use)
            if question.overtakes:
                self._overtaken = object()
        return replies

    def look(self, get: Get) -> "asyncio.Future[Any] | None":
        """Ask what stands at a key over that of reads, if that is open and all is well."""
        home = self._homes.get(get_running_loop())
        if home is None or home.era is not self._era or self.breaker.is_open:
            return None
        if self._large and get.name in self._large:
            return None
        multiplexed = home.multiplexed
        return None if multiplexed is None else multiplexed.look(get, self._overtaken)

    def _shares(self, question: Question) -> bool:
        """Whether a question goes over a connection that others use meanwhile."""
        if question.overtakes or self._is_large(question):
            return False
        return self._shared >= (1 if question.use is Use.READ else 2)

    def _note_large(self, name: bytes) -> None:
        if len(self._large) < _MOST_LARGE:
            self._large.add(name)

    def _is_large(self, question: Question) -> bool:
        return bool(self._large) and not self._large.isdisjoint(question.keys)

    def deadline(self) -> float:
        """Return when an exchange that begins now has to be over, in the event loop's time."""
        return asyncio.get_running_loop().time() + self._budget

    def renew(self) -> None:
        """Use new connections from now on: the ones that there are lead nowhere, or elsewhere."""
        self._era = object()
        for home in list(self._homes.values()):
            if self._near is not None and home.multiplexed is not None:
                self._near.lose(home.multiplexed)
        if self.on_renewal is not None:
            self.on_renewal()

    def take_over(self) -> None:
        """Let nobody in until what may be unknown to this server has been done there once more.

        It has just taken the place of another one.
        """
        for step in self.on_takeover:
            step()
        self.breaker.trip()
        self.renew()

    @property
    def is_proven(self) -> bool:
        """Whether that of reads, in the running event loop, has proved itself just now."""
        home = self._homes.get(asyncio.get_running_loop())
        multiplexed = None if home is None or home.era is not self._era else home.multiplexed
        return multiplexed is not None and time.monotonic() < multiplexed.trusted_until

    async def close(self) -> None:
        """Close the connections of the running event loop; a later use makes new ones."""
        await self.breaker.stop()
        with self._lock:
            home = self._homes.pop(asyncio.get_running_loop(), None)
            self._homes = _alive(self._homes)
        if home is not None and home.ends is not None:
            with suppress(RuntimeError):  # the event loop ends, and is about to close them itself
                await home.ends.aclose()

    async def ping(self) -> None:
        """Raise `UnavailableError` or what the server says if it does not answer as it should."""
        if self.retired:
            return
        (reply,) = await self.exchange(Question((), (("PING",),), Use.READ))
        if isinstance(reply, ResponseError):
            raise reply

    async def _by_multiplexed(self, question: Question, deadline: float) -> list[Any]:
        """Ask over a connection that all share; again if it breaks before its answer."""
        sent, count, seal = self._sealed(question)
        if len(sent) > LARGE_BYTES:
            return await self._by_pool(question, deadline)
        for trial in range(_TRIALS):
            multiplexed = self._multiplexed(question.use)
            hook: Hook | None = None
            watch: Command = ()
            if question.keeps and self._near is not None:
                hook = self._keeper(self._near, question, seal, multiplexed)
            if question.changed is not None:
                watch = multiplexed.messages.watch(question.keys[0], question.changed)
            try:
                since = self._overtaken if question.use is Use.READ else None
                if watch:
                    allowed, *replies = await multiplexed.ask(
                        packed(watch) + sent, count + 1, deadline, since=since
                    )
                    if allowed != b"OK" and question.changed is not None:
                        question.changed.cancel()
                else:
                    replies = await multiplexed.ask(sent, count, deadline, since=since, hook=hook)
                again = trial > 0 or question.deadline is not None
                self._refuse_strays(replies, question, seal, trusting=again)
                self._settle(question, replies)
            except BrokenConnectionError:
                pass
            except (StrayReplyError, ForeignRecordError) as error:
                if not multiplexed.is_over:  # one fault, however many see it
                    self._line_failed(question.use, error)
                    multiplexed.end(BrokenConnectionError(str(error)))
            except Exception as error:  # of which it has told the breaker
                raise UnavailableError(reason(error)) from None
            else:
                return replies[: len(question.commands)]
            self.breaker.admit(question.use)
        raise UnavailableError(f"{_TRIALS} connections broke one after the other")

    def _keeper(
        self,
        near: NearCache,
        question: Question,
        seal: bytes | None,
        multiplexed: MultiplexedConnection,
    ) -> Hook:
        """Return what puts replies into the near cache, if no message may have come before it."""
        epoch, asked = near.epoch, time.monotonic()

        def keep(replies: list[Any]) -> None:
            if not multiplexed.messages.are_on or (seal is not None and replies[-1] != seal):
                return
            verbs = [command[0] for command in question.commands]
            told = list(zip(question.keys, verbs, replies[: len(verbs)], strict=True))
            lives = {name: ms for name, verb, ms in told if verb == "PTTL"}
            for name, verb, data in told:
                if verb == "PTTL" or type(data) is not bytes or len(data) > LARGE_BYTES:
                    continue
                key, ms = str(name, "utf-8", "surrogatepass"), lives.get(name, _FOR_EVER)
                by_hand = seal is not None and not names_its_key(data)
                is_ours = (
                    is_nonce(data) if verb == "GETRANGE" else by_hand or is_record_of(key, data)
                )
                if not is_ours or type(ms) is not int:
                    continue
                # Redis counts whole milliseconds.
                until = math.inf if ms == _FOR_EVER else asked + (ms - 1) / 1000
                near.keep(key, data, until, multiplexed, epoch)

        return keep

    async def _by_pool(self, question: Question, deadline: float) -> list[Any]:
        waiting = True

        def has_turn() -> None:
            nonlocal waiting
            waiting = False

        try:
            async with within(deadline):
                with suppress(Exception):  # the connection had died, or made no sense
                    return await self._once(question, has_turn, trusting=False)
                self.breaker.admit(question.use)
                return await self._once(question, has_turn, trusting=True)
        except UnavailableError:
            raise
        except Exception as error:
            error = _told(error, self._budget)
            if waiting:  # for others of this process: that is not the server's fault
                self.breaker.crowded(error, question.use)
            else:
                self.breaker.failed(error, question.use)
            raise UnavailableError(reason(error)) from None

    async def _once(
        self, question: Question, has_turn: Callable[[], None], *, trusting: bool
    ) -> list[Any]:
        sent, count, seal = self._sealed(question, question.use is Use.READ)
        pool = self._home().pool
        await pool.turn()
        has_turn()
        connection = await pool.take(self._era)
        connection.unanswered = True
        try:
            await connection.send_packed_command(sent, check_health=False)
            replies = [await _reply(connection) for _ in range(count)]
            self._refuse_strays(replies, question, seal, trusting=trusting)
            connection.unanswered = False
            return replies[: len(question.commands)]
        finally:
            await pool.give(connection, self._era)

    def _sealed(self, question: Question, sealed: bool = False) -> tuple[bytes, int, bytes | None]:
        """Return what to send, how many replies that has, and what the last has to be, if any."""
        commands = [*question.commands]
        seal = new_seal() if question.sealed or sealed else None
        if seal is not None:
            commands.append(("PING", seal))
        return b"".join(map(packed, commands)), len(commands), seal

    def _refuse_strays(
        self, replies: list[Any], question: Question, seal: bytes | None, *, trusting: bool
    ) -> None:
        """Raise `StrayReplyError` for replies to other commands.

        A record of another key, if it comes again over another connection, does stand there.
        """
        if (seal is not None and replies[-1] != seal) or not all(
            map(_fits, question.commands, replies)
        ):
            raise StrayReplyError("a reply that belongs to another command")
        if not trusting and _is_foreign(question, replies[0]):
            raise ForeignRecordError(question.keys[0])

    def _settle(self, question: Question, replies: list[Any]) -> None:
        """Note a fault of the connection that has just been given up, if it was one.

        It was none if the record of another key stands there: that is the entry's fault alone.
        """
        if self._doubted and question.of_key is not None and question.keys[0] in self._doubted:
            self._doubted.discard(question.keys[0])
            if not _is_foreign(question, replies[0]):
                error = StrayReplyError("a reply that belongs to another command")
                self.breaker.failed(error, question.use)

    def _judge(self, errors: list[Exception], use: Use) -> None:
        """Tell errors of the server from those of an entry or of a command."""
        for error in errors:
            if isinstance(error, ClusterDownError) or not isinstance(error, ResponseError):
                self.breaker.failed(error, use)  # it is loading, or asks for a password
                raise UnavailableError(reason(error))
            if isinstance(error, OutOfMemoryError):
                self.breaker.rest(error, Use.STORE)
            elif isinstance(error, ReadOnlyError) or _code(error) in ("MISCONF", "NOREPLICAS"):
                self.breaker.rest(error, Use.STORE, Use.REMOVE)
                self.renew()  # after a failover the address may be another server's
            elif not isinstance(error, AskError | NoScriptError) and _code(error) != "WRONGTYPE":
                self.refuse(error)

    def refuse(self, error: ResponseError, consequence: str = "") -> None:
        """Log, once, that the server refuses a command: for want of a permission, for one."""
        text = f"{reason(error)}; {consequence}" if consequence else reason(error)
        if text not in self._refused and len(self._refused) < 100:
            self._refused.add(text)
            self._logger.warning("%s refuses a command: %s", self.name, text)

    async def _connect(self) -> AnyConnection:
        """Open a connection. Raises `TakenOverError` if that is how a takeover was found."""
        era = self._era
        connection = await self._dial()
        if era is not self._era and self.breaker.turns_away:
            await connection.disconnect(nowait=True)
            raise TakenOverError("another server has taken over")
        return connection

    def _home(self) -> _Home:
        loop = asyncio.get_running_loop()
        home = self._homes.get(loop)
        if home is None:
            with self._lock:
                self._homes = _alive(self._homes)
                size = self._max - self._shared
                home = self._homes[loop] = _Home(Pool(self._connect, size))
            home.ends = home.closed_at_the_end()
            with suppress(StopIteration):
                home.ends.asend(None).send(None)  # it begins, and has nothing to wait for
        return home

    def _multiplexed(self, use: Use) -> MultiplexedConnection:
        home, era = self._home(), self._era
        if home.era is not era:
            for old in (home.multiplexed, home.stores):
                if old is not None:
                    old.end(BrokenConnectionError("there is a newer one"))
            home.era = era
        if use is Use.READ:
            if home.multiplexed is None or home.multiplexed.is_over:
                home.multiplexed = self._new_multiplexed(Use.READ)
            return home.multiplexed
        if home.stores is None or home.stores.is_over:
            home.stores = self._new_multiplexed(Use.STORE)
        return home.stores

    def _new_multiplexed(self, use: Use) -> MultiplexedConnection:
        return MultiplexedConnection(
            self._connect,
            partial(self._line_failed, use),
            partial(self.breaker.worked, use),
            self._note_large,
            Messages(self._near, self._untold, wanted=use is Use.READ),
            budget=self._budget,
        )

    def _untold(self, error: ResponseError) -> None:
        if self._near is not None:
            self.refuse(error, "there is no near cache of it")

    def _line_failed(self, use: Use, error: Exception) -> None:
        if not isinstance(error, ForeignRecordError):
            self.breaker.failed(_told(error, self._budget), use)
        elif len(self._doubted) < _MOST_DOUBTED:
            self._doubted.add(error.name)


def _alive(
    homes: dict[asyncio.AbstractEventLoop, _Home],
) -> dict[asyncio.AbstractEventLoop, _Home]:
    """Return those of event loops that are not closed; close the connections of the others."""
    for loop, home in homes.items():
        if loop.is_closed():
            home.abandon()
    return {loop: home for loop, home in homes.items() if not loop.is_closed()}


def _is_foreign(question: Question, reply: Any) -> bool:
    """Whether a reply to the question about a key is the record of another one."""
    return (
        question.of_key is not None
        and isinstance(reply, bytes)
        and is_of_another_key(question.of_key, reply)
    )


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


def _fits(command: Command, reply: Any) -> bool:
    """Whether a reply is of the type that a command has; an error always may be."""
    if isinstance(reply, Exception):
        return True
    name = command[0]
    if name == "SET" and "NX" in command and "GET" not in command:
        return reply in (None, b"OK")
    if name in ("GET", "GETRANGE") or (name == "SET" and "GET" in command):
        return reply is None or isinstance(reply, bytes)
    if name in _WORDS:
        return bool(reply == _WORDS[name])
    return isinstance(reply, _TYPES.get(name, int))

"""One server: its connections by event loop, its circuit breaker, a budget for each request."""

import asyncio
import logging
import threading
import time
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
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

from ...errors import UnavailableError
from ...events import Events
from ...resilience import Breaker, Outage, Use, reason
from .connections import AnyConnection
from .loops import LoopConnections
from .multiplexed import MultiplexedConnection
from .pipeline import LARGE_BYTES, Pipeline
from .pool import Pool
from .requests import BrokenConnectionError, Command, Get, Gets, Request, Sealed
from .tracking import InvalidationTracker, Keeper

QUIET_SECONDS = 5.0
"""An outage without an open breaker ends at a success so long after the last failure."""

_MOST_LARGE = 1000
_TRIALS = 10
"""A request is given up after so many broken connections."""


@dataclass(slots=True, eq=False, repr=False)
class Options:
    """What all servers of a backend share. `budget` is in seconds."""

    budget: float
    max_connections: int
    logger: logging.Logger
    keeper: Keeper | None = None
    events: Events | None = None
    on_recovery: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Awaited when a server works again after it was unwell, before others ask it."""
    on_takeover: list[Callable[[], None]] = field(default_factory=list)
    """Called when a server has taken the place of another one, before it is asked."""


class Server:
    """Exchanges commands for replies with one server.

    A request takes no longer than its budget: to wait for a free connection, to connect, to send and
    to receive. If a connection breaks, the request is tried again on another one. `connect` opens a
    connection; `probe` is a command that works if the server works. Each event loop has
    `max_connections`: reads share one and the steps of fills share another, so that neither delays
    the other; invalidations and large values use the rest. If there are two, reads share one, and
    all else uses the other; if there is one, all requests use it in turn.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[AnyConnection]],
        options: Options,
        *,
        host: str = "",
        probe: Command = ("PING",),
    ) -> None:
        self.name, self.host = name, host
        self._connect_anew, self._options, self._probe = connect, options, probe
        self._budget, self._keeper = options.budget, options.keeper
        self._shared = min(options.max_connections - 1, 2)
        self._lock = threading.Lock()
        # A connection belongs to the event loop that it was made in.
        self._by_loop: dict[asyncio.AbstractEventLoop, LoopConnections] = {}
        self._generation = object()
        self._refused: set[str] = set()
        # Keys of large values, which would delay the small ones on a shared connection.
        self._large: set[bytes] = set()
        self._invalidation = object()
        """A new object after each invalidation."""
        self.retired = False
        """Whether it is no longer in use: then its probe always succeeds."""
        self.on_renewal: Callable[[], None] | None = None
        outage = Outage(name, options.logger, quiet=QUIET_SECONDS, events=options.events)
        self.breaker = Breaker(outage, self.ping, options.on_recovery, self.renew)

    async def execute(self, request: Request, deadline: float | None = None) -> list[Any]:
        """Send a request in one write and return the replies, one for each of its commands.

        A reply may be a `ResponseError`. With a `deadline`, in the event loop's time, that is the
        end of the budget. Raises `UnavailableError` if the server is unwell.
        """
        self.breaker.admit(request.use)
        deadline = deadline or request.deadline or get_running_loop().time() + self._budget
        sealed = Sealed(request.commands)
        for _ in range(_TRIALS):
            try:
                if self._is_shared(request, sealed):
                    shared = self._multiplexed(request.use)
                    replies = await shared.execute(request, sealed, deadline)
                else:
                    replies = await self._execute_alone(request, sealed, deadline)
            except BrokenConnectionError as error:  # the breaker knows of it already
                self.breaker.admit(request.use)
                if request.once:
                    raise UnavailableError(reason(error)) from None
            except Exception as error:
                raise UnavailableError(reason(error)) from None
            else:
                self._judge(request, replies)
                return replies
        raise UnavailableError(f"{_TRIALS} connections broke one after the other")

    def read_nowait(self, get: Get | Gets) -> "asyncio.Future[Any] | None":
        """Send a GET, or several, over the connection of reads, if that is open and all is well."""
        here = self._by_loop.get(get_running_loop())
        if here is None or here.generation is not self._generation or self.breaker.is_open:
            return None
        if self._large and get.name in self._large:
            return None
        return None if here.reads is None else here.reads.read_nowait(get, self._invalidation)

    async def ping(self) -> None:
        """Raise `UnavailableError`, or what the server says, if it does not work as it should."""
        if self.retired:
            return
        use = Use.READ if self._probe == ("PING",) else Use.REMOVE
        (reply,) = await self.execute(Request((self._probe,), use))
        if isinstance(reply, ResponseError) and not isinstance(reply, AskError):
            raise reply

    def renew(self) -> None:
        """Use new connections from now on: the old ones may lead nowhere, or to another server."""
        self._generation = object()
        for here in list(self._by_loop.values()):
            if self._keeper is not None and here.reads is not None:
                self._keeper.lose(here.reads)
        if self.on_renewal is not None:
            self.on_renewal()

    def take_over(self) -> None:
        """Open the breaker until the recovery steps are done, for this server has just taken over.

        It may lack the last writes; `on_takeover` is called first, to have them done again.
        """
        for step in self._options.on_takeover:
            step()
        self.breaker.trip()
        self.renew()

    @property
    def is_proven(self) -> bool:
        """Whether the connection of reads, in the running event loop, is trusted now."""
        here = self._by_loop.get(get_running_loop())
        reads = None if here is None or here.generation is not self._generation else here.reads
        return reads is not None and time.monotonic() < reads.trusted_until

    async def close(self) -> None:
        """Close the connections of the running event loop; a later use makes new ones."""
        await self.breaker.stop()
        here = self._by_loop.pop(get_running_loop(), None)
        self._abandon_closed_loops()
        if here is not None:
            await here.close()

    def refuse(self, error: ResponseError, consequence: str = "") -> None:
        """Log, once, that the server refuses a command, for example without a permission."""
        text = f"{reason(error)}; {consequence}" if consequence else reason(error)
        if text not in self._refused and len(self._refused) < 100:
            self._refused.add(text)
            self._options.logger.warning("%s refuses a command: %s", self.name, text)

    def _is_shared(self, request: Request, sealed: Sealed) -> bool:
        """Whether a request goes over a connection that others use meanwhile."""
        if request.invalidates or len(sealed.packed) > LARGE_BYTES:
            return False
        if self._large and any(key in self._large for key in request.read_keys()):
            return False
        return self._shared >= (1 if request.use is Use.READ else 2)

    async def _execute_alone(self, request: Request, sealed: Sealed, deadline: float) -> list[Any]:
        """Send a request over a connection of the pool."""
        if request.changed is not None:
            request.changed.cancel()
        pool = self._here().pool
        try:
            async with asyncio.timeout_at(deadline):
                await pool.turns.acquire()
        except TimeoutError as error:  # other requests of this process hold them all
            self.breaker.pool_exhausted(self._told(error), request.use)
            raise
        pipeline = pool.acquire()
        pipeline.failed = partial(self._failed, request.use)
        try:
            return await pipeline.ask(sealed, deadline)
        finally:
            pool.release(pipeline)

    def _judge(self, request: Request, replies: list[Any]) -> None:
        """Raise for an error of the server, not for one of a key or a command; note a success."""
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        for error in errors:
            self._judge_error(error, request.use)
        if errors:
            return
        self.breaker.worked(request.use)
        if request.invalidates:
            self._invalidation = object()
        if type(replies[0]) is bytes and len(replies[0]) > LARGE_BYTES:
            for key in request.read_keys()[:1]:
                self._note_large(key)

    def _judge_error(self, error: Exception, use: Use) -> None:
        if isinstance(error, ClusterDownError) or not isinstance(error, ResponseError):
            self.breaker.failed(error, use)  # it is loading, or asks for a password
            raise UnavailableError(reason(error))
        code = str(error).partition(" ")[0]
        if isinstance(error, OutOfMemoryError):
            self.breaker.suspend(error, Use.STORE)
        elif isinstance(error, ReadOnlyError) or code in ("MISCONF", "NOREPLICAS"):
            self.breaker.suspend(error, Use.STORE, Use.REMOVE)
            self.renew()  # after a failover the address may be another server's
        elif not isinstance(error, AskError | NoScriptError) and code != "WRONGTYPE":
            self.refuse(error)

    def _note_large(self, name: bytes) -> None:
        if len(self._large) < _MOST_LARGE:
            self._large.add(name)

    async def _connect(self) -> AnyConnection:
        """Open a connection; fail if that revealed a takeover, as the server is not ready then."""
        generation = self._generation
        connection = await self._connect_anew()
        if generation is not self._generation and self.breaker.turns_away:
            connection.drop()
            raise ConnectionAbortedError("another server has taken over")
        self._here().opened.add(connection)
        return connection

    def _here(self) -> LoopConnections:
        """Return the connections of the running event loop."""
        loop = get_running_loop()
        here = self._by_loop.get(loop)
        if here is None:
            self._abandon_closed_loops()
            here = LoopConnections(self._new_pool)
            with self._lock:
                self._by_loop[loop] = here
        here.renew(self._generation)
        return here

    def _abandon_closed_loops(self) -> None:
        with self._lock:
            for loop in [loop for loop in self._by_loop if loop.is_closed()]:
                self._by_loop.pop(loop).abandon()

    def _new_pool(self) -> Pool:
        make = partial(Pipeline, self._connect, partial(self._failed, Use.READ))
        return Pool(make, self._options.max_connections - self._shared)

    def _multiplexed(self, use: Use) -> MultiplexedConnection:
        here = self._here()
        if use is Use.READ:
            if here.reads is None or here.reads.is_over:
                here.reads = self._new_multiplexed(Use.READ)
            return here.reads
        if here.stores is None or here.stores.is_over:
            here.stores = self._new_multiplexed(Use.STORE)
        return here.stores

    def _new_multiplexed(self, use: Use) -> MultiplexedConnection:
        return MultiplexedConnection(
            self._connect,
            partial(self._failed, use),
            partial(self.breaker.worked, use),
            self._note_large,
            InvalidationTracker(self._keeper, self.refuse, wanted=use is Use.READ),
            budget=self._budget,
        )

    def _failed(self, use: Use, error: Exception) -> None:
        self.breaker.failed(self._told(error), use)

    def _told(self, error: Exception) -> Exception:
        is_late = isinstance(error, TimeoutError)
        return TimeoutError(f"no answer within {self._budget:g} s") if is_late else error

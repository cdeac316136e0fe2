"""A multiplexed connection: many share it. All reads of an event loop have one, its fills another.

Commands that are asked in one turn of the event loop leave together, and replies are matched in
order. A look, which is all that most hits need, has no coroutine between the caller and the connection.
Nobody waits for a free connection, and nobody's cancellation disturbs the others: the reply
is dropped when it comes. redis-py's `Connection` does the connecting; then this one takes its
transport over. One timer watches for all: a reply that is late fails all who wait.
The idea is that of rueidis, "auto pipelining" (https://github.com/redis/rueidis).

A middlebox or a bug that doubles one reply makes all that follow answer the question before. A
record names its key, but not when it was read. So it proves that replies are in step, by a
PING with a number that only its own reply can have: before the first question that follows an
invalidation, and once a second besides.

Between the replies there are `messages` of keys that have changed. A proof shows that all of them
have been heard that the server had to tell before it.
"""

import asyncio
import itertools
import math
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import hiredis
from redis._parsers import BaseParser
from redis.exceptions import InvalidResponse

from ...base import UnansweredError
from ...stored import SHORT_KEY, is_record, start_of_record
from ..near import RENEW_SECONDS, TRUST_SECONDS
from .connections import AnyConnection
from .deadline import STALLED_SECONDS
from .tracking import Messages

_BUFFER_BYTES = 65536
LARGE_BYTES = 128 * 1024
"""A value that is larger would hold up the small ones of others: it goes another way next time."""
_MOST_UNSENT = 32
"""So many commands do not wait for the end of the turn: the server works while others are asked."""
_PROOF_SECONDS = 1.0
"""So long replies are taken to be in step; it costs a PING."""

_INCOMPLETE = object()
_OURS, _numbers = secrets.token_hex(8), itertools.count()

Hook = Callable[[list[Any]], None]
"""What is done with replies in the moment in which they arrive; raises if they cannot be right."""


def packed(command: tuple[bytes | str | int, ...]) -> bytes:
    """Return a command as the protocol has it."""
    done: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # it takes any number
    return done


@dataclass(slots=True)
class Get:
    """The question what stands at a key: its name, how a record of it begins, and the command."""

    name: bytes
    start: bytes
    packed: bytes


def get_of(key: str) -> Get:
    """Return the question what stands at `key`."""
    return _get_of(key) if len(key) <= SHORT_KEY else _get_of.__wrapped__(key)


@lru_cache(maxsize=4096)  # hot keys are asked for again and again
def _get_of(key: str) -> Get:
    name = key.encode("utf-8", "surrogatepass")
    return Get(name, start_of_record(key), packed(("GET", name)))


def new_seal() -> bytes:
    """Return what a PING can be answered with that nothing else is: no stored value, no other."""
    return f"{_OURS} {next(_numbers)}".encode()


class BrokenConnectionError(Exception):
    """The connection broke after the question was asked; another try may have an answer."""


class ForeignRecordError(InvalidResponse):
    """A reply is the record of another key: it was put at this one, or it has gone astray.

    The next answer, over another connection, tells which.
    """

    def __init__(self, name: bytes) -> None:
        super().__init__("a reply that belongs to another command")
        self.name = name


class _Wait:
    """A question that has been asked."""

    __slots__ = ("answer", "count", "deadline", "hook", "replies", "respited")

    def __init__(
        self,
        answer: "asyncio.Future[list[Any]] | None",
        count: int,
        deadline: float,
        hook: Hook | None,
    ) -> None:
        self.answer, self.count, self.deadline, self.hook = answer, count, deadline, hook
        self.replies: list[Any] = []
        self.respited = False


_Look = tuple["asyncio.Future[Any]", float, Get, bool]
"""A look that was asked: its answer, deadline and question, and whether it was respited.

A tuple, because one is made for most hits, and an object takes three times as long.
"""


def _answer_of(wait: _Wait | _Look) -> tuple["asyncio.Future[Any] | None", float]:
    """Return where the answer goes, `None` if nobody waits for it any more, and its deadline."""
    answer, deadline = wait[:2] if isinstance(wait, tuple) else (wait.answer, wait.deadline)
    return (None if answer is None or answer.done() else answer), deadline


class MultiplexedConnection(asyncio.BufferedProtocol):
    """A shared connection of one event loop, from its first question until it breaks.

    `connect` opens it when it is first needed. `failed` is called, once, with the error when it
    could not be opened, or broke or was late while somebody waited. `worked` is called
    when looks were answered, and `large` with the key of one whose answer is large. A look, and a
    proof that nobody waits for, have `budget` seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[AnyConnection]],
        failed: Callable[[Exception], None],
        worked: Callable[[], None],
        large: Callable[[bytes], None],
        messages: Messages,
        *,
        budget: float,
    ) -> None:
        self._connect, self._failed, self._budget = connect, failed, budget
        self._worked, self._large = worked, large
        self.messages = messages
        self._loop = asyncio.get_running_loop()
        self.is_over = False
        """Whether it is broken or closed: it will not answer any more."""
        self._connection: AnyConnection | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._waits: deque[_Wait | _Look] = deque()
        self._unsent: list[bytes] = []
        self._is_due = False
        """Whether what is unsent is going to be sent at the end of this turn of the event loop."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf  # uvloop's handle does not tell, if it is due at once
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))  # which TLS can slice
        self._reader: Any = None
        self._proven: object = None
        self._proven_until = 0.0
        self.trusted_until = 0.0
        """Until when what was read here is coherent: see `near`."""
        self.renew_at = math.inf
        self._vouched = 0.0
        """Until when it is, if replies are in step."""

    async def ask(
        self,
        packed: bytes,
        count: int,
        deadline: float,
        *,
        since: object = None,
        hook: Hook | None = None,
    ) -> list[Any]:
        """Send commands and return their `count` replies, errors among them.

        Where `since` is another object than the last time, the replies are proven to be in step
        first, so that they tell of what is there now. `hook` is called with the replies as soon as
        they are there, before any message that comes after them. Raises `BrokenConnectionError` where
        the connection broke meanwhile, `TimeoutError` where the server was late, and what
        connecting raises.
        """
        if self.is_over:
            raise BrokenConnectionError("the connection is broken")
        answer: asyncio.Future[list[Any]] = self._loop.create_future()
        alone = not self._waits
        if since is not self._proven or deadline > self._proven_until:
            self._proven = since
            self._ask_for_proof(deadline)
        self._enqueue(packed, _Wait(answer, count, deadline, hook))
        if alone and self._transport is not None:
            self._send()
        else:
            self._send_soon()
        return await answer

    def look(self, get: Get, since: object) -> "asyncio.Future[Any] | None":
        """Ask what stands at a key, if the connection is open; return where the reply will be.

        A record of another key breaks the connection. An `UnansweredError` means that the connection
        broke, a `TimeoutError` that the server was late.
        """
        if self._transport is None:  # it is over, or not open yet
            return None
        loop, waits = self._loop, self._waits
        deadline = loop.time() + self._budget
        alone = not waits
        if since is not self._proven or deadline > self._proven_until:
            self._proven = since
            self._ask_for_proof(deadline)
        answer: asyncio.Future[Any] = loop.create_future()
        waits.append((answer, deadline, get, False))
        self._unsent.append(get.packed)
        if deadline < self._timer_at:
            self._set_timer(deadline)
        if alone:
            self._send()
        elif not self._is_due or len(self._unsent) >= _MOST_UNSENT:
            self._send_soon()
        return answer

    def prove(self, key: str) -> None:
        """Ask for trust in the background, from within its own event loop only.

        The question about `key` shows, on a cluster, whether its server still answers for its slots.
        """
        if self.is_over or self._transport is None or _running_loop() is not self._loop:
            return
        deadline, asked = self._loop.time() + self._budget, time.monotonic()
        self.renew_at = asked + RENEW_SECONDS
        name = key.encode("utf-8", "surrogatepass")
        self._enqueue(packed(("PTTL", name)), _Wait(None, 1, deadline, partial(self._trust, asked)))
        self._ask_for_proof(deadline)
        self._send_soon()

    def end(self, error: Exception) -> None:
        """Close the connection, and fail who waits."""
        self.is_over = True
        self._transport = None
        self.trusted_until = 0.0
        waits, self._waits = self._waits, deque()
        if self._timer is not None:
            self._timer.cancel()
        if self._opening is not None and self._opening is not asyncio.current_task():
            self._opening.cancel()
        if self._connection is not None:
            self._connection.unanswered = bool(waits)
            self._connection.drop()
        for wait in waits:
            answer, deadline = _answer_of(wait)
            if answer is None:
                continue
            if isinstance(wait, tuple) and isinstance(error, BrokenConnectionError):
                answer.set_exception(UnansweredError(str(error), deadline))
            else:
                answer.set_exception(error)
        self.messages.lose(self)

    async def close(self) -> None:
        """Close the connection, and wait until that is done."""
        self.end(BrokenConnectionError("the cache was closed"))
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)

    def abandon(self) -> None:
        """Close the connection, of an event loop that is closed: nobody waits there any more."""
        self.is_over, self.trusted_until = True, 0.0
        self._transport = None
        self._waits.clear()
        if self._connection is not None:
            self._connection.abandon()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Lend the buffer into which the event loop reads."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on the replies that are complete, and what the server tells between them."""
        if self.is_over:
            return
        waits, gets, looked = self._waits, self._reader.gets, False
        try:
            self._reader.feed(self._buffer, 0, nbytes)
            while (reply := gets()) is not _INCOMPLETE:
                if type(reply) is hiredis.PushNotification:
                    self._hear(reply)
                    continue
                wait = waits[0]  # an answer without a question raises
                if not isinstance(wait, tuple):
                    self._hand_on(reply, wait)
                    continue
                answer, _, get, _ = wait
                if type(reply) is bytes:
                    looked = True
                    if not reply.startswith(get.start) or len(reply) > LARGE_BYTES:
                        self._look_at(reply, get)
                elif reply is None:
                    looked = True
                # An error is judged when whoever gets it asks once more.
                waits.popleft()
                if not answer.done():
                    answer.set_result(reply)
        except Exception as error:
            self._break(error)
        if looked:
            self._worked()

    def _hand_on(self, reply: Any, wait: _Wait) -> None:
        wait.replies.append(reply)
        if len(wait.replies) == wait.count:
            if wait.hook is not None:
                wait.hook(wait.replies)
            self._waits.popleft()
            if wait.answer is not None and not wait.answer.done():
                wait.answer.set_result(wait.replies)

    def _look_at(self, reply: bytes, get: Get) -> None:
        if not reply.startswith(get.start) and is_record(reply):
            raise ForeignRecordError(get.name)
        if len(reply) > LARGE_BYTES:
            self._large(get.name)

    def _hear(self, message: list[Any]) -> None:
        self.messages.hear(message, self)
        first = self._waits[0] if self._waits else None
        if isinstance(first, _Wait) and first.replies:
            first.hook = None  # what it has got so far may have changed since

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the other side has closed the connection."""
        if not self.is_over:
            self._break(exc or ConnectionResetError("the server closed the connection"))

    def _break(self, error: Exception) -> None:
        if self._waits:
            self._failed(error)
        self.end(BrokenConnectionError(str(error)))

    def _give_up(self, error: Exception) -> None:
        self._failed(error)
        self.end(error)

    def _enqueue(self, packed: bytes, wait: _Wait) -> None:
        self._waits.append(wait)
        if wait.deadline < self._timer_at:
            self._set_timer(wait.deadline)
        self._unsent.append(packed)

    def _send_soon(self) -> None:
        if len(self._unsent) >= _MOST_UNSENT:
            self._send()
        elif not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._is_due = False
        if self.is_over or not self._unsent:
            return
        if self._transport is not None:
            unsent, self._unsent = self._unsent, []
            try:
                self._transport.write(b"".join(unsent))
            except Exception as error:  # of a transport that was closed at the wrong moment
                self._break(error)
        elif self._opening is None:
            self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            self._connection = await self._connect()
            self._reader = hiredis.Reader(
                protocolError=InvalidResponse,
                replyError=BaseParser.parse_error,
                notEnoughData=_INCOMPLETE,
            )
            self._transport = self._connection.take_over(self)
        except Exception as error:
            self._give_up(error)
            return
        self._opening = None
        if self.messages.wanted:
            self._ask_for_messages()
        self._send()

    # --- proofs and messages -------------------------------------------------------------------

    def _ask_for_proof(self, deadline: float) -> None:
        """Ask for what nobody else is answered; any other reply breaks the connection."""
        self._proven_until = deadline + _PROOF_SECONDS
        if self._transport is not None:  # else nothing was asked before
            seal = new_seal()
            hook = partial(self._check_proof, seal)
            self._enqueue(packed(("PING", seal)), _Wait(None, 1, deadline, hook))

    def _check_proof(self, seal: bytes, replies: list[Any]) -> None:
        if replies[0] != seal:
            raise InvalidResponse("a reply that belongs to another command")
        self.trusted_until, self._vouched = max(self.trusted_until, self._vouched), 0.0

    def _trust(self, asked: float, replies: list[Any]) -> None:
        """Note that all messages have been heard that the server had to tell by then."""
        if isinstance(replies[0], Exception):  # the key is not its own any more
            self.trusted_until = 0.0
            self.messages.lose(self)
        elif self.messages.are_on:
            self._vouched = asked + TRUST_SECONDS

    def _ask_for_messages(self) -> None:
        """Let the server tell what changes, before anything is read."""
        hook = partial(self._begin_messages, time.monotonic())
        deadline = self._loop.time() + self._budget
        if self._waits:
            _, deadline = _answer_of(self._waits[0])
        self._waits.appendleft(_Wait(None, 1, deadline, hook))
        self._unsent.insert(0, packed(self.messages.request))

    def _begin_messages(self, asked: float, replies: list[Any]) -> None:
        self.messages.begin(replies[0])
        if self.messages.are_on:
            self.trusted_until, self.renew_at = asked + TRUST_SECONDS, asked + RENEW_SECONDS

    # --- the clock -----------------------------------------------------------------------------

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(when, self._look_at_the_clock), when

    def _look_at_the_clock(self) -> None:
        """Fail all if the first of them has waited too long, else who has; then set the timer anew.

        Somebody behind the first, on a second try, may have less time left.
        """
        now, due, self._timer_at = self._loop.time(), self._timer_at, math.inf
        if not self._waits:
            return
        if now > due + STALLED_SECONDS:
            self._respite(now + STALLED_SECONDS)
        _, first = _answer_of(self._waits[0])
        if now >= first:
            self._give_up(TimeoutError())
            return
        later = []
        for answer, deadline in map(_answer_of, self._waits):
            if answer is not None and deadline > now:
                later.append(deadline)
            elif answer is not None:
                answer.set_exception(TimeoutError())
        self._set_timer(min(later, default=first))

    def _respite(self, until: float) -> None:
        """Let everybody wait a little longer, once: replies may be there, and are read next."""
        for place, wait in enumerate(self._waits):
            if not isinstance(wait, tuple):
                if not wait.respited:
                    wait.deadline, wait.respited = max(wait.deadline, until), True
            elif not wait[3]:
                self._waits[place] = (wait[0], max(wait[1], until), wait[2], True)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # a thread without one
        return None

"""A multiplexed connection: many callers share it. An event loop has one for reads, one for fills.

Commands of one turn of the event loop leave together, and replies are matched in order. Most hits
need only a GET, which has no coroutine between the caller and the connection. Nobody waits for a
free connection. A caller that is cancelled does not disturb the others: its reply is dropped later.
The idea is that of rueidis, "auto pipelining" (https://github.com/redis/rueidis).

Requests prove their own replies (see `requests`). GETs are proven by a PING that is sent before a
GET: before the first GET after an invalidation, and once a second. Invalidation messages come
between replies; the reply to a PING shows that all earlier messages have been received.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from .connections import AnyConnection
from .pipeline import MOST_UNSENT, Pipeline
from .requests import Command, Get, Gets, Request, Sealed, Wait, answer_of
from .tracking import TRUST_RENEWAL_SECONDS, TRUST_SECONDS, InvalidationTracker

_PROOF_SECONDS = 1.0
"""How long a PING proves that replies are in step with commands."""


class MultiplexedConnection(Pipeline):
    """A pipeline that executes requests and GETs, and receives invalidation messages.

    A GET, and a PING that nobody waits for, have `budget` seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[AnyConnection]],
        failed: Callable[[Exception], None],
        worked: Callable[[], None],
        large: Callable[[bytes], None],
        tracker: InvalidationTracker,
        *,
        budget: float,
    ) -> None:
        super().__init__(connect, failed, worked, large)
        self.tracker, self._budget = tracker, budget
        self._proven: object = None
        self._proven_until = 0.0
        self.trusted_until = 0.0
        """Until when the near cache may serve what was read here: see `tracking`."""
        self.renew_at = math.inf

    async def execute(self, request: Request, sealed: Sealed, deadline: float) -> list[Any]:
        """Send a request and return its replies, errors among them.

        Raises `BrokenConnectionError` if the connection broke meanwhile, `TimeoutError` if the
        server was late, and what connecting raises.
        """
        before: list[Command] = []
        if request.changed is not None:
            before = self.tracker.watch(request.read_keys()[0], request.changed)
        if before:
            sealed = Sealed([*before, *request.commands])
        replies = await self.ask(sealed, deadline, self.tracker.hook(request, self))
        if before and replies.pop(0) != b"OK" and request.changed is not None:
            request.changed.cancel()
        return replies

    def read_nowait(self, get: Get | Gets, since: object) -> "asyncio.Future[Any] | None":
        """Send a GET, or several, if the connection is open; return the future of the reply.

        Several GETs have a list of replies. If `since` is another object than the last time, a PING
        first proves that no reply is an old one. The future raises `UnansweredError` if the
        connection broke or the reply names another key, `TimeoutError` if the server was late.
        """
        if self._transport is None:  # it is over, or not open yet
            return None
        loop, waits = self._loop, self._waits
        deadline = loop.time() + self._budget
        alone = not waits
        if since is not self._proven or deadline > self._proven_until:
            self._proven, self._proven_until = since, deadline + _PROOF_SECONDS
            self._enqueue(Sealed(), deadline)
        answer: asyncio.Future[Any] = loop.create_future()
        waits.append(
            (answer, deadline, get) if isinstance(get, Get) else Wait(answer, deadline, get, None)
        )
        self._unsent.append(get.packed)
        if deadline < self._timer_at:
            self._set_timer(deadline)
        if alone:
            self._send()
        elif not self._is_due or len(self._unsent) >= MOST_UNSENT:
            self._send_soon()
        return answer

    def prove(self, key: str) -> None:
        """Send a PING in the background; outside the connection's event loop do nothing.

        On a cluster, the PTTL of `key` shows whether the server still owns the slot of the key.
        """
        if self._transport is None or asyncio._get_running_loop() is not self._loop:
            return
        asked = time.monotonic()
        self.renew_at = asked + TRUST_RENEWAL_SECONDS
        sealed = Sealed([("PTTL", key.encode("utf-8", "surrogatepass"))])
        deadline = self._loop.time() + self._budget
        self._enqueue(sealed, deadline, hook=partial(self._trust, asked))
        self._send_soon()

    def end(self, error: Exception) -> None:
        super().end(error)
        self.trusted_until = 0.0
        self.tracker.lose(self)

    def _on_push(self, message: list[Any]) -> None:
        self.tracker.on_push(message, self)
        first = self._waits[0] if self._waits else None
        if isinstance(first, Wait) and first.replies:
            first.hook = None  # the values among its first replies may have changed since

    def _opened(self) -> None:
        """Ask for invalidation messages before anything is read."""
        if not self.tracker.wanted:
            return
        deadline = self._loop.time() + self._budget
        if self._waits:
            _, deadline = answer_of(self._waits[0])
        sealed = Sealed([self.tracker.command])
        hook = partial(self._has_begun_tracking, time.monotonic())
        self._waits.appendleft(Wait(None, deadline, sealed, hook))
        self._unsent.insert(0, sealed.packed)

    def _has_begun_tracking(self, asked: float, replies: list[Any]) -> None:
        self.tracker.begin(replies[0])
        self._trust(asked, replies)

    def _trust(self, asked: float, replies: list[Any]) -> None:
        """Note that all messages that the server sent before `asked` have been received."""
        if isinstance(replies[0], Exception):  # the server no longer owns the key
            self.trusted_until = 0.0
            self.tracker.lose(self)
        elif self.tracker.is_on:
            self.trusted_until = asked + TRUST_SECONDS
            self.renew_at = asked + TRUST_RENEWAL_SECONDS

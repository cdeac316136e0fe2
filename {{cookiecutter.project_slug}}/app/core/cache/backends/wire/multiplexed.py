"""A multiplexed connection: many share it. All reads of an event loop have one, its fills another.

Commands of one turn of the event loop leave together, and replies are matched in order. A GET, which
is all that most hits need, has no coroutine between the caller and the connection. Nobody waits for
a free connection, and nobody's cancellation disturbs the others: the reply is dropped when it comes.
redis-py's `Connection` does the connecting; then this one takes its transport over. One timer watches
for all: a reply that is late fails all who wait. The idea is that of rueidis, "auto pipelining"
(https://github.com/redis/rueidis).

Requests prove their own replies (see `requests`). A GET without one is proven by a PING before it:
the first that follows an invalidation, and once a second besides. Between the replies there are
invalidation messages; the reply to a PING shows that all before it have been received.
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
"""So long replies are taken to be in step; it costs a PING."""


class MultiplexedConnection(Pipeline):
    """A pipeline that executes requests and GETs, and tracks what changes.

    A GET, and a proof that nobody waits for, have `budget` seconds.
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
        """Until when what was read here is coherent: see `tracking`."""
        self.renew_at = math.inf

    async def execute(self, request: Request, sealed: Sealed, deadline: float) -> list[Any]:
        """Send a request and return its replies, errors among them.

        Raises `BrokenConnectionError` where the connection broke meanwhile, `TimeoutError` where the
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

        That is a list where there are several. Where `since` is another object than the last time,
        the replies are proven to be in step first, so that they tell of what is there now. An
        `UnansweredError` means that the connection broke, or that the reply names another key; a
        `TimeoutError` that the server was late.
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
        """Ask for trust in the background, from within its own event loop only.

        The PTTL of `key` shows, on a cluster, whether its server still answers for its slots.
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
        """Close the connection, and fail who waits."""
        super().end(error)
        self.trusted_until = 0.0
        self.tracker.lose(self)

    def _on_push(self, message: list[Any]) -> None:
        self.tracker.on_push(message, self)
        first = self._waits[0] if self._waits else None
        if isinstance(first, Wait) and first.replies:
            first.hook = None  # what it has got so far may have changed since

    def _opened(self) -> None:
        """Let the server tell what changes, before anything is read."""
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
        """Note that all messages have been received that the server had to tell by then."""
        if isinstance(replies[0], Exception):  # the key is not its own any more
            self.trusted_until = 0.0
            self.tracker.lose(self)
        elif self.tracker.is_on:
            self.trusted_until = asked + TRUST_SECONDS
            self.renew_at = asked + TRUST_RENEWAL_SECONDS

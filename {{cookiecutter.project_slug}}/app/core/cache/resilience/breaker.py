"""The circuit breaker: calls do not wait for a server that is known to be unwell.

        closed ── three failures in a row, or too many of the last ──▶ open
           ▲                                                            │ after 0.1 s, then twice
           │ it works: the steps of `on_recovery` run first             │ as long each time, up to
           └────────────────────────── probe ◀──────────────────────────┘ 1 s, more or less

While it is open, an operation costs a comparison and an exception. One probe runs for all callers,
in a task of its own, so that no caller waits for it. It passes the breaker, as the recovery steps
do. If a server answers but refuses writes, only writes are suspended, for about a second at a time.
See M. Nygard, "Release It!", on circuit breakers.
"""

import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum

from ..errors import UnavailableError
from ..loops import reset
from .outage import Outage
from .retry import BackgroundRetry

FAILURES_IN_A_ROW = 3
FAILURE_RATE = 0.5
"""The breaker also opens if more than this share of the last operations, about 20, has failed."""
SUSPENSION_SECONDS = 1.0

_WEIGHT = 1 / 20

_past: ContextVar[bool] = ContextVar("past_the_breaker", default=False)


class Use(Enum):
    """What an operation is for; the values are the words in the log."""

    READ = "reads"
    STORE = "stores"
    REMOVE = "removals"


class Breaker:
    """The circuit breaker of one server.

    `probe` raises while the server is unwell. The steps in `on_recovery` pass the breaker and are
    awaited before it closes; `on_opening` is called when it opens. Safe to use from several threads
    and event loops.
    """

    def __init__(
        self,
        outage: Outage,
        probe: Callable[[], Awaitable[object]],
        on_recovery: Sequence[Callable[[], Awaitable[None]]] = (),
        on_opening: Callable[[], None] | None = None,
    ) -> None:
        self._outage, self._probe = outage, probe
        self._on_recovery, self._on_opening = on_recovery, on_opening
        self._lock = threading.Lock()
        self.is_open = False
        """Whether operations are turned away."""
        self._in_a_row = 0
        self._rate = 0.0
        self._suspended: dict[Use, float] = {}
        self._retry = BackgroundRetry(self._recover)

    @property
    def turns_away(self) -> bool:
        """Whether the caller has to do without the server."""
        return self.is_open and not _past.get()

    def admit(self, use: Use) -> None:
        """Raise `UnavailableError` for an operation that should not be tried now."""
        if not (self.is_open or self._suspended) or _past.get():
            return
        if self.is_open:
            self._retry.start()  # the probe is lost if its event loop has ended
        else:
            until = self._suspended.get(use)
            if until is None or time.monotonic() >= until:
                return
        self._outage.skipped(use.value)
        raise UnavailableError("it is known to be unwell")

    def worked(self, use: Use) -> None:
        """Note an operation that worked."""
        self._in_a_row = 0
        self._rate -= self._rate * _WEIGHT
        if self._suspended:
            self._suspended.pop(use, None)
        if not self.is_open:
            self._outage.worked()

    def failed(self, error: BaseException, use: Use) -> None:
        """Note an operation that failed because the server is unwell; open if too many did."""
        if not _past.get():  # a probe that fails costs no caller anything
            self._outage.failed(error, use.value)
        self._in_a_row += 1
        self._rate += (1 - self._rate) * _WEIGHT
        if self._in_a_row >= FAILURES_IN_A_ROW or self._rate > FAILURE_RATE:
            self.trip()

    def pool_exhausted(self, error: BaseException, use: Use) -> None:
        """Note an operation that got no connection in time: this process asks too much at once."""
        self._outage.failed(error, use.value)

    def suspend(self, error: BaseException, *uses: Use) -> None:
        """Suspend operations that the server refuses now, for about a second."""
        for use in uses:
            self._outage.failed(error, use.value)
            self._suspended[use] = time.monotonic() + SUSPENSION_SECONDS * random.uniform(
                0.75, 1.25
            )

    async def stop(self) -> None:
        """Stop the probe in the running event loop.

        If the breaker is open, the next caller that is turned away starts a probe in its own loop.
        """
        await self._retry.stop()

    def trip(self) -> None:
        """Open: admit no operation until the server works and the recovery steps are done."""
        with self._lock:
            if self.is_open:
                return
            self.is_open = True
        self._outage.tell("breaker opened")
        if self._on_opening is not None:
            self._on_opening()
        self._retry.start()

    async def _recover(self) -> None:
        with past_the_breaker():
            await self._probe()
            for step in self._on_recovery:
                await step()
        with self._lock:
            self.is_open, self._in_a_row, self._rate = False, 0, 0.0
            self._suspended.clear()
        self._outage.tell("breaker closed")
        self._outage.ended()


@contextmanager
def past_the_breaker() -> Iterator[None]:
    """Let operations inside pass every breaker: for a probe, or a last attempt."""
    token = _past.set(True)
    try:
        yield
    finally:
        reset(_past, token)

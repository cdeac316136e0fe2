"""Invalidations that could not be delivered yet (promise P6).

This process neither serves nor stores the keys that they cover, for the backend may still hold old
entries. Each key and pattern has one slot; if there are too many, one slot for everything replaces
them. They are delivered when a server works again, before other calls use it, and also from time to
time; the slot of a delivered invalidation is free again. A tag is a key.

Other processes, which may reach the backend, know nothing of them.

Replication is asynchronous: a server that replaces another one may lack the last writes. So recent
invalidations are then delivered once more.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from typing import Literal

from ..keys import KeyPattern
from ..resilience import BackgroundRetry

SLOTS = 1000
REPEATED_SECONDS = 20.0
"""Another server gets again what was delivered so long before the last invalidation.

A master that is replaced on demand goes on for seconds; a cluster finds out after 15 by default.
"""


class InvalidationEvent:
    """Something happened to invalidations that could not be delivered at once.

    They were deferred, they were delivered later, or the cache was closed before they were: then
    other processes may serve stale entries until these expire.
    """

    __slots__ = ("count", "kind")

    def __init__(self, kind: Literal["deferred", "delivered", "lost"], count: int) -> None:
        self.kind = kind
        self.count = count
        """How many keys, patterns and tags."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InvalidationEvent) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash((self.kind, self.count))

    def __repr__(self) -> str:
        return f"InvalidationEvent(kind={self.kind!r}, count={self.count!r})"


Listener = Callable[[InvalidationEvent], None]
Deliver = Callable[[Collection[KeyPattern]], Awaitable[None]]
"""Brings invalidations to the backend; raises where it cannot."""


class PendingInvalidations:
    """The invalidations of one manager that have not reached its backend.

    `everything` covers all of the manager's keys, those of tags too. Safe to use from several threads
    and event loops.
    """

    def __init__(
        self,
        deliver: Deliver,
        everything: KeyPattern,
        *,
        logger: logging.Logger,
        listener: Listener,
    ) -> None:
        self._deliver, self._everything = deliver, everything
        self._logger, self._listener = logger, listener
        self._lock = threading.Lock()
        self._retry = BackgroundRetry(self.deliver)
        self._sequence = 0
        # Slots, each with the number of the last invalidation that took it.
        self._keys: dict[str, int] = {}
        self._patterns: dict[KeyPattern, int] = {}
        self._deferred = 0
        """How many invalidations were deferred since none was pending."""
        self.is_open = False
        """Whether an invalidation is pending."""
        self.is_repeated = False
        """Whether `repeat` may be called."""
        self._recent: OrderedDict[KeyPattern, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys) + len(self._patterns)

    def sequence(self, patterns: Collection[KeyPattern]) -> int:
        """Return a number above that of every invalidation so far; call this before a delivery.

        It remembers `patterns`, as another server may take over during the delivery.
        """
        if self.is_repeated:
            self._remember(patterns)
        return self._sequence + 1

    def add(self, patterns: Collection[KeyPattern]) -> None:
        """Keep invalidations that could not be delivered, and deliver them in a while."""
        with self._lock:
            is_first = not self._deferred
            self._deferred += len(patterns)
            is_full = self._keep(patterns)
        if is_first:
            self._logger.warning(
                "an invalidation could not be delivered; it is kept, and until it is delivered "
                "this process goes past the cache for what it covers"
            )
            self._tell("deferred", len(patterns))
        self._kept(is_full=is_full)

    def repeat(self) -> None:
        """Make recent invalidations pending again: they are delivered once more, in a while."""
        with self._lock:
            if not self._recent:
                return
            is_full = self._keep(self._recent)
        self._kept(is_full=is_full)

    def _keep(self, patterns: Collection[KeyPattern]) -> bool:
        """Put invalidations into slots; return whether there were too many."""
        self.is_open = True
        self._sequence += 1
        for pattern in patterns:
            if pattern.exact_key is None:
                self._patterns[pattern] = self._sequence
            else:
                self._keys[pattern.exact_key] = self._sequence
        is_full = len(self) > SLOTS
        if is_full:
            self._keys, self._patterns = {}, {self._everything: self._sequence}
        return is_full

    def _kept(self, *, is_full: bool) -> None:
        if is_full:
            self._logger.warning(
                "more than %d invalidations are to be delivered: from now on one of everything "
                "below %s stands for them",
                SLOTS,
                self._everything,
            )
        self._retry.start()

    def confirm(self, before: int, patterns: Collection[KeyPattern]) -> None:
        """Drop delivered invalidations, unless they were added again after `before`."""
        if not len(self):
            return
        with self._lock:
            is_all = self._everything in patterns
            keys = {pattern.exact_key for pattern in patterns}
            self._keys = {
                key: number
                for key, number in self._keys.items()
                if number >= before or not (is_all or key in keys)
            }
            self._patterns = {
                pattern: number
                for pattern, number in self._patterns.items()
                if number >= before or not (is_all or pattern in patterns)
            }
            self.is_open = len(self) > 0
            if self.is_open:
                return
            deferred, self._deferred = self._deferred, 0
        if deferred:
            self._logger.warning("invalidations were delivered late: %d", deferred)
            self._tell("delivered", deferred)

    def _remember(self, patterns: Collection[KeyPattern]) -> None:
        with self._lock:
            recent, now = self._recent, time.monotonic()
            for pattern in patterns:
                recent[pattern] = now
                recent.move_to_end(pattern)
            while recent and (
                len(recent) > SLOTS + 1 or now - next(iter(recent.values())) > REPEATED_SECONDS
            ):
                recent.popitem(last=False)

    def covers(self, *keys: str) -> bool:
        """Whether a pending invalidation covers one of `keys`, be it of an entry or of a tag."""
        if not self.is_open:
            return False
        self._retry.start()  # in case that it was lost with its event loop
        return not self._keys.keys().isdisjoint(keys) or any(
            pattern.matches(key) for pattern in list(self._patterns) for key in keys
        )

    async def deliver(self) -> None:
        """Deliver what is pending; raises what the backend raises."""
        while len(self):
            for patterns in (
                [*map(_exact, list(self._keys))],
                *[[each] for each in self._patterns],
            ):
                if patterns:
                    before = self.sequence(patterns)
                    await self._deliver(patterns)
                    self.confirm(before, patterns)

    async def close(self) -> None:
        """Stop delivering in the running event loop; log what was not delivered."""
        await self._retry.stop()
        if len(self):
            self._logger.error(
                "closed with %d invalidations that could not be delivered: what they cover may be "
                "served to other processes until it expires",
                len(self),
            )
            self._tell("lost", len(self))

    def _tell(self, kind: Literal["deferred", "delivered", "lost"], count: int) -> None:
        try:
            self._listener(InvalidationEvent(kind, count))
        except Exception:
            self._logger.exception("the listener of invalidations failed")


def _exact(key: str) -> KeyPattern:
    return KeyPattern((key,))

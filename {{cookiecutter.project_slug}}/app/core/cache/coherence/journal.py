"""The journal: invalidations that could not be delivered yet (promise P6).

What is in it is covered: this process neither serves nor stores it, for the backend may hold what
should be gone. Each key, pattern and tag has one slot; when there are too many, one for everything
takes their place. It is delivered when a server that was unwell works again, before others are let
in, and besides from time to time; what was delivered leaves it only then.

Other processes that could reach the backend all the while know nothing of it.

Servers replicate asynchronously: one that takes the place of another may not have got what that did
in the end. So what was delivered lately is delivered once more then.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..keys import KeyPattern
from ..resilience import BackgroundRetry

SLOTS = 1000
REPEATED_SECONDS = 20.0
"""What was delivered within this time before the last one is delivered once more to another server.

A master that is replaced on demand goes on for seconds; a cluster's is missed after 15 by default.
"""


@dataclass(frozen=True, slots=True)
class InvalidationEvent:
    """Something happened to invalidations that could not be delivered at once.

    They were put off, they were delivered later, or the cache was closed without that: what other
    processes read may then be stale until it expires.
    """

    kind: Literal["deferred", "delivered", "lost"]
    count: int
    """How many keys, patterns and tags."""


Listener = Callable[[InvalidationEvent], None]


class Delivery(Protocol):
    """How invalidations reach the backend. Each raises where it does not."""

    async def remove(self, keys: list[str]) -> object:
        """Remove these keys."""

    async def remove_matching(self, pattern: KeyPattern) -> object:
        """Remove the keys that a pattern covers."""

    async def renew_tags(self, tags: list[str]) -> object:
        """Give these tags new nonces."""


class Journal:
    """The invalidations of one manager that have not reached its backend.

    `everything` covers all of the manager's keys, those of tags too; `every_tag` is a tag that is
    kept with each other, and not counted. Safe to use from several threads and event loops.
    """

    def __init__(
        self,
        delivery: Delivery,
        everything: KeyPattern,
        *,
        every_tag: str = "",
        logger: logging.Logger,
        listener: Listener,
    ) -> None:
        self._delivery = delivery
        self._everything, self._every_tag = everything, every_tag
        self._logger, self._listener = logger, listener
        self._lock = threading.Lock()
        self._retry = BackgroundRetry(self.deliver)
        self._number = 0
        # Slots, each with the number of the last invalidation that took it.
        self._keys: dict[str, int] = {}
        self._patterns: dict[KeyPattern, int] = {}
        self._tags: dict[str, int] = {}
        self._deferred = 0
        """How many invalidations were put off since the journal was empty."""
        self.is_open = False
        """Whether there is something in it."""
        self.is_repeated = False
        """Whether `repeat` may be called."""
        self._recent: OrderedDict[KeyPattern | str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys) + len(self._patterns) + len(self._tags)

    def mark(self, patterns: Collection[KeyPattern], tags: Collection[str]) -> int:
        """Return a number above that of every invalidation so far; these are delivered next.

        Another server may take over while they are under way, so they are remembered before.
        """
        if self.is_repeated:
            self._note(patterns, tags)
        return self._number + 1

    def add(self, patterns: Collection[KeyPattern], tags: Collection[str]) -> None:
        """Keep invalidations that could not be delivered, and deliver them in a while."""
        count = len(patterns) + len(tags) - (self._every_tag in tags)
        with self._lock:
            first = not self._deferred
            self._deferred += count
            full = self._keep(patterns, tags)
        if first:
            self._logger.warning(
                "an invalidation could not be delivered; it is kept, and until it is delivered "
                "this process goes past the cache for what it covers"
            )
            self._tell("deferred", count)
        self._kept(full=full)

    def repeat(self) -> None:
        """Deliver once more what was delivered lately, in a while, and cover it until then."""
        with self._lock:
            tags = [slot for slot in self._recent if isinstance(slot, str)]
            tags.sort(key=self._every_tag.__ne__)  # it is renewed before the others
            patterns = [slot for slot in self._recent if not isinstance(slot, str)]
            if not self._recent:
                return
            full = self._keep(patterns, tags)
        self._kept(full=full)

    def _keep(self, patterns: Collection[KeyPattern], tags: Collection[str]) -> bool:
        """Put what is to be delivered into slots; return whether those were too many."""
        self.is_open = True
        self._number += 1
        for pattern in patterns:
            if pattern.exact_key is None:
                self._patterns[pattern] = self._number
            else:
                self._keys[pattern.exact_key] = self._number
        self._tags |= dict.fromkeys(tags, self._number)
        full = len(self) > SLOTS
        if full:
            self._keys, self._tags = {}, {}
            self._patterns = {self._everything: self._number}
        return full

    def _kept(self, *, full: bool) -> None:
        if full:
            self._logger.warning(
                "more than %d invalidations are to be delivered: from now on one of everything "
                "below %s stands for them",
                SLOTS,
                self._everything,
            )
        self._retry.start()

    def settle(
        self, before: int, patterns: Collection[KeyPattern] = (), tags: Collection[str] = ()
    ) -> None:
        """Strike out what has been delivered, as far as it was added before the mark `before`."""
        if not len(self):
            return
        with self._lock:
            if self._everything in patterns:
                patterns = [*map(_exact, self._keys), *self._patterns]
                tags = list(self._tags)
            for pattern in patterns:
                if pattern.exact_key is None:
                    _strike(self._patterns, pattern, before)
                else:
                    _strike(self._keys, pattern.exact_key, before)
            for tag in tags:
                _strike(self._tags, tag, before)
            self.is_open = len(self) > 0
            if self.is_open:
                return
            deferred, self._deferred = self._deferred, 0
        if deferred:
            self._logger.warning("invalidations were delivered late: %d", deferred)
            self._tell("delivered", deferred)

    def _note(self, patterns: Collection[KeyPattern], tags: Collection[str]) -> None:
        with self._lock:
            recent, now = self._recent, time.monotonic()
            slots: list[KeyPattern | str] = [*patterns, *tags]
            for slot in slots:
                recent[slot] = now
                recent.move_to_end(slot)
            while recent and (
                len(recent) > SLOTS + 1 or now - next(iter(recent.values())) > REPEATED_SECONDS
            ):
                recent.popitem(last=False)

    def covers(self, key: str, tags: Collection[str] = ()) -> bool:
        """Whether what stands at `key`, and has `tags`, may have to be gone."""
        if not self.is_open:
            return False
        self._retry.start()  # in case that it was lost with its event loop
        return (
            key in self._keys
            or not self._tags.keys().isdisjoint(tags)
            or any(pattern.matches(key) for pattern in list(self._patterns))
        )

    async def deliver(self) -> None:
        """Deliver what is in the journal; raises what the backend raises."""
        while len(self):
            tags, keys, patterns = list(self._tags), list(self._keys), list(self._patterns)
            before = self.mark([*map(_exact, keys), *patterns], tags)
            if tags:
                await self._delivery.renew_tags(tags)
                self.settle(before, tags=tags)
            if keys:
                await self._delivery.remove(keys)
                self.settle(before, [_exact(key) for key in keys])
            for pattern in patterns:
                await self._delivery.remove_matching(pattern)
                self.settle(before, [pattern])

    async def close(self) -> None:
        """Stop what is under way in the running event loop; log what was not delivered."""
        await self._retry.stop()
        if len(self):
            count = len(self) - (self._every_tag in self._tags)
            self._logger.error(
                "closed with %d invalidations that could not be delivered: what they cover may be "
                "served to other processes until it expires",
                count,
            )
            self._tell("lost", count)

    def _tell(self, kind: Literal["deferred", "delivered", "lost"], count: int) -> None:
        try:
            self._listener(InvalidationEvent(kind, count))
        except Exception:
            self._logger.exception("the listener of invalidations failed")


def _exact(key: str) -> KeyPattern:
    return KeyPattern((key,))


def _strike(slots: "dict[str, int] | dict[KeyPattern, int]", slot: Any, before: int) -> None:
    if slots.get(slot, before) < before:
        del slots[slot]

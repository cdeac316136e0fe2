"""Invalidations: how they are carried out, and what happens to those that cannot be delivered."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeVar

from ..base import CacheBackend
from ..errors import UnavailableError
from ..events import CacheEvent, Events
from ..keys import KeyPattern, all_tags_key, is_tag_key
from ..loops import insist_on_asyncio
from ..resilience import Outage, past_the_breaker
from .looks import TAG_MS
from .pending import InvalidationEvent, PendingInvalidations
from .single_flight import SingleFlight
from .walks import Walks

LAST_ATTEMPT_SECONDS = 0.25
"""How long `close` tries to deliver invalidations that are still to be delivered."""
RECOVERY_SECONDS = 1.0
"""How long a server that works again may take to receive them before others ask it."""

T = TypeVar("T")


class Removal(NamedTuple):
    """What became of an invalidation. It is true if that was `done`."""

    done: bool
    """Whether it is carried out now; if not, it is kept until it can be."""
    number: int | None
    """How many keys were removed; `None` if the backend does not count them."""

    def __bool__(self) -> bool:
        return self.done


class Invalidations:
    """The invalidations of one manager, whose keys `everything` covers.

    `listener` is called with an `InvalidationEvent`. A tag is invalidated as the key that holds its
    nonce. `flights` has the computations that an invalidation overtakes.
    """

    flights: SingleFlight

    def __init__(
        self,
        backend: CacheBackend,
        key_prefix: str,
        outage: Outage,
        logger: logging.Logger,
        listener: Callable[[InvalidationEvent], None],
        *,
        events: Events,
    ) -> None:
        self._backend, self._prefix, self._outage = backend, key_prefix, outage
        self._events = events
        self.everything = KeyPattern((f"{key_prefix}:", ""))
        self.pending = PendingInvalidations(
            self._deliver, self.everything, logger=logger, listener=listener
        )
        self._walks = Walks()
        backend.on_recovery(self._recover)
        self.pending.is_repeated = backend.on_takeover(self.pending.repeat)

    async def remove(self, keys: Collection[str]) -> int:
        """Remove whole keys; return how many of them there were."""
        removing = self._backend.delete_many([*keys])
        return await self.carry_out(removing, 0, [*map(_exact, keys)], "key")

    async def remove_matching(self, pattern: KeyPattern) -> Removal:
        """Remove the keys that a pattern covers."""
        self._limit_clear()
        walk = partial(self._backend.delete_matching, pattern)
        walking = walk() if pattern.exact_key else self._walks.join(pattern, walk)
        what = "key" if pattern.exact_key else "pattern"
        found = await self.carry_out(walking, False, [pattern], what)
        return Removal(found is not False, None if isinstance(found, bool) else found)

    async def renew_tags(self, tags: Collection[str]) -> bool:
        """Give the keys of tags new nonces; return whether that was done."""
        patterns = [*map(_exact, tags)]
        renewing = self._backend.invalidate_tag_keys([all_tags_key(self._prefix), *tags], TAG_MS)
        return await self.carry_out(renewing, False, patterns, "tag")

    async def carry_out(
        self,
        invalidation: Awaitable[T],
        failed: T,
        patterns: Collection[KeyPattern],
        what: str = "",
    ) -> T:
        """Carry out an invalidation of `patterns`, and cancel the fills of this process.

        `what` they are goes into its event.

        They are cancelled before it, as a backend that is not atomic would store them after it, and
        again after it, for fills that began meanwhile. If it fails, or the caller is cancelled, the
        invalidation is pending.
        """
        insist_on_asyncio(invalidation)
        before = self.pending.sequence(patterns)
        self._cancel_fills(patterns)
        try:
            if self.flights.writes:
                await self._after_writes(invalidation, patterns)
            result = await invalidation
        except BaseException as error:
            self.defer(patterns)
            if not isinstance(error, Exception):
                raise
            if not isinstance(error, UnavailableError):  # the backend has noted it
                self._outage.failed(error)
            return failed
        if result is False:  # from a backend that does not raise
            self.defer(patterns)
            return result  # pyright: ignore[reportReturnType]
        self._outage.worked()
        self._forget_near(patterns)
        self.pending.confirm(before, patterns)
        self._cancel_fills(patterns)
        if what and self._events.listeners:
            event = CacheEvent(kind="invalidated", reason=what, number=len(patterns))
            self._events.tell(event)
        return result

    async def _after_writes(
        self, invalidation: Awaitable[T], patterns: Collection[KeyPattern]
    ) -> None:
        """Wait for writes by hand that have begun before an invalidation; close that on failure."""
        try:
            await self.flights.wait_for_writes(patterns)
        except BaseException:
            close = getattr(invalidation, "close", None)
            if close is not None:
                close()
            raise

    def defer(self, patterns: Collection[KeyPattern]) -> None:
        """Deliver an invalidation later; here the keys that it covers count as gone from now on."""
        self._forget_near(patterns)
        self.pending.add(patterns)
        self._cancel_fills(patterns, undelivered=True)

    async def close(self) -> None:
        """Make a last attempt to deliver what is pending, and log what is left."""
        if len(self.pending):
            with past_the_breaker(), suppress(Exception):
                async with asyncio.timeout(LAST_ATTEMPT_SECONDS):
                    await self.pending.deliver()
        await self.pending.close()

    async def _recover(self) -> None:
        """Deliver what could not be delivered while the backend was away; give up after a while."""
        with suppress(Exception):  # another server fails, or time is up: it is tried again later
            async with asyncio.timeout(RECOVERY_SECONDS):
                await self.pending.deliver()

    async def _deliver(self, patterns: Collection[KeyPattern]) -> None:
        """Bring invalidations to the backend, those of tags first; raise if that fails."""
        keys = [pattern.exact_key for pattern in patterns if pattern.exact_key is not None]
        tags = [key for key in keys if is_tag_key(key, self._prefix)]
        entries = [key for key in keys if not is_tag_key(key, self._prefix)]
        if tags:
            of_all = all_tags_key(self._prefix)
            _insist(await self._backend.invalidate_tag_keys([of_all, *tags], TAG_MS))
        if entries:
            await self._backend.delete_many(entries)
        for pattern in patterns:
            if pattern.exact_key is None:
                self._limit_clear()
                _insist(await self._backend.delete_matching(pattern))
        self._forget_near(patterns)

    def _cancel_fills(self, patterns: Collection[KeyPattern], *, undelivered: bool = False) -> None:
        """Cancel the fills that an invalidation covers."""
        self.flights.cancel_fills(self._touched(patterns), undelivered=undelivered)

    def _forget_near(self, patterns: Collection[KeyPattern]) -> None:
        """Remove the entries from the near cache; replies under way are not kept there."""
        if self._backend.near is not None:
            self._backend.near.forget(self._touched(patterns))

    def _touched(self, patterns: Collection[KeyPattern]) -> Collection[KeyPattern]:
        """Return what an invalidation changes: for a tag, the common key of all tags as well."""
        has_tags = any(
            each.exact_key and is_tag_key(each.exact_key, self._prefix) for each in patterns
        )
        return [*patterns, _exact(all_tags_key(self._prefix))] if has_tags else patterns

    def _limit_clear(self) -> None:
        """Give a backend that uses `clear` for patterns the prefix below which it may remove."""
        if type(self._backend).delete_matching is CacheBackend.delete_matching:
            self._backend.key_prefix = self._prefix


def _exact(key: str) -> KeyPattern:
    return KeyPattern((key,))


def _insist(done: object) -> None:
    """Raise `UnavailableError` if a backend returned `False` instead of raising."""
    if done is False:
        raise UnavailableError("the backend says that it is not done")

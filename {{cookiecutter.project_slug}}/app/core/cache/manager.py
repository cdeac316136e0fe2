"""The cache manager: values at keys, and their invalidation."""

import logging
from collections.abc import Awaitable
from typing import Self, TypeVar

from .base import CacheBackend
from .calls import Entries, Reader, SingleSteps, check_setup, check_times
from .coherence import (
    Fence,
    Freshness,
    InvalidationEvent,
    Invalidations,
    Listener,
    Removal,
    freshness_of,
)
from .decorators import cache_response, invalidate_cache
from .defaults import (
    DEFAULT_CACHE_CONTROL,
    DEFAULT_LOCK_TIMEOUT,
    DEFAULT_MAX_ENTRY_BYTES,
    DEFAULT_TTL,
    DEFAULT_TTL_JITTER,
    CacheControl,
)
from .errors import UnavailableError
from .events import CacheEvent
from .expiry import Expire
from .keyed import KeyedCache
from .keys import Identity, KeyPattern, OfFunctions, pattern_below, tag_keys_of
from .loops import insist_on_asyncio, to_its_end
from .resilience import Outage
from .stored import Shown

__all__ = ["CacheManager", "cache_response", "invalidate_cache"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class CacheManager(KeyedCache):
    """One cache: a backend, the prefix of its keys and the time to live of its entries.

    Every key begins with `key_prefix` and a colon; by default it is the backend's. `default_ttl`,
    in seconds, holds where no `expire` is given. Entries of more than `max_entry_bytes` are not
    stored. Entries of decorators are compressed if they have more than `compress_over` bytes; 0
    means never. TTLs of computed values are shortened at random by up to the share `ttl_jitter`
    (0.02 = 2 %), so that entries do not all expire at once. `cache_control` is the one of
    `cache_response` where that says nothing. With `client_control`, `CacheMiddleware` heeds the
    `Cache-Control` of requests. While another caller computes the same entry, a call waits for at
    most `lock_timeout` seconds, then computes for itself.

    No method raises because the backend is unreachable, slow or returns an error. Reads then find
    nothing, other methods return `False` or 0. Wrong arguments raise `TypeError` or `ValueError`.
    A key is text of 1 to 1024 bytes that does not begin with `~`. A longer key is refused, not
    replaced by a digest, because no pattern would match that. A tag is any text. An invalidation
    that cannot be delivered is kept, and `on_event` gets an `InvalidationEvent`. Until it is
    delivered, the entries are neither served nor stored.
    """

    def __init__(
        self,
        backend: CacheBackend,
        *,
        key_prefix: str | None = None,
        default_ttl: int = DEFAULT_TTL,
        max_entry_bytes: int = DEFAULT_MAX_ENTRY_BYTES,
        compress_over: int = 0,
        ttl_jitter: float = DEFAULT_TTL_JITTER,
        lock_timeout: float = DEFAULT_LOCK_TIMEOUT,
        cache_control: CacheControl = DEFAULT_CACHE_CONTROL,
        client_control: bool = False,
        enabled: bool = True,
        on_event: Listener | None = None,
    ) -> None:
        if not isinstance(backend, CacheBackend):
            raise TypeError(f"backend={backend!r} is no CacheBackend; subclass it")
        super().__init__(backend.events, enabled=enabled)
        self.backend = backend
        self.key_prefix = backend.key_prefix if key_prefix is None else key_prefix
        flags = {"client_control": client_control, "enabled": enabled}
        check_setup(self.key_prefix, default_ttl, cache_control, flags)
        self.default_ttl, self.ttl_jitter = default_ttl, ttl_jitter
        self.max_entry_bytes, self.compress_over = max_entry_bytes, compress_over
        self.cache_control, self.client_control = cache_control, client_control
        self.on_event = on_event
        self.functions: OfFunctions[Identity] = OfFunctions()
        """The decorated functions, by the place that they have among the keys."""
        self.readers: OfFunctions[Reader] = OfFunctions()
        """The readers of decorated functions' entries, by the owner that their records name."""
        self.families: set[str] = set()
        """The `key_prefix` of each decorated function."""
        self._build_fence(backend, lock_timeout)
        self._entries, self._steps = Entries(self), SingleSteps(self)  # pyright: ignore[reportArgumentType]

    def _build_fence(self, backend: CacheBackend, lock_timeout: float) -> None:
        name = f"cache backend {type(backend).__name__}"
        self._outage = outage = Outage(name, logger, events=self.events)
        self.invalidations = Invalidations(
            backend, self.key_prefix, outage, logger, self._heard, events=self.events
        )
        pending = self.invalidations.pending
        self.fence = Fence(backend, outage, pending, lock_timeout=lock_timeout)
        self.invalidations.flights = self.fence.flights

    def __repr__(self) -> str:
        return f"CacheManager({self.backend!r}, key_prefix={self.key_prefix!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def clear(self) -> bool:
        """Remove every entry below `key_prefix` and nothing else; return whether it was done."""
        return (await self.delete_matching(self.invalidations.everything)).done

    def clear_sync(self) -> bool:
        """Do what `clear` does, from synchronous code: for test fixtures and scripts.

        It works in any thread, whether or not an event loop is running there, and does not touch
        that loop. It blocks the caller, so use `clear` where you can await. If the backend is
        unreachable, it returns `False` and keeps the invalidation for later.
        """
        return to_its_end(self._clear_once)

    async def _clear_once(self) -> bool:
        try:
            return await self.clear()
        finally:
            if self.backend.connects:
                await self._guarded(self.backend.close(), None)

    async def invalidate(self, pattern: str) -> Removal:
        """Remove every entry whose key `pattern` matches.

        The result is true if it was done, and its `number` is how many keys were removed. `*` stands for any number of characters; there is no other wildcard. As with a key, the
        manager's prefix is put in front. A pattern that is longer than any key matches nothing.
        """
        return await self.delete_matching(pattern_below(self.key_prefix, pattern))

    def defer(self, pattern: str | KeyPattern) -> None:
        """Remove every entry whose key `pattern` matches, later. From now on it is not served.

        A `KeyPattern` matches whole keys, a string the part after the prefix.
        """
        if not isinstance(pattern, KeyPattern):
            pattern = pattern_below(self.key_prefix, pattern)
        self.invalidations.defer([pattern])

    async def invalidate_tags(self, *tags: str) -> bool:
        """Invalidate every entry that has one of `tags`; return whether that was done.

        It takes one round trip, for any number of entries.
        """
        done = await self.invalidations.renew_tags(tag_keys_of(self.key_prefix, tags))
        logger.debug("%s tags %s", "invalidated" if done else "could not invalidate", Shown(tags))
        return done

    async def close(self) -> None:
        """Close the connections of the running event loop. The next use opens them again.

        It tries once more to deliver pending invalidations, and logs those that are left.
        """
        insist_on_asyncio()
        await self.fence.leases.tasks.settle()
        await self.invalidations.close()
        await self._guarded(self.backend.close(), None)

    async def health_check(self) -> bool:
        """Return whether the backend answers."""
        return await self._guarded(self.backend.health_check(), False)

    def _heard(self, event: InvalidationEvent) -> None:
        self.events.tell(CacheEvent(kind=event.kind, number=event.count))  # pyright: ignore[reportArgumentType]
        if self.on_event is not None:
            self.on_event(event)

    def freshness(
        self,
        expire: Expire | None,
        stale: Expire | None = None,
        early_refresh: float = 0.0,
    ) -> Freshness:
        """Return how entries age; raises `TypeError` or `ValueError` for wrong arguments."""
        if early_refresh < 0:
            raise ValueError(f"early_refresh={early_refresh!r} must be 0 or more")
        if stale is not None:
            check_times(expire, stale, 0.0)
        lives = self.default_ttl if expire is None else expire
        return freshness_of(lives, stale, jitter=self.ttl_jitter, early=early_refresh)

    async def delete_matching(self, pattern: KeyPattern) -> Removal:
        """Remove every entry whose whole key `pattern` matches; true if it was done."""
        done = await self.invalidations.remove_matching(pattern)
        logger.debug("%s %s", "invalidated" if done else "could not invalidate", Shown(pattern))
        return done

    async def _guarded(self, operation: Awaitable[T], failed: T) -> T:
        """Await `operation`; if it raises, return `failed`. An outage is logged once."""
        insist_on_asyncio(operation)
        try:
            result = await operation
        except UnavailableError:  # the backend has logged it
            return failed
        except Exception as error:
            self._outage.failed(error)
            return failed
        self._outage.worked()
        return result

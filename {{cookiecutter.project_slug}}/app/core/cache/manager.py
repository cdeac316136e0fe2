"""The cache manager: values at keys, and their invalidation."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from .base import CacheBackend
from .calls import Entries, Factory, Reader, check_setup, check_times
from .coherence import Fence, Freshness, InvalidationEvent, Invalidations, Listener, freshness_of
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
from .keys import Identity, KeyPattern, OfFunctions, listed, pattern_below, tag_keys_of, whole_key
from .loops import insist_on_asyncio, to_its_end
from .resilience import Outage
from .stored import Shown

__all__ = ["CacheManager", "cache_response", "invalidate_cache"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class CacheManager:
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
        on_event: Listener | None = None,
    ) -> None:
        if not isinstance(backend, CacheBackend):
            raise TypeError(f"backend={backend!r} is no CacheBackend; subclass it")
        self.backend = backend
        self.key_prefix = backend.key_prefix if key_prefix is None else key_prefix
        check_setup(self.key_prefix, default_ttl, cache_control, client_control=client_control)
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
        self._outage = Outage(f"cache backend {type(backend).__name__}", logger)
        self.invalidations = Invalidations(
            backend, self.key_prefix, self._outage, logger, self._heard
        )
        self.fence = Fence(
            backend, self._outage, self.invalidations.pending, lock_timeout=lock_timeout
        )
        self.invalidations.flights = self.fence.flights
        self._entries = Entries(self)

    def __repr__(self) -> str:
        return f"CacheManager({self.backend!r}, key_prefix={self.key_prefix!r})"

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value stored at `key`, or `default` if there is none.

        Give a `default` of your own to tell a stored `None` from a missing key. `get` returns the
        values of `set`, `get_or_set` and decorated functions; `f.cache_key(...)` is the key of a
        call. For `get`, `get_many` and `exists`, a stored response and an entry that is being
        computed do not exist. `delete` and `invalidate` remove these, too.
        """
        full = whole_key(self.key_prefix, key)
        insist_on_asyncio()
        found = await self._entries.get(full)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s", "miss" if found is None else "hit", Shown(full))
        return default if found is None else found.value

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        """Store `value` at `key` and return whether it is stored.

        `expire` is in seconds. If it is zero or less, the value is not stored and the key is
        removed. The same happens if the value would not come back equal or is too large; a warning
        says why. The value is stored as plain JSON, without a checksum.
        """
        full = whole_key(self.key_prefix, key)
        expire = self.default_ttl if expire is None else expire
        stored = await self._entries.set(full, value, expire)
        logger.debug("%s %s", "stored" if stored else "not stored", Shown(full))
        return stored

    async def get_or_set(
        self,
        key: str,
        factory: Factory,
        expire: int | timedelta | None = None,
        *,
        tags: Collection[str] = (),
        stale: int | timedelta | None = None,
        early_refresh: float = 0.0,
    ) -> Any:
        """Return the value at `key`; if there is none, call `factory()` and store its result.

        The factory runs once for all callers in all processes. If you invalidate the key while it
        runs, its result is not stored. `tags`, `stale` and `early_refresh` are as in
        `cache_response`. A plain factory runs in a thread. Its exceptions reach the caller.
        """
        full = whole_key(self.key_prefix, key)
        tag_keys = () if tags == () else tag_keys_of(self.key_prefix, tags)
        freshness = self.freshness(expire, stale, early_refresh)
        return await self._entries.get_or_set(full, factory, freshness, tag_keys)

    async def get_many(self, keys: Collection[str]) -> dict[str, Any]:
        """Return the values of those `keys` that have one, in one round trip, or two with tags."""
        fulls = {whole_key(self.key_prefix, key): key for key in listed(keys)}
        insist_on_asyncio()
        found = await self._entries.get_many(fulls) or {}
        return {fulls[full]: value for full, value in found.items()}

    async def get_or_set_many(
        self,
        keys: Collection[str],
        load_missing: Callable[[list[str]], Any],
        expire: int | timedelta | None = None,
    ) -> dict[str, Any]:
        """Return the values of `keys`; `load_missing(keys)` computes those that are missing.

        It is called once, with the keys that no other caller computes, and returns a mapping. For
        the other keys this call waits. A key that is not in the mapping is not in the result.
        """
        fulls = {whole_key(self.key_prefix, key): key for key in listed(keys)}
        freshness = self.freshness(expire)
        return await self._entries.get_or_set_many(fulls, load_missing, freshness)

    async def set_many(
        self, values: Mapping[str, Any], expire: int | timedelta | None = None
    ) -> bool:
        """Store each of `values` at its key; return whether all are stored."""
        insist_on_asyncio()
        return all(await asyncio.gather(*[self.set(*each, expire) for each in values.items()]))

    async def delete_many(self, keys: Collection[str]) -> int:
        """Remove `keys` and return how many of them existed."""
        fulls = [whole_key(self.key_prefix, key) for key in listed(keys)]
        return await self.invalidations.remove(fulls) if fulls else 0

    async def delete(self, key: str) -> bool:
        """Remove `key`, which is not a pattern; return whether it existed."""
        full = whole_key(self.key_prefix, key)
        deleted = await self.invalidations.remove([full]) > 0
        logger.debug("deleted %s: %s", Shown(full), deleted)
        return deleted

    async def exists(self, key: str) -> bool:
        """Return whether `get` would find a value at `key`; a stored `None` is one."""
        insist_on_asyncio()
        return await self._entries.get(whole_key(self.key_prefix, key)) is not None

    async def clear(self) -> bool:
        """Remove every entry below `key_prefix` and nothing else; return whether it was done."""
        return await self.delete_matching(self.invalidations.everything)

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

    async def invalidate(self, pattern: str) -> bool:
        """Remove every entry whose key `pattern` matches; return whether it was done.

        `*` stands for any number of characters; there is no other wildcard. As with a key, the
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
        if self.on_event is not None:
            self.on_event(event)

    def freshness(
        self,
        expire: int | timedelta | None,
        stale: int | timedelta | None = None,
        early_refresh: float = 0.0,
    ) -> Freshness:
        """Return how entries age; raises `TypeError` or `ValueError` for wrong arguments."""
        if early_refresh < 0:
            raise ValueError(f"early_refresh={early_refresh!r} must be 0 or more")
        if stale is not None:
            check_times(expire, stale, 0.0)
        lives = self.default_ttl if expire is None else expire
        return freshness_of(lives, stale, jitter=self.ttl_jitter, early=early_refresh)

    async def delete_matching(self, pattern: KeyPattern) -> bool:
        """Remove every entry whose whole key `pattern` matches; return whether it was done."""
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

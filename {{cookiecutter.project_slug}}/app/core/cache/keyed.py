"""The entries of a cache by the keys that its users name."""

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar, overload

from .calls import Entries, SingleSteps
from .coherence import Freshness, Invalidations
from .expiry import Expire, in_backends_terms
from .keys import listed, pattern_below, tag_keys_of, whole_key
from .loops import insist_on_asyncio
from .stored import Shown, codec
from .switch import Steered

logger = logging.getLogger(__name__)

T = TypeVar("T")

_TOO_MUCH = 2**63  # the largest sum of Redis is one less


class KeyedCache(Steered):
    """What a manager does at keys: see `CacheManager`, which says what all methods have in common.

    `expire` is the time to live: seconds as a number, a `timedelta`, or a text such as "10m". Without
    it, `default_ttl` holds.
    """

    key_prefix: str
    default_ttl: int
    invalidations: Invalidations
    _entries: Entries
    _steps: SingleSteps

    @abstractmethod
    def freshness(
        self, expire: Expire | None, stale: Expire | None = None, early_refresh: float = 0.0
    ) -> Freshness:
        """Return how entries age; raises `TypeError` or `ValueError` for wrong arguments."""

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

    async def set(
        self, key: str, value: Any, expire: Expire | None = None, *, tags: Collection[str] = ()
    ) -> bool:
        """Store `value` at `key` and return whether it is stored.

        If `expire` is zero or less, the value is not stored and the key is removed. The same happens
        if the value would not come back equal or is too large; a warning says why. With `tags`, it is
        there until one of them is invalidated. Without tags, the value is stored as plain JSON.
        """
        full = whole_key(self.key_prefix, key)
        tag_keys = () if tags == () else tag_keys_of(self.key_prefix, tags)
        stored = await self._steps.set(full, value, self._lifetime(expire), tag_keys)
        logger.debug("%s %s", "stored" if stored else "not stored", Shown(full))
        return stored

    async def add(self, key: str, value: Any, expire: Expire | None = None) -> bool:
        """Store `value` at `key` if there is none; return whether this call has stored it.

        Of several callers one gets `True`, in any process if the backend is `atomic`, as ours are. A key
        that is being computed is taken, and so is one with a stored response.
        Nothing is stored, either, while the backend is away, or if the value would not come back
        equal or is too large; a warning says why.
        """
        full = whole_key(self.key_prefix, key)
        try:
            return await self._steps.add(full, value, self._lifetime(expire))
        except codec.UnstorableError as error:
            logger.warning("not stored at %s: %s", Shown(full), error)
            return False

    async def incr(self, key: str, by: int = 1, expire: Expire | None = None) -> int | None:
        """Add `by` to the whole number at `key`, and return the sum: a counter, from 0 on.

        A new counter lives for `expire`; later calls leave its end where it is. `get` returns the
        number, and `set` puts another one. Counting is one step on Redis and in memory, exact up to 2**53.
        Returns `None` if the backend is away: the call may have counted, or not. Raises `ValueError`
        for another entry at `key`, one with tags too, and if the sum is not below 2**63; `TypeError` if
        `by` is no `int`.
        """
        full = whole_key(self.key_prefix, key)
        if isinstance(by, bool) or not isinstance(by, int):
            raise TypeError(f"by={by!r} must be a whole number")
        if abs(by) >= _TOO_MUCH:
            raise ValueError(f"by={by!r} must be below 2**63")
        return await self._steps.increment(full, by, self._lifetime(expire))

    async def touch(self, key: str, expire: Expire | None = None) -> bool:
        """Let the entry at `key` live for `expire` from now on; return whether there is one.

        An entry with `stale=` or `early_refresh=` becomes due when it would have. With an `expire` of
        zero or less it is removed.
        """
        full = whole_key(self.key_prefix, key)
        return await self._steps.touch(full, self._lifetime(expire))

    async def ttl(self, key: str) -> float | None:
        """Return for how many seconds the entry at `key` still lives, `math.inf` if it has no end.

        `None` if there is no entry, or the backend cannot tell.
        """
        return await self._steps.ttl(whole_key(self.key_prefix, key))

    def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        """Yield the keys that `pattern` matches: `async for key in cache.keys("user:*")`.

        The keys have no prefix. They come as the backend finds them, some perhaps twice, also those
        of responses and of what is being computed. On Redis it is a SCAN, which takes time in a large
        database, and lets others work meanwhile. Raises `UnavailableError` if the backend is away, so
        that a part is not taken for all, and `NotImplementedError` if it cannot list keys.
        """
        return self._steps.scan(pattern_below(self.key_prefix, pattern))

    @overload
    async def get_or_set(
        self,
        key: str,
        factory: Callable[[], Awaitable[T]],
        expire: Expire | None = None,
        *,
        tags: Collection[str] = (),
        stale: Expire | None = None,
        early_refresh: float = 0.0,
    ) -> T: ...

    @overload
    async def get_or_set(
        self,
        key: str,
        factory: Callable[[], T],
        expire: Expire | None = None,
        *,
        tags: Collection[str] = (),
        stale: Expire | None = None,
        early_refresh: float = 0.0,
    ) -> T: ...

    async def get_or_set(
        self,
        key: str,
        factory: Callable[[], Any],
        expire: Expire | None = None,
        *,
        tags: Collection[str] = (),
        stale: Expire | None = None,
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
        expire: Expire | None = None,
    ) -> dict[str, Any]:
        """Return the values of `keys`; `load_missing(keys)` computes those that are missing.

        It is called once, with the keys that no other caller computes, and returns a mapping. For
        the other keys this call waits. A key that is not in the mapping is not in the result.
        """
        fulls = {whole_key(self.key_prefix, key): key for key in listed(keys)}
        freshness = self.freshness(expire)
        return await self._entries.get_or_set_many(fulls, load_missing, freshness)

    async def set_many(
        self,
        values: Mapping[str, Any],
        expire: Expire | None = None,
        *,
        tags: Collection[str] = (),
    ) -> bool:
        """Store each of `values` at its key, with these `tags`; return whether all are stored."""
        insist_on_asyncio()
        if not isinstance(values, Mapping):
            raise TypeError(f"values={values!r} must be a mapping of keys to values")
        for key in values:  # before any of them is stored
            whole_key(self.key_prefix, key)
        setting = [self.set(key, value, expire, tags=tags) for key, value in values.items()]
        return all(await asyncio.gather(*setting))

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
        full = whole_key(self.key_prefix, key)
        return await self._entries.get(full, method="exists") is not None

    def _lifetime(self, expire: Expire | None) -> Any:
        insist_on_asyncio()
        return self.default_ttl if expire is None else in_backends_terms(expire)

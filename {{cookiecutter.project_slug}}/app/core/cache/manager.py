"""The cache manager: values at keys, and their invalidation."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from .base import CacheBackend, UnavailableError, milliseconds
from .calls import (
    LEFT_OUT,
    OWNER,
    Factory,
    FactoryCall,
    Reader,
    called,
    check_several,
    check_times,
    value_at,
)
from .coherence import (
    LOCK_TIMEOUT,
    Cached,
    Computed,
    Fence,
    Freshness,
    InvalidationEvent,
    Invalidations,
    Listener,
    freshness_of,
)
from .decorators import cache_response, invalidate_cache
from .keys import Identity, KeyPattern, OfFunctions, tag_key, tag_start
from .loops import insist_on_asyncio, to_its_end
from .resilience import Outage
from .stored import Shown, codec, owner_digest
from .values import BY_HAND

__all__ = ["CacheManager", "cache_response", "invalidate_cache"]

logger = logging.getLogger(__name__)

DEFAULT_TTL = 300
DEFAULT_MAX_ENTRY_BYTES = 8 * 1024 * 1024
DEFAULT_TTL_JITTER = 0.02
LONGEST_KEY = 1024
"""How many bytes a key may have, without the prefix."""

T = TypeVar("T")


class CacheManager:
    """One cache: a backend, the prefix of its keys and the time to live of its entries.

    `key_prefix` stands in front of every key, with a colon between; by default it is the
    backend's. `default_ttl`, in seconds, holds where no `expire` is given. An entry of more than
    `max_entry_bytes` is not stored. What decorators store is compressed if it has more than
    `compress_over` bytes; with 0 nothing is. What was computed lives up to `ttl_jitter` of its time
    shorter, so that what was stored together does not expire together. A call that finds somebody
    else computing what it wants waits for `lock_timeout` seconds at most, then computes for itself.

    No method raises because the backend is away, slow or answers with an error: `get` then
    returns the default, all others `False`. Wrong arguments raise `TypeError` or `ValueError`.
    A key is text of 1 to 1024 bytes, and does not begin with `~`. A longer one is refused, and not
    replaced by its digest: a pattern would not find it. A tag is any text.
    An invalidation that could not be delivered is kept until it can be, and until then what it
    covers is neither served nor stored; `on_event` is called with an `InvalidationEvent` for that.
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
        lock_timeout: float = LOCK_TIMEOUT,
        on_event: Listener | None = None,
    ) -> None:
        if not isinstance(backend, CacheBackend):
            raise TypeError(f"backend={backend!r} is no CacheBackend; subclass it")
        if isinstance(default_ttl, bool) or not isinstance(default_ttl, int) or default_ttl < 1:
            raise ValueError(f"default_ttl={default_ttl!r} must be whole seconds, 1 or more")
        self.backend = backend
        self.key_prefix = backend.key_prefix if key_prefix is None else key_prefix
        if not isinstance(self.key_prefix, str) or not self.key_prefix:
            raise ValueError(f"key_prefix={self.key_prefix!r} must be a string that is not empty")
        self.default_ttl, self.ttl_jitter = default_ttl, ttl_jitter
        self.max_entry_bytes, self.compress_over = max_entry_bytes, compress_over
        self.on_event = on_event
        self.functions: OfFunctions[Identity] = OfFunctions()
        """The decorated functions, by the place that they have among the keys."""
        self.readers: OfFunctions[Reader] = OfFunctions()
        """What reads the entries of decorated functions, by what their records bear."""
        self.families: set[str] = set()
        """The `key_prefix` of each decorated function."""
        self._reader = self.readers[owner_digest(OWNER)] = Reader(
            self, OWNER, BY_HAND, by_hand=True
        )
        self._outage = Outage(f"cache backend {type(backend).__name__}", logger)
        self.invalidations = Invalidations(
            backend, self.key_prefix, self._outage, logger, self._heard
        )
        self.fence = Fence(
            backend, self._outage, self.invalidations.pending, lock_timeout=lock_timeout
        )
        self.invalidations.flights = self.fence.flights

    def __repr__(self) -> str:
        return f"CacheManager({self.backend!r}, key_prefix={self.key_prefix!r})"

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value stored at `key`, or `default` if there is none.

        With a `default` of one's own, a stored `None` can be told from a missing key. Values are
        what `set`, `get_or_set` and decorated functions stored; `f.cache_key(...)` is the key of a
        call. An entry that is more than a value, a response for one, is not there for `get`,
        `get_many` and `exists`, and neither is one that is being computed. `delete` and
        `invalidate` remove them all.
        """
        full = self._full(key)
        found = await self._lookup(full)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s", "miss" if found is None else "hit", Shown(full))
        return default if found is None else found.value

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        """Store `value` at `key` and return whether it is stored.

        `expire` is in seconds; zero or less means that the value is not stored, and what stood at
        the key is removed. The same happens to a value that would not come back equal or is too
        large, with a warning that says why. It is stored as plain JSON, without a checksum.
        """
        full = self._full(key)
        expire = self.default_ttl if expire is None else expire
        if milliseconds(expire) == 0:
            await self.invalidations.remove([full])
            logger.debug("not stored %s", Shown(full))
            return False
        try:
            data = codec.encode(value, BY_HAND)
            self.refuse_large(data)
            if self.backend.keeps_bytes:
                storing = self.backend.set_bytes(full, data, expire)
            else:
                storing = self.backend.set(full, codec.decode(data), expire)
        except codec.UnstorableError as error:
            logger.warning("not stored at %s: %s", Shown(full), error)
            await self.invalidations.remove([full])
            return False
        stored = await self.invalidations.carry_out(storing, False, [KeyPattern((full,))])
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
        """Return the value at `key`; if there is none, compute it by `factory()` and store it.

        However many callers there are, in however many processes, the factory runs once, and what
        an invalidation overtook is not stored. `tags`, `stale` and `early_refresh` are as in
        `cache_response`. A plain factory runs in a thread. Its exceptions are the caller's.
        """
        full, tag_keys = self._full(key), () if tags == () else self._tag_keys(tags)
        fence, reader, hit, look = self.fence, self._reader, None, None
        freshness = self.freshness(expire, stale, early_refresh)
        if fence.near is not None and fence.may_read_near():
            hit = reader.near_hit(full, fence.near, tag_keys, freshness)
        if hit is None:
            look = fence.look_now(full, tag_keys) if fence.looks_now else None
            look = look or await fence.leases.look(full, tag_keys)
            hit = reader.hit(full, look, tag_keys, freshness)
        if hit is not None:
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("hit %s", Shown(full))
            return hit[0]
        call = FactoryCall(self, reader, full, factory, freshness, tags=tag_keys)
        result = await fence.run(full, tag_keys, call, seen=look)
        logger.debug("%s %s", result.outcome.word, Shown(full))
        return result.value[0]

    async def get_many(self, keys: Collection[str]) -> dict[str, Any]:
        """Return the values of those `keys` that have one, in one round trip, or two with tags."""
        _refuse_text(keys)
        fulls = {self._full(key): key for key in keys}
        found = await self._guarded(self._lookup_many(list(fulls)), {})
        return {fulls[full]: value for full, value in found.items()}

    async def get_or_set_many(
        self,
        keys: Collection[str],
        load_missing: Callable[[list[str]], Any],
        expire: int | timedelta | None = None,
    ) -> dict[str, Any]:
        """Return the values of `keys`; compute those that are missing by `load_missing(keys)`.

        It returns a mapping, and is called once with the keys that nobody else computes; for the
        others this caller waits. A key that it leaves out is left out of the result.
        """
        _refuse_text(keys)
        fulls = {self._full(key): key for key in keys}
        found = await self._guarded(self._lookup_many(list(fulls)), None)
        online, values = found is not None, dict(found or {})
        calls = {
            full: self._one_of_many(full, key, load_missing, expire)
            for full, key in fulls.items()
            if full not in values
        }

        async def load(missing: list[str]) -> dict[str, Computed]:
            began = time.monotonic()
            loaded = await called(load_missing, [fulls[full] for full in missing])
            cost = time.monotonic() - began
            return {
                full: calls[full].made(loaded[fulls[full]], (), cost)
                for full in missing
                if fulls[full] in loaded
            }

        led = await self.fence.fills.lead_many(list(calls), load, online=online)
        others = [full for full in calls if full not in led]
        running = [self.fence.run(full, (), calls[full], online=online) for full in others]
        results = [result.value for result in await asyncio.gather(*running)]
        made = {full: each.value for full, each in led.items() if each is not None}
        values |= {
            full: value
            for full, (value, _) in {**made, **dict(zip(others, results, strict=True))}.items()
        }
        return {
            key: values[full]
            for full, key in fulls.items()
            if full in values and values[full] is not LEFT_OUT
        }

    def _one_of_many(
        self,
        full: str,
        key: str,
        load_missing: Callable[[list[str]], Any],
        expire: int | timedelta | None,
    ) -> FactoryCall:
        async def load_one() -> Any:
            return (await called(load_missing, [key])).get(key, LEFT_OUT)

        return FactoryCall(self, self._reader, full, load_one, self.freshness(expire))

    async def set_many(
        self, values: Mapping[str, Any], expire: int | timedelta | None = None
    ) -> bool:
        """Store each of `values` at its key; return whether all are stored."""
        insist_on_asyncio()
        storing = [self.set(key, value, expire) for key, value in values.items()]
        return all(await asyncio.gather(*storing))

    async def delete_many(self, keys: Collection[str]) -> int:
        """Remove `keys` and return how many of them there were."""
        _refuse_text(keys)
        fulls = [self._full(key) for key in keys]
        return await self.invalidations.remove(fulls) if fulls else 0

    async def delete(self, key: str) -> bool:
        """Remove `key`, which is no pattern; return whether there was something to remove."""
        full = self._full(key)
        deleted = await self.invalidations.remove([full]) > 0
        logger.debug("deleted %s: %s", Shown(full), deleted)
        return deleted

    async def exists(self, key: str) -> bool:
        """Return whether `get` has a value at `key`, be it `None`: the two never differ."""
        return await self._lookup(self._full(key)) is not None

    async def clear(self) -> bool:
        """Remove every entry below `key_prefix` and nothing else; return whether it was done."""
        return await self.delete_matching(self.invalidations.everything)

    def clear_sync(self) -> bool:
        """Do what `clear` does, from synchronous code: for fixtures of tests, and for scripts.

        It works in any thread, whether or not an event loop is running there, and leaves that as it
        was. It blocks the caller until it is done, so code that can await uses `clear`. It returns
        `False`, and keeps the invalidation for later, where the backend is away.
        """
        return to_its_end(self._clear_once)

    async def _clear_once(self) -> bool:
        """Clear, in an event loop that ends thereafter."""
        try:
            return await self.clear()
        finally:
            if self.backend.connects:
                await self._guarded(self.backend.close(), None)

    async def invalidate(self, pattern: str) -> bool:
        """Remove every entry whose key `pattern` covers; return whether it was done.

        `*` stands for any run of characters, every other character for itself. The pattern is
        taken below the prefix, as a key is. One that is longer than a key may be covers none.
        """
        return await self.delete_matching(self._pattern(pattern))

    def defer(self, pattern: str | KeyPattern) -> None:
        """Remove every entry whose key `pattern` covers, but later: it counts as gone from now on.

        Of a `KeyPattern` that is the whole key.
        """
        if not isinstance(pattern, KeyPattern):
            pattern = self._pattern(pattern)
        self.invalidations.defer([pattern])

    async def invalidate_tags(self, *tags: str) -> bool:
        """Make every entry that has one of `tags` of no use; return whether that was done.

        It takes one round trip, whatever the number of entries.
        """
        done = await self.invalidations.renew_tags(self._tag_keys(tags))
        logger.debug("%s tags %s", "invalidated" if done else "could not invalidate", Shown(tags))
        return done

    async def close(self) -> None:
        """Close the connections of the running event loop. A use after that opens them again.

        A last attempt is made to deliver what could not be delivered so far; what is left is logged.
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

    async def _lookup(self, key: str) -> Cached | None:
        """Return the value at a whole key, on the shortest way."""
        insist_on_asyncio()
        fence, data = self.fence, None
        kept = fence.near.get(key) if fence.near is not None and fence.may_read_near() else None
        if kept is None:
            look = fence.look_now(key, ()) if fence.looks_now else None
            data, *_ = look or await fence.leases.look(key, by_hand=True)
        else:
            data = kept.data
        found = value_at(self, key, data)
        if found is None or not found.tags:
            return found
        return found if await self._nonces(found.tags) == found.nonces else None

    async def _lookup_many(self, keys: list[str]) -> dict[str, Any]:
        """Return the values at whole keys; raise where the backend cannot be asked."""
        pending, near = self.invalidations.pending, self.fence.near
        keys = [key for key in keys if not pending.covers(key)]
        there: dict[str, bytes | None] = {}
        if near is not None and self.fence.may_read_near():
            there = {key: kept.data for key in keys if (kept := near.get(key)) is not None}
        missing = [key for key in keys if key not in there]
        if missing:
            found = await self.backend.get_many_bytes(missing)
            there |= dict(zip(missing, found, strict=True))
        values = {key: value_at(self, key, data) for key, data in there.items()}
        tags = tuple({tag for each in values.values() if each is not None for tag in each.tags})
        nonces = (await self._nonces(tags) or ()) if tags else ()
        now = dict(zip(tags, nonces, strict=False))
        return {
            key: each.value
            for key, each in values.items()
            if each is not None and tuple(map(now.get, each.tags)) == each.nonces
        }

    async def _nonces(self, tags: tuple[str, ...]) -> tuple[bytes | None, ...] | None:
        """Return the nonces of tags, where they are near, or else what the backend has."""
        near = self.fence.near if self.fence.near and self.fence.may_read_near() else None
        return (near and near.nonces(tags)) or await self.fence.leases.nonces_now(tags)

    def _tag_keys(self, tags: Collection[str]) -> tuple[str, ...]:
        if isinstance(tags, str):
            raise TypeError(f"tags={tags!r} is a string; give a list: tags=[{tags!r}]")
        check_several(tags=tags)
        start = tag_start(self.key_prefix)
        return tuple([tag_key(start, _checked_tag(tag)) for tag in tags])

    def freshness(
        self,
        expire: int | timedelta | None,
        stale: int | timedelta | None = None,
        early_refresh: float = 0.0,
    ) -> Freshness:
        """Return how entries age; raises `TypeError` or `ValueError` for what cannot be right."""
        if early_refresh < 0:
            raise ValueError(f"early_refresh={early_refresh!r} must be 0 or more")
        if stale is not None:
            check_times(expire, stale, 0.0)
        expire = self.default_ttl if expire is None else expire
        return freshness_of(expire, stale, jitter=self.ttl_jitter, early=early_refresh)

    def refuse_large(self, data: bytes, key: str | None = None) -> None:
        """Raise `UnstorableError` if `data` is too large to be stored; note its key for a while."""
        if len(data) > self.max_entry_bytes:
            if key is not None:
                self.fence.too_large.add(key)
            raise codec.UnstorableError(
                f"it has {len(data)} bytes, more than the {self.max_entry_bytes} of "
                f"CACHE_MAX_ENTRY_BYTES"
            )

    async def delete_matching(self, pattern: KeyPattern) -> bool:
        """Remove every entry whose whole key `pattern` covers; return whether it was done."""
        done = await self.invalidations.remove_matching(pattern)
        logger.debug("%s %s", "invalidated" if done else "could not invalidate", Shown(pattern))
        return done

    def _pattern(self, pattern: str) -> KeyPattern:
        if not isinstance(pattern, str) or not pattern:
            raise TypeError(f"key={pattern!r} must be a string that is not empty")
        return KeyPattern.parse(pattern, prefix=f"{self.key_prefix}:")

    def _full(self, key: str) -> str:
        if not isinstance(key, str) or not key:
            raise TypeError(f"key={key!r} must be a string that is not empty")
        if key[0] == "~":
            raise ValueError(
                f"key='{Shown(key)}' begins with '~', as the cache's own keys do: put a name and a "
                f"colon in front, 'user:{Shown(key)}'"
            )
        _refuse_long(key)
        return f"{self.key_prefix}:{key}"

    async def _guarded(self, operation: Awaitable[T], failed: T) -> T:
        """Await `operation` and return `failed` where it raises; an outage is logged once."""
        insist_on_asyncio(operation)
        try:
            result = await operation
        except UnavailableError:  # which the backend has noted itself
            return failed
        except Exception as error:
            self._outage.failed(error)
            return failed
        self._outage.worked()
        return result


def _refuse_text(keys: Collection[str]) -> None:
    if isinstance(keys, str):
        raise TypeError(f"keys={keys!r} is a string; give a list: [{keys!r}]")


def _checked_tag(tag: str) -> str:
    if not isinstance(tag, str):
        raise TypeError(f"tag={tag!r} must be a string")
    return tag


def _refuse_long(text: str) -> None:
    """Raise `ValueError` for a key that is too long to be kept in many places."""
    if len(text) > LONGEST_KEY // 4:  # so many bytes may a character have
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > LONGEST_KEY:
            raise ValueError(
                f"key='{Shown(text)}' has {size} bytes, more than {LONGEST_KEY}: put a digest "
                f"in place of what may be long, hashlib.sha256(text.encode()).hexdigest()"
            )

"""The cache manager: values at keys, invalidation, and what decorators need of both."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from .base import CacheBackend, Nonces, UnavailableError, milliseconds
from .calls import (
    LEFT_OUT,
    Entry,
    Factory,
    Reader,
    Standing,
    called,
    check_several,
    check_times,
    standing,
)
from .coherence import (
    LOCK_TIMEOUT,
    TAG_MS,
    Fence,
    Freshness,
    InvalidationEvent,
    Journal,
    Listener,
    Made,
    Walks,
    computes_here,
)
from .decorators import cache_response, invalidate_cache
from .keys import KeyPattern, OfFunctions, Shape, all_tags_key, tag_key, tag_start
from .loops import insist_on_asyncio, to_its_end
from .resilience import Outage, past_the_breaker
from .stored import Shown, codec

__all__ = ["CacheManager", "cache_response", "invalidate_cache"]

logger = logging.getLogger(__name__)

DEFAULT_TTL = 300
DEFAULT_MAX_ENTRY_BYTES = 8 * 1024 * 1024
DEFAULT_TTL_JITTER = 0.02
LAST_ATTEMPT_SECONDS = 0.25
"""How long `close` tries to deliver invalidations that are still to be delivered."""
LONGEST_KEY = 1024
"""How many bytes a key may have, without the prefix."""
RECOVERY_SECONDS = 1.0
"""How long a server that works again waits for them before others ask it."""

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
        self.default_ttl = default_ttl
        self.max_entry_bytes = max_entry_bytes
        self.compress_over = compress_over
        self.ttl_jitter = ttl_jitter
        self.functions: OfFunctions[Callable[..., Any]] = OfFunctions()
        """The decorated functions, by the place that they have among the keys."""
        self.readers: OfFunctions[Reader] = OfFunctions()
        """What reads the entries of decorated functions, by what their records bear."""
        self.families: dict[Shape, str] = {}
        """What the keys of the decorated functions look like, and their `key_prefix`."""
        self.walks = Walks()
        self._outage = Outage(f"cache backend {type(backend).__name__}", logger)
        self._everything = KeyPattern((f"{self.key_prefix}:", ""))
        self.on_event = on_event
        self.journal = Journal(
            _Delivery(self),
            self._everything,
            every_tag=all_tags_key(self.key_prefix),
            logger=logger,
            listener=self._heard,
        )
        self.fence = Fence(backend, self._outage, self.journal, lock_timeout=lock_timeout)
        backend.on_recovery(self._recover)
        self.journal.is_repeated = backend.on_takeover(self.journal.repeat)

    def __repr__(self) -> str:
        return f"CacheManager({self.backend!r}, key_prefix={self.key_prefix!r})"

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value stored at `key`, or `default` if there is none.

        With a `default` of one's own, a stored `None` can be told from a missing key. Values are
        what `set`, `get_or_set` and decorated functions stored; `f.cache_key(...)` is the key of a
        call. Of a function's entries only plain values can be read so: one that has tags, or is a
        response, is not there for `get`, `get_many` and `exists`, and neither is one that is being
        computed. `delete` and `invalidate` remove them all.
        """
        full = self._full(key)
        found, value = await self._guarded(self._lookup(full), (False, None))
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s", "hit" if found else "miss", Shown(full))
        return value if found else default

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        """Store `value` at `key` and return whether it is stored.

        `expire` is in seconds; zero or less means that the value is not stored, and what stood at
        the key is removed. The same happens to a value that would not come back equal or is too
        large, with a warning that says why. It is stored as plain JSON, without a checksum.
        """
        full = self._full(key)
        expire = self.default_ttl if expire is None else expire
        if milliseconds(expire) == 0:
            await self._remove([full])
            logger.debug("not stored %s", Shown(full))
            return False
        try:
            data = codec.encode(value, codec.BY_HAND)
            self.refuse_large(data)
            if self.backend.keeps_bytes:
                storing = self.backend.set_bytes(full, data, expire)
            else:
                storing = self.backend.set(full, codec.decode(data), expire)
        except codec.UnstorableError as error:
            logger.warning("not stored at %s: %s", Shown(full), error)
            await self._remove([full])
            return False
        stored = await self._overtaking(storing, False, [KeyPattern((full,))])
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
        full, tag_keys = self._full(key), self._tag_keys(tags)
        if not self.backend.keeps_bytes:
            found, value = await self._guarded(self._lookup(full), (False, None))
            if found:
                return value
        entry = Entry(
            self,
            full,
            factory,
            tags=tag_keys,
            freshness=self.freshness(expire, stale, early_refresh),
            logger=logger,
        )
        near = self.fence.nearby(full, tag_keys)
        kept = None if near is None else entry.read(near[0].data, near[1])
        if kept is not None and self.fence.is_hit(kept):
            logger.debug("hit %s", Shown(full))
            return kept.value
        served = await self.fence.run(full, tag_keys, entry)
        logger.debug("%s %s", served.how.name.lower(), Shown(full))
        return served.value

    async def get_many(self, keys: Collection[str]) -> dict[str, Any]:
        """Return the values of those `keys` that have one, in one round trip, or two with tags."""
        _refuse_text(keys)
        fulls = {self._full(key): key for key in keys}
        if not self.backend.keeps_bytes:
            looked = {
                key: await self._guarded(self._lookup(full), (False, None))
                for full, key in fulls.items()
            }
            return {key: value for key, (found, value) in looked.items() if found}
        values = await self._guarded(self._lookup_many(list(fulls)), {})
        return {fulls[full]: value for full, value in values.items()}

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
        return await self._remove(fulls) if fulls else 0

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
        if self.backend.keeps_bytes:
            fulls = {self._full(key): key for key in keys}
            found = await self._guarded(self._lookup_many(list(fulls)), None)
            online = found is not None
            values = {fulls[full]: value for full, value in (found or {}).items()}
        else:
            values, online = await self.get_many(keys), True
        missing = {self._full(key): key for key in keys if key not in values}
        freshness = self.freshness(expire)

        async def load(fulls: list[str]) -> dict[str, Made]:
            began = time.monotonic()
            loaded = await called(load_missing, [missing[full] for full in fulls])
            cost = time.monotonic() - began
            made = {}
            for full in fulls:
                if missing[full] in loaded:
                    entry = Entry(self, full, dict, freshness=freshness, logger=logger)
                    made[full] = entry.made(loaded[missing[full]], (), cost)
            return made

        async def one(full: str) -> None:
            async def load_one() -> Any:
                loaded = await called(load_missing, [missing[full]])
                return loaded.get(missing[full], LEFT_OUT)

            entry = Entry(self, full, load_one, freshness=freshness, logger=logger)
            value = (await self.fence.run(full, (), entry, online=online)).value
            if value is not LEFT_OUT:
                values[missing[full]] = value

        led = await self.fence.lead_many(list(missing), load, online=online)
        values |= {missing[full]: made.value for full, made in led.items() if made is not None}
        await asyncio.gather(*(one(full) for full in missing if full not in led))
        return {key: values[key] for key in keys if key in values}

    async def delete(self, key: str) -> bool:
        """Remove `key`, which is no pattern; return whether there was something to remove."""
        full = self._full(key)
        deleted = await self._remove([full]) > 0
        logger.debug("deleted %s: %s", Shown(full), deleted)
        return deleted

    async def exists(self, key: str) -> bool:
        """Return whether `get` has a value at `key`, be it `None`: the two never differ."""
        return (await self._guarded(self._lookup(self._full(key)), (False, None)))[0]

    async def clear(self) -> bool:
        """Remove every entry below `key_prefix` and nothing else; return whether it was done."""
        return await self.delete_matching(self._everything)

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
        self._put_off([pattern], ())

    async def invalidate_tags(self, *tags: str) -> bool:
        """Make every entry that has one of `tags` of no use; return whether that was done.

        It takes one round trip, whatever the number of entries.
        """
        keys = (all_tags_key(self.key_prefix), *self._tag_keys(tags))
        done = await self._overtaking(
            self.backend.invalidate_tag_keys(keys, TAG_MS), False, tags=keys
        )
        logger.debug("%s tags %s", "invalidated" if done else "could not invalidate", Shown(tags))
        return done

    async def close(self) -> None:
        """Close the connections of the running event loop. A use after that opens them again.

        A last attempt is made to deliver what could not be delivered so far; what is left is logged.
        """
        insist_on_asyncio()
        await self.fence.leases.settle()
        if self.journal:
            with past_the_breaker(), suppress(Exception):
                async with asyncio.timeout(LAST_ATTEMPT_SECONDS):
                    await self.journal.deliver()
        await self.journal.close()
        await self._guarded(self.backend.close(), None)

    async def health_check(self) -> bool:
        """Return whether the backend answers."""
        return await self._guarded(self.backend.health_check(), False)

    def _heard(self, event: InvalidationEvent) -> None:
        if self.on_event is not None:
            self.on_event(event)

    async def _recover(self) -> None:
        """Deliver what could not be delivered while the backend was away, for a while."""
        with suppress(Exception):  # of another server, or too much: the journal goes on with it
            async with asyncio.timeout(RECOVERY_SECONDS):
                await self.journal.deliver()
                await self.fence.leases.release_orphans()

    def _refuse_covered(self, key: str) -> None:
        if self.journal.covers(key):
            raise UnavailableError("an invalidation of it is still to be delivered")

    async def _lookup(self, key: str) -> tuple[bool, Any]:
        self._refuse_covered(key)
        if self.backend.keeps_bytes:
            found = await self._lookup_many([key])
            return key in found, found.get(key)
        value = await self.backend.get(key)
        if value is None:
            return await self.backend.exists(key), None
        if isinstance(value, str) and value.startswith(("lease/", "cache/")):
            found = await self._lookup_many([key])
            return key in found, found.get(key)
        try:
            return True, codec.decode(codec.encode(value))
        except codec.UnstorableError:  # put there by somebody else; it is the backend's own
            return True, value

    async def _lookup_many(self, keys: list[str]) -> dict[str, Any]:
        """Return the values at whole keys: what was set by hand, and entries of `get_or_set`."""
        keys = [key for key in keys if not self.journal.covers(key)]
        there = await self._standing_at(keys, self.backend.get_many_bytes)
        entries: dict[str, Standing] = {}
        for key, data in there.items():
            entry = standing(self, key, data)
            if entry is not None and not (entry.tags and self.journal.covers(key, entry.tags)):
                entries[key] = entry
        tags = {tag for entry in entries.values() for tag in entry.tags}
        now = await self._standing_at(list(tags), self.backend.nonces_now) if tags else {}
        values = {
            key: entry.value(tuple([now[tag] for tag in entry.tags]))
            for key, entry in entries.items()
        }
        return {key: value for key, (is_of_use, value) in values.items() if is_of_use}

    async def _standing_at(
        self, keys: list[str], read: Callable[[list[str]], Awaitable[Nonces]]
    ) -> dict[str, bytes | None]:
        """Return what stands at whole keys, where it is near, or else what `read` brings."""
        near, found = self.backend.near, dict[str, bytes | None]()
        if near is not None and not self.journal.is_open and not computes_here():
            found = {key: kept.data for key in keys if (kept := near.get(key)) is not None}
        missing = [key for key in keys if key not in found]
        if missing:
            found |= dict(zip(missing, await read(missing), strict=True))
        return found

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
        return Freshness.of(expire, stale, jitter=self.ttl_jitter, early=early_refresh)

    def refuse_large(self, data: bytes, key: str | None = None) -> None:
        """Raise `UnstorableError` if `data` is too large to be stored; note its key for a while."""
        if len(data) > self.max_entry_bytes:
            if key is not None:
                self.fence.too_large.add(key)
            raise codec.UnstorableError(
                f"it has {len(data)} bytes, more than the {self.max_entry_bytes} of "
                f"CACHE_MAX_ENTRY_BYTES"
            )

    def limit_clear(self) -> None:
        """Tell a backend whose `clear` stands for patterns how far it may reach."""
        if type(self.backend).delete_matching is CacheBackend.delete_matching:
            self.backend.key_prefix = self.key_prefix

    async def delete_matching(self, pattern: KeyPattern) -> bool:
        """Remove every entry whose whole key `pattern` covers; return whether it was done."""
        self.limit_clear()
        walk = partial(self.backend.delete_matching, pattern)
        walking = walk() if pattern.exact_key else self.walks.join(pattern, walk)
        done = await self._overtaking(walking, False, [pattern])
        logger.debug("%s %s", "invalidated" if done else "could not invalidate", Shown(pattern))
        return done

    async def _remove(self, fulls: list[str]) -> int:
        patterns = [KeyPattern((full,)) for full in fulls]
        return await self._overtaking(self.backend.delete_many(fulls), 0, patterns)

    async def _overtaking(
        self,
        invalidation: Awaitable[T],
        failed: T,
        patterns: Collection[KeyPattern] = (),
        tags: Collection[str] = (),
    ) -> T:
        """Carry out an invalidation, and take this process's flights out of its way.

        Before it, so that none of them is stored after it where the backend cannot tell; and after
        it, for those that took off meanwhile. What cannot be delivered goes into the journal, and
        so does what may not have been, as the caller was cancelled.
        """
        insist_on_asyncio(invalidation)
        flights, before = self.fence.flights, self.journal.mark(patterns, tags)
        flights.overtake(patterns, tags)
        try:
            result = await invalidation
        except BaseException as error:
            self._put_off(patterns, tags)
            if not isinstance(error, Exception):
                raise
            if not isinstance(error, UnavailableError):  # which the backend has noted itself
                self._outage.failed(error)
            return failed
        if result is False:  # so says a backend that does not raise
            self._put_off(patterns, tags)
            return result
        self._outage.worked()
        self.forget(patterns, tags)
        self.journal.settle(before, patterns, tags)
        flights.overtake(patterns, tags)
        return result

    def _put_off(self, patterns: Collection[KeyPattern], tags: Collection[str]) -> None:
        self.forget(patterns, tags)
        self.journal.add(patterns, tags)
        self.fence.flights.overtake(patterns, tags, undelivered=True)

    def forget(self, patterns: Collection[KeyPattern], tags: Collection[str] = ()) -> None:
        """Serve nothing of it from the near cache any more, nor what is on its way."""
        if self.backend.near is not None:
            self.backend.near.forget(patterns, tags)

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


class _Delivery:
    """How a journal's invalidations reach the backend of its manager."""

    def __init__(self, manager: CacheManager) -> None:
        self._manager = manager

    async def remove(self, keys: list[str]) -> None:
        """Remove these keys."""
        await self._manager.backend.delete_many(keys)
        self._manager.forget([KeyPattern((key,)) for key in keys])

    async def remove_matching(self, pattern: KeyPattern) -> None:
        """Remove the keys that a pattern covers."""
        self._manager.limit_clear()
        _insist(await self._manager.backend.delete_matching(pattern))
        self._manager.forget([pattern])

    async def renew_tags(self, tags: list[str]) -> None:
        """Give these tags new nonces, that of all tags before the others."""
        of_all = all_tags_key(self._manager.key_prefix)
        tags = [of_all, *(tag for tag in tags if tag != of_all)]
        _insist(await self._manager.backend.invalidate_tag_keys(tags, TAG_MS))
        self._manager.forget((), tags)


def _insist(done: object) -> None:
    """Raise `UnavailableError` where a backend says, without raising, that it has done nothing."""
    if done is False:
        raise UnavailableError("the backend says that it is not done")


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

"""Entries at keys that the caller names: those of `get`, `set` and `get_or_set`."""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

from ..base import CacheBackend, Nonces
from ..coherence import Cached, Computed, Freshness, Invalidations, is_failure
from ..expiry import milliseconds
from ..keys import MOST_TAGS, KeyPattern
from ..stored import Record, Shown, codec, names_its_key, owner_digest
from ..values import BY_HAND
from .reading import VALUE, Reader, Store, value_at
from .running import in_a_thread
from .storing import refuse_large, stored_bytes
from .tag_nonces import TAGS, tags_of_record

logger = logging.getLogger(__name__)

OWNER = b"get_or_set"

Factory = Callable[[], Any]

LEFT_OUT: Any = object()
"""Stands for a value that a factory does not have; it is not stored or shared."""


class FactoryCall:
    """One call of `get_or_set`, as the fence knows it: a key, its tags, and a factory."""

    in_background = is_private = False
    owner: object = None

    def __init__(
        self,
        store: Store,
        reader: Reader,
        key: str,
        factory: Factory,
        freshness: Freshness,
        *,
        tags: tuple[str, ...] = (),
    ) -> None:
        self._store, self._reader, self._key, self._tags = store, reader, key, tags
        self._factory, self._freshness = factory, freshness

    def failed(self, value: Any) -> bool:
        """Whether a result is a failure: a response may be one."""
        return is_failure(value[0])

    def read(self, data: bytes, nonces: Nonces) -> Cached | None:
        """Return the value of the key: one that was computed, or one that was set by hand."""
        if names_its_key(data):
            return self._reader.read(self._key, data, self._tags, nonces, self._freshness)
        found = value_at(self._store, self._key, data)
        return None if found is None else Cached((found.value, None))

    async def compute(self, nonces: Nonces) -> Computed:
        """Call the factory, and make a record of what it returns."""
        began = time.monotonic()
        return self.made(await called(self._factory), nonces, time.monotonic() - began)

    def made(self, value: Any, nonces: Nonces, cost: float) -> Computed:
        """Make a record of a value that took `cost` seconds to compute."""
        about, ms = self._freshness.stamp(cost)
        result = (value, None)
        if value is LEFT_OUT or self._key in self._store.fence.too_large:
            return Computed(result, None, ms)
        if self._tags:
            about[TAGS] = tags_of_record(self._tags, nonces)
        try:
            _refuse_many(self._tags)
            record = Record(VALUE, codec.encode_checked(value, BY_HAND), about)
            data = stored_bytes(self._store, self._key, OWNER, record)
        except codec.UnstorableError as error:
            logger.warning("not stored at %s: %s", Shown(self._key), error)
            return Computed(result, None, ms)
        return Computed(result, data if self._freshness.expire else None, ms)


class EntryStore(Store, Protocol):
    """The part of a manager that entries need."""

    backend: CacheBackend
    invalidations: Invalidations


class Entries:
    """The entries of one manager by whole keys: those set by hand, and those computed."""

    def __init__(self, store: EntryStore) -> None:
        self._store = store
        self._reader = Reader(store, OWNER, BY_HAND, by_hand=True)
        store.readers[owner_digest(OWNER)] = self._reader

    async def get(self, key: str) -> Cached | None:
        """Return the value at a key, by the fastest way; `None` if there is none."""
        fence, kept = self._store.fence, None
        if fence.near is not None and fence.may_read_near():
            kept = fence.near.get(key)
        if kept is not None:
            data: bytes | None = kept.data
        else:
            look = fence.look_now(key, ()) if fence.looks_now else None
            data, *_ = look or await fence.looks.look(key, by_hand=True)
        found = value_at(self._store, key, data)
        if found is None or not found.tags:
            return found
        return found if await fence.nonces(found.tags) == found.nonces else None

    async def get_many(self, keys: Collection[str]) -> dict[str, Any] | None:
        """Return the values at keys that have one; `None` if the backend cannot be asked."""
        fence = self._store.fence
        there = await fence.look_many(keys)
        if there is None:
            return None
        found = {key: value_at(self._store, key, data) for key, data in there.items()}
        tags = tuple({tag for each in found.values() if each is not None for tag in each.tags})
        nonces = (await fence.nonces(tags) or ()) if tags else ()
        now = dict(zip(tags, nonces, strict=False))
        return {
            key: each.value
            for key, each in found.items()
            if each is not None and tuple(map(now.get, each.tags)) == each.nonces
        }

    async def set(self, key: str, value: Any, expire: int | timedelta) -> bool:
        """Store a value by hand; return whether it is stored. If not, remove the old value."""
        backend, invalidations = self._store.backend, self._store.invalidations
        if milliseconds(expire) == 0:
            await invalidations.remove([key])
            return False
        try:
            data = codec.encode(value, BY_HAND)
            refuse_large(self._store, data)
            storing = backend.set_json(key, data, expire)
        except codec.UnstorableError as error:
            logger.warning("not stored at %s: %s", Shown(key), error)
            await invalidations.remove([key])
            return False
        return await invalidations.carry_out(storing, False, [KeyPattern((key,))])

    async def get_or_set(
        self, key: str, factory: Factory, freshness: Freshness, tags: tuple[str, ...]
    ) -> Any:
        """Return the value at a key; if there is none, compute and store it."""
        fence, reader, hit, look = self._store.fence, self._reader, None, None
        if fence.near is not None and fence.may_read_near():
            hit = reader.near_hit(key, fence.near, tags, freshness)
        if hit is None:
            look = fence.look_now(key, tags) if fence.looks_now else None
            look = look or await fence.looks.look(key, tags)
            hit = reader.hit(key, look, tags, freshness)
        if hit is not None:
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("hit %s", Shown(key))
            return hit[0]
        call = FactoryCall(self._store, reader, key, factory, freshness, tags=tags)
        result = await fence.run(key, tags, call, seen=look)
        logger.debug("%s %s", result.outcome.value, Shown(key))
        return result.value[0]

    async def get_or_set_many(
        self, names: Mapping[str, str], load_missing: Callable[[list[str]], Any], age: Freshness
    ) -> dict[str, Any]:
        """Return the values at whole keys, by their names; load missing ones in one call."""
        fence, found = self._store.fence, await self.get_many(names)
        online, values = found is not None, found or {}
        calls = {
            key: FactoryCall(
                self._store, self._reader, key, partial(_load_one, load_missing, name), age
            )
            for key, name in names.items()
            if key not in values
        }

        async def load(keys: list[str]) -> dict[str, Computed]:
            began = time.monotonic()
            loaded = await called(load_missing, [names[key] for key in keys])
            cost, have = time.monotonic() - began, [key for key in keys if names[key] in loaded]
            return {key: calls[key].made(loaded[names[key]], (), cost) for key in have}

        led = await fence.fills.lead_many(list(calls), load, online=online)
        others = [key for key in calls if key not in led]
        running = [fence.run(key, (), calls[key], online=online) for key in others]
        results = zip(others, await asyncio.gather(*running), strict=True)
        values |= {key: made.value[0] for key, made in led.items() if made is not None}
        values |= {key: result.value[0] for key, result in results}
        return {
            name: values[key]
            for key, name in names.items()
            if values.get(key, LEFT_OUT) is not LEFT_OUT
        }


async def _load_one(load_missing: Callable[[list[str]], Any], name: str) -> Any:
    return (await called(load_missing, [name])).get(name, LEFT_OUT)


def _refuse_many(tags: tuple[str, ...]) -> None:
    if len(tags) > MOST_TAGS:
        raise codec.UnstorableError(f"it has {len(tags)} tags, more than {MOST_TAGS}")


async def called(factory: Callable[..., Any], *args: Any) -> Any:
    """Call a factory; a plain one in a thread, so that it does not block the event loop."""
    if inspect.iscoroutinefunction(factory):
        return await factory(*args)
    return await in_a_thread(partial(factory, *args))

"""Entries at keys that the caller names: those of `get`, `set` and `get_or_set`."""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any

from ..base import Nonces
from ..coherence import Cached, Computed, Freshness, Outcome, is_answer, is_failure
from ..stored import Shown, codec, names_its_key, owner_digest
from ..values import BY_HAND
from .reading import OWNER, Reader, value_at
from .recording import recorded
from .running import in_a_thread
from .tag_nonces import TAGS, tags_of_record
from .told import Ended, tell_of_entry, tell_of_many
from .types import Store

logger = logging.getLogger(__name__)

Factory = Callable[[], Any]

_OF_MANY = "get_or_set_many"

LEFT_OUT: Any = object()
"""Stands for a value that a factory does not have; it is not stored or shared."""


class FactoryCall:
    """One call of `get_or_set`, as the fence knows it: a key, its tags, and a factory."""

    in_background = is_private = has_refused = False
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
        ended: Ended | None = None,
    ) -> None:
        self._store, self._reader, self._key, self._tags = store, reader, key, tags
        self._factory, self._freshness = factory, freshness
        self._ended = ended or Ended()

    def is_answer(self, error: BaseException) -> bool:
        """Whether an exception is an answer: that of an endpoint may be one."""
        return is_answer(error)

    def failed(self, value: Any) -> bool:
        """Whether a result is a failure: a response may be one."""
        return is_failure(value[0])

    def read(self, data: bytes, nonces: Nonces) -> Cached | None:
        """Return the value of the key: one that was computed, or one that was set by hand."""
        if names_its_key(data):
            return self._reader.read(self._key, data, self._tags, nonces, self._freshness)
        found = value_at(self._store, self._key, data)
        return None if found is None else Cached((found.value, None))

    def note(self, outcome: Outcome | None) -> None:
        """Do nothing: no factory runs in the background."""

    async def compute(self, nonces: Nonces) -> Computed:
        """Call the factory, and make a record of what it returns."""
        began, ended = time.monotonic(), self._ended
        ended.has_raised = True
        try:
            value = await called(self._factory)
            ended.has_raised = False
        finally:
            ended.ran = time.monotonic() - began
        return self.made(value, nonces, ended.ran)

    def made(self, value: Any, nonces: Nonces, cost: float) -> Computed:
        """Make a record of a value that took `cost` seconds to compute."""
        about, ms = self._freshness.stamp(cost)
        result = (value, None)
        if value is LEFT_OUT or self._key in self._store.fence.too_large:
            self._ended.why = "size"
            return Computed(result, None, ms)
        if self._tags:
            about[TAGS] = tags_of_record(self._tags, nonces)
        try:
            data = recorded(self._store, self._key, value, self._tags, about)
        except codec.UnstorableError as error:
            logger.warning("not stored at %s: %s", Shown(self._key), error)
            self._ended.why = "unstorable"
            return Computed(result, None, ms)
        if not self._freshness.expire:
            self._ended.why = "stale"
        return Computed(result, data if self._freshness.expire else None, ms)


class Entries:
    """The entries of one manager by whole keys: those set by hand, and those computed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reader = Reader(store, OWNER, BY_HAND, by_hand=True)
        store.readers[owner_digest(OWNER)] = self._reader

    async def _told(
        self,
        method: str,
        key: str,
        call: Callable[[Ended], Awaitable[Any]],
        past: Callable[[], Awaitable[Any]],
    ) -> Any:
        """Make a call, or one `past` the cache if that is off, and tell of it.

        A call notes in the `Ended` that it is given how it ends.
        """
        began, ended = time.perf_counter(), Ended()
        try:
            if self._store.switch.is_off:
                ended.outcome = Outcome.BYPASS
                return await past()
            result = await call(ended)
        except Exception:
            if ended.outcome is None and ended.ran is None:  # another call has raised it
                ended.outcome = Outcome.SHARED
            raise
        else:
            if isinstance(result, Cached):
                ended.outcome = Outcome.HIT
            return result
        finally:
            seconds = time.perf_counter() - began
            tell_of_entry(self._store.events, method, key, ended, seconds)

    async def get(self, key: str, ended: Ended | None = None, method: str = "get") -> Cached | None:
        """Return the value at a key, by the fastest way; `None` if there is none.

        Listeners are told that `method` was called.
        """
        if self._store.is_special and ended is None:
            told: Cached | None = await self._told(method, key, partial(self.get, key), _nothing)
            return told
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

    async def get_many(
        self, keys: Collection[str], method: str = "get_many"
    ) -> dict[str, Any] | None:
        """Return the values at keys that have one; `None` if the backend cannot be asked."""
        fence, tell = self._store.fence, partial(tell_of_many, self._store.events, method)
        if self._store.is_special and self._store.switch.is_off:
            tell(bypasses=len(keys))
            return {}
        there = await fence.look_many(keys)
        if there is None:
            tell(misses=len(keys))
            return None
        found = {key: value_at(self._store, key, data) for key, data in there.items()}
        tags = tuple({tag for each in found.values() if each is not None for tag in each.tags})
        nonces = (await fence.nonces(tags) or ()) if tags else ()
        now = dict(zip(tags, nonces, strict=False))
        values = {
            key: each.value
            for key, each in found.items()
            if each is not None and tuple(map(now.get, each.tags)) == each.nonces
        }
        tell(hits=len(values), misses=len(keys) - len(values))
        return values

    async def get_or_set(
        self,
        key: str,
        factory: Factory,
        freshness: Freshness,
        tags: tuple[str, ...],
        ended: Ended | None = None,
    ) -> Any:
        """Return the value at a key; if there is none, compute and store it."""
        if self._store.is_special and ended is None:
            call = partial(self.get_or_set, key, factory, freshness, tags)
            return await self._told("get_or_set", key, call, partial(called, factory))
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
            if ended is not None:
                ended.outcome = Outcome.HIT
            return hit[0]
        made = FactoryCall(self._store, reader, key, factory, freshness, tags=tags, ended=ended)
        result = await fence.run(key, tags, made, seen=look)
        if ended is not None:
            ended.outcome = result.outcome
        logger.debug("%s %s", result.outcome.value, Shown(key))
        return result.value[0]

    async def get_or_set_many(
        self, names: Mapping[str, str], load_missing: Callable[[list[str]], Any], age: Freshness
    ) -> dict[str, Any]:
        """Return the values at whole keys, by their names; load missing ones in one call."""
        if self._store.is_special and self._store.switch.is_off:
            tell_of_many(self._store.events, _OF_MANY, bypasses=len(names))
            loaded = await called(load_missing, [*names.values()])
            return {name: loaded[name] for name in names.values() if name in loaded}
        fence, found = self._store.fence, await self.get_many(names, _OF_MANY)
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


async def _nothing() -> None:
    pass


async def _load_one(load_missing: Callable[[list[str]], Any], name: str) -> Any:
    return (await called(load_missing, [name])).get(name, LEFT_OUT)


async def called(factory: Callable[..., Any], *args: Any) -> Any:
    """Call a factory; a plain one in a thread, so that it does not block the event loop."""
    if inspect.iscoroutinefunction(factory):
        return await factory(*args)
    return await in_a_thread(partial(factory, *args))

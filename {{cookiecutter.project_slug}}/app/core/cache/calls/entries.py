"""Entries that code computes itself, at keys of its own: those of `get_or_set`."""

import functools
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any

from ..base import Nonces
from ..coherence import Cached, Computed, Freshness, is_failure
from ..keys import MOST_TAGS
from ..stored import Record, Shown, codec, names_its_key
from ..values import BY_HAND
from .filling import stored_bytes
from .reading import TAGS, VALUE, Reader, Store, tags_of_record, value_at
from .running import in_a_thread

logger = logging.getLogger(__name__)

OWNER = b"get_or_set"

Factory = Callable[[], Any]

LEFT_OUT: Any = object()
"""What a factory returns that has no value: nobody who waits for it may have that."""


class FactoryCall:
    """One call of `get_or_set`, as the fence knows it: a key, its tags, and who computes it."""

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
        """Whether a result tells of a failure: a response may, like those of decorators."""
        return is_failure(value[0])

    def read(self, data: bytes, nonces: Nonces) -> Cached | None:
        """Return what stands at the key: what was computed, or what was set by hand."""
        if names_its_key(data):
            return self._reader.read(self._key, data, self._tags, nonces, self._freshness)
        found = value_at(self._store, self._key, data)
        return None if found is None else Cached((found.value, None))

    async def compute(self, nonces: Nonces) -> Computed:
        """Ask the factory, and make a record of what it returns."""
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


def _refuse_many(tags: tuple[str, ...]) -> None:
    if len(tags) > MOST_TAGS:
        raise codec.UnstorableError(f"it has {len(tags)} tags, more than {MOST_TAGS}")


async def called(factory: Callable[..., Any], *args: Any) -> Any:
    """Call a factory; a plain one in a thread, so that it does not block the event loop."""
    if inspect.iscoroutinefunction(factory):
        return await factory(*args)
    return await in_a_thread(functools.partial(factory, *args))

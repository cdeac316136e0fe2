"""Entries that code computes itself, at keys of its own: what `get_or_set` stores and reads."""

import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool

from . import codec
from .base import Nonces
from .fence import Fence, Found, Made
from .freshness import Freshness, is_failure
from .record import Record

_OWNER = b"get_or_set"
_KIND = b"value"
_TAGS, _NONCES = "tags", "nonces"

Factory = Callable[[], Any]

LEFT_OUT: Any = object()
"""What a factory returns that has no value: nobody who waits for it may have that."""


class Store(Protocol):
    """What an entry needs of a manager."""

    compress_over: int
    fence: Fence

    def refuse_large(self, data: bytes, key: str | None = None) -> None:
        """Raise `UnstorableError` if `data` is too large to be stored; note its key for a while."""


class Entry:
    """One entry, as the fence knows it: a key, its tags, and who computes it."""

    in_background = False

    def __init__(
        self,
        store: Store,
        key: str,
        factory: Factory,
        *,
        tags: tuple[str, ...] = (),
        freshness: Freshness,
        logger: logging.Logger,
    ) -> None:
        self._store, self._key, self._tags = store, key, tags
        self._factory, self._freshness, self._logger = factory, freshness, logger

    def failed(self, value: Any) -> bool:
        """Whether a result tells of a failure: a response may, like those of decorators."""
        return is_failure(value)

    def read(self, data: bytes, nonces: Nonces) -> Found | None:
        """Return what stands at the key: what was computed, or what was set by hand."""
        try:
            record = Record.from_bytes(self._key, data, _OWNER)
            if record is None:
                return Found(codec.decode(data))
            if tags_of(record) != self._tags or not _are_of(record, nonces):
                return None
            return Found(codec.decode(record.payload), self._freshness.is_due(record.about))
        except Exception:  # bytes from outside, damaged in a way of their own
            return None

    async def compute(self, nonces: Nonces) -> Made:
        """Ask the factory, and make a record of what it returns."""
        began = time.monotonic()
        return self.made(await called(self._factory), nonces, time.monotonic() - began)

    def made(self, value: Any, nonces: Nonces, cost: float) -> Made:
        """Make a record of a value that took `cost` seconds to compute."""
        about, ms = self._freshness.stamp(cost)
        if value is LEFT_OUT or self._key in self._store.fence.too_large:
            return Made(value, None, ms)
        if self._tags:
            about[_TAGS] = list(self._tags)
            about[_NONCES] = [(nonce or b"").decode() for nonce in nonces]
        try:
            record = Record(_KIND, codec.encode_checked(value), about)
            data = record.to_bytes(self._key, _OWNER, compress_over=self._store.compress_over)
            self._store.refuse_large(data, self._key)
        except codec.UnstorableError as error:
            self._logger.warning("not stored at %s: %s", self._key, error)
            return Made(value, None, ms)
        return Made(value, data if self._freshness.expire else None, ms)


def parsed(key: str, data: bytes) -> Record | None:
    """Return the record of an entry, or `None` if `data` is none, as what was set by hand."""
    try:
        return Record.from_bytes(key, data, _OWNER)
    except Exception:  # damaged inside
        return None


def tags_of(record: Record) -> tuple[str, ...]:
    """Return the keys of an entry's tags."""
    return tuple(record.about.get(_TAGS, ()))


def value_of(record: Record, nonces: Nonces) -> tuple[bool, Any]:
    """Return whether an entry is of use while its tags have these nonces, and its value."""
    try:
        return (True, codec.decode(record.payload)) if _are_of(record, nonces) else (False, None)
    except codec.CorruptError:
        return False, None


async def called(factory: Callable[..., Any], *args: Any) -> Any:
    """Call a factory; a plain one in a thread, so that it does not block the event loop."""
    if inspect.iscoroutinefunction(factory):
        return await factory(*args)
    values: list[Any] = []
    try:
        await run_in_threadpool(lambda: values.append(factory(*args)))
    except BaseException:  # a cancellation, which takes effect when the thread is done
        for value in filter(inspect.iscoroutine, values):
            value.close()
        raise
    (value,) = values
    return await value if isinstance(value, Awaitable) else value


def _are_of(record: Record, nonces: Nonces) -> bool:
    kept: list[str] = record.about.get(_NONCES, [])
    return kept == [(nonce or b"").decode() for nonce in nonces]

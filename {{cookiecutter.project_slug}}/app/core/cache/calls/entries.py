"""Entries that code computes itself, at keys of its own: what `get_or_set` stores and reads."""

import functools
import inspect
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..base import Nonces
from ..coherence import Fence, Found, Freshness, Made, is_failure
from ..keys import MOST_TAGS, OfFunctions, checked_tag_keys
from ..stored import Record, Shown, codec, names_its_key, owner_of
from ..values import NO_CLASSES, KnownClasses
from .running import in_a_thread

_OWNER = b"get_or_set"
_KIND = b"value"
_TAGS, _NONCES = "tags", "nonces"
_OF_AGE = frozenset({"until", "cost", "zlib"})
"""What a record may say besides that is a value, and nothing more."""

Factory = Callable[[], Any]

LEFT_OUT: Any = object()
"""What a factory returns that has no value: nobody who waits for it may have that."""


Reader = tuple[bytes, KnownClasses]
"""What reads a plain record of a decorated function: what its records bear, and its classes."""


class Store(Protocol):
    """What an entry needs of a manager."""

    key_prefix: str
    compress_over: int
    max_entry_bytes: int
    fence: Fence
    readers: OfFunctions[Reader]

    def refuse_large(self, data: bytes, key: str | None = None) -> None:
        """Raise `UnstorableError` if `data` is too large to be stored; note its key for a while."""


class Entry:
    """One entry, as the fence knows it: a key, its tags, and who computes it."""

    in_background = is_private = False
    owner: object = None

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
        if len(data) > self._store.max_entry_bytes:
            return None
        try:
            record = _record_at(self._store, self._key, data)
            if record is None:
                return Found(codec.decode(data))
            if record.about.get(_TAGS, []) != list(self._tags) or not _are_of(record, nonces):
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
            about[_NONCES] = _as_text(nonces)
        try:
            data = self._data(value, about)
        except codec.UnstorableError as error:
            self._logger.warning("not stored at %s: %s", Shown(self._key), error)
            return Made(value, None, ms)
        return Made(value, data if self._freshness.expire else None, ms)

    def _data(self, value: Any, about: dict[str, Any]) -> bytes:
        store = self._store
        if len(self._tags) > MOST_TAGS:
            raise codec.UnstorableError(f"it has {len(self._tags)} tags, more than {MOST_TAGS}")
        record = Record(_KIND, codec.encode_checked(value, codec.BY_HAND), about)
        store.refuse_large(record.payload, self._key)  # also if it becomes smaller
        data = record.to_bytes(self._key, _OWNER, compress_over=store.compress_over)
        store.refuse_large(data, self._key)
        return data


@dataclass(slots=True)
class Standing:
    """What stands at a key: what was set by hand, or an entry that has tags, or had none."""

    payload: bytes
    tags: tuple[str, ...] = ()
    """The keys of its tags."""
    nonces: tuple[str, ...] = ()
    """What their nonces have to be."""
    classes: KnownClasses = NO_CLASSES

    def value(self, now: Nonces = ()) -> tuple[bool, Any]:
        """Return whether it is of use while its tags have these nonces, and its value."""
        if (self.nonces or now) and [*self.nonces] != _as_text(now):
            return False, None
        try:
            return True, codec.decode(self.payload, self.classes)
        except codec.CorruptError:
            return False, None


def standing(store: Store, key: str, data: bytes | None) -> Standing | None:
    """Return what was set by hand at a key, or computed by `get_or_set` or a decorated function.

    `None` for all else: that is nothing, a lease, damaged, or of a function that this process does
    not know, or an entry of one that has tags or is more than a value. Never raises.
    """
    if data is None or len(data) > store.max_entry_bytes:
        return None
    try:
        record = _record_at(store, key, data)
        if record is None:
            return _of_a_function(store, key, data) if names_its_key(data) else Standing(data)
        tags = checked_tag_keys(record.about.get(_TAGS, []), store.key_prefix)
        nonces = tuple(record.about.get(_NONCES, []))
        return Standing(record.payload, tags, nonces)
    except Exception:  # bytes from outside, damaged in a way of their own
        return None


def _of_a_function(store: Store, key: str, data: bytes) -> Standing | None:
    reader = store.readers.get(owner_of(key, data))
    if reader is None:
        return None
    owner, classes = reader
    record = Record.from_bytes(key, data, owner, largest=store.max_entry_bytes)
    if record is None or record.kind != _KIND or not _OF_AGE.issuperset(record.about):
        return None
    return Standing(record.payload, classes=classes)


async def called(factory: Callable[..., Any], *args: Any) -> Any:
    """Call a factory; a plain one in a thread, so that it does not block the event loop."""
    if inspect.iscoroutinefunction(factory):
        return await factory(*args)
    return await in_a_thread(functools.partial(factory, *args))


def _record_at(store: Store, key: str, data: bytes) -> Record | None:
    record = Record.from_bytes(key, data, _OWNER, largest=store.max_entry_bytes)
    if record is not None and record.kind != _KIND:
        raise ValueError("a record of another kind")
    return record


def _are_of(record: Record, nonces: Nonces) -> bool:
    return bool(record.about.get(_NONCES, []) == _as_text(nonces))


def _as_text(nonces: Nonces) -> list[str]:
    return [(nonce or b"").decode("latin-1") for nonce in nonces]

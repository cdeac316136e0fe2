"""What is done at a key that the caller names: set, add, touch, count, ask for its time, list keys."""

import logging
import math
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from typing import Any

from ..base import CacheBackend, Nonces
from ..coherence import Looks, is_lease
from ..errors import UnavailableError
from ..expiry import Expire, milliseconds
from ..keys import KeyPattern
from ..stored import RECORD_HEAD, Record, Shown, codec, owner_of
from ..values import BY_HAND
from .reading import OWNER, VALUE, value_at
from .recording import recorded, refuse_large, stored_bytes
from .tag_nonces import NO_NONCE, TAGS, tags_of_record
from .types import Store

logger = logging.getLogger(__name__)

_TRIALS = 5
"""So often is a counter begun anew while others change what stands there."""


class SingleSteps:
    """The single steps of one manager, by whole keys. None raises if the backend is away.

    An entry is there if this process, or another one, would serve it: a stored response, too, but
    neither a lease, nor what has lost its tags, nor bytes that are not the cache's.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def _backend(self) -> CacheBackend:
        return self._store.backend

    @property
    def _looks(self) -> Looks:
        return self._store.fence.looks

    async def set(
        self, key: str, value: Any, expire: int | timedelta, tags: tuple[str, ...] = ()
    ) -> bool:
        """Store a value by hand; return whether it is stored. If not, remove the old value."""
        store, invalidations = self._store, self._store.invalidations
        is_off = store.is_special and store.switch.is_off
        if is_off or milliseconds(expire) == 0:
            await invalidations.remove([key])
            return False
        try:
            storing = (
                self._tagged(key, value, expire, tags) if tags else self._plain(key, value, expire)
            )
        except codec.UnstorableError as error:
            logger.warning("not stored at %s: %s", Shown(key), error)
            await invalidations.remove([key])
            return False
        return bool(await invalidations.carry_out(storing, False, [KeyPattern((key,))]))

    def _plain(self, key: str, value: Any, expire: int | timedelta) -> Awaitable[int]:
        """Return the step that stores a value as JSON; raises `UnstorableError` at once."""
        data = codec.encode(value, BY_HAND)
        refuse_large(self._store, data)
        backend = self._store.backend
        return self._store.fence.writes.take(key, lambda: backend.set_json(key, data, expire))

    def _tagged(
        self, key: str, value: Any, expire: int | timedelta, tags: tuple[str, ...]
    ) -> Awaitable[int]:
        """Return the steps that store a value with tags; raises `UnstorableError` at once."""
        ms = milliseconds(expire)

        def make(nonces: Nonces) -> tuple[bytes, int]:
            about = {TAGS: tags_of_record(tags, nonces)}
            return recorded(self._store, key, value, tags, about), ms

        make((NO_NONCE,) * len(tags))
        return self._store.fence.writes.put_tagged(key, tags, make)

    async def add(self, key: str, value: object, expire: Expire) -> bool:
        """Store a value if there is none; return whether this call has stored it.

        Raises `UnstorableError` for a value that would not come back equal, or is too large.
        """
        store, ms = self._store, milliseconds(expire)
        record = Record(VALUE, codec.encode_checked(value, BY_HAND))
        data = stored_bytes(store, key, OWNER, record)  # a number of its own tells it from others'
        if ms == 0 or store.switch.is_off or store.invalidations.pending.covers(key):
            return False

        async def step() -> bool:
            standing = await self._looks.ask(self._backend.acquire(key, data, ms))
            if standing is None:
                return True
            if is_lease(standing) or await self._is_there(key, standing):
                return False
            over = standing[:RECORD_HEAD]
            return await self._looks.ask(self._backend.replace(key, over, data, ms))

        try:
            added = await self._store.fence.writes.take(key, step)
        except UnavailableError:
            return False
        self._forget(key)
        return added

    async def touch(self, key: str, expire: Expire) -> bool:
        """Let an entry live for `expire` from now on; return whether there is one."""
        ms = milliseconds(expire)
        if ms == 0:
            return await self._store.invalidations.remove([key]) > 0

        async def step() -> bool:
            data = await self._found(key)
            if data is None:
                return False
            return await self._looks.ask(self._backend.renew(key, data[:RECORD_HEAD], ms))

        try:
            touched = await self._store.fence.writes.take(key, step)
        except UnavailableError:
            return False
        self._forget(key)
        return touched

    async def increment(self, key: str, by: int, expire: Expire) -> int | None:
        """Add to the whole number at a key, and return the sum; `None` if that is not known.

        Raises `ValueError` if another entry stands there, or the sum is too large.
        """
        store, ms = self._store, max(1, milliseconds(expire))
        if store.switch.is_off or store.invalidations.pending.covers(key):
            return None

        async def step() -> int | None:
            for _ in range(_TRIALS):
                total = await self._looks.ask(self._backend.increment(key, by, ms))
                if total is not None:
                    return total
                standing, _, is_well = await self._looks.look(key, by_hand=True)
                if not is_well or is_lease(standing):
                    return None
                if standing is None:
                    continue  # it has ended meanwhile
                if await self._is_there(key, standing):
                    raise ValueError(
                        f"by={by!r} cannot be added to the entry at {key!r}: that is no whole number "
                        f"without tags, or the sum is not below 2**63"
                    )
                over, begun = standing[:RECORD_HEAD], b"%d" % by
                if await self._looks.ask(self._backend.replace(key, over, begun, ms)):
                    return by
            return None

        try:
            total = await self._store.fence.writes.take(key, step)
        except UnavailableError:
            return None
        self._forget(key)
        return total

    async def ttl(self, key: str) -> float | None:
        """Return for how many seconds an entry still lives; `None` if there is none."""
        if await self._found(key) is None:
            return None
        try:
            ms = await self._looks.ask(self._backend.ttl_ms(key))
        except UnavailableError:
            return None
        return None if ms is None else math.inf if ms < 0 else ms / 1000

    async def scan(self, pattern: KeyPattern) -> AsyncIterator[str]:
        """Yield the keys of entries, some perhaps twice; raises `UnavailableError` if the backend is away."""
        own = f"{self._store.key_prefix}:"
        async for keys in self._backend.scan(pattern):
            for key in keys:
                name = key.removeprefix(own)
                if not name.startswith("~") and not name.endswith(":~refresh"):
                    yield name

    async def _found(self, key: str) -> bytes | None:
        """Return the bytes of an entry, or `None` if there is none."""
        data, *_ = await self._looks.look(key, by_hand=True)
        if data is None or is_lease(data) or self._store.switch.is_off:
            return None
        return data if await self._is_there(key, data) else None

    async def _is_there(self, key: str, data: bytes) -> bool:
        """Whether these bytes, which are no lease, are an entry that somebody is served."""
        found, owner = value_at(self._store, key, data), owner_of(key, data)
        if found is None and owner and owner not in self._store.readers:
            return True  # of a function that only others have
        told = None if found is None else (found.tags, found.nonces)
        if told is None and owner:
            told = self._store.readers[owner].tags_in(key, data)
        if told is None:
            return False
        tags, nonces = told
        return not tags or await self._store.fence.nonces(tags) == nonces

    def _forget(self, key: str) -> None:
        if self._backend.near is not None:
            self._backend.near.forget([KeyPattern((key,))])

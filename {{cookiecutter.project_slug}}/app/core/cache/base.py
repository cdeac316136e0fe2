"""The base class of backends: six methods to implement, and others that may be overridden."""

import asyncio
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .defaults import DEFAULT_KEY_PREFIX
from .events import Events
from .keys import KeyPattern
from .stored import codec

if TYPE_CHECKING:
    from .near import NearCache

POLL_SECONDS = 0.09
"""Seconds between two reads while another process computes, if nothing is pushed."""

_RAW = "~raw "
"""The prefix of bytes that are kept as text, in a backend that only keeps values."""

WRONG_TYPE = b"?"
"""Stands for an entry that is not bytes, such as a Redis list."""

Nonces = tuple[bytes | None, ...]
NONCE_BYTES = 16
_NONCE = re.compile(rb"[0-9a-f]{%d}" % NONCE_BYTES)


class CacheBackend(ABC):
    """Where entries are kept. Subclass it and implement the six abstract methods.

    Keys are complete: they begin with the manager's prefix. Values are JSON data and the tagged
    types of `codec`; a backend that keeps Python objects must return copies. A method may raise:
    the manager turns that into a miss, `False` or `None`, and repeats an invalidation that raised
    until it is delivered.

    The other methods call the six, so they work on every backend. Override them if the backend can
    do better.
    """

    key_prefix: str = DEFAULT_KEY_PREFIX
    """The prefix of this backend's keys, without the colon. `clear` removes all keys below it.

    If the backend does not override `delete_matching`, the manager sets it to its own prefix before
    it calls `clear`.
    """

    events: Events | None = None
    """Whom it tells of its servers; `None`, the default, if it tells nobody."""

    connects: bool = True
    """Whether it may have connections. A connection belongs to the event loop that opened it."""

    @abstractmethod
    async def get(self, key: str) -> Any | None:
        """Return the value at `key`, or `None` if there is none or it has expired."""

    @abstractmethod
    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        """Store `value` at `key` for `expire` seconds, or until it is evicted if `None`.

        Return whether it is stored. With `expire` zero or negative it is not stored, and the key is
        removed.
        """

    @abstractmethod
    async def delete(self, key: str) -> bool:
        """Remove `key` and return whether it existed."""

    @abstractmethod
    async def exists(self, key: str) -> bool:
        """Return whether `key` exists and has not expired."""

    @abstractmethod
    async def clear(self) -> bool:
        """Remove every key below `key_prefix` and nothing else; return whether that was done."""

    @abstractmethod
    async def close(self) -> None:
        """Release connections and memory. A closed backend opens again when it is used."""

    near: "NearCache | None" = None
    """The near cache, if there is one; the manager reads it first."""

    atomic: bool = False
    """Whether each method of the fence, from `look` to `invalidate_tag_keys`, is atomic."""

    def on_recovery(self, _step: Callable[[], Awaitable[None]], /) -> bool:
        """Have `_step` awaited when a server that had failed works again, before other commands.

        Return whether the backend does that. By default it does not, and the manager polls.
        """
        return False

    def on_takeover(self, _step: Callable[[], None], /) -> bool:
        """Have `_step` called when another server takes over, before any command is sent to it.

        Replication is asynchronous, so the new server may lack the last writes of the old one.
        Return whether a failover can happen. By default it cannot.
        """
        return False

    async def health_check(self) -> bool:
        """Return whether the backend answers. By default: whether `exists` does not raise."""
        await self.exists(f"{self.key_prefix}:health-check")
        return True

    async def delete_matching(self, pattern: KeyPattern) -> int:
        """Remove every key that `pattern` matches; return how many, `False` if that was not done.

        `True` is for a number that is not known. By default a pattern with a wildcard clears
        everything. The six methods cannot list keys, and removing too much is safe.
        """
        if pattern.exact_key is None:
            return await self.clear()
        await self.delete(pattern.exact_key)
        return True

    def scan(self, pattern: KeyPattern, /) -> AsyncIterator[Sequence[str]]:
        """Yield the keys that `pattern` matches, some at a time; a key may come twice.

        By default it raises `NotImplementedError`, as the six methods cannot list keys.
        """
        raise NotImplementedError(f"{self!r} cannot list {pattern}: override scan")

    async def get_bytes(self, key: str) -> bytes | None:
        """Return the bytes at `key`, or what `set` stored as JSON; `WRONG_TYPE` if it has none."""
        value = await self.get(key)
        if value is None:
            return b"null" if await self.exists(key) else None
        if isinstance(value, str) and value.startswith(_RAW):
            return value.removeprefix(_RAW).encode("latin-1")
        try:
            return codec.encode(value)
        except codec.UnstorableError:  # another program stored it
            return WRONG_TYPE

    async def set_bytes(self, key: str, data: bytes, expire: int | timedelta | None = None) -> bool:
        """Store bytes; otherwise like `set`. By default as text, one character for each byte."""
        return await self.set(key, _RAW + data.decode("latin-1"), expire)

    async def set_json(self, key: str, data: bytes, expire: int | timedelta | None = None) -> bool:
        """Store a value that is given as JSON. By default by `set`, so that `get` returns it."""
        value = codec.decode(data)
        if isinstance(value, str) and value.startswith(_RAW):  # `get_bytes` would take it for bytes
            return await self.set_bytes(key, data, expire)
        return await self.set(key, value, expire)

    async def get_many_bytes(self, keys: Sequence[str]) -> Nonces:
        """Return the bytes at each of `keys`; in one round trip if the backend can."""
        return tuple([await self.get_bytes(key) for key in keys])

    async def delete_many(self, keys: Sequence[str]) -> int:
        """Remove `keys` and return how many of them existed."""
        return sum([await self.delete(key) for key in keys])

    # The fence needs these methods (see `fence`). They should be atomic. The defaults are not: two
    # processes may both compute, and may store a value that a third one has just invalidated.
    # They raise `UnavailableError` if the backend is not available.

    async def look(
        self, key: str, tags: Sequence[str] = (), deadline: float | None = None
    ) -> tuple[bytes | None, Nonces]:
        """Return the bytes at `key` and the nonces at the keys `tags`; `None` for a missing key.

        It ends before `deadline`, if given: the one of an `UnansweredError`.
        """
        del deadline  # the six methods have none
        return await self.get_bytes(key), tuple([await self.get_bytes(tag) for tag in tags])

    async def ttl_ms(self, _key: str, /) -> int | None:
        """Return for how many milliseconds a key still lives, -1 for one without an end.

        `None` if there is no such key, or, by default, if that cannot be known.
        """
        return None

    def read_now(
        self, _key: str, _tags: Sequence[str] = (), /
    ) -> tuple[bytes | None, Nonces] | None:
        """Return what `look` would, without waiting; `None`, the default, if only `look` can."""
        return None

    def read_nowait(
        self, _key: str, _tags: Sequence[str] = (), /, *, by_hand: bool = False
    ) -> "asyncio.Future[Any] | None":
        """Send a GET, and one for each tag, and return the future of the reply.

        Without tags it is the bytes at `key`; with tags, a list of these and the nonces. With
        `by_hand` the backend proves that the reply belongs to this GET; else the caller must check
        that it is about this key. The future may raise `UnansweredError`; any other exception says
        that the backend is not available. Returns `None`, the default, if there is no fast path.
        """
        del by_hand
        return None

    async def wait_for_change(self, key: str, _standing: bytes, /) -> bytes | None:
        """Wait until `key` may no longer hold `_standing`, and return the bytes at `key`.

        They may be the same as before. By default it waits `POLL_SECONDS`.
        """
        await asyncio.sleep(POLL_SECONDS)
        return (await self.look(key))[0]

    async def acquire(self, key: str, data: bytes, ms: int) -> bytes | None:
        """Store `data` at `key` for `ms` milliseconds if the key is free, else return its bytes."""
        standing = await self.get_bytes(key)
        if standing is None:
            await self.set_bytes(key, data, timedelta(milliseconds=ms))
        return standing

    async def replace(self, key: str, over: bytes, data: bytes, ms: int) -> bool:
        """Store `data` at `key` if its bytes begin with `over`; return whether it is stored."""
        standing = await self.get_bytes(key)
        if standing is None or not standing.startswith(over):
            return False
        return await self.set_bytes(key, data, timedelta(milliseconds=ms))

    async def renew(self, key: str, over: bytes, ms: int) -> bool:
        """Let `key` expire in `ms` if its bytes begin with `over`; return whether they did."""
        standing = await self.get_bytes(key)
        if standing is None or not standing.startswith(over):
            return False
        return await self.set_bytes(key, standing, timedelta(milliseconds=ms))

    async def increment(self, key: str, by: int, ms: int) -> int | None:
        """Add `by` to the whole number at `key`, and return the sum; `None` if there is another value.

        If there is none, it begins with 0 and lives for `ms` milliseconds; else its time stays. By
        default two callers at once may count as one, and a time that is not known begins anew.
        """
        standing = await self.get(key)
        if type(standing) is not int and (standing is not None or await self.exists(key)):
            return None
        total, left = (standing or 0) + by, await self.ttl_ms(key)
        expire = timedelta(milliseconds=left or ms)
        await self.set(key, total, None if left == -1 else expire)
        return total

    async def release(self, key: str, over: bytes) -> bool:
        """Remove `key` if its bytes begin with `over`; return whether it was removed."""
        standing = await self.get_bytes(key)
        if standing is None or not standing.startswith(over):
            return False
        return await self.delete(key)

    async def nonces_now(self, tags: Sequence[str]) -> Nonces:
        """Return the bytes at the keys `tags`; of bytes that are no nonce, the start may do."""
        return await self.get_many_bytes(tags)

    async def nonces(self, tags: Sequence[str], ms: int) -> Nonces:
        """Return the nonces at the keys `tags`; where there is none, store a new one for `ms`."""
        found: list[bytes | None] = []
        for tag in tags:
            nonce = new_nonce()
            standing = await self.acquire(tag, nonce, ms) or nonce
            if not is_nonce(standing):
                await self.set_bytes(tag, nonce, timedelta(milliseconds=ms))
                standing = nonce
            found.append(standing)
        return tuple(found)

    async def invalidate_tag_keys(self, tags: Sequence[str], ms: int) -> bool:
        """Store a new nonce at each of the keys `tags`; return whether that was done."""
        done = [await self.set_bytes(tag, new_nonce(), timedelta(milliseconds=ms)) for tag in tags]
        return all(done)


def new_nonce() -> bytes:
    """Return random bytes that no other call has returned."""
    return secrets.token_hex(NONCE_BYTES // 2).encode()


def is_nonce(data: bytes | None) -> bool:
    """Whether bytes have the form of a nonce. Other bytes are not from this cache."""
    return data is not None and _NONCE.fullmatch(data) is not None


class BytesBackend(CacheBackend):
    """A backend that keeps bytes: implement `get_bytes` and `set_bytes`, and values are JSON."""

    async def get(self, key: str) -> Any | None:
        """Return the value at `key`, or `None`, also if its bytes are no stored value."""
        data = await self.get_bytes(key)
        try:
            return None if data is None else codec.decode(data)
        except codec.CorruptError:
            return None

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        """Store `value` as JSON; raises `UnstorableError` if it would not come back equal."""
        return await self.set_bytes(key, codec.encode(value, codec.BY_HAND), expire)

    async def set_json(self, key: str, data: bytes, expire: int | timedelta | None = None) -> bool:
        return await self.set_bytes(key, data, expire)

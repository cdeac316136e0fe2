"""What a cache backend is: six methods that it must have, and a few that it may do better."""

import asyncio
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any, Protocol

from .keys import KeyPattern
from .stored import codec

DEFAULT_KEY_PREFIX = "app"
DEFAULT_OPERATION_TIMEOUT = 0.25
DEFAULT_NEAR_BYTES = 64 * 1024 * 1024


POLL_SECONDS = 0.09
"""How often a process looks for what another one computes, if nobody tells it."""

_RAW = "~raw "
"""What bytes begin with where a backend keeps them as text."""

WRONG_TYPE = b"?"
"""Stands for what is at a key and is no bytes at all: a Redis list, for one."""

Nonces = tuple[bytes | None, ...]
NONCE_BYTES = 16
_NONCE = re.compile(rb"[0-9a-f]{%d}" % NONCE_BYTES)


class NearEntry(Protocol):
    """One entry of a near cache."""

    data: bytes
    memo: Any
    """What its reader has made of it, to do that once."""


class NearCache(Protocol):
    """What a backend keeps of entries in this process: see `backends/near.py`."""

    def get(self, key: str, /) -> NearEntry | None:
        """Return the entry of `key`, or `None` if there is none that can be vouched for."""

    def nonces(self, tags: Collection[str], /) -> "tuple[bytes, ...] | None":
        """Return the nonces at the keys `tags`, or `None` if not all of them are here."""

    def remember(self, key: str, kept: Any, memo: object, size: int, /) -> None:
        """Remember with an entry what its reader has made of it, which takes `size` bytes, about."""

    def changed(self, keys: Iterable[str], /) -> None:
        """Remove what somebody says has changed."""

    def forget(self, patterns: Collection[KeyPattern], /) -> None:
        """Remove what this process invalidates, and keep no reply to what was asked before."""


class CacheBackend(ABC):
    """Where entries are kept. Subclass it and implement the six abstract methods.

    Keys arrive complete, with the manager's prefix in front. Values are whatever JSON can say,
    and the tagged types of `codec`; a backend that keeps Python objects must hand out copies.
    A method may raise: the manager turns that into a miss, a `False` or `None`, and an invalidation
    that raised is kept until it can be delivered.

    The methods below the six work on every backend by means of the six. Override them where the
    backend can do better.
    """

    key_prefix: str = DEFAULT_KEY_PREFIX
    """What this backend's keys begin with, without the colon: the reach of `clear`.

    On a backend that leaves `delete_matching` as it is, a manager sets it to its own prefix before
    it calls `clear`.
    """

    connects: bool = True
    """Whether it may have connections, which belong to the event loop that they were made in."""

    @abstractmethod
    async def get(self, key: str) -> Any | None:
        """Return the value at `key`, or `None` if there is none or it has expired."""

    @abstractmethod
    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        """Store `value` at `key` for `expire` seconds, or until it is evicted if `None`.

        Return whether it is stored. With `expire` zero or negative it is not, and what stood
        at the key is removed.
        """

    @abstractmethod
    async def delete(self, key: str) -> bool:
        """Remove `key` and return whether there was something to remove."""

    @abstractmethod
    async def exists(self, key: str) -> bool:
        """Return whether `key` holds something that has not expired."""

    @abstractmethod
    async def clear(self) -> bool:
        """Remove every key below `key_prefix` and nothing else; return whether that was done."""

    @abstractmethod
    async def close(self) -> None:
        """Give back connections and memory. A closed backend opens again when it is used."""

    near: NearCache | None = None
    """What it keeps of entries in this process, if anything; the manager looks there first."""

    atomic: bool = False
    """Whether the steps of the fence, from `look` to `invalidate_tag_keys`, are one step each."""

    def on_recovery(self, _step: Callable[[], Awaitable[None]], /) -> bool:
        """Have a step awaited when a server that was unwell works again, before others ask it.

        Return whether it will be. By default it never is: the manager tries from time to time.
        """
        return False

    def on_takeover(self, _step: Callable[[], None], /) -> bool:
        """Have a step called when another server takes over, before it is asked for anything.

        It may not have got what the last one did in the end. Return whether that can be. By default
        there is no other server.
        """
        return False

    async def health_check(self) -> bool:
        """Return whether the backend answers. By default: whether `exists` does not raise."""
        await self.exists(f"{self.key_prefix}:health-check")
        return True

    async def delete_matching(self, pattern: KeyPattern) -> bool:
        """Remove every key that `pattern` covers; return whether that was done.

        By default a pattern with a wildcard clears everything: six methods cannot list keys, and
        a cache may forget too much, but never too little.
        """
        if pattern.exact_key is None:
            return await self.clear()
        await self.delete(pattern.exact_key)
        return True

    async def get_bytes(self, key: str) -> bytes | None:
        """Return the bytes at `key`, or `None`. By default: what `set_bytes` stored, or else a value
        that was set by hand, as JSON; `WRONG_TYPE` for what is no such value."""
        value = await self.get(key)
        if value is None:
            return b"null" if await self.exists(key) else None
        if isinstance(value, str) and value.startswith(_RAW):
            return value.removeprefix(_RAW).encode("latin-1")
        try:
            return codec.encode(value)
        except codec.UnstorableError:  # put there by somebody else
            return WRONG_TYPE

    async def set_bytes(self, key: str, data: bytes, expire: int | timedelta | None = None) -> bool:
        """Store `data` as it is, otherwise like `set`. By default: as text, a character a byte."""
        return await self.set(key, _RAW + data.decode("latin-1"), expire)

    async def set_json(self, key: str, data: bytes, expire: int | timedelta | None = None) -> bool:
        """Store the JSON of a value. By default: the value, so that `get` finds it, by `set`."""
        value = codec.decode(data)
        if isinstance(value, str) and value.startswith(_RAW):  # it would be read as bytes
            return await self.set_bytes(key, data, expire)
        return await self.set(key, value, expire)

    async def get_many_bytes(self, keys: Sequence[str]) -> Nonces:
        """Return what stands at each of `keys`; in one round trip where the backend can."""
        return tuple([await self.get_bytes(key) for key in keys])

    async def delete_many(self, keys: Sequence[str]) -> int:
        """Remove `keys` and return how many of them there were."""
        return sum([await self.delete(key) for key in keys])

    # What the fence needs (see `fence`). Each is one atomic step where a backend can do that; the
    # defaults are several, so that two processes may both compute, and an invalidation in another
    # process may be overtaken. They raise `UnavailableError` where the backend cannot be asked.

    async def look(
        self, key: str, tags: Sequence[str] = (), deadline: float | None = None
    ) -> tuple[bytes | None, Nonces]:
        """Return what stands at `key`, and the nonces at the keys `tags`, `None` for none.

        With a `deadline`, that of an `UnansweredError`, it is over by then.
        """
        del deadline  # six methods know of none
        return await self.get_bytes(key), tuple([await self.get_bytes(tag) for tag in tags])

    def read_now(
        self, _key: str, _tags: Sequence[str] = (), /
    ) -> tuple[bytes | None, Nonces] | None:
        """Return what `look` does, at once; `None` where that takes a coroutine, as by default."""
        return None

    def read_nowait(
        self, _key: str, _tags: Sequence[str] = (), /, *, by_hand: bool = False
    ) -> "asyncio.Future[Any] | None":
        """Send a GET, and one for each tag, and return the future of what stands at `key`.

        With tags that is a list: what stands at the key, and the nonces. With `by_hand` the reply is
        proven to be the one to this question; else whoever gets it has to see that it is one about
        this key. It may be an `UnansweredError`; any other one says that the backend cannot be asked.
        Returns `None` if the fast path is not available; that is the default.
        """
        del by_hand
        return None

    async def wait_for_change(self, key: str, _standing: bytes, /) -> bytes | None:
        """Return what stands at `key`, after a while if that is still what stood there.

        It may be that again. By default a while is `POLL_SECONDS`.
        """
        await asyncio.sleep(POLL_SECONDS)
        return (await self.look(key))[0]

    async def acquire(self, key: str, data: bytes, ms: int) -> bytes | None:
        """Put `data` at `key` for `ms` milliseconds if nothing stands there, else return that."""
        standing = await self.get_bytes(key)
        if standing is None:
            await self.set_bytes(key, data, timedelta(milliseconds=ms))
        return standing

    async def replace(self, key: str, over: bytes, data: bytes, ms: int) -> bool:
        """Put `data` at `key` if what stands there begins with `over`; return whether it did."""
        standing = await self.get_bytes(key)
        if standing is None or not standing.startswith(over):
            return False
        return await self.set_bytes(key, data, timedelta(milliseconds=ms))

    async def renew(self, key: str, over: bytes, ms: int) -> bool:
        """Let `key` live for `ms` from now if it begins with `over`; return whether it did."""
        return await self.replace(key, over, over, ms)

    async def release(self, key: str, over: bytes) -> bool:
        """Remove `key` if what stands there begins with `over`; return whether it did."""
        standing = await self.get_bytes(key)
        if standing is None or not standing.startswith(over):
            return False
        return await self.delete(key)

    async def nonces_now(self, tags: Sequence[str]) -> Nonces:
        """Return what stands at the keys `tags`, or of each its beginning that tells no nonce."""
        return await self.get_many_bytes(tags)

    async def nonces(self, tags: Sequence[str], ms: int) -> Nonces:
        """Return the nonces at the keys `tags`; make those that are missing, or none, for `ms`."""
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
        """Put a new nonce at each of the keys `tags`; return whether that was done."""
        done = [await self.set_bytes(tag, new_nonce(), timedelta(milliseconds=ms)) for tag in tags]
        return all(done)


def new_nonce() -> bytes:
    """Return random bytes that no other call has returned."""
    return secrets.token_hex(NONCE_BYTES // 2).encode()


def is_nonce(data: bytes | None) -> bool:
    """Whether bytes are what `new_nonce` makes; all others somebody else has put there."""
    return data is not None and _NONCE.fullmatch(data) is not None


class BytesBackend(CacheBackend):
    """A backend that keeps bytes: implement `get_bytes` and `set_bytes`, and values are JSON."""

    async def get(self, key: str) -> Any | None:
        """Return the value at `key`, or `None`, also for bytes that are no value of ours."""
        data = await self.get_bytes(key)
        try:
            return None if data is None else codec.decode(data)
        except codec.CorruptError:
            return None

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        """Store `value` as JSON; raises `UnstorableError` where it would not come back equal."""
        return await self.set_bytes(key, codec.encode(value, codec.BY_HAND), expire)

    async def set_json(self, key: str, data: bytes, expire: int | timedelta | None = None) -> bool:
        return await self.set_bytes(key, data, expire)

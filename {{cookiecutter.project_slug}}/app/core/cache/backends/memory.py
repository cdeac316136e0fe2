"""Entries in this process: for development, for tests, and for a service of one process."""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

from ..base import BytesBackend, Nonces
from ..defaults import DEFAULT_KEY_PREFIX
from ..expiry import milliseconds
from ..keys import KeyPattern
from ..workers import warn_of_several_processes

_NEVER = float("inf")
_WHOLE = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_TOO_MUCH = 2**63  # as in Redis


class MemoryBackend(BytesBackend):
    """A bounded store in memory; the least recently used entry is evicted first.

    It holds at most `max_entries` entries and `max_bytes` bytes of keys and values. An entry that
    alone is larger is not stored. Values are kept as the bytes that Redis would hold, so that each
    reader gets its own copy, and both backends return the same. `clock` returns seconds.

    Safe to use from several threads and event loops. `close` removes everything. It warns if there
    are several worker processes: an invalidation in one of them does not reach the others.
    """

    atomic = True
    connects = False

    def __init__(
        self,
        *,
        max_entries: int = 10_000,
        max_bytes: int = 64 * 1024 * 1024,
        key_prefix: str = DEFAULT_KEY_PREFIX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_entries < 1 or max_bytes < 1:
            raise ValueError(f"{max_entries=} and {max_bytes=} must be 1 or more")
        warn_of_several_processes()
        self.key_prefix = key_prefix
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"MemoryBackend(max_entries={self._max_entries}, max_bytes={self._max_bytes})"

    async def delete(self, key: str) -> bool:
        with self._lock:
            present = self._live(key) is not None
            self._remove(key)
            return present

    async def exists(self, key: str) -> bool:
        with self._lock:
            return self._live(key) is not None

    async def clear(self) -> bool:
        await self.delete_matching(KeyPattern((f"{self.key_prefix}:", "")))
        return True

    async def close(self) -> None:
        """Remove everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    async def delete_matching(self, pattern: KeyPattern) -> int:
        with self._lock:
            keys = self._matching(pattern)
            for key in keys:
                self._remove(key)
        return len(keys)

    async def scan(self, pattern: KeyPattern, /) -> AsyncIterator[Sequence[str]]:
        with self._lock:
            keys = self._matching(pattern)
        yield keys

    def _matching(self, pattern: KeyPattern) -> list[str]:
        now = self._clock()
        return [
            key for key, (_, end) in self._entries.items() if end > now and pattern.matches(key)
        ]

    async def get_bytes(self, key: str) -> bytes | None:
        with self._lock:
            return self._live(key)

    async def set_bytes(self, key: str, data: bytes, expire: int | timedelta | None = None) -> bool:
        lifetime = _NEVER if expire is None else milliseconds(expire) / 1000
        with self._lock:
            return self._put(key, data, lifetime)

    async def look(
        self, key: str, tags: Sequence[str] = (), deadline: float | None = None
    ) -> tuple[bytes | None, Nonces]:
        del deadline  # memory answers at once
        return self.read_now(key, tags)

    def read_now(self, key: str, tags: Sequence[str] = (), /) -> tuple[bytes | None, Nonces]:
        with self._lock:
            return self._live(key), tuple([self._live(tag) for tag in tags]) if tags else ()

    async def ttl_ms(self, key: str, /) -> int | None:
        with self._lock:
            if self._live(key) is None:
                return None
            end = self._entries[key][1]
            return -1 if end == _NEVER else max(1, int((end - self._clock()) * 1000))

    async def acquire(self, key: str, data: bytes, ms: int) -> bytes | None:
        with self._lock:
            standing = self._live(key)
            if standing is None:
                self._put(key, data, ms / 1000)
            return standing

    async def replace(self, key: str, over: bytes, data: bytes, ms: int) -> bool:
        with self._lock:
            return self._begins(key, over) and self._put(key, data, ms / 1000)

    async def renew(self, key: str, over: bytes, ms: int) -> bool:
        with self._lock:
            standing = self._live(key) if self._begins(key, over) else None
            return standing is not None and self._put(key, standing, ms / 1000)

    async def increment(self, key: str, by: int, ms: int) -> int | None:
        with self._lock:
            standing = self._live(key)
            if standing is None:
                return by if self._put(key, b"%d" % by, ms / 1000) else None
            if not _WHOLE.fullmatch(standing) or abs(int(standing) + by) >= _TOO_MUCH:
                return None
            total, end = int(standing) + by, self._entries[key][1]
            self._put(key, b"%d" % total, end - self._clock())
            return total

    async def release(self, key: str, over: bytes) -> bool:
        with self._lock:
            if not self._begins(key, over):
                return False
            self._remove(key)
            return True

    def _begins(self, key: str, over: bytes) -> bool:
        standing = self._live(key)
        return standing is not None and standing.startswith(over)

    def _put(self, key: str, data: bytes, lifetime: float) -> bool:
        size = _size(key, data)
        self._remove(key)
        if lifetime == 0 or size > self._max_bytes:
            return False
        self._entries[key] = (data, self._clock() + lifetime)
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))
        return True

    def _live(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        data, expires_at = entry
        if expires_at <= self._clock():
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return data

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size(key, entry[0])


def _size(key: str, data: bytes) -> int:
    return len(key.encode("utf-8", "surrogatepass")) + len(data)

"""The near cache: entries in this process, for as long as Redis vouches for them (promise P3).

A server remembers what a connection has read, and tells it when that changes, in one order with its
replies: https://redis.io/docs/latest/develop/reference/client-side-caching/. What is kept here was
read over such a connection, belongs to it, and is served only

- until its server tells that the key has changed, has expired or was evicted,
- until its own time is over,
- while the connection has proved itself within the last second: by a PING, in whose reply's place
  every message before it has arrived. One that broke, hangs or was delayed proves nothing.

So what another process invalidates is served here for the time of one message, and whatever happens
to the network, for `TRUST_SECONDS` (see `tracking`) at most. What this process invalidates it forgets before the
invalidation returns, together with the replies that are on their way then: one of them may be older,
and the message about it may still be to come.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Any

from ..base import is_nonce
from ..keys import KeyPattern
from ..stored import is_record_of, names_its_key
from .wire.pipeline import LARGE_BYTES
from .wire.requests import Hook, Request
from .wire.tracking import Source

_FOR_EVER = -1  # as PTTL says it
_OVERHEAD_BYTES = 300  # of an entry, its key and its place among the others, about
_LARGEST_PART = 8


class NearEntry:
    """One entry: the bytes that stand at a key."""

    __slots__ = ("data", "memo", "size", "source", "until")

    def __init__(self, data: bytes, until: float, source: Source, size: int) -> None:
        self.data, self.until, self.source, self.size = data, until, source, size
        self.memo: Any = None
        """What its reader has made of it, to do that once."""


class NearCache:
    """At most `max_entries` of at most `max_bytes` in all; who was not read for longest leaves.

    Safe to use from several threads and event loops.
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, NearEntry] = OrderedDict()
        self._bytes = 0
        self.epoch = 0
        """Another number after each invalidation by this process."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """How many bytes the entries take, about."""
        return self._bytes

    def get(self, key: str) -> NearEntry | None:
        """Return the entry of `key`, or `None` if there is none that can be vouched for."""
        kept = self._entries.get(key)
        if kept is None:
            return None
        source, now = kept.source, time.monotonic()
        if now >= source.renew_at:
            source.prove(key)
        if now >= source.trusted_until or now >= kept.until:
            return None
        try:
            self._entries.move_to_end(key)
        except KeyError:  # another thread has just removed it
            return None
        return kept

    def nonces(self, tags: Collection[str]) -> tuple[bytes, ...] | None:
        """Return the nonces at the keys `tags`, or `None` if not all of them are here."""
        found = [self.get(tag) for tag in tags]
        nonces = tuple([kept.data for kept in found if kept is not None])
        return nonces if len(nonces) == len(found) else None

    def keep(self, key: str, data: bytes, until: float, source: Source, epoch: int) -> None:
        """Keep what was read over `source` by a question that was asked in `epoch`.

        `until` is when it ends by itself, by `time.monotonic`. Nothing is kept if this process has
        invalidated anything since the question, or if it would take more than an eighth of all.
        """
        size = len(data) + len(key) + _OVERHEAD_BYTES
        if size * _LARGEST_PART > self._max_bytes:
            return
        with self._lock:
            if epoch != self.epoch:
                return
            self._remove(key)
            self._entries[key] = NearEntry(data, until, source, size)
            self._bytes += size
            self._make_room()

    def remember(self, key: str, kept: NearEntry, memo: object, size: int) -> None:
        """Remember with an entry what its reader has made of it, which takes `size` bytes, about."""
        with self._lock:
            kept.memo = memo
            if self._entries.get(key) is kept:
                self._bytes += size
                kept.size += size
                self._make_room()

    def keeps(self, request: Request, source: Source) -> Hook:
        """Return what keeps the replies to a request that is sent now over `source`.

        A value is kept if the request asks for its PTTL as well, a tag's nonce without.
        """
        epoch, asked = self.epoch, time.monotonic()

        def keep(replies: list[Any]) -> None:
            if request.commands[0] == ("ASKING",):  # the key is about to move
                return
            told = list(zip(request.commands, replies, strict=True))
            lives = {command[1]: ms for command, ms in told if command[0] == "PTTL"}
            for (verb, *rest), data in told:
                if verb not in ("GET", "GETRANGE"):
                    continue
                name: Any = rest[0]
                key = str(name, "utf-8", "surrogatepass")
                ms = _FOR_EVER if verb == "GETRANGE" else lives.get(name)
                if type(ms) is int and _may_be_kept(key, verb, data):
                    # Redis counts whole milliseconds.
                    until = math.inf if ms == _FOR_EVER else asked + (ms - 1) / 1000
                    self.keep(key, data, until, source, epoch)

        return keep

    def changed(self, keys: Iterable[str]) -> None:
        """Remove what the server says has changed."""
        with self._lock:
            for key in keys:
                self._remove(key)

    def forget(self, patterns: Collection[KeyPattern]) -> None:
        """Remove what this process invalidates, and keep no reply to what was asked before."""
        with self._lock:
            self.epoch += 1
            for pattern in patterns:
                if pattern.exact_key is not None:
                    self._remove(pattern.exact_key)
                else:
                    for key in [key for key in self._entries if pattern.matches(key)]:
                        self._remove(key)

    def lose(self, source: Source) -> None:
        """Remove what was read over a connection that is over."""
        with self._lock:
            self.epoch += 1
            for key in [key for key, kept in self._entries.items() if kept.source is source]:
                self._remove(key)

    def _make_room(self) -> None:
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))

    def _remove(self, key: str) -> None:
        kept = self._entries.pop(key, None)
        if kept is not None:
            self._bytes -= kept.size


def _may_be_kept(key: str, verb: bytes | str | int, data: object) -> bool:
    """Whether a reply is a value or a nonce of ours: no lease, no record of another key."""
    if type(data) is not bytes or len(data) > LARGE_BYTES:
        return False
    if verb == "GETRANGE":
        return is_nonce(data)
    return is_record_of(key, data) or not names_its_key(data)

"""The near cache: entries in this process, while Redis reports each change of them (promise P3).

Redis remembers which keys a connection has read, and sends it a message when one of them changes.
Messages and replies come in one order: see
https://redis.io/docs/latest/develop/reference/client-side-caching/. An entry belongs to the
connection that read it, and is served only

- until the server reports that the key has changed, has expired or was evicted,
- until its TTL is over,
- for `TRUST_SECONDS` (see `tracking`) after the last PING that was answered: that reply shows that
  all earlier messages have arrived. A connection that is broken, hangs or is slow gets no reply.

So an invalidation by another process takes effect here after one message, and after `TRUST_SECONDS`
at the latest. An invalidation by this process removes entries before it returns. Replies that are
under way then are not kept: they may be older, and the message about that may still be to come.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Any

from ..base import is_nonce
from ..events import CacheEvent, Events
from ..keys import KeyPattern
from ..stored import is_record_of, names_its_key
from .wire.pipeline import LARGE_BYTES
from .wire.requests import Hook, Request
from .wire.tracking import Source

_FOR_EVER = -1  # PTTL's reply for a key without expiry
_OVERHEAD_BYTES = 300  # about what an entry takes besides its key and its data
_LARGEST_PART = 8


class NearEntry:
    """One entry: the bytes of a key."""

    __slots__ = ("data", "memo", "size", "source", "until")

    def __init__(self, data: bytes, until: float, source: Source, size: int) -> None:
        self.data, self.until, self.source, self.size = data, until, source, size
        self.memo: Any = None
        """What its reader has decoded, so that it is decoded once."""


class NearCache:
    """At most `max_entries` entries and `max_bytes` bytes; the least recently used is evicted.

    Safe to use from several threads and event loops.
    """

    def __init__(self, max_entries: int, max_bytes: int, events: Events | None = None) -> None:
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._events = events or Events()
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, NearEntry] = OrderedDict()
        self._bytes = 0
        self.epoch = 0
        """It grows with each invalidation by this process, and with each lost connection."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """About how many bytes the entries take."""
        return self._bytes

    def get(self, key: str) -> NearEntry | None:
        """Return the entry of `key`, or `None` if there is none that may be served now."""
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
        """Keep a value that was read over `source` by a request that was sent in `epoch`.

        `until` is when it expires, by `time.monotonic`. Nothing is kept if the epoch has changed
        since, or if the entry would take more than an eighth of `max_bytes`.
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
        """Remember what the reader of an entry has decoded, which takes about `size` bytes."""
        with self._lock:
            kept.memo = memo
            if self._entries.get(key) is kept:
                self._bytes += size
                kept.size += size
                self._make_room()

    def keeps(self, request: Request, source: Source) -> Hook:
        """Return the hook that keeps the replies to a request that is sent now over `source`.

        A value is kept only if the request asks for its PTTL as well; a nonce needs no PTTL.
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
        """Remove the keys that the server reports as changed."""
        with self._lock:
            for key in keys:
                self._remove(key)

    def forget(self, patterns: Collection[KeyPattern]) -> None:
        """Remove what this process invalidates; keep no reply to a request that was sent before."""
        with self._lock:
            self.epoch += 1
            for pattern in patterns:
                if pattern.exact_key is not None:
                    self._remove(pattern.exact_key)
                else:
                    for key in [key for key in self._entries if pattern.matches(key)]:
                        self._remove(key)

    def lose(self, source: Source) -> None:
        """Remove the entries of a connection that is lost."""
        with self._lock:
            self.epoch += 1
            lost = [key for key, kept in self._entries.items() if kept.source is source]
            for key in lost:
                self._remove(key)
        if lost:
            self._events.tell(CacheEvent(kind="near cache flushed", number=len(lost)))

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

"""How a cache is counted in this process: one listener of its events, and numbers that are bounded."""

import os
import secrets
import socket
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..events import CacheEvent
from .counts import BOUNDS, MOST_PREFIXES, MOST_WORDS, OTHER, PrefixCounters, ProcessCounters

if TYPE_CHECKING:
    from ..manager import CacheManager

_RUNS = frozenset({"stored", "refused", "raised"})
_CALLS = frozenset({"hit", "stale", "shared", "miss", "bypass"}) | _RUNS
_REASONED = frozenset({"invalidated", "failed"})
_UNDELIVERED = frozenset({"deferred", "delivered", "lost"})


class _Prefix:
    """The counters of one key prefix while they are counted."""

    __slots__ = (
        "bypasses",
        "fills",
        "hit_seconds",
        "hit_times",
        "hits",
        "kinds",
        "near",
        "refused",
    )

    def __init__(self) -> None:
        self.hits = self.near = 0
        self.hit_seconds, self.hit_times = 0.0, [0] * (len(BOUNDS) + 1)
        self.fills: list[Any] = [0.0, [0] * (len(BOUNDS) + 1)]
        self.kinds = dict.fromkeys(_CALLS, 0)
        self.bypasses: dict[str, int] = {}
        self.refused: dict[str, int] = {}

    def count(self, kind: str, reason: str, seconds: float, number: int) -> None:
        """Count anything but a hit."""
        if kind == "bypass":
            _add(self.bypasses, reason, number)
        elif kind == "refused":
            _add(self.refused, reason, number)
        else:
            self.kinds[kind] += number
        if kind in _RUNS:
            self.fills[0] += seconds
            self.fills[1][bisect_right(BOUNDS, seconds)] += 1

    def frozen(self) -> PrefixCounters:
        return PrefixCounters(
            hits=self.hits,
            near_hits=self.near,
            stale=self.kinds["stale"],
            shared=self.kinds["shared"],
            misses=self.kinds["miss"],
            bypasses=dict(self.bypasses),
            stored=self.kinds["stored"],
            refused=dict(self.refused),
            raised=self.kinds["raised"],
            hit_seconds=self.hit_seconds,
            hit_times=[*self.hit_times],
            fill_seconds=self.fills[0],
            fill_times=[*self.fills[1]],
        )


class CacheCounters:
    """Counts what one cache does in this process, from now on; use `counters_of`.

    Safe to use from several threads and event loops.
    """

    def __init__(self, manager: "CacheManager") -> None:
        self._manager = manager
        self._lock = threading.Lock()
        self._started = time.time()
        self._prefixes: dict[str, _Prefix] = {}
        self._others: dict[str, dict[str, int]] = {
            "invalidated": {},
            "undelivered": {},
            "failed": {},
        }
        self._open: set[str] = set()
        self._openings = self._flushes = 0
        self._identity = 0, ""
        self.place = ""
        """The key at which this process publishes its counters, if it does."""
        self.end: Callable[[], None] = manager.observe(self._hear)
        """Ends it: `now` returns what was counted until then."""

    def _hear(self, event: CacheEvent) -> None:
        # Most events are hits, so these go without avoidable calls.
        kind, function, name, _, seconds, reason, number, near = event
        counted = self._prefixes.get(name or function)
        with self._lock:
            if counted is None:
                if kind not in _CALLS:
                    self._count(kind, reason, number)
                    return
                counted = self._prefix(name or function)
            if kind != "hit":
                counted.count(kind, reason, seconds, number)
                return
            if near:
                counted.near += number
            else:
                counted.hits += number
            if seconds:  # many at once have none
                counted.hit_seconds += seconds
                counted.hit_times[bisect_right(BOUNDS, seconds)] += 1

    def _count(self, kind: str, reason: str, number: int) -> None:
        """Count what no function has to do with."""
        if kind in _REASONED:
            _add(self._others[kind], reason, number)
        elif kind in _UNDELIVERED:
            _add(self._others["undelivered"], kind, number)
        elif kind == "breaker opened":
            self._openings += 1
            if len(self._open) < MOST_WORDS:
                self._open.add(reason)
        elif kind == "breaker closed":
            self._open.discard(reason)
        else:
            self._flushes += 1

    def _prefix(self, name: str) -> _Prefix:
        if len(self._prefixes) >= MOST_PREFIXES:
            name = OTHER
        return self._prefixes.setdefault(name, _Prefix())

    def now(self) -> ProcessCounters:
        """Return what was counted so far."""
        near: Any = self._manager.backend.near
        others = self._others
        with self._lock:
            return ProcessCounters(
                id=self._id(),
                host=socket.gethostname()[:100],
                pid=os.getpid(),
                started=self._started,
                published=time.time(),
                prefixes={name: each.frozen() for name, each in self._prefixes.items()},
                invalidations=dict(others["invalidated"]),
                undelivered=dict(others["undelivered"]),
                pending=len(self._manager.invalidations.pending),
                failures=dict(others["failed"]),
                open_breakers=sorted(self._open),
                breaker_openings=self._openings,
                near_entries=0 if near is None else len(near),
                near_bytes=0 if near is None else near.size,
                near_flushes=self._flushes,
            )

    def _id(self) -> str:
        """Return the identity of this process, which is another one after a fork."""
        pid, name = self._identity
        if pid != os.getpid():
            self._identity = _, name = os.getpid(), secrets.token_hex(8)
            self.place = ""
        return name


def _add(counts: dict[str, int], word: str, number: int) -> None:
    """Count a word of a bounded set."""
    if word not in counts and len(counts) >= MOST_WORDS:
        word = OTHER
    counts[word] = counts.get(word, 0) + number

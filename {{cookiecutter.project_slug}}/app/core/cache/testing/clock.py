"""The time of the cache in a test."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ..coherence import Freshness
from ..here import is_module_of_cache

_KIT = __name__.rpartition(".")[0]


class CacheClock:
    """A clock that goes on as ever, and that `advance` moves forward.

    It is the `clock=` of a `MemoryBackend`, whose entries then expire by it. At the first `advance`
    it also becomes the time by which all entries get stale, and by which the middleware tells ages,
    whatever their backend. `restore` ends that.

    Lifetimes are shortened at random by up to `CACHE_TTL_JITTER`, 2 % by default: an entry of 300
    seconds may have expired after 294.
    """

    def __init__(self) -> None:
        self.moved = 0.0
        """By how many seconds it was moved."""
        self._patches = pytest.MonkeyPatch()
        self._is_installed = False

    def __call__(self) -> float:
        """Return the seconds of a clock that never goes back: `time.monotonic`, moved."""
        return time.monotonic() + self.moved

    def time(self) -> float:
        """Return the seconds since 1970: `time.time`, moved."""
        return time.time() + self.moved

    def advance(self, by: float | timedelta) -> None:
        """Move it forward, by seconds or by a `timedelta`. Raises `ValueError` for less than 0."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if not seconds >= 0:
            raise ValueError(f"advance({by!r}): time moves forward only; give 0 seconds or more")
        self._install()
        self.moved += seconds

    def restore(self) -> None:
        """Let the cache have the real time again."""
        self._patches.undo()
        self.moved, self._is_installed = 0.0, False

    def _install(self) -> None:
        """Replace the time in all modules of the cache; those of `http` may be imported late."""
        if not self._is_installed:
            stored = Freshness.__dict__["now"]
            self._patches.setattr(Freshness, "now", _MovedNow(stored, self))
            self._is_installed = True
        for name, module in [*sys.modules.items()]:
            is_ours = is_module_of_cache(name) and not name.startswith(_KIT)
            if is_ours and getattr(module, "time", None) is time:
                self._patches.setattr(module, "time", _MovedTime(self))


class _MovedTime:
    """The module `time`, whose `time()` is that of a clock."""

    def __init__(self, clock: CacheClock) -> None:
        self.time = clock.time

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class _MovedNow:
    """The attribute `now` of each `Freshness`, moved: they were made when functions were decorated."""

    def __init__(self, stored: Any, clock: CacheClock) -> None:
        self._stored, self._clock = stored, clock

    def __get__(self, freshness: Freshness, kind: type | None = None) -> Callable[[], float]:
        now: Callable[[], float] = self._stored.__get__(freshness, kind)
        return lambda: now() + self._clock.moved

    def __set__(self, freshness: Freshness, value: Callable[[], float]) -> None:
        self._stored.__set__(freshness, value)

"""Notes of keys that hold for a few seconds only."""

import threading
import time
from collections.abc import Callable

SECONDS = 5.0
MOST = 4096


class Lately:
    """Keys that were noted within the last `seconds`, `most` of them.

    If there are more, the one that was noted longest ago is forgotten. Safe to use from several
    threads. `clock` returns seconds.
    """

    def __init__(
        self,
        *,
        seconds: float = SECONDS,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def __contains__(self, key: str) -> bool:
        until = self._until.get(key)
        if until is None:
            return False
        if self._clock() < until:
            return True
        self.discard(key)
        return False

    def __len__(self) -> int:
        return len(self._until)

    def add(self, key: str) -> None:
        """Note a key, or note it once more."""
        with self._lock:
            self._until.pop(key, None)
            self._until[key] = self._clock() + self._seconds
            if len(self._until) > self._most:
                del self._until[next(iter(self._until))]

    def discard(self, key: str) -> None:
        """Forget a key, if it is noted."""
        if key in self._until:
            with self._lock:
                self._until.pop(key, None)

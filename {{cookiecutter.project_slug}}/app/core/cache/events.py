"""Events: what a cache does, told to those who listen (promise P10)."""

import logging
import threading
from collections.abc import Callable
from typing import Literal, NamedTuple

logger = logging.getLogger(__name__)

Kind = Literal[
    "hit",
    "stale",
    "shared",
    "miss",
    "bypass",
    "stored",
    "refused",
    "raised",
    "invalidated",
    "failed",
    "breaker opened",
    "breaker closed",
    "deferred",
    "delivered",
    "lost",
    "near cache flushed",
]


class CacheEvent(NamedTuple):  # a dataclass takes four times as long to make
    """One thing that a cache did. What an event has nothing to say about is empty or 0.

    Each call of a cached function, of `get` and of `get_or_set` ends with one of these kinds:

    - `hit`: from the backend, or from the near cache if `near`;
    - `stale`: an old value, while another call computes the new one, or because that has failed;
    - `shared`: the result of another call, for which this one has waited;
    - `miss`: the function ran, or nothing was found;
    - `bypass`: the function ran as if there were no cache; `reason` says why.

    Each run of a function that is no `bypass` ends with one of these: `stored`, `refused` (`reason`
    says why it is not stored), or `raised`.

    An invalidation is `invalidated`, whose `reason` is "key", "pattern" or "tag", and `number` how many
    of them. `deferred`, `delivered` and `lost` say what happened to `number` invalidations that could
    not be delivered at once. `failed` is an operation that the server named in `reason` did not
    carry out. `breaker opened` and `breaker closed` are about the server named there, too. `near
    cache flushed` lost `number` entries with a connection.
    """

    kind: Kind
    function: str = ""
    """The cached function: its module and its qualified name; or the method of the manager."""
    key_prefix: str = ""
    """The `key_prefix` of the function's decorator."""
    key: str = ""
    """The whole key. It may hold what a user has sent."""
    seconds: float = 0.0
    """How long the call took; for `stored`, `refused` and `raised`, how long the function ran."""
    reason: str = ""
    """One word of a bounded set, or the name of a server."""
    number: int = 1
    """How many of them: calls, invalidations, entries."""
    near: bool = False
    """Whether the near cache had the entry."""


Listener = Callable[[CacheEvent], None]


class Events:
    """The listeners of one cache. They are called in the order in which they came.

    A listener runs in the call that it hears of, also in threads, so it must not take long. One that
    raises is logged once, and goes on to be called.
    """

    def __init__(self) -> None:
        self.listeners: tuple[Listener, ...] = ()
        self._blamed: set[int] = set()
        """The listeners that have failed, by their identity."""
        self._lock = threading.Lock()

    def add(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; return what removes it."""
        added = [listener]
        with self._lock:
            self.listeners = (*self.listeners, listener)

        def remove() -> None:
            with self._lock:
                kept = list(self.listeners)
                if added:
                    place = next(at for at, each in enumerate(kept) if each is added[0])
                    del kept[place], added[0]
                self.listeners = tuple(kept)

        return remove

    def tell(self, event: CacheEvent) -> None:
        """Call the listeners; never raises."""
        for listener in self.listeners:
            try:
                listener(event)
            except Exception:
                if id(listener) not in self._blamed:
                    self._blamed.add(id(listener))
                    logger.exception("the listener %r of cache events failed", listener)

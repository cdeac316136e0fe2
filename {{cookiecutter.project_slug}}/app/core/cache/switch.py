"""How a cache is steered: who is told what it does, and whether it is in use."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from .events import Events, Listener
from .loops import reset, returns_at_once

_off: ContextVar[frozenset["Switch"]] = ContextVar("off", default=frozenset())
"""The switches that are off in this context."""


class Switch:
    """Whether a cache is in use: in all of this process (`enabled`), and in a block.

    `changed` is called when `may_be_off` changes.
    """

    def __init__(self, changed: Callable[[], None], *, enabled: bool) -> None:
        self._changed, self._enabled = changed, enabled
        self._blocks, self._lock = 0, threading.Lock()

    @property
    def may_be_off(self) -> bool:
        """Whether it is off somewhere in this process."""
        return not self._enabled or self._blocks > 0

    @property
    def is_off(self) -> bool:
        """Whether it is off here."""
        return not self._enabled or self in _off.get()

    @contextmanager
    def off(self) -> Iterator[None]:
        """Switch it off for a block, and for what is called there, also in tasks made there."""
        token = _off.set(_off.get() | {self})
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)
            reset(_off, token)

    def _count(self, change: int) -> None:
        with self._lock:
            self._blocks += change
        self._changed()


class Steered:
    """A cache that can be watched, and switched off. It hears what `of_backend` tells, too."""

    def __init__(self, of_backend: Events | None, *, enabled: bool) -> None:
        self.events = Events()
        if of_backend is not None:
            of_backend.add(self.events.tell)
        self.switch = Switch(self._note_special, enabled=enabled)
        self._note_special()

    def disabled(self) -> AbstractContextManager[None]:
        """Return a context in which every call runs its function, and nothing is read or stored.

        It holds for what is called in its block, also in tasks that are made there, and for no other
        request. Invalidations are carried out, and `set` removes what is there.
        """
        return self.switch.off()

    def observe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each `CacheEvent` from now on; return what ends that.

        It runs in the call that it hears of, so it must not take long. If it raises, that is logged
        once.
        """
        if not returns_at_once(listener):
            raise TypeError(f"{listener=} must be a plain function of a CacheEvent")
        remove = self.events.add(listener)
        self._note_special()

        def end() -> None:
            remove()
            self._note_special()

        return end

    def _note_special(self) -> None:
        self.is_special = bool(self.events.listeners) or self.switch.may_be_off

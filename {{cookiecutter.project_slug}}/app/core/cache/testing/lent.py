"""A manager on another backend for a while.

Decorators take their manager when they are applied, so the manager stays. What it has of its backend
is replaced, and put back afterwards: the backend with its near cache, the computations of this
process, and the invalidations that are pending.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ..base import CacheBackend
from ..coherence import InvalidationEvent
from ..manager import CacheManager

_OF_A_BACKEND = ("backend", "_outage", "invalidations", "fence")


@contextmanager
def on_backend(manager: CacheManager, backend: CacheBackend) -> Iterator[CacheManager]:
    """Let `manager`, and all that was decorated with it, use `backend` in a block.

    Its key prefix and its settings stay. Listeners that the block has added are removed.
    """

    def heard(event: InvalidationEvent) -> None:
        if manager.on_event is not None:
            manager.on_event(event)

    lock_timeout, prefix = manager.fence.lock_timeout, manager.key_prefix
    twin = CacheManager(backend, key_prefix=prefix, lock_timeout=lock_timeout, on_event=heard)
    twin.observe(manager.events.tell)
    kept = {name: getattr(manager, name) for name in (*_OF_A_BACKEND, "on_event")}
    listeners = manager.events.listeners
    try:
        for name in _OF_A_BACKEND:
            setattr(manager, name, getattr(twin, name))
        yield manager
    finally:
        for name, value in kept.items():
            setattr(manager, name, value)
        manager.events.listeners = listeners
        manager._note_special()

"""Writes by hand: what callers put at keys themselves, in more steps than one, or on any backend.

An invalidation that begins while a write of this event loop is under way waits for its end, so that it
comes after it on every connection. One of another process finds a lease, as over a fill.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar
from weakref import WeakKeyDictionary

from ..base import CacheBackend, Nonces
from ..errors import UnavailableError
from ..loops import running_loop
from .leases import LEASE_MS, Leases
from .looks import TAG_MS
from .single_flight import AGAIN, InFlight, SingleFlight

T = TypeVar("T")


class Writes:
    """The writes by hand of one manager."""

    def __init__(self, backend: CacheBackend, flights: SingleFlight, leases: Leases) -> None:
        self._backend, self._flights, self._leases = backend, flights, leases
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )

    async def take(self, key: str, step: Callable[[], Awaitable[T]]) -> T:
        """Take a step that writes at a key; return what it does.

        If the steps of the backend are not atomic, they are taken one by one in each event loop.
        """
        if self._backend.atomic and not self._backend.connects:
            return await step()  # in memory it is done at once
        with self._flights.writing(key):
            if self._backend.atomic:
                return await step()
            async with self._turns.setdefault(running_loop(), asyncio.Lock()):
                return await step()

    async def put_tagged(
        self, key: str, tags: tuple[str, ...], make: Callable[[Nonces], tuple[bytes, int]]
    ) -> int:
        """Store the bytes that `make` returns for the nonces of tags, for so many milliseconds.

        Return whether they are stored: not if an invalidation came in between. A lease stands at the
        key until the nonces are known. Raises what the backend raises.
        """
        backend, flight = self._backend, InFlight(key, tags)
        self._flights.add(flight)
        try:
            with self._flights.writing(key, *tags), self._leases.held() as lease:
                standing = backend.set_bytes(key, lease, timedelta(milliseconds=LEASE_MS))
                is_set, nonces = await asyncio.gather(standing, backend.nonces(tags, TAG_MS))
                if not is_set:
                    raise UnavailableError("the backend says that it is not done")
                data, ms = make(nonces)
                return int(await backend.replace(key, lease, data, ms))
        finally:
            self._flights.remove(flight)
            flight.complete(AGAIN)

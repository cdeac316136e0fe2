"""Leases: what the fence does at the backend, a step at a time.

None of these steps raises where the backend cannot be asked: it then counts as away, and so it does
for what the journal covers. What need not be waited for is done afterwards, in tasks of their own.
"""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from hashlib import blake2b
from typing import Any, TypeVar

from ..base import CacheBackend, Nonces, UnavailableError, is_nonce
from ..keys import KeyPattern
from ..resilience import BackgroundRetry, Outage
from .flights import Flight
from .journal import Journal

T = TypeVar("T")

LEASE_MS = 3000
"""How long a leader that was killed holds up the others, in milliseconds."""
RENEW_SECONDS = 1.0
SETTLE_SECONDS = 5.0
TAG_MS = 30 * 24 * 60 * 60 * 1000
"""How long a tag's nonce is kept; an entry that lives longer ends with it."""

_LEASE = b"lease/1 "
_HEAD = 96  # bytes of a record that tell it from any other: they hold its fill's own number
_MOST_ORPHANS = 1000
Look = tuple[bytes | None, Nonces, bool]
"""What stands at a key, its tags' nonces, and whether the backend is there."""
AWAY: Look = (None, (), False)
"""What is seen of a key while the backend is away."""


class Leases:
    """The steps of one manager at its backend."""

    def __init__(self, backend: CacheBackend, outage: Outage, journal: Journal) -> None:
        self._backend, self._outage, self._journal = backend, outage, journal
        self._waits: dict[tuple[asyncio.AbstractEventLoop, str, bytes], asyncio.Future[bool]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._mark, self._process = _new_mark(), os.getpid()
        self._held: set[bytes] = set()
        """Our leases under which something is under way."""
        # Leases of which nobody knows whether they are there: the answer did not come. A server that
        # hung carries out what it was sent when it goes on.
        self._orphans: dict[bytes, str] = {}
        self._release = BackgroundRetry(self.release_orphans)

    async def look(self, key: str, tags: tuple[str, ...]) -> Look:
        """Look at a key and its tags."""
        if self._journal.covers(key, tags):
            return AWAY
        try:
            standing, nonces = await self._backend.look(key, tags)
        except Exception as error:
            if not isinstance(error, UnavailableError):
                self._outage.failed(error)
            return AWAY
        self._outage.worked()
        return standing, nonces, True

    async def retry_read(self, key: str, deadline: float) -> Look:
        """Look at a key, and be over at the deadline, in the event loop's time."""
        if self._journal.covers(key):
            return AWAY
        try:
            return await self._ask(self._backend.retry_read(key, deadline)), (), True
        except UnavailableError:
            return AWAY

    async def nonces_now(self, tags: tuple[str, ...]) -> Nonces | None:
        """Return the nonces at the keys `tags`, or `None` where the backend cannot be asked."""
        if self._journal.covers("", tags):
            return None
        try:
            return await self._ask(self._backend.nonces_now(tags))
        except UnavailableError:
            return None

    async def nonces_made(self, tags: tuple[str, ...]) -> Nonces | None:
        """Return the nonces at the keys `tags`, and make those that are missing."""
        if self._journal.covers("", tags):
            return None
        try:
            return await self._ask(self._backend.nonces(tags, TAG_MS))
        except UnavailableError:
            return None

    async def acquire_lease(self, flight: Flight, standing: bytes | None, nonces: Nonces) -> bool:
        """Put a lease at the key; return whether it is there, or whether there is no backend."""
        if self._journal.covers(flight.key, flight.tags):
            return True
        try:
            if not all(map(is_nonce, nonces)):
                nonces = await self._ask(self._backend.nonces(flight.tags, TAG_MS))
            lease = b"%b%b %b" % (self._ours(), secrets.token_hex(8).encode(), _digest(nonces))
            flight.nonces, flight.lease = nonces, lease
            self._held.add(lease)
            if standing is None:
                taken = await self._ask(self._backend.acquire(flight.key, lease, LEASE_MS)) is None
            else:
                taken = await self._ask(
                    self._backend.replace(flight.key, standing[:_HEAD], lease, LEASE_MS)
                )
        except UnavailableError:
            self._remember(flight.key, flight.lease)
            self.let_go(flight)
            flight.lease, flight.nonces = None, ()
            return True
        if not taken:
            self.let_go(flight)
            flight.lease = None
        return taken

    def _ours(self) -> bytes:
        """Return what our leases begin with, and those of no other manager or process."""
        if self._process != os.getpid():  # it was forked: what has been put so far is its parent's
            self._mark, self._process = _new_mark(), os.getpid()
            self._held.clear()
        return self._mark

    def let_go(self, flight: Flight) -> None:
        """Note that nothing is under way under its lease any more, wherever that may stand."""
        if flight.lease is not None:
            self._held.discard(flight.lease)

    async def limit(self, flight: Flight) -> None:
        """Give an end to a lease that may have none; who needs it goes on to renew it."""
        with suppress(UnavailableError):
            if flight.over is not None:
                await self._ask(self._backend.renew(flight.key, flight.over, LEASE_MS))

    def arm(self, flight: Flight) -> None:
        """Renew the lease in a while, and again, as long as the function runs."""
        if flight.lease is not None:
            loop = asyncio.get_running_loop()
            flight.renewal = loop.call_later(
                RENEW_SECONDS, lambda: self.afterwards(self._renew(flight))
            )

    async def _renew(self, flight: Flight) -> None:
        lease = flight.lease
        if lease is None or not flight.running:
            return
        try:
            if flight.claim:
                kept = await self._ask(self._backend.renew(flight.claim, b"", LEASE_MS))
            else:
                kept = await self._ask(self._backend.renew(flight.key, lease, LEASE_MS))
        except UnavailableError:
            kept = True  # for all we know
        if kept and flight.running:
            self.arm(flight)

    async def store(self, flight: Flight, data: bytes, ms: int) -> bool:
        """Put a record where the flight's lease, or what it may replace, still stands."""
        over = flight.lease or flight.over
        if over is None or flight.overtaken:
            return False
        if self._journal.covers(flight.key, flight.tags):
            return False
        try:
            stored = await self._ask(self._backend.replace(flight.key, over, data, ms))
        except UnavailableError:
            return False
        if stored:
            self.let_go(flight)
            flight.lease, flight.over, flight.stored = None, None, True
            self._forget_near(flight.key)
        return stored

    def _forget_near(self, key: str) -> None:
        if self._backend.near is not None:
            self._backend.near.forget([KeyPattern((key,))])

    async def give_back(self, key: str, lease: bytes) -> None:
        """Take a lease away, for others: here it counts as gone as soon as it is let go."""
        try:
            await self._ask(self._backend.release(key, lease))
        except UnavailableError:
            self._remember(key, lease)

    async def withdraw(self, flight: Flight) -> None:
        """Take away the old record that a flight was to replace, if it is still there."""
        with suppress(UnavailableError):  # it is due: the next one to see it asks the source again
            if flight.lease is not None:
                await self._ask(self._backend.release(flight.key, flight.lease))
                self._forget_near(flight.key)

    def _remember(self, key: str, lease: bytes | None) -> None:
        """Take away later a lease that may be at the key, so that it holds up no other process."""
        if lease is not None and len(self._orphans) < _MOST_ORPHANS:
            self._orphans[lease] = key
            self._release.start()

    async def claim(self, flight: Flight, standing: bytes, nonces: Nonces) -> bool | None:
        """Claim to compute a record anew that is due; return whether that was possible.

        `None` means that it has just been done: who had the claim before may have finished after
        the record was seen. The claim is a key beside the record's, for the record has to be there
        for the others. It says nothing about who may store: the new record takes the place of the
        old one only if that is still there.
        """
        claim, token = f"{flight.key}:~refresh", secrets.token_hex(8).encode()
        try:
            if await self._ask(self._backend.acquire(claim, token, LEASE_MS)) is not None:
                return False
            now, _ = await self._ask(self._backend.look(flight.key))
        except UnavailableError:
            return False
        flight.claim, flight.token = claim, token
        if now is None or not now.startswith(standing[:_HEAD]):
            self.afterwards(self.unclaim(flight))
            return None
        flight.nonces, flight.lease = nonces, standing[:_HEAD]
        return True

    async def unclaim(self, flight: Flight, *, withdrawing: bool = False) -> None:
        """Take back the claim to a record, after the flight's rest; before that the record, or not."""
        if withdrawing:
            await self.withdraw(flight)
        with suppress(UnavailableError):
            if flight.rest:
                await self._ask(self._backend.renew(flight.claim, flight.token, flight.rest))
            else:
                await self._ask(self._backend.release(flight.claim, flight.token))

    async def wait(self, key: str, lease: bytes) -> bool:
        """Wait until something else than `lease` stands at the key. One of a process looks.

        Return whether that is so; if not, the backend is away.
        """
        loop = asyncio.get_running_loop()
        looking = self._waits.get((loop, key, lease))
        if looking is not None:
            return await asyncio.shield(looking)
        looking = self._waits[loop, key, lease] = loop.create_future()
        here = True
        try:
            standing: bytes | None = lease
            while standing == lease and not self.is_orphan(lease):
                standing = await self._ask(self._backend.wait_for_change(key, lease))
        except UnavailableError:
            here = False
        finally:
            del self._waits[loop, key, lease]
            looking.set_result(here)
        return here

    def is_orphan(self, standing: bytes | None) -> bool:
        """Whether a lease is one of ours under which nothing is under way.

        Nothing has to be known of it: it may have been put there by a command whose answer never
        came, or one that the server carried out long after it was sent.
        """
        return (
            standing is not None
            and standing.startswith(self._ours())
            and standing not in self._held
        )

    async def release_orphans(self) -> None:
        """Take away leases that may have been put at keys after nobody waited for that any more."""
        for lease, key in list(self._orphans.items()):
            await self._ask(self._backend.release(key, lease))
            self._orphans.pop(lease, None)

    async def settle(self) -> None:
        """Wait for what was left to be done afterwards in this event loop: a round trip or two.

        A function that runs in the background has `SETTLE_SECONDS`; then it is cancelled.
        """
        loop = asyncio.get_running_loop()
        while tasks := [task for task in self._tasks if task.get_loop() is loop]:
            _, late = await asyncio.wait(tasks, timeout=SETTLE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.difference_update(tasks)  # `gather` does not let done ones call back
        await self._release.stop()  # after them: one of them may have sent it

    async def _ask(self, step: Awaitable[T]) -> T:
        """Await a step of the backend; whatever it raises means that it cannot be asked."""
        try:
            result = await step
        except UnavailableError:
            raise
        except Exception as error:
            self._outage.failed(error)
            raise UnavailableError(str(error)) from None
        self._outage.worked()
        return result

    def afterwards(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something in a task of its own."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _new_mark() -> bytes:
    return _LEASE + secrets.token_hex(8).encode()


def is_lease(data: bytes | None) -> bool:
    """Whether `data` is a lease."""
    return data is not None and data.startswith(_LEASE)


def is_of(standing: bytes | None, nonces: Nonces) -> bool:
    """Whether a lease stands there whose flight began under these nonces."""
    return standing is not None and is_lease(standing) and standing.endswith(_digest(nonces))


def _digest(nonces: Nonces) -> bytes:
    joined = b",".join(nonce or b"" for nonce in nonces)
    return blake2b(joined, digest_size=8).hexdigest().encode()

"""Leases: the steps of the fence at the backend.

No step raises because the backend cannot be asked: then it counts as away, and so it does for keys
that a pending invalidation covers. Steps that nobody needs to wait for run in tasks of their own.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import TypeVar

from ..base import CacheBackend, Nonces, is_nonce
from ..errors import UnavailableError
from ..keys import KeyPattern
from ..resilience import BackgroundTasks
from ..stored import RECORD_HEAD, names_its_key
from .call import Outcome
from .looks import TAG_MS, Looks
from .pending import PendingInvalidations
from .single_flight import InFlight

T = TypeVar("T")

LEASE_MS = 3000
"""How long the lease of a leader that was killed blocks the others, in milliseconds."""
LEASE_RENEWAL_SECONDS = 1.0

_LEASE = b"lease/1 "


class Leases:
    """The steps of one manager at its backend."""

    def __init__(self, backend: CacheBackend, looks: Looks, pending: PendingInvalidations) -> None:
        self._backend, self._looks, self._pending = backend, looks, pending
        self._waits: dict[tuple[asyncio.AbstractEventLoop, str, bytes], asyncio.Future[bool]] = {}
        self.tasks = BackgroundTasks()
        """The steps that nobody needs to wait for."""
        self._mark, self._process = _new_mark(), os.getpid()
        self._held: set[bytes] = set()
        """Our leases that have a fill under way."""

    # --- a fill --------------------------------------------------------------------------------

    async def acquire_lease(self, flight: InFlight, standing: bytes | None, nonces: Nonces) -> bool:
        """Put a lease at the key; return whether that worked, or `True` if the backend is away."""
        if self._pending.covers(flight.key, *flight.tags):
            return True
        try:
            if not all(map(is_nonce, nonces)):
                nonces = await self._looks.ask(self._backend.nonces(flight.tags, TAG_MS))
            lease = self._new_lease(nonces)
            flight.nonces, flight.lease = nonces, lease
            self._held.add(lease)
            if standing is None:
                taken = (
                    await self._looks.ask(self._backend.acquire(flight.key, lease, LEASE_MS))
                    is None
                )
            else:
                taken = await self._looks.ask(
                    self._backend.replace(flight.key, standing[:RECORD_HEAD], lease, LEASE_MS)
                )
        except UnavailableError:
            self.let_go(flight)
            flight.lease, flight.nonces = None, ()
            return True
        if not taken:
            self.let_go(flight)
            flight.lease = None
        return taken

    def _new_lease(self, nonces: Nonces) -> bytes:
        return b"%b%b %b" % (self._ours(), secrets.token_hex(8).encode(), _digest(nonces))

    @contextmanager
    def held(self) -> Iterator[bytes]:
        """Lend a lease for a write by hand; afterwards it counts as gone."""
        lease = self._new_lease(())
        self._held.add(lease)
        try:
            yield lease
        finally:
            self._held.discard(lease)

    def _ours(self) -> bytes:
        """Return how our leases begin, and those of no other manager or process."""
        if self._process != os.getpid():  # after a fork: the leases so far are the parent's
            self._mark, self._process = _new_mark(), os.getpid()
            self._held.clear()
        return self._mark

    def is_orphan(self, standing: bytes | None) -> bool:
        """Whether a lease is one of ours without a fill under way.

        This also finds a lease that this process does not know of: the reply to its command was
        lost, or the server carried out the command late.
        """
        is_ours = standing is not None and standing.startswith(self._ours())
        return is_ours and standing not in self._held

    def let_go(self, flight: InFlight) -> None:
        """Note that no fill is under way for its lease any more; it may still be at the key."""
        if flight.lease is not None:
            self._held.discard(flight.lease)

    def schedule_renewal(self, flight: InFlight) -> None:
        """Renew the lease, or the claim, from time to time as long as the function runs."""
        if flight.lease is not None:
            flight.renewal = asyncio.get_running_loop().call_later(
                LEASE_RENEWAL_SECONDS, lambda: self.tasks.start(self._renew(flight))
            )

    async def _renew(self, flight: InFlight) -> None:
        if flight.lease is None or not flight.running:
            return
        key, over = (flight.claim, b"") if flight.claim else (flight.key, flight.lease)
        try:
            kept = await self._looks.ask(self._backend.renew(key, over, LEASE_MS))
        except UnavailableError:
            kept = True  # it may still be there
        if kept and flight.running:
            self.schedule_renewal(flight)

    async def limit(self, flight: InFlight) -> None:
        """Let a lease expire that may have no expiry; a leader that is alive renews it anyway."""
        with suppress(UnavailableError):
            if flight.over is not None:
                await self._looks.ask(self._backend.renew(flight.key, flight.over, LEASE_MS))

    async def store(self, flight: InFlight, data: bytes, ms: int) -> Outcome:
        """Store a record if the key still holds the flight's lease, or what it may replace."""
        over = flight.lease or flight.over
        if over is None:
            return Outcome.AWAY if flight.started else Outcome.NOT_STORED
        if flight.overtaken:
            return Outcome.OVERTAKEN
        if self._pending.covers(flight.key, *flight.tags):
            return Outcome.AWAY
        try:
            stored = await self._looks.ask(self._backend.replace(flight.key, over, data, ms))
        except UnavailableError:
            return Outcome.AWAY
        if stored and flight.overtaken:  # while a backend that is not atomic was at it
            try:
                await self._looks.ask(self._backend.delete_many([flight.key]))
            except UnavailableError:
                self._pending.add([KeyPattern((flight.key,))])
        if not stored or flight.overtaken:
            return Outcome.OVERTAKEN
        self.let_go(flight)
        flight.lease, flight.over, flight.stored = None, None, True
        self._forget_near(flight.key)
        return Outcome.STORED

    async def give_back(self, key: str, lease: bytes) -> None:
        """Remove a lease, or what begins so; here a lease counts as gone since `let_go`."""
        with suppress(UnavailableError):  # then it expires
            await self._looks.ask(self._backend.release(key, lease))

    async def withdraw(self, flight: InFlight) -> None:
        """Remove the old record that a refresh was to replace, if it is still there."""
        if flight.lease is not None:  # if this fails, the next caller refreshes it again
            await self.give_back(flight.key, flight.lease)
            self._forget_near(flight.key)

    def _forget_near(self, key: str) -> None:
        if self._backend.near is not None:
            self._backend.near.forget([KeyPattern((key,))])

    async def set_aside(
        self, flight: InFlight, standing: bytes | None, earlier: InFlight | None
    ) -> None:
        """Note what the flight's lease is to replace, so that it can be put back.

        If that is the lease of an `earlier` one, it is what that one has set aside. Values that were
        set by hand have no random head, by which the lease would replace this very one.
        """
        if standing is not None and is_lease(standing):
            if earlier is not None and earlier.lease == standing:
                flight.old = earlier.old
            return
        if standing is None or not names_its_key(standing):
            return
        now = time.monotonic()
        with suppress(UnavailableError):
            ms = await self._looks.ask(self._backend.ttl_ms(flight.key))
            if ms is not None and ms > 0:
                flight.old = standing, now + ms / 1000

    async def put_back(self, flight: InFlight) -> None:
        """Replace the flight's lease by what stood there before, for the rest of its life.

        Nothing came in between if the lease is still there: an invalidation removes that, too.
        """
        if flight.lease is None or flight.old is None:
            return
        data, end = flight.old
        ms = int((end - time.monotonic()) * 1000)
        if ms <= 0:
            await self.give_back(flight.key, flight.lease)
        elif not self._pending.covers(flight.key, *flight.tags):
            with suppress(UnavailableError):  # then the lease expires
                await self._looks.ask(self._backend.replace(flight.key, flight.lease, data, ms))

    # --- a refresh -----------------------------------------------------------------------------

    async def claim(self, flight: InFlight, standing: bytes, nonces: Nonces) -> bool | None:
        """Claim the refresh of a record that is due; return whether that was possible.

        `None` means that the record has changed since it was read: somebody has just refreshed it.
        The claim has a key of its own, for other callers still need the record. The claim does not
        decide who may store: the new record replaces the old one only if that is still there.
        """
        claim, token = f"{flight.key}:~refresh", secrets.token_hex(8).encode()
        try:
            if await self._looks.ask(self._backend.acquire(claim, token, LEASE_MS)) is not None:
                return False
            now, _ = await self._looks.ask(self._backend.look(flight.key))
        except UnavailableError:
            return False
        flight.claim, flight.token = claim, token
        if now is None or not now.startswith(standing[:RECORD_HEAD]):
            self.tasks.start(self.unclaim(flight))
            return None
        flight.nonces, flight.lease = nonces, standing[:RECORD_HEAD]
        return True

    async def unclaim(self, flight: InFlight, *, withdrawing: bool = False) -> None:
        """Remove the claim after the flight's `rest`; if `withdrawing`, first remove the record."""
        if withdrawing:
            await self.withdraw(flight)
        with suppress(UnavailableError):
            if flight.rest:
                await self._looks.ask(self._backend.renew(flight.claim, flight.token, flight.rest))
            else:
                await self._looks.ask(self._backend.release(flight.claim, flight.token))

    # --- waiting -------------------------------------------------------------------------------

    async def wait(self, key: str, lease: bytes) -> bool:
        """Wait until the key no longer holds `lease`, or that is an orphan. One task polls for all.

        Return `False` if the backend is away.
        """
        loop = asyncio.get_running_loop()
        polling = self._waits.get((loop, key, lease))
        if polling is not None:
            return await asyncio.shield(polling)
        polling = self._waits[loop, key, lease] = loop.create_future()
        here = True
        try:
            standing: bytes | None = lease
            while standing == lease and not self.is_orphan(lease):
                standing = await self._looks.ask(self._backend.wait_for_change(key, lease))
        except UnavailableError:
            here = False
        finally:
            del self._waits[loop, key, lease]
            polling.set_result(here)
        return here


def _new_mark() -> bytes:
    return _LEASE + secrets.token_hex(8).encode()


def is_lease(data: bytes | None) -> bool:
    """Whether `data` is a lease."""
    return data is not None and data.startswith(_LEASE)


def is_of(standing: bytes | None, nonces: Nonces) -> bool:
    """Whether the key holds a lease whose computation began under these nonces."""
    return standing is not None and is_lease(standing) and standing.endswith(_digest(nonces))


def may_join(flight: InFlight, standing: bytes | None, nonces: Nonces, *, online: bool) -> bool:
    """Whether a caller with this look at the key may have the flight's result."""
    if not flight.started:
        return True
    if not online:
        return not flight.maybe_invalidated
    return flight.lease is not None and flight.lease == standing and is_of(standing, nonces)


def _digest(nonces: Nonces) -> bytes:
    joined = b",".join(nonce or b"" for nonce in nonces)
    return blake2b(joined, digest_size=8).hexdigest().encode()

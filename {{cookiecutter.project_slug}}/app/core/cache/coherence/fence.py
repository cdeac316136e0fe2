"""The fence: how one caller computes what many want, and how an invalidation overtakes it.

A key holds nothing, a lease, or a record, and it changes only like this:

                      acquire                     replace(over=lease)
        nothing ──────────────────▶ lease ──────────────────────────────▶ record
           ▲                          │ ▲                                    │
           │   release, or expiry     │ │  replace(over=the record's head),  │
           ├──────────────────────────┘ │  if it is of no use any more       │
           │                            └────────────────────────────────────┤
           └─────────────── invalidation (UNLINK), expiry, eviction ─────────┘
        an explicit `set` replaces whatever the key holds; a record that is due (see `freshness`)
        is served until the next one replaces it, over its head

A lease is `lease/1 <token> <digest of tag nonces>`. Its token begins with the number of the manager
that acquired it; the rest is random. It expires soon; the leader renews it while the function runs.
Each arrow is one atomic command on one key, so that one server and a cluster do the same.
The idea is that of Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013.

**Why no read is stale after an invalidation (P3).** Let an invalidation of K return, and a read of
K start after that. The value that the read returns comes from one of these:

1. A record at K. `replace` put it there over its leader's lease. No two leases have the same
   token, so that lease was at K without a gap since before the function ran. An invalidation
   removes whatever K holds. So it came before that lease, and then the function started after it,
   or it came after the record, and then the record is gone. The same holds for a refresh: it
   replaces the record that it saw before its function ran, which has a random number.
2. A flight of this process that the read joins. If the flight's function runs already, the read
   joins only if it has just seen that flight's lease at K: then no invalidation came since the
   function started. Every read may join a flight whose function has not started.
3. A lease of another process: the read waits, and looks again.
4. Its own computation. If it has waited long enough (see below), its record may replace the lease
   that it waited for. That lease was at K before its function ran, and without a gap until then,
   as nobody acquires a lease twice. So 1 holds for this record as for the one of the lease's own
   leader, which then comes too late.

For tags, nonces do the same. They are read before the function runs, and the record keeps them. An
invalidation sets new nonces. So a record with older ones is not served, a lease with older ones is
replaced, and a flight with older ones is not joined.

**Why the function runs once (P4).** `acquire` sets a key only if it is missing, so one of many
callers gets the lease. Other callers of its process join its flight; those of another process wait
until the key changes. If a leader dies, its lease expires after `LEASE_MS`, however long the
function would have taken. If a lease of this manager has no fill any more, or was put there by a
command whose reply was lost, its number shows that, and the next leader here replaces it. If that
were wrong, one more call would compute, and the first result would not be stored.

**Nobody waits for long (P5).** A call waits for others, flights or leases, for `lock_timeout` in
all. Then it computes for itself, at once. The first call that does so replaces the lease by its
record, as in 4, and those who still wait look at the key again. A lease that never expires, for
example one that was set by hand, gets an expiry on that occasion. Here P5 goes before P4: the
function runs more than once.

**Nobody waits for a private result.** If a result must neither be stored nor shared, this process
notes its key for a few seconds. Callers then compute at once, each for itself, without a lease and
without a flight, and nothing of that is stored or shared (Varnish calls it hit-for-miss). So each
of them is a case of 4, and another process may still fill the key. The first result that may be
stored clears the note, and the next call leads.

**While the backend is away**, there are only flights, within each process. An invalidation by this
process then removes the flights that it covers. A key that a pending invalidation covers is treated
as if the backend were away.

**A refresh that succeeds** ends the old record. The new record replaces it; an answer that is not
stored (a 404, a result that must not be stored) removes it, if the key still has its head
(RFC 9111, 4.3.3). A refresh that fails leaves it (RFC 5861, stale-if-error). A refresh that is asked
for puts its lease over the record, for it must not read that, and the second of two must win. If it
fails, it puts the record back over its lease: an invalidation meanwhile would have removed that.

**The response of an endpoint** is known only when FastAPI has rendered the function's result. The
flight goes on until then, as if the function took that much longer (see `Fill`).

This file decides by what a key holds. `fills` runs functions and stores their results, `leases` has
the steps at the backend, `single_flight` has the flights.
"""

import math
import time
from collections.abc import Collection
from typing import TypeVar

from ..base import CacheBackend, Nonces
from ..defaults import DEFAULT_LOCK_TIMEOUT
from ..loops import before, later
from ..resilience import Outage
from . import leases
from .call import Cached, Call, Outcome
from .exceptions import copied
from .fills import Fills, Result
from .lately import Lately
from .leases import Leases, is_lease, is_of, may_join
from .looks import AWAY, Look, Looks
from .pending import PendingInvalidations
from .single_flight import FillResult, InFlight, SingleFlight, computes_here, led_here
from .writes import Writes

T = TypeVar("T")


class Fence:
    """Reads and computes entries of one backend by the protocol above.

    A call waits for others for `lock_timeout` seconds at most.
    """

    def __init__(
        self,
        backend: CacheBackend,
        outage: Outage,
        pending: PendingInvalidations,
        *,
        lock_timeout: float = DEFAULT_LOCK_TIMEOUT,
    ) -> None:
        if isinstance(lock_timeout, bool) or not 0 < lock_timeout < math.inf:
            raise ValueError(f"{lock_timeout=} must be a number of seconds, more than 0")
        self._backend, self._outage, self._pending = backend, outage, pending
        self.near = backend.near
        self.looks_now = type(backend).read_now is not CacheBackend.read_now
        """Whether the backend can read a key without waiting."""
        self.flights = SingleFlight(atomic=backend.atomic)
        self.looks = Looks(backend, outage, pending)
        self.leases = Leases(backend, self.looks, pending)
        self.fills = Fills(self.leases, self.flights)
        self.writes = Writes(backend, self.flights, self.leases)
        self.lock_timeout = lock_timeout
        self.too_large = Lately()
        """Keys whose records were too large to be stored: for a while, none are made for them."""

    def may_read_near(self) -> bool:
        """Whether the near cache may be read.

        A function whose result may be stored must read the newest values: from the backend.
        """
        return not (self._pending.is_open or computes_here())

    def look_now(self, key: str, tags: tuple[str, ...]) -> Look | None:
        """Return the look at a key if the backend has it at once and works; else `None`."""
        if self._pending.is_open or self._outage.since is not None:
            return None
        found = self._backend.read_now(key, tags)
        return None if found is None else (*found, True)

    async def look_many(self, keys: Collection[str]) -> dict[str, bytes | None] | None:
        """Return the bytes of keys, in one round trip; `None` if the backend cannot be asked.

        Keys that a pending invalidation covers are left out.
        """
        keys = [key for key in keys if not self._pending.covers(key)]
        there: dict[str, bytes | None] = {}
        if self.near is not None and self.may_read_near():
            there = {key: kept.data for key in keys if (kept := self.near.get(key)) is not None}
        missing = [key for key in keys if key not in there]
        if missing:
            found = await self.looks.read_many(missing)
            if found is None:
                return None
            there |= dict(zip(missing, found, strict=True))
        return there

    async def nonces(self, tags: tuple[str, ...]) -> Nonces | None:
        """Return the nonces of tags; `None` if the backend cannot be asked."""
        near = self.near if self.near is not None and self.may_read_near() else None
        return (near and near.nonces(tags)) or await self.looks.nonces_now(tags)  # pyright: ignore[reportReturnType]

    async def run(
        self,
        key: str,
        tags: tuple[str, ...],
        call: Call,
        *,
        online: bool = True,
        seen: Look | None = None,
    ) -> Result:
        """Return the value for `key`: from its record, from a flight, or computed by `call`.

        Without `online` the backend is known to be away. `seen` is a look of just now, which is
        not repeated.
        """
        leading = led_here()
        if leading and any(flight.key == key for flight in leading):
            return await self.fills.alone(key, call)  # it calls itself, and would wait for itself
        look, until = seen if online else AWAY, None
        while True:
            look = look or await self.looks.look(key, tags)
            found, online = await self._read(call, look)
            if found is not None and not found.due:
                return Result(found.value, Outcome.HIT)
            until = until or later(self.lock_timeout)
            standing, nonces, _ = look
            flight, look, result = self.flights.get(key), None, None
            ours = InFlight(key, tags)
            if found is not None:
                result = await self.fills.refresh(ours, call, standing or b"", nonces, found)
            elif key in self.fills.apart:
                result = await self.fills.alone(key, call)
            elif flight is not None and may_join(flight, standing, nonces, online=online):
                aside = await self._aside(flight, call, standing, nonces)
                result = aside or await self._follow(flight, call, leading, until, online=online)
            elif standing is not None and self._must_wait(standing, nonces):
                other = InFlight(key, tags, nonces, lease=standing, started=True)
                # This call is inside a fill, for which the other process may be waiting.
                soon = min(until, later(leases.LEASE_MS / 1000)) if leading else until
                look, result = await self._wait_for(other, call, soon)
            else:
                result = await self.fills.lead(ours, call, standing, nonces, online=online)
            if result is not None:
                return result
            if later(0) >= until:  # others are faster, time and again
                return await self.fills.alone(key, call)

    async def renew_now(self, key: str, tags: tuple[str, ...], call: Call) -> Result:
        """Compute `call` and store it, whatever the key holds; if that fails, it stays there."""
        while True:
            standing, nonces, online = await self.looks.look(key, tags)
            flight = InFlight(key, tags)
            await self.leases.set_aside(flight, standing, self.flights.get(key))
            result = await self.fills.lead(flight, call, standing, nonces, online=online)
            if result is not None:
                return result

    async def _read(self, call: Call, look: Look) -> tuple[Cached | None, bool]:
        """Return the content of a record that may be served, and whether the backend is there."""
        standing, nonces, online = look
        found = None if standing is None or is_lease(standing) else call.read(standing, nonces)
        if found is not None and found.tags:
            now = await self.looks.nonces_now(found.tags)
            return (found if now == found.nonces else None), now is not None
        return found, online

    async def _aside(
        self, flight: InFlight, call: Call, standing: bytes | None, nonces: Nonces
    ) -> Result | None:
        """Return what a refresh that was asked for has set aside: nobody needs to wait for that.

        Its lease is at the key, so no invalidation has come since; it began under these nonces.
        """
        old = flight.old
        if (
            old is None
            or call.has_refused
            or standing is None
            or standing != flight.lease
            or not is_of(standing, nonces)
        ):
            return None
        found, _ = await self._read(call, (old[0], nonces, True))
        if found is None or time.monotonic() >= old[1]:
            return None
        return Result(found.value, Outcome.STALE if found.due else Outcome.HIT)

    def _must_wait(self, standing: bytes, nonces: Nonces) -> bool:
        """Whether the key's lease shows that another process computes under these nonces."""
        return is_of(standing, nonces) and not self.leases.is_orphan(standing)

    async def _follow(
        self,
        flight: InFlight,
        call: Call,
        leading: frozenset[InFlight],
        until: float,
        *,
        online: bool,
    ) -> Result | None:
        """Join a flight for a while; return `None` if the key has to be looked at again."""
        if flight.started and not online:
            for leader in leading:  # the flight's result may be old, so theirs are not stored
                leader.overtaken = True
        landed = await before(until, flight.join())
        if landed is None:
            return await self._overdue(flight, call)
        if landed.again and not (landed.error is not None and call.has_refused):
            return None
        return await self._share(landed, flight, call)

    async def _wait_for(
        self, other: InFlight, call: Call, until: float
    ) -> tuple[Look | None, Result | None]:
        """Wait for another process; return `AWAY` if the backend is, a result if it takes long."""
        here = await before(until, self.leases.wait(other.key, other.lease or b""))
        if here is None:
            return None, await self._overdue(other, call)
        return (None if here else AWAY), None

    async def _overdue(self, other: InFlight, call: Call) -> Result:
        return await self.fills.overdue(other, call, atomic=self._backend.atomic)

    async def _share(self, landed: FillResult, flight: InFlight, call: Call) -> Result | None:
        """Return the result of a flight; `None` if its record is of no use to this call."""
        if landed.error is not None and flight.owner is call.owner:
            copy = copied(landed.error)
            if copy is not None:
                raise copy
        if landed.data is None or landed.error is not None:
            return await self.fills.alone(flight.key, call)
        found = call.read(landed.data, flight.nonces)
        return None if found is None else Result(found.value, Outcome.SHARED)

"""The fence: how one caller computes what many want, and how an invalidation overtakes it.

What stands at a key is nothing, a lease, or a record, and it changes only like this:

                      acquire                     replace(over=lease)
        nothing ──────────────────▶ lease ──────────────────────────────▶ record
           ▲                          │ ▲                                    │
           │   release, or its time   │ │  replace(over=the record's head),  │
           ├──────────────────────────┘ │  where it is of no use any more    │
           │                            └────────────────────────────────────┤
           └─────────────── invalidation (UNLINK), expiry, eviction ─────────┘
        an explicit `set` puts its value there, whatever stood before; a record that is due (see
        `freshness`) is replaced by the next one, over its own head, while it goes on being served

A lease is `lease/1 <token> <digest of tag nonces>`. Its token begins with the number of the manager
that has put it there, and the rest is random. Its time is short; the leader renews it while the
function runs. Each arrow is one atomic command on one key, so that one server and a cluster do the
same. The idea is that of Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013.

**Why no read is stale after an invalidation (P3).** Let an invalidation of K return, and a read of
K start after that. The value that it returns comes from one of these:

1. A record at K. It was put there by `replace` over its leader's lease, which stood there without
   a gap since before the function ran, for no two leases have one token. An invalidation removes
   whatever stands at K, so it came either before that lease, and then the function started after
   it, or after the record, and then the record is gone. A refresh replaces the very record that it
   saw before its function ran, which bears a random number: the same holds.
2. A flight of this process that it joins. It joins one whose function runs only if it has just
   seen that flight's lease at K itself: then no invalidation came since the function started. One
   whose function has not started may be joined by all.
3. A lease of another process: it waits, and looks again.
4. Its own computation. If it has waited long enough (see below), its record may replace the very
   lease that it waited for: that stood at K before its function ran, and, as nobody puts a lease
   twice, without a gap until then. So 1 holds for it as for that lease's own leader, whose record
   then comes too late.

For tags the nonces say the same. They were read before the function ran, and the record keeps them;
an invalidation sets new ones, so an older record is of no use, and neither is a lease or a flight
with other nonces: it is replaced, or not joined.

**Why the function runs once (P4).** `acquire` sets what is absent, so that one of many has the
lease. In its process the others join its flight; in another they wait until something else stands at
the key. A leader that dies leaves a lease that ends by itself after `LEASE_MS`, however long the
function would have taken. A lease of this manager under which nothing is under way any more, or of
which it never knew that it was put there, is recognised by its number and holds up nobody here: the
next leader replaces it. If that were wrong, one more would compute, and the first not be stored.

**Nobody waits for long (P5).** A call waits for others, be they flights or leases, for `lock_timeout`
in all. Then it computes for itself, at once; the first of those who does so puts its record where
the lease is, as said above, and sends those who still wait to look there. A lease that never ends
by itself, as one put there by hand, is given an end on that occasion. Here P5 goes before P4: the
function runs more than once.

**What is nobody else's** is not waited for. If what a call has computed must neither be stored nor
shared, its key is noted for a few seconds in this process: its callers then compute at once, each
for himself, without a lease and without a flight, and nothing of that is stored or shared (Varnish
calls it hit-for-miss). So each of them is a case of 4, and stops nobody elsewhere from filling the
key. The first result that may be stored clears the note, and the next call leads.

**While the backend is away**, flights alone hold, within each process, and what this process
invalidates meanwhile takes its flights out of the way. What a pending invalidation
covers is treated as if the backend were away.

**A refresh that gets an answer** which is no failure ends the old record, whatever the answer is: the
new record replaces it, and what has none (a 404, a result that must not be stored) removes it, by
comparing its head as well (RFC 9111, 4.3.3). A failure leaves it (RFC 5861, stale-if-error).

**What an endpoint sends** is known only when FastAPI has rendered what the function returned. Its
flight then goes on until that is done, as if the function took so much longer (see `Fill`).

The story is told here: what stands at the key, and what follows from it. `fills` tells how a function
is run and its result stored, `leases` has the steps at the backend, `single_flight` the flights.
"""

import asyncio
import math
from collections.abc import Awaitable, Collection
from typing import TypeVar

from ..base import CacheBackend, Nonces
from ..loops import running_loop
from ..resilience import Outage
from . import leases
from .call import Cached, Call
from .exceptions import copied
from .fills import Fills, Result, computes_here, led_here
from .lately import Lately
from .leases import Leases, is_lease, is_of
from .looks import AWAY, Look, Looks
from .outcome import Outcome
from .pending import PendingInvalidations
from .single_flight import FillResult, InFlight, SingleFlight

T = TypeVar("T")

LOCK_TIMEOUT = 5.0
"""How long a call waits for others, in seconds, before it computes for itself."""


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
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        if isinstance(lock_timeout, bool) or not 0 < lock_timeout < math.inf:
            raise ValueError(f"{lock_timeout=} must be a number of seconds, more than 0")
        self._backend, self._outage, self._pending = backend, outage, pending
        self.near = backend.near
        self.looks_now = type(backend).read_now is not CacheBackend.read_now
        """Whether the backend may tell at once what stands at a key."""
        self.flights = SingleFlight(atomic=backend.atomic)
        self.looks = Looks(backend, outage, pending)
        self.leases = Leases(backend, self.looks, pending)
        self.fills = Fills(self.leases, self.flights)
        self.lock_timeout = lock_timeout
        self.too_large = Lately()
        """Keys whose records were too large to be stored: it is of no use to make them again."""

    def may_read_near(self) -> bool:
        """Whether the near cache may be read.

        A function whose result may be stored makes it of what is newest, and asks the backend.
        """
        return not (self._pending.is_open or computes_here())

    def look_now(self, key: str, tags: tuple[str, ...]) -> Look | None:
        """Return what stands at a key if the backend tells that at once, and all is well."""
        if self._pending.is_open or self._outage.since is not None:
            return None
        found = self._backend.read_now(key, tags)
        return None if found is None else (*found, True)

    async def look_many(self, keys: Collection[str]) -> dict[str, bytes | None] | None:
        """Return what stands at keys in one round trip; `None` where the backend cannot be asked.

        Keys of what a pending invalidation covers are left out.
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
        """Return the nonces of tags; `None` where the backend cannot be asked."""
        near = self.near if self.near is not None and self.may_read_near() else None
        return (near and near.nonces(tags)) or await self.looks.nonces_now(tags)

    async def run(
        self,
        key: str,
        tags: tuple[str, ...],
        call: Call,
        *,
        online: bool = True,
        seen: Look | None = None,
    ) -> Result:
        """Return the value for `key`: what is there, what a flight computes, or `call` itself.

        Without `online` the backend is known to be away. What was `seen` just now is not looked at
        once more.
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
            until = until or _in(self.lock_timeout)
            standing, nonces, _ = look
            flight, look, result = self.flights.get(key), None, None
            ours = InFlight(key, tags)
            if found is not None:
                result = await self.fills.refresh(ours, call, standing or b"", nonces, found)
            elif key in self.fills.apart:
                result = await self.fills.alone(key, call)
            elif flight is not None and _may_join(flight, standing, nonces, online=online):
                result = await self._follow(flight, call, leading, until, online=online)
            elif standing is not None and self._must_wait(standing, nonces):
                other = InFlight(key, tags, nonces, lease=standing, started=True)
                # Whoever has a lease may be waited for by the process that it waits for.
                soon = min(until, _in(leases.LEASE_MS / 1000)) if leading else until
                look, result = await self._wait_for(other, call, soon)
            else:
                result = await self.fills.lead(ours, call, standing, nonces, online=online)
            if result is not None:
                return result
            if _in(0) >= until:  # others are faster, time and again
                return await self.fills.alone(key, call)

    async def renew_now(self, key: str, tags: tuple[str, ...], call: Call) -> Result:
        """Compute `call` and store it, whatever stands at the key."""
        while True:
            standing, nonces, online = await self.looks.look(key, tags)
            flight = InFlight(key, tags)
            result = await self.fills.lead(flight, call, standing, nonces, online=online)
            if result is not None:
                return result

    async def _read(self, call: Call, look: Look) -> tuple[Cached | None, bool]:
        """Return what a record holds that is of use, and whether the backend is there."""
        standing, nonces, online = look
        found = None if standing is None or is_lease(standing) else call.read(standing, nonces)
        if found is not None and found.tags:
            now = await self.looks.nonces_now(found.tags)
            return (found if now == found.nonces else None), now is not None
        return found, online

    def _must_wait(self, standing: bytes, nonces: Nonces) -> bool:
        """Whether another process computes under these nonces, as far as can be seen."""
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
        """Join a flight for a while; return `None` where it is time to look again."""
        if flight.started and not online:
            for leader in leading:  # nobody could look after what it brings: it may be older
                leader.overtaken = True
        landed = await _before(until, flight.join())
        if landed is None:
            return await self._overdue(flight, call)
        return None if landed.again else await self._share(landed, flight, call)

    async def _wait_for(
        self, other: InFlight, call: Call, until: float
    ) -> tuple[Look | None, Result | None]:
        """Wait for another process for a while; return what is known of the key then, or a result."""
        here = await _before(until, self.leases.wait(other.key, other.lease or b""))
        if here is None:
            return None, await self._overdue(other, call)
        return (None if here else AWAY), None

    async def _overdue(self, other: InFlight, call: Call) -> Result:
        return await self.fills.overdue(other, call, atomic=self._backend.atomic)

    async def _share(self, landed: FillResult, flight: InFlight, call: Call) -> Result | None:
        """Return what a flight has brought; `None` where its record is of no use to this call."""
        if landed.error is not None and flight.owner is call.owner:
            copy = copied(landed.error)
            if copy is not None:
                raise copy
        if landed.data is None or landed.error is not None:
            return await self.fills.alone(flight.key, call)
        found = call.read(landed.data, flight.nonces)
        return None if found is None else Result(found.value, Outcome.SHARED)


def _in(seconds: float) -> float:
    """Return the event loop's time in so many seconds."""
    return running_loop().time() + seconds


async def _before(until: float, waiting: Awaitable[T]) -> T | None:
    """Return what is waited for, or `None` if it has not come by then."""
    try:
        async with asyncio.timeout_at(until):
            return await waiting
    except TimeoutError:
        return None


def _may_join(flight: InFlight, standing: bytes | None, nonces: Nonces, *, online: bool) -> bool:
    """Whether a caller that has just seen this may have what the flight will bring."""
    if not flight.started:
        return True
    if not online:
        return not flight.maybe_invalidated
    return flight.lease is not None and flight.lease == standing and is_of(standing, nonces)

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
invalidates meanwhile takes its flights out of the way. What the `journal` covers is treated as if
the backend were away.

**A refresh that gets an answer** which is no failure ends the old record, whatever the answer is: the
new record replaces it, and what has none (a 404, a result that must not be stored) removes it, by
comparing its head as well (RFC 9111, 4.3.3). A failure leaves it (RFC 5861, stale-if-error).

**What an endpoint sends** is known only when FastAPI has rendered what the function returned. Its
flight then goes on until that is done, as if the function took so much longer (see `Fill`).
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol, TypeVar

from ..base import CacheBackend, Nonces
from ..loops import insist_on_asyncio, reset, running_loop, runs_loop
from ..near import NearEntry
from ..resilience import Outage
from . import leases
from .exceptions import own
from .flights import AGAIN, ALONE, Flight, Flights, Landed
from .freshness import BACK_OFF_MS, is_answer
from .journal import Journal
from .lately import Lately
from .leases import AWAY, Leases, Look, is_lease, is_of
from .status import Outcome

T = TypeVar("T")

LOCK_TIMEOUT = 5.0
"""How long a call waits for others, in seconds, before it computes for itself."""

_leading: ContextVar[frozenset[Flight]] = ContextVar("leading", default=frozenset())
"""The flights whose functions have called, one from within the other, what runs here."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a call computed: the result, the record to store, if any, and for how long."""

    value: Any
    data: bytes | None
    ms: int
    keep: bool = True
    """Whether the record may be stored, and not only be shared with those who wait for it."""
    later: Callable[[], bytes | None] | None = None
    """Where the caller brings the record when he has seen more (see `Fill`): what makes one now."""


class How(Enum):
    """Where a value came from."""

    HIT = "it was there", Outcome.HIT
    STALE = "it was there, and is due to be computed anew", Outcome.HIT
    SHARED = "another caller of this process computed it", Outcome.SHARED
    STORED = "the call computed it, and it is there now", Outcome.STORED
    COMPUTED = "the call computed it, and it is not there", Outcome.NOT_STORED

    def __init__(self, _: str, outcome: Outcome) -> None:
        self.outcome = outcome


@dataclass(slots=True)
class Served:
    """A value, and where it came from."""

    value: Any
    how: How
    fill: "Fill | None" = None
    """What the caller has to bring to an end, if it is his computation, and its record is to come."""


@dataclass(slots=True)
class Found:
    """What a record holds, and whether it is due to be computed anew."""

    value: Any
    due: bool = False
    tags: tuple[str, ...] = ()
    """Further tags, which only the record knows."""
    nonces: Nonces = ()
    """What their nonces have to be."""


class Call(Protocol):
    """One call for a key: how to read a record, how to compute one."""

    in_background: bool
    """Whether a record that is due is computed in a task of its own."""
    is_private: bool
    """Whether what its function raised is for this caller only."""
    owner: object
    """Whose calls share an exception: those of one function."""

    def read(self, data: bytes, nonces: Nonces) -> Found | None:
        """Return what a record holds, or `None` if it is of no use."""

    def failed(self, value: Any) -> bool:
        """Whether a result tells of a failure, so that an old one is better."""

    async def compute(self, nonces: Nonces) -> Made:
        """Run the function. Its exceptions are its followers', too, unless they are private."""


class Fill:
    """A computation whose function has returned, and whose record its caller is still to bring.

    Until then its flight goes on, and so does its lease: those who want the key wait, and an
    invalidation overtakes it as it does while the function runs. The caller ends it, whatever
    happens to him: by `finish` or by `abandon`.
    """

    def __init__(
        self, leases: Leases, flight: Flight, made: Made, end: Callable[[Flight, Landed], None]
    ) -> None:
        self._leases, self._flight, self._made, self._end = leases, flight, made, end
        leases.arm(flight)

    async def finish(self, data: bytes | None, *, failed: bool = False) -> How:
        """Store a record, or none, and hand it to those who wait for it.

        Without one, `failed` says that this tells of a failure: an older record is better.
        """
        stored = False
        try:
            if data is None and failed:
                self._flight.rest = BACK_OFF_MS
            elif data is None and self._flight.claim:
                await self._leases.withdraw(self._flight)
            elif data is not None and self._made.keep:
                stored = await self._leases.store(self._flight, data, self._made.ms)
            return How.STORED if stored else How.COMPUTED
        finally:
            self._land(_shared(data))

    def abandon(self, error: BaseException) -> None:
        """Tell those who wait why there is none: what the caller got, unless he was cancelled."""
        self._land(Landed.failed(error) if isinstance(error, Exception) else AGAIN)

    def _land(self, how: Landed) -> None:
        if self._flight.renewal is not None:
            self._flight.renewal.cancel()
        self._end(self._flight, how)


class Fence:
    """Reads and computes entries of one backend by the protocol above.

    A call waits for others for `lock_timeout` seconds at most.
    """

    def __init__(
        self,
        backend: CacheBackend,
        outage: Outage,
        journal: Journal,
        *,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        if isinstance(lock_timeout, bool) or not 0 < lock_timeout < math.inf:
            raise ValueError(f"{lock_timeout=} must be a number of seconds, more than 0")
        self._backend, self._journal = backend, journal
        self.near = backend.near
        self._outage = outage
        self.flights = Flights(atomic=backend.atomic)
        self.leases = Leases(backend, outage, journal)
        self.lock_timeout = lock_timeout
        self._apart = Lately()
        """Keys whose results were nobody else's."""
        self.too_large = Lately()
        """Keys whose records were too large to be stored: it is of no use to make them again."""

    def read_nowait(self, key: str) -> "asyncio.Future[bytes | None] | None":
        """Ask what stands at a key, on the shortest way to a hit; return where the answer will be.

        `None` where that is not possible, or more has to be known.
        """
        if self._journal.is_open or self._outage.since is not None:
            return None
        if _leading.get() and any(flight.key == key for flight in _led_here()):
            return None
        try:
            return self._backend.read_nowait(key)
        except RuntimeError:
            insist_on_asyncio()
            raise

    async def run(
        self,
        key: str,
        tags: tuple[str, ...],
        call: Call,
        *,
        online: bool = True,
        seen: Look | None = None,
    ) -> Served:
        """Return the value for `key`: what is there, what a flight computes, or `call` itself.

        Without `online` the backend is known to be away. What was `seen` just now is not looked at
        once more.
        """
        leading = _led_here()
        if leading and any(flight.key == key for flight in leading):
            return await self._alone(key, call)  # it calls itself, and would wait for itself
        away, until = not online, None
        while True:
            standing, nonces, online = AWAY if away else seen or await self.leases.look(key, tags)
            seen = None
            found = None if standing is None or is_lease(standing) else call.read(standing, nonces)
            if found is not None and found.tags:
                now = await self.leases.nonces_now(found.tags)
                found, online = found if now == found.nonces else None, now is not None
            if found is not None and not found.due:
                return Served(found.value, How.HIT)
            until = until or _in(self.lock_timeout)
            flight, served = self.flights.get(key), None
            if found is not None:
                served = await self._serve(Flight(key, tags), call, standing or b"", nonces, found)
            elif key in self._apart:
                served = await self._alone(key, call)
            elif flight is not None and _may_join(flight, standing, nonces, online=online):
                served = await self._follow(flight, call, leading, until, online=online)
            elif is_of(standing, nonces) and not self.leases.is_orphan(standing):
                # Whoever has a lease may be waited for by the process that he waits for.
                soon = min(until, _in(leases.LEASE_MS / 1000)) if leading else until
                other = Flight(key, tags, nonces, lease=standing, started=True)
                here = await _before(soon, self.leases.wait(key, standing or b""))
                away = here is False
                served = await self._overdue(other, call) if here is None else None
            else:
                served = await self._lead(Flight(key, tags), call, standing, nonces, online=online)
            if served is not None:
                return served
            if _in(0) >= until:  # others are faster, time and again
                return await self._alone(key, call)

    async def _follow(
        self,
        flight: Flight,
        call: Call,
        leading: frozenset[Flight],
        until: float,
        *,
        online: bool,
    ) -> Served | None:
        """Join a flight for a while; return `None` where it is time to look again."""
        if flight.waits_for_any_of(leading):  # each would wait for the other
            return await self._alone(flight.key, call)
        landed = await _before(until, _join(flight, leading, online=online))
        if landed is None:
            return await self._overdue(flight, call)
        return None if landed.again else await self._share(landed, flight, call)

    def nearby(self, key: str, tags: tuple[str, ...]) -> tuple[NearEntry, Nonces] | None:
        """Return what the near cache has at a key, and its tags' nonces; `None` without them.

        A function whose result may be stored makes it of what is newest, and asks the backend.
        """
        near = self.near
        if near is None or self._journal.is_open or (_leading.get() and computes_here()):
            return None
        if (kept := near.get(key)) is None:
            return None
        if not tags:
            return kept, ()
        nonces = near.nonces(tags)
        return None if nonces is None else (kept, nonces)

    def is_hit(self, found: Found | None) -> bool:
        """Whether what was found there can be had without asking the backend."""
        if found is None or found.due:
            return False
        return not found.tags or (
            self.near is not None and self.near.nonces(found.tags) == found.nonces
        )

    async def lead_many(
        self,
        keys: list[str],
        compute: Callable[[list[str]], Awaitable[dict[str, Made]]],
        *,
        online: bool = True,
    ) -> dict[str, Made | None]:
        """Compute, in one call, those of `keys` that nobody else computes; return what was made.

        A key for which `compute` made nothing has `None`. Those that somebody else computes are
        not among them, and neither are those that this context computes already. Without `online`
        the backend is known to be away.
        """
        leading = {flight.key for flight in _led_here()}
        flights = [
            Flight(key, ()) for key in keys if key not in leading and self.flights.get(key) is None
        ]
        for flight in flights:
            self.flights.add(flight)
        how: dict[str, Landed] = {}
        led: list[Flight] = []
        try:
            led = flights
            if online:
                taken = await asyncio.gather(
                    *(self.leases.acquire_lease(each, None, ()) for each in flights)
                )
                led = [flight for flight, mine in zip(flights, taken, strict=True) if mine]
            for flight in led:
                flight.started = True
            made = await self._computed_many(led, compute) if led else {}
            how = {key: Landed(data=each.data) for key, each in made.items()}
            await asyncio.gather(
                *(self._store(each, made[each.key]) for each in led if each.key in made)
            )
            return {flight.key: made.get(flight.key) for flight in led}
        except Exception as error:
            how = dict.fromkeys((flight.key for flight in led), Landed.failed(error))
            raise
        finally:
            for flight in flights:
                self._end(flight, how.get(flight.key, ALONE if how else AGAIN))
            how = {}  # a traceback in it would hold this very frame

    async def _computed_many(
        self, flights: list[Flight], compute: Callable[[list[str]], Awaitable[dict[str, Made]]]
    ) -> dict[str, Made]:
        leading = _leading.set(_leading.get() | frozenset(flights))
        for flight in flights:
            self.leases.arm(flight)
        try:
            return await compute([flight.key for flight in flights])
        finally:
            reset(_leading, leading)
            for flight in flights:
                if flight.renewal is not None:
                    flight.renewal.cancel()

    async def _alone(self, key: str, call: Call) -> Served:
        """Compute for this caller only."""
        made = await call.compute(())
        if made.later is None:
            self._learn(key, _shared(made.data))
            return Served(made.value, How.COMPUTED)
        fill = Fill(self.leases, Flight(key, ()), made, self._end_apart)
        return Served(made.value, How.COMPUTED, fill)

    def _end_apart(self, flight: Flight, how: Landed) -> None:
        flight.running = False
        self._learn(flight.key, how)

    def _learn(self, key: str, how: Landed) -> None:
        """Note whether a result was one that may be stored."""
        if how.data is not None:
            self._apart.discard(key)
        elif how.error is None and not how.again:
            self._apart.add(key)

    async def _overdue(self, other: Flight, call: Call) -> Served:
        """Compute for a caller who has waited long enough for another one, of whatever process.

        If the other's lease is still there afterwards, the result takes its place: see above. Where
        a backend cannot compare and replace in one step, it is not stored.
        """
        flight = Flight(other.key, other.tags)
        if other.started and other.lease is not None and self._backend.atomic:
            flight.over, flight.nonces = other.lease, other.nonces
            self.leases.afterwards(self.leases.limit(flight))
        fill: Fill | None = None
        how = AGAIN
        try:
            made = await self._computed(flight, call)
            if made.later is not None:
                fill = Fill(self.leases, flight, made, self._end_overdue)
                return Served(made.value, How.COMPUTED, fill)
            how = _shared(made.data)
            stored = await self._store(flight, made)
            return Served(made.value, How.STORED if stored else How.COMPUTED)
        finally:
            if fill is None:
                self._end_overdue(flight, how)

    def _end_overdue(self, flight: Flight, how: Landed) -> None:
        """Let those look who wait for another one still, if there is something to be seen."""
        self._end_apart(flight, how)
        other = self.flights.get(flight.key)
        if other is not None and (flight.stored or how == ALONE):
            other.tell(AGAIN)

    async def _share(self, landed: Landed, flight: Flight, call: Call) -> Served | None:
        """Return what a flight has brought; `None` where its record is of no use to this call."""
        is_same = flight.owner is call.owner
        if landed.error is not None and is_same:
            raise own(landed.error, landed.traceback)
        if landed.data is None or landed.error is not None:
            return await self._alone(flight.key, call)
        found = call.read(landed.data, flight.nonces)
        return None if found is None else Served(found.value, How.SHARED)

    async def renew_now(self, key: str, tags: tuple[str, ...], call: Call) -> Served:
        """Compute `call` and store it, whatever stands at the key."""
        while True:
            standing, nonces, online = await self.leases.look(key, tags)
            served = await self._lead(Flight(key, tags), call, standing, nonces, online=online)
            if served is not None:
                return served

    async def _serve(
        self, flight: Flight, call: Call, standing: bytes, nonces: Nonces, found: Found
    ) -> Served | None:
        """Serve a record that is due; compute it anew, unless somebody else does or that fails.

        Return `None` if somebody else has just done so.
        """
        old = Served(found.value, How.STALE)
        claimed = await self.leases.claim(flight, standing, nonces)
        if not claimed:
            return None if claimed is None else old
        if call.in_background:
            self.leases.afterwards(self._refreshed(flight, call, old))
            return old
        return await self._refreshed(flight, call, old)

    async def _refreshed(self, flight: Flight, call: Call, old: Served) -> Served:
        fill: Fill | None = None
        how = AGAIN
        try:
            made = await self._computed(flight, call)
            if call.failed(made.value):
                flight.rest = BACK_OFF_MS
                return old
            if made.later is not None:
                if not call.in_background:
                    fill = Fill(self.leases, flight, made, self._end_refresh)
                    return Served(made.value, How.COMPUTED, fill)
                made = replace(made, data=made.later())
            how = _shared(made.data)
            stored = await self._store(flight, made)
            if how == ALONE:
                await self.leases.withdraw(flight)
            return Served(made.value, How.STORED if stored else How.COMPUTED)
        except Exception as error:
            if is_answer(error):
                await self.leases.withdraw(flight)
                if not call.in_background:
                    raise
            else:
                flight.rest = BACK_OFF_MS
            return old
        finally:
            if fill is None:
                self._end_refresh(flight, how)

    def _end_refresh(self, flight: Flight, how: Landed) -> None:
        answered = how.error is not None and is_answer(how.error)
        if how.error is not None and not answered:
            flight.rest = BACK_OFF_MS
        if not flight.rest:
            self._learn(flight.key, how)
        flight.running = False
        self.leases.afterwards(self.leases.unclaim(flight, withdrawing=answered))

    async def _store(self, flight: Flight, made: Made) -> bool:
        if made.data is None or not made.keep:
            return False
        return await self.leases.store(flight, made.data, made.ms)

    async def _lead(
        self,
        flight: Flight,
        call: Call,
        standing: bytes | None,
        nonces: Nonces,
        *,
        online: bool,
    ) -> Served | None:
        """Take the lead and compute; return `None` if somebody else was first."""
        flight.owner = call.owner
        # One that is under way keeps its place until it is known to have lost its lease: who saw the
        # key before that lease came is no proof.
        if self.flights.get(flight.key) is None:
            self.flights.add(flight)
        how = AGAIN
        fill: Fill | None = None
        try:
            if online and not await self.leases.acquire_lease(flight, standing, nonces):
                return None
            self.flights.add(flight)
            flight.started = True
            made = await self._computed(flight, call)
            if made.later is not None:
                fill = Fill(self.leases, flight, made, self._end_led)
                return Served(made.value, How.COMPUTED, fill)
            how = _shared(made.data)
            stored = await self._store(flight, made)
            return Served(made.value, How.STORED if stored else How.COMPUTED)
        except Exception as error:
            if flight.started:
                how = ALONE if call.is_private else Landed.failed(error)
            raise
        finally:
            if fill is None:
                self._end_led(flight, how)
            how = AGAIN  # a traceback in it would hold this very frame

    def _end_led(self, flight: Flight, how: Landed) -> None:
        if not runs_loop():  # it is collected after its loop was closed: the lease ends by itself
            return
        self._learn(flight.key, how)
        self._end(flight, how)

    def _end(self, flight: Flight, how: Landed) -> None:
        self.flights.remove(flight)
        self.leases.let_go(flight)
        if flight.lease is not None:
            # Not awaited: the leader may have been cancelled, and nobody here waits for it.
            self.leases.afterwards(self.leases.give_back(flight.key, flight.lease))
        flight.land(how)

    async def _computed(self, flight: Flight, call: Call) -> Made:
        async def compute(_: list[str]) -> dict[str, Made]:
            return {flight.key: await call.compute(flight.nonces)}

        return (await self._computed_many([flight], compute))[flight.key]


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


def _shared(data: bytes | None) -> Landed:
    """Return how a flight lands that has computed this."""
    return ALONE if data is None else Landed(data=data)


async def _join(flight: Flight, leading: frozenset[Flight], *, online: bool) -> Landed:
    """Join a flight; note meanwhile that the flights of this context wait for it.

    What a flight brings that nobody could look after may be older than they are: they are not stored.
    """
    for leader in leading:
        leader.blocked_on.append(flight)
        leader.overtaken = leader.overtaken or (flight.started and not online)
    try:
        return await flight.join()
    finally:
        for leader in leading:
            leader.blocked_on.remove(flight)


def computes_here() -> bool:
    """Whether this is called by a function whose result may be stored."""
    return bool(_led_here())


def _led_here() -> frozenset[Flight]:
    """Return the flights under way whose functions have called what runs here."""
    leading = _leading.get()
    return frozenset(flight for flight in leading if flight.running) if leading else leading


def _may_join(flight: Flight, standing: bytes | None, nonces: Nonces, *, online: bool) -> bool:
    """Whether a caller that has just seen this may have what the flight will bring."""
    if not flight.started:
        return True
    if not online:
        return not flight.doubted
    return flight.lease is not None and flight.lease == standing and is_of(standing, nonces)

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

A lease is `lease/1 <token> <digest of tag nonces>`. Its token is random and its time short; the
leader renews it while the function runs. Each arrow is one atomic command on one key, so that one
server and a cluster do the same. The idea is that of Nishtala et al., "Scaling Memcache at
Facebook", NSDI 2013.

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
4. Its own computation.

For tags the nonces say the same. They were read before the function ran, and the record keeps them;
an invalidation sets new ones, so an older record is of no use, and neither is a lease or a flight
with other nonces: it is replaced, or not joined.

**Why the function runs once (P4).** `acquire` sets what is absent, so that one of many has the
lease. In its process the others join its flight; in another they wait until something else stands at
the key. A leader that dies leaves a lease that ends by itself after `LEASE_MS`, however long the
function would have taken. While the backend is away, flights alone hold, within each process, and
what this process invalidates meanwhile takes its flights out of the way. What the `journal` covers
is treated as if the backend were away.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any, Protocol, TypeVar

from .base import CacheBackend, Nonces, UnavailableError
from .errand import Errand
from .flights import AGAIN, ALONE, Flight, Flights, Landed
from .freshness import BACK_OFF_MS, is_answer
from .journal import Journal
from .outage import Outage

T = TypeVar("T")

LEASE_MS = 3000
"""How long a leader that was killed holds up the others, in milliseconds."""
RENEW_SECONDS = 1.0
POLL_SECONDS = 0.09
"""How often a process looks for what another one computes."""
TAG_MS = 30 * 24 * 60 * 60 * 1000
"""How long a tag's nonce is kept; an entry that lives longer ends with it."""

_LEASE = b"lease/1 "
_AWAY: tuple[None, Nonces, bool] = (None, (), False)
"""What is seen of a key while the backend is away."""
_MOST_ORPHANS = 1000
_HEAD = 96  # bytes of a record that tell it from any other: they hold its fill's own number

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


class How(Enum):
    """Where a value came from."""

    HIT = "it was there"
    STALE = "it was there, and is due to be computed anew"
    SHARED = "another caller of this process computed it"
    STORED = "the call computed it, and it is there now"
    COMPUTED = "the call computed it, and it is not there"


@dataclass(slots=True)
class Served:
    """A value, and where it came from."""

    value: Any
    how: How


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

    def read(self, data: bytes, nonces: Nonces) -> Found | None:
        """Return what a record holds, or `None` if it is of no use."""

    def failed(self, value: Any) -> bool:
        """Whether a result tells of a failure, so that an old one is better."""

    async def compute(self, nonces: Nonces) -> Made:
        """Run the function. Its exceptions are its caller's, and its followers'."""


class Fence:
    """Reads and computes entries of one backend by the protocol above."""

    def __init__(self, backend: CacheBackend, outage: Outage, journal: Journal) -> None:
        self._backend = backend
        self._outage = outage
        self._journal = journal
        self.flights = Flights(atomic=backend.atomic)
        self._waits: dict[tuple[asyncio.AbstractEventLoop, str, bytes], asyncio.Future[bool]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        # Leases of which nobody knows whether they are there: the answer did not come. A server that
        # hung carries out what it was sent when it goes on.
        self._orphans: dict[str, bytes] = {}
        self._release = Errand(self.release_orphans)

    async def run(self, key: str, tags: tuple[str, ...], call: Call) -> Served:
        """Return the value for `key`: what is there, what a flight computes, or `call` itself."""
        leading = _led_here()
        if leading and any(flight.key == key for flight in leading):
            return await self._alone(call)  # the function calls itself, and would wait for itself
        away = False
        while True:
            standing, nonces, online = _AWAY if away else await self._look(key, tags)
            found = None if standing is None or is_lease(standing) else call.read(standing, nonces)
            if found is not None and found.tags:
                now = await self.nonces_now(found.tags)
                found, online = found if now == found.nonces else None, now is not None
            if found is not None and not found.due:
                return Served(found.value, How.HIT)
            flight, served = self.flights.get(key), None
            if found is not None:
                served = await self._serve(Flight(key, tags), call, standing or b"", nonces, found)
            elif flight is not None and _may_join(flight, standing, nonces, online=online):
                if flight.waits_for_any_of(leading):  # each would wait for the other
                    return await self._alone(call)
                landed = await _join(flight, leading)
                served = None if landed.again else await self._share(landed, flight, call)
            elif _is_of(standing, nonces) and self._orphans.get(key) != standing:
                # Whoever has a lease may be waited for by the process that he waits for.
                patience = LEASE_MS / 1000 if leading else None
                try:
                    away = not await asyncio.wait_for(self._wait(key, standing or b""), patience)
                except TimeoutError:
                    return await self._alone(call)
            else:
                served = await self._lead(Flight(key, tags), call, standing, nonces, online=online)
            if served is not None:
                return served

    async def lead_many(
        self, keys: list[str], compute: Callable[[list[str]], Awaitable[dict[str, Made]]]
    ) -> dict[str, Made | None]:
        """Compute, in one call, those of `keys` that nobody else computes; return what was made.

        A key for which `compute` made nothing has `None`. Those that somebody else computes are
        not among them, and neither are those that this context computes already.
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
            taken = await asyncio.gather(*(self._take_off(each, None, ()) for each in flights))
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
            how = {flight.key: Landed(error=error) for flight in led}
            raise
        finally:
            for flight in flights:
                self._end(flight, how.get(flight.key, ALONE if how else AGAIN))

    async def _computed_many(
        self, flights: list[Flight], compute: Callable[[list[str]], Awaitable[dict[str, Made]]]
    ) -> dict[str, Made]:
        leading = _leading.set(_leading.get() | frozenset(flights))
        for flight in flights:
            self._arm(flight)
        try:
            return await compute([flight.key for flight in flights])
        finally:
            _leading.reset(leading)
            for flight in flights:
                if flight.renewal is not None:
                    flight.renewal.cancel()

    async def _look(self, key: str, tags: tuple[str, ...]) -> tuple[bytes | None, Nonces, bool]:
        if self._journal.covers(key, tags):
            return _AWAY
        try:
            return *await self._ask(self._backend.look(key, tags)), True
        except UnavailableError:
            return _AWAY

    async def nonces_now(self, tags: tuple[str, ...]) -> Nonces | None:
        """Return the nonces at the keys `tags`, or `None` where the backend cannot be asked."""
        if self._journal.covers("", tags):
            return None
        try:
            return await self._ask(self._backend.get_many_bytes(tags))
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

    async def _alone(self, call: Call) -> Served:
        return Served((await call.compute(())).value, How.COMPUTED)

    async def _share(self, landed: Landed, flight: Flight, call: Call) -> Served:
        if landed.error is not None:
            raise landed.error
        found = None if landed.data is None else call.read(landed.data, flight.nonces)
        return await self._alone(call) if found is None else Served(found.value, How.SHARED)

    async def renew_now(self, key: str, tags: tuple[str, ...], call: Call) -> Served:
        """Compute `call` and store it, whatever stands at the key."""
        while True:
            standing, nonces, online = await self._look(key, tags)
            served = await self._lead(Flight(key, tags), call, standing, nonces, online=online)
            if served is not None:
                return served

    async def _serve(
        self, flight: Flight, call: Call, standing: bytes, nonces: Nonces, found: Found
    ) -> Served | None:
        """Serve a record that is due; compute it anew, unless somebody else does or that fails.

        Return `None` if somebody else has just done so. The claim to do so is a key beside the
        record's, for the record has to be there for the others. It says nothing about who may store:
        the new record takes the place of the old one only if that is still there.
        """
        claim, token = f"{flight.key}:~refresh", secrets.token_hex(8).encode()
        old = Served(found.value, How.STALE)
        try:
            if await self._ask(self._backend.acquire(claim, token, LEASE_MS)) is not None:
                return old
            # Who had the claim before may have finished after we saw the record.
            now, _ = await self._ask(self._backend.look(flight.key))
            if now is None or not now.startswith(standing[:_HEAD]):
                self._afterwards(self._unclaim(claim, token, 0))
                return None
        except UnavailableError:
            return old
        flight.nonces, flight.lease, flight.claim = nonces, standing[:_HEAD], claim
        if call.in_background:
            self._afterwards(self._refreshed(flight, call, token, old))
            return old
        return await self._refreshed(flight, call, token, old)

    async def _refreshed(self, flight: Flight, call: Call, token: bytes, old: Served) -> Served:
        rest = 0
        try:
            made = await self._computed(flight, call)
            if call.failed(made.value):
                rest = BACK_OFF_MS
                return old
            stored = await self._store(flight, made)
            return Served(made.value, How.STORED if stored else How.COMPUTED)
        except Exception as error:
            if is_answer(error) and not call.in_background:
                raise
            rest = BACK_OFF_MS
            return old
        finally:
            flight.running = False
            self._afterwards(self._unclaim(flight.claim, token, rest))

    async def _unclaim(self, claim: str, token: bytes, rest: int) -> None:
        try:
            if rest:
                await self._ask(self._backend.renew(claim, token, rest))
            else:
                await self._ask(self._backend.release(claim, token))
        except UnavailableError:
            pass

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
        # One that is under way keeps its place until it is known to have lost its lease: who saw the
        # key before that lease came is no proof.
        if self.flights.get(flight.key) is None:
            self.flights.add(flight)
        how = AGAIN
        try:
            if online and not await self._take_off(flight, standing, nonces):
                return None
            self.flights.add(flight)
            flight.started = True
            made = await self._computed(flight, call)
            how = ALONE if made.data is None else Landed(data=made.data)
            stored = await self._store(flight, made)
            return Served(made.value, How.STORED if stored else How.COMPUTED)
        except Exception as error:
            if flight.started:
                how = Landed(error=error)
            raise
        finally:
            self._end(flight, how)

    def _end(self, flight: Flight, how: Landed) -> None:
        flight.running = False
        self.flights.remove(flight)
        if flight.lease is None:
            flight.land(how)
        else:  # Not awaited: the leader may have been cancelled, and need not wait.
            self._afterwards(self._give_back(flight, how))

    async def _take_off(self, flight: Flight, standing: bytes | None, nonces: Nonces) -> bool:
        """Put a lease at the key; return whether it is there, or whether there is no backend."""
        if self._journal.covers(flight.key, flight.tags):
            return True
        try:
            if None in nonces:
                nonces = await self._ask(self._backend.nonces(flight.tags, TAG_MS))
            lease = b"%b%b %b" % (_LEASE, secrets.token_hex(8).encode(), _digest(nonces))
            flight.nonces, flight.lease = nonces, lease
            if standing is None:
                taken = await self._ask(self._backend.acquire(flight.key, lease, LEASE_MS)) is None
            else:
                taken = await self._ask(
                    self._backend.replace(flight.key, standing[:_HEAD], lease, LEASE_MS)
                )
        except UnavailableError:
            self._remember(flight)
            flight.lease, flight.nonces = None, ()
            return True
        if not taken:
            flight.lease = None
        return taken

    async def _computed(self, flight: Flight, call: Call) -> Made:
        async def compute(_: list[str]) -> dict[str, Made]:
            return {flight.key: await call.compute(flight.nonces)}

        return (await self._computed_many([flight], compute))[flight.key]

    def _arm(self, flight: Flight) -> None:
        """Renew the lease in a while, and again, as long as the function runs."""
        if flight.lease is not None:
            loop = asyncio.get_running_loop()
            flight.renewal = loop.call_later(
                RENEW_SECONDS, lambda: self._afterwards(self._renew(flight))
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
            self._arm(flight)

    async def _store(self, flight: Flight, made: Made) -> bool:
        if flight.lease is None or flight.overtaken or made.data is None or not made.keep:
            return False
        if self._journal.covers(flight.key, flight.tags):
            return False
        try:
            stored = await self._ask(
                self._backend.replace(flight.key, flight.lease, made.data, made.ms)
            )
        except UnavailableError:
            return False
        if stored:
            flight.lease = None
        return stored

    async def _give_back(self, flight: Flight, how: Landed) -> None:
        """Take the lease away, and then wake the followers, so that they find the key free."""
        try:
            if flight.lease is not None:
                await self._ask(self._backend.release(flight.key, flight.lease))
        except UnavailableError:
            self._remember(flight)
        finally:
            flight.land(how)

    def _remember(self, flight: Flight) -> None:
        """Take away later a lease that may be at the key; meanwhile it holds up nobody here."""
        if flight.lease is not None and len(self._orphans) < _MOST_ORPHANS:
            self._orphans[flight.key] = flight.lease
            self._release.send()

    async def _wait(self, key: str, lease: bytes) -> bool:
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
            while standing == lease:
                await asyncio.sleep(POLL_SECONDS)
                standing, _ = await self._ask(self._backend.look(key))
        except UnavailableError:
            here = False
        finally:
            del self._waits[loop, key, lease]
            looking.set_result(here)
        return here

    async def release_orphans(self) -> None:
        """Take away leases that may have been put at keys after nobody waited for that any more."""
        for key, lease in list(self._orphans.items()):
            await self._ask(self._backend.release(key, lease))
            if self._orphans.get(key) == lease:
                del self._orphans[key]

    async def settle(self) -> None:
        """Wait for what was left to be done afterwards in this event loop: a round trip or two."""
        await self._release.leave()
        loop = asyncio.get_running_loop()
        tasks = [task for task in self._tasks if task.get_loop() is loop]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _afterwards(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _join(flight: Flight, leading: frozenset[Flight]) -> Landed:
    """Join a flight; note meanwhile that the flights of this context wait for it."""
    for leader in leading:
        leader.blocked_on.append(flight)
    try:
        return await flight.join()
    finally:
        for leader in leading:
            leader.blocked_on.remove(flight)


def _led_here() -> frozenset[Flight]:
    """Return the flights under way whose functions have called what runs here."""
    leading = _leading.get()
    return frozenset(flight for flight in leading if flight.running) if leading else leading


def is_lease(data: bytes | None) -> bool:
    """Whether `data` is a lease."""
    return data is not None and data.startswith(_LEASE)


def _may_join(flight: Flight, standing: bytes | None, nonces: Nonces, *, online: bool) -> bool:
    """Whether a caller that has just seen this may have what the flight will bring."""
    if not flight.started or not online:
        return True
    return flight.lease is not None and flight.lease == standing and _is_of(standing, nonces)


def _is_of(standing: bytes | None, nonces: Nonces) -> bool:
    """Whether a lease stands there whose flight began under these nonces."""
    return standing is not None and is_lease(standing) and standing.endswith(_digest(nonces))


def _digest(nonces: Nonces) -> bytes:
    joined = b",".join(nonce or b"" for nonce in nonces)
    return blake2b(joined, digest_size=8).hexdigest().encode()

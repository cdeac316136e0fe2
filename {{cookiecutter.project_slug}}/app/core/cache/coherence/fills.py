"""Fills: how a call runs its function, and what happens to the result.

Every fill goes through `_fill`. The kinds of fills differ in what their record may replace:

- `lead`: the lease that this call has acquired;
- `refresh`: the old record, for which it has a claim; a failure leaves the old record;
- `overdue`: the lease of another caller, after waiting for it long enough;
- `alone`: nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from ..base import Nonces
from ..loops import reset, runs_loop
from .call import Cached, Call, Computed, Outcome
from .freshness import BACK_OFF_MS, is_answer
from .lately import Lately
from .leases import Leases
from .single_flight import (
    AGAIN,
    PRIVATE,
    FillResult,
    InFlight,
    SingleFlight,
    leading,
    led_here,
)


class Result:
    """A value, and where it came from."""

    __slots__ = ("fill", "outcome", "value")

    def __init__(self, value: Any, outcome: Outcome, fill: "Fill | None" = None) -> None:
        self.value = value
        self.outcome = outcome
        self.fill = fill
        """The unfinished fill, whose caller must call `finish` or `abandon`."""


class Fill:
    """A fill whose function has returned, and whose caller still has to make the record.

    Until then the computation and its lease go on: other callers of the key wait, and an
    invalidation overtakes it as it does while the function runs. Whatever happens, the caller has
    to call `finish` or `abandon`.
    """

    def __init__(self, fills: "Fills", flight: InFlight, made: Computed) -> None:
        self._fills, self._flight, self._made = fills, flight, made
        fills.leases.schedule_renewal(flight)

    async def finish(self, data: bytes | None, *, failed: bool = False) -> Outcome:
        """Store the record, if there is one, and share it with those who wait for it.

        Without a record, `failed` says that the response is a failure: then an old record stays.
        """
        try:
            if data is not None or not failed:
                self._flight.old = None
            elif self._flight.claim:
                self._flight.rest = BACK_OFF_MS
            return await self._fills.store(self._flight, replace(self._made, data=data))
        finally:
            self._fills.end(self._flight, AGAIN if self._flight.old else FillResult.of(data))

    def abandon(self, error: BaseException) -> None:
        """Share the caller's error with those who wait; if it was cancelled, they look again."""
        result = FillResult.failed(error) if isinstance(error, Exception) else AGAIN
        answered = isinstance(error, Exception) and is_answer(error)
        if self._flight.claim and result is not AGAIN and not answered:
            self._flight.rest = BACK_OFF_MS
        if answered:
            self._flight.old = None
        elif self._flight.old is not None:
            result = AGAIN
        self._fills.end(self._flight, result, withdrawing=answered)


class Fills:
    """The fills of one manager."""

    def __init__(self, leases: Leases, flights: SingleFlight) -> None:
        self.leases, self.flights = leases, flights
        self.apart = Lately()
        """Keys whose results were for one caller only."""

    async def lead(
        self,
        flight: InFlight,
        call: Call,
        standing: bytes | None,
        nonces: Nonces,
        *,
        online: bool,
    ) -> Result | None:
        """Take the lead and compute; return `None` if somebody else was first."""
        flight.owner = call.owner
        if call.has_refused:
            await self.leases.set_aside(flight, standing, None)
        # A flight under way keeps its place until it has certainly lost its lease: this caller may
        # have looked at the key before that lease came.
        if self.flights.get(flight.key) is None:
            self.flights.add(flight)
        try:
            flight.started = not online or await self.leases.acquire_lease(flight, standing, nonces)
        finally:
            if not flight.started:
                self.end(flight, AGAIN)
        if not flight.started:
            return None
        self.flights.add(flight)
        return await self._fill(flight, call)

    async def alone(self, key: str, call: Call) -> Result:
        """Compute for this caller only."""
        return await self._fill(InFlight(key), call)

    async def overdue(self, other: InFlight, call: Call, *, atomic: bool) -> Result:
        """Compute for a caller that has waited long enough for another one, of any process.

        The record replaces the other's lease if that is still there then (see `fence`). A backend
        that is not `atomic` cannot compare and replace in one step: then nothing is stored.
        """
        flight = InFlight(other.key, other.tags)
        if other.started and other.lease is not None and atomic:
            flight.over, flight.nonces = other.lease, other.nonces
            self.leases.tasks.start(self.leases.limit(flight))
        return await self._fill(flight, call)

    async def refresh(
        self, flight: InFlight, call: Call, standing: bytes, nonces: Nonces, found: Cached
    ) -> Result | None:
        """Refresh a record that is due; serve it if that fails or if somebody else refreshes it.

        Return `None` if somebody else has just refreshed it.
        """
        old = Result(found.value, Outcome.STALE)
        claimed = await self.leases.claim(flight, standing, nonces)
        if not claimed:
            return None if claimed is None else old
        if call.in_background:
            self.leases.tasks.start(self._in_background(flight, call, old))
            return old
        return await self._fill(flight, call, old)

    async def _in_background(self, flight: InFlight, call: Call, old: Result) -> None:
        call.note((await self._fill(flight, call, old)).outcome)

    async def _fill(self, flight: InFlight, call: Call, old: Result | None = None) -> Result:
        """Run the function and store the result; if that fails, an `old` result is better."""
        fill: Fill | None = None
        result = AGAIN
        try:
            made = await self._run(flight, call)
            if flight.has_old and call.failed(made.value):
                await self._spare(flight)
                return old or Result(made.value, Outcome.NOT_STORED)
            if made.later is not None and not (old and call.in_background):
                fill = Fill(self, flight, made)
                return Result(made.value, Outcome.NOT_STORED, fill)
            if made.later is not None:
                made = replace(made, data=made.later())
            flight.old = None
            result = FillResult.of(made.data)
            return Result(made.value, await self.store(flight, made))
        except Exception as error:
            answered = call.is_answer(error)
            await self._spare(flight, answered=answered)
            if old is not None and (call.in_background or not answered):
                return old
            if old is None and flight.may_store:
                result = PRIVATE if call.is_private else FillResult.failed(error)
                # Others look again, and find the old one; those who will not have it get the error.
                result = replace(result, again=flight.old is not None)
            raise
        finally:
            if fill is None:
                self.end(flight, result)
            result = AGAIN  # a traceback in it would hold this very frame

    async def _spare(self, flight: InFlight, *, answered: bool = False) -> None:
        """Let what a refresh was to replace live on, for it has failed; an answer ends it."""
        if flight.claim and answered:
            await self.leases.withdraw(flight)
        elif flight.claim:
            flight.rest = BACK_OFF_MS
        flight.old = None if answered else flight.old
        await self.leases.put_back(flight)

    async def _run(self, flight: InFlight, call: Call) -> Computed:
        if not flight.may_store:
            return await call.compute(())

        async def compute(_: list[str]) -> dict[str, Computed]:
            return {flight.key: await call.compute(flight.nonces)}

        return (await self._led([flight], compute))[flight.key]

    async def store(self, flight: InFlight, made: Computed) -> Outcome:
        """Store the record of a fill; if it has none to keep, remove the one that it refreshes."""
        if made.data is not None and made.keep:
            return await self.leases.store(flight, made.data, made.ms)
        if flight.claim and not flight.rest:
            await self.leases.withdraw(flight)
        return Outcome.NOT_STORED

    def end(self, flight: InFlight, result: FillResult, *, withdrawing: bool = False) -> None:
        """End a fill, whatever its result is; never waits, for its caller may be cancelled."""
        if not runs_loop():  # it is collected after its loop was closed: the lease expires
            return
        if not flight.rest:
            self._learn(flight.key, result)
        other = self.flights.get(flight.key)
        if other is flight:
            self.flights.remove(flight)
        elif other is not None and (flight.stored or result == PRIVATE):
            other.tell(AGAIN)  # its followers need not wait any longer
        self.leases.let_go(flight)
        if flight.claim:
            self.leases.tasks.start(self.leases.unclaim(flight, withdrawing=withdrawing))
        elif flight.old is not None:
            self.leases.tasks.start(self.leases.put_back(flight))
        elif flight.lease is not None:
            self.leases.tasks.start(self.leases.give_back(flight.key, flight.lease))
        flight.complete(result)

    def _learn(self, key: str, result: FillResult) -> None:
        """Note in `apart` whether the result was for one caller only."""
        if result.data is not None:
            self.apart.discard(key)
        elif result.error is None and not result.again:
            self.apart.add(key)

    # --- many keys -----------------------------------------------------------------------------

    async def lead_many(
        self,
        keys: list[str],
        compute: Callable[[list[str]], Awaitable[dict[str, Computed]]],
        *,
        online: bool,
    ) -> dict[str, Computed | None]:
        """Compute, in one call, those of `keys` that nobody else computes; return the results.

        A key for which `compute` returned nothing has `None`. Keys that somebody else computes, or
        that this context computes already, are left out. Without `online` the backend is known to
        be away.
        """
        mine_now = {flight.key for flight in led_here()}
        flights = [
            InFlight(key) for key in keys if key not in mine_now and self.flights.get(key) is None
        ]
        for flight in flights:
            self.flights.add(flight)
        made: dict[str, Computed] = {}
        failure = AGAIN
        try:
            mine = await asyncio.gather(*(self._take(each, online=online) for each in flights))
            led = [flight for flight, is_mine in zip(flights, mine, strict=True) if is_mine]
            made = await self._led(led, compute) if led else {}
            failure = PRIVATE
            storing = [self.store(each, made[each.key]) for each in led if each.key in made]
            await asyncio.gather(*storing)
            return {flight.key: made.get(flight.key) for flight in led}
        except Exception as error:
            failure = FillResult.failed(error)
            raise
        finally:
            for flight in flights:
                here = flight.started and flight.key in made
                result = FillResult.of(made[flight.key].data) if here else failure
                self.end(flight, result if flight.started else AGAIN)
            failure = AGAIN  # a traceback in it would hold this very frame

    async def _take(self, flight: InFlight, *, online: bool) -> bool:
        flight.started = not online or await self.leases.acquire_lease(flight, None, ())
        return flight.started

    async def _led(
        self,
        flights: list[InFlight],
        compute: Callable[[list[str]], Awaitable[dict[str, Computed]]],
    ) -> dict[str, Computed]:
        token = leading.set(leading.get() | frozenset(flights))
        for flight in flights:
            self.leases.schedule_renewal(flight)
        try:
            return await compute([flight.key for flight in flights])
        finally:
            reset(leading, token)
            for flight in flights:
                if flight.renewal is not None:
                    flight.renewal.cancel()

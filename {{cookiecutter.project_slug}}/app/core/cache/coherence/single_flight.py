"""Computations of this process that are under way, and the callers that wait for them.

A computation has one leader, which runs the function in its own task, and followers. A follower
that is cancelled, or stops waiting, disturbs nobody. If the leader is cancelled, or finds that
somebody else came first, the followers look again, and one of them leads.
"""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ..base import Nonces
from ..keys import KeyPattern
from ..loops import running_loop
from .exceptions import copied


@dataclass(slots=True, eq=False, repr=False)
class FillResult:
    """How a computation ended: with bytes to share, with an error, or with neither.

    With neither, followers look once more if it is `again`; else the result is for the leader only,
    and each follower computes its own.
    """

    data: bytes | None = None
    error: Exception | None = None
    """Nobody raises it: each follower raises a copy, with the traceback that it has now."""
    again: bool = False

    @classmethod
    def of(cls, data: bytes | None) -> "FillResult":
        """Return how a computation with this record ends."""
        return PRIVATE if data is None else cls(data=data)

    @classmethod
    def failed(cls, error: Exception) -> "FillResult":
        """Return that a function has raised; an exception for one caller only is not shared."""
        copy = copied(error)
        return PRIVATE if copy is None else cls(error=copy)


AGAIN = FillResult(again=True)
PRIVATE = FillResult()


class InFlight:
    """One computation under way."""

    def __init__(
        self,
        key: str,
        tags: tuple[str, ...] = (),
        nonces: Nonces = (),
        *,
        lease: bytes | None = None,
        started: bool = False,
    ) -> None:
        self.key, self.tags, self.nonces = key, tags, nonces
        self.owner: object = None
        """Whose function runs: two functions may have the same `key=`."""
        self.lease = lease
        """Its lease at the key, or the head of the old record; `None` while the backend is away."""
        self.claim = ""
        """The key of its claim, if it refreshes an old record."""
        self.token = b""
        """The value at the key of its claim."""
        self.over: bytes | None = None
        """The lease of another caller that its record may replace, after waiting long enough."""
        self.old: tuple[bytes, float] | None = None
        """What its lease has replaced, and when that ends; it is put back if the function fails."""
        self.rest = 0
        """How long nobody may claim the record afterwards, in milliseconds."""
        self.stored = False
        """Whether its record is stored."""
        self.started = started
        """Whether the function is running."""
        self.overtaken = False
        """Whether this process has invalidated the key since it began."""
        self.maybe_invalidated = False
        """Whether it may be overtaken: a caller that does not see its lease must not join it."""
        self.renewal: asyncio.TimerHandle | None = None
        self.running = True
        """Whether it is still under way."""
        self.followers: dict[asyncio.Future[FillResult], None] = {}
        """In the order in which they came."""

    @property
    def has_old(self) -> bool:
        """Whether it is to replace something that is better than a failure."""
        return bool(self.claim or self.old)

    @property
    def may_store(self) -> bool:
        """Whether its record may be stored, as far as is known before the function runs."""
        return self.started or bool(self.lease or self.over)

    async def join(self) -> FillResult:
        """Wait until it ends."""
        future: asyncio.Future[FillResult] = asyncio.get_running_loop().create_future()
        self.followers[future] = None
        try:
            return await future
        finally:
            self.followers.pop(future, None)  # those who stopped waiting must not pile up

    def complete(self, result: FillResult) -> None:
        """Note that it has ended, and tell the followers."""
        self.running = False
        if self.renewal is not None:
            self.renewal.cancel()
        self.tell(result)

    def tell(self, result: FillResult) -> None:
        """Tell the followers of now; the computation may go on."""
        followers, self.followers = self.followers, {}
        for follower in followers:
            if not follower.done():
                follower.set_result(result)


class SingleFlight:
    """The computations of one manager. Each event loop has its own, for futures belong to loops."""

    def __init__(self, *, atomic: bool) -> None:
        self._atomic = atomic
        self._of_loop: dict[asyncio.AbstractEventLoop, dict[str, InFlight]] = {}
        self.writes: dict[str, set[asyncio.Future[None]]] = {}
        """The writes by hand that are under way, by their keys and tags."""

    def _here(self) -> dict[str, InFlight]:
        loop = running_loop()
        here = self._of_loop.get(loop)
        if here is None:
            self._of_loop = {
                other: kept for other, kept in self._of_loop.items() if not other.is_closed()
            }
            here = self._of_loop[loop] = {}
        return here

    def get(self, key: str) -> InFlight | None:
        """Return the computation of `key`, if there is one."""
        return self._here().get(key)

    def add(self, flight: InFlight) -> None:
        """Make `flight` that of its key. An earlier one goes on, but nobody joins it any more."""
        self._here()[flight.key] = flight

    def remove(self, flight: InFlight) -> None:
        """Remove `flight`, unless its key has another one by now."""
        here = self._here()
        if here.get(flight.key) is flight:
            del here[flight.key]

    @contextmanager
    def writing(self, *keys: str) -> Iterator[None]:
        """Note that a write by hand is under way, at the first of `keys`; the others are its tags."""
        ended = running_loop().create_future()
        for key in keys:
            self.writes.setdefault(key, set()).add(ended)
        try:
            yield
        finally:
            for key in keys:
                self.writes[key].discard(ended)
                if not self.writes[key]:
                    del self.writes[key]
            ended.cancel()

    async def wait_for_writes(self, patterns: Collection[KeyPattern]) -> None:
        """Wait until the writes by hand that `patterns` cover, and that began before, have ended."""
        under_way = set[asyncio.Future[None]]()
        for pattern in patterns:
            if pattern.exact_key is not None:
                under_way |= self.writes.get(pattern.exact_key, set())
            else:
                matching = [key for key in self.writes if pattern.matches(key)]
                under_way.update(*(self.writes[key] for key in matching))
        loop = running_loop()
        under_way = {ended for ended in under_way if ended.get_loop() is loop}
        if under_way:
            await asyncio.wait(under_way)

    def followers(self) -> int:
        """Return how many callers wait now, in all event loops."""
        return sum(len(flight.followers) for _, flight in self._all())

    def cancel_fills(self, patterns: Collection[KeyPattern], *, undelivered: bool = False) -> None:
        """Store no computation that an invalidation of `patterns` covers, by its key or by a tag.

        If the invalidation is not `undelivered`, an atomic backend itself refuses to store it, by
        its lease: then the computation is only marked.
        """
        for here, flight in self._all():
            if not _covers(patterns, flight):
                continue
            if self._atomic and flight.lease is not None and not undelivered:
                flight.maybe_invalidated = True
            else:
                flight.overtaken = True
                here.pop(flight.key, None)

    def _all(self) -> Iterator[tuple[dict[str, InFlight], InFlight]]:
        for here in list(self._of_loop.values()):
            for flight in list(here.values()):
                yield here, flight


def _covers(patterns: Collection[KeyPattern], flight: InFlight) -> bool:
    keys = (flight.key, *flight.tags)
    return any(pattern.matches(key) for pattern in patterns for key in keys)


leading: ContextVar[frozenset[InFlight]] = ContextVar("leading", default=frozenset())
"""The computations whose functions, one inside the other, have called the code that runs now."""


def computes_here() -> bool:
    """Whether this is called by a function whose result may be stored."""
    return bool(leading.get() and led_here())


def led_here() -> frozenset[InFlight]:
    """Return the computations under way whose functions have called the code that runs now."""
    led = leading.get()
    return frozenset(flight for flight in led if flight.running) if led else led

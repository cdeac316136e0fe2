"""Flights: computations of this process that are under way, and those who wait for them.

A flight has one leader, who runs the function in its own task, and followers. A follower may be
cancelled, or lose patience, and disturbs nobody. If the leader is cancelled, or finds that somebody
else came first, the followers look again, and one of them leads.
"""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from ..base import Nonces
from ..keys import KeyPattern
from ..loops import running_loop
from .exceptions import is_for_one, own


@dataclass(frozen=True, slots=True)
class Landed:
    """How a flight ended: with bytes to share, with an error, or with neither.

    Neither means `again`, look once more, or else `alone`: the result is nobody else's, so that
    each follower computes its own.
    """

    data: bytes | None = None
    error: Exception | None = None
    traceback: TracebackType | None = None
    """That of the error as it was then: who raises it adds to it."""
    again: bool = False

    @classmethod
    def failed(cls, error: Exception) -> "Landed":
        """Return that a function has raised: what it is now, whatever its own caller makes of it.

        What may be its own caller's is told to nobody.
        """
        if is_for_one(error):
            return ALONE
        return cls(error=own(error, error.__traceback__), traceback=error.__traceback__)


AGAIN = Landed(again=True)
ALONE = Landed()


@dataclass(slots=True, eq=False)
class Flight:
    """One computation under way."""

    key: str
    tags: tuple[str, ...]
    nonces: Nonces = ()
    owner: object = None
    """Whose function runs: a key of one's own may be given to two of them."""
    lease: bytes | None = None
    """What it put at the key, or the head of the old record; `None` while the backend is away."""
    claim: str = ""
    """The key of its claim to compute an old record anew, if that is what it does."""
    token: bytes = b""
    """What stands there."""
    over: bytes | None = None
    """Another one's lease that its record may replace, if it has waited for that long enough."""
    rest: int = 0
    """How long nobody else may claim that afterwards, in milliseconds."""
    stored: bool = False
    """Whether its record is there."""
    started: bool = False
    """Whether the function is running."""
    overtaken: bool = False
    """Whether this process has invalidated the key since it took off."""
    doubted: bool = False
    """Whether it may have been: who cannot see its lease must not join it."""
    renewal: asyncio.TimerHandle | None = None
    running: bool = True
    """Whether it has not landed."""
    blocked_on: list["Flight"] = field(default_factory=list)
    """What its function waits for."""
    followers: dict[asyncio.Future[Landed], None] = field(default_factory=dict)
    """In the order in which they came."""

    async def join(self) -> Landed:
        """Wait until it ends."""
        future: asyncio.Future[Landed] = asyncio.get_running_loop().create_future()
        self.followers[future] = None
        try:
            return await future
        finally:
            self.followers.pop(future, None)  # whoever has lost patience is not to pile up

    def waits_for_any_of(self, flights: Collection["Flight"]) -> bool:
        """Whether its function waits, by whatever detour, for one of `flights`."""
        return any(other in flights or other.waits_for_any_of(flights) for other in self.blocked_on)

    def land(self, how: Landed) -> None:
        """Tell the followers. A second landing is none."""
        self.running = False
        self.tell(how)

    def tell(self, how: Landed) -> None:
        """Tell those who follow now; it goes on."""
        followers, self.followers = self.followers, {}
        for follower in followers:
            if not follower.done():
                follower.set_result(how)


class Flights:
    """The flights of one manager. Each event loop has its own, for futures belong to loops."""

    def __init__(self, *, atomic: bool) -> None:
        self._atomic = atomic
        self._of_loop: dict[asyncio.AbstractEventLoop, dict[str, Flight]] = {}

    def _here(self) -> dict[str, Flight]:
        loop = running_loop()
        here = self._of_loop.get(loop)
        if here is None:
            self._of_loop = {
                other: kept for other, kept in self._of_loop.items() if not other.is_closed()
            }
            here = self._of_loop[loop] = {}
        return here

    def get(self, key: str) -> Flight | None:
        """Return the flight for `key`, if there is one."""
        return self._here().get(key)

    def add(self, flight: Flight) -> None:
        """Make `flight` the one for its key. Another one goes on, but nobody finds it any more."""
        self._here()[flight.key] = flight

    def remove(self, flight: Flight) -> None:
        """Take `flight` away, unless another one has its place."""
        here = self._here()
        if here.get(flight.key) is flight:
            del here[flight.key]

    def followers(self) -> int:
        """Return how many callers wait for flights now, in all event loops."""
        return sum(len(flight.followers) for _, flight in self._all())

    def overtake(
        self,
        patterns: Collection[KeyPattern],
        tags: Collection[str] = (),
        *,
        undelivered: bool = False,
    ) -> None:
        """Note that keys of `patterns` and what has one of `tags` are invalidated by this process.

        An invalidation that is `undelivered` has not reached the backend.
        """
        for here, flight in self._all():
            if any(pattern.matches(flight.key) for pattern in patterns) or not set(tags).isdisjoint(
                flight.tags
            ):
                self._overtake(here, flight, undelivered=undelivered)

    def _all(self) -> Iterator[tuple[dict[str, Flight], Flight]]:
        for here in list(self._of_loop.values()):
            for flight in list(here.values()):
                yield here, flight

    def _overtake(self, here: dict[str, Flight], flight: Flight, *, undelivered: bool) -> None:
        if self._atomic and flight.lease is not None and not undelivered:
            flight.doubted = True
            return  # its lease tells, better than we do, whether it was overtaken
        flight.overtaken = True
        here.pop(flight.key, None)

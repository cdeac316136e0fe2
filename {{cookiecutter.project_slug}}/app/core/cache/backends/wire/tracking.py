"""Invalidation messages: what a server tells, between its replies, of keys that have changed.

With a near cache it tells of every key that was read over the connection; else only of those that
somebody watches, which costs nothing otherwise. See `CLIENT TRACKING` and `CLIENT CACHING`,
https://redis.io/docs/latest/commands/client-tracking/.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from redis.exceptions import ResponseError

from .requests import Command, Hook, Request

TRUST_SECONDS = 1.0
"""How long what was read counts as coherent after its connection has proved itself."""
TRUST_RENEWAL_SECONDS = 0.5
"""When the next proof is asked for, in the background, if anybody reads what is kept."""


class Source(Protocol):
    """A connection over which entries were read."""

    trusted_until: float
    """Until when what was read over it is coherent, by `time.monotonic`."""
    renew_at: float
    """When to ask for the next proof of that."""

    def prove(self, key: str) -> None:
        """Ask for it, and whether `key` is still where it was; never blocks, never raises."""


class Keeper(Protocol):
    """What keeps replies until the server tells that they have changed: the near cache."""

    def keeps(self, request: Request, source: Source) -> Hook:
        """Return what keeps the replies to a request that is sent now."""

    def changed(self, keys: Iterable[str]) -> None:
        """Remove what the server says has changed."""

    def lose(self, source: Source) -> None:
        """Remove what was read over a connection that is over."""


class InvalidationTracker:
    """The invalidation messages of one connection.

    They are asked for where they are `wanted`. With a keeper, `refused` is called with the
    error of a server that does not tell such things, and with what follows from that.
    """

    def __init__(
        self,
        keeper: Keeper | None,
        refused: Callable[[ResponseError, str], None],
        *,
        wanted: bool = True,
    ) -> None:
        self._keeper, self._refused, self.wanted = keeper, refused, wanted
        self.is_on = False
        """Whether the server tells what changes."""
        self._watched: dict[bytes, set[asyncio.Future[None]]] = {}

    @property
    def command(self) -> Command:
        """The command that asks for them."""
        return ("CLIENT", "TRACKING", "ON", *(() if self._keeper is not None else ("OPTIN",)))

    def begin(self, reply: Any) -> None:
        """Note what the server has answered to that."""
        self.is_on = reply == b"OK"
        if isinstance(reply, ResponseError) and self._keeper is not None:
            self._refused(reply, "there is no near cache of it")

    def hook(self, request: Request, source: Source) -> Hook | None:
        """Return what keeps the replies to a request, if anything does."""
        if self._keeper is None:
            return None
        keep = self._keeper.keeps(request, source)
        return lambda replies: keep(replies) if self.is_on else None

    def watch(self, name: bytes, changed: "asyncio.Future[None]") -> list[Command]:
        """Have `changed` done when the server tells of a key, or cannot do so any more.

        Return what has to come before the command that reads the key. Where there are no messages,
        `changed` is cancelled.
        """
        if not self.is_on:
            changed.cancel()
            return []
        self._watched.setdefault(name, set()).add(changed)
        changed.add_done_callback(partial(self._forget, name))
        return [] if self._keeper is not None else [("CLIENT", "CACHING", "YES")]

    def on_push(self, message: list[Any], source: Source) -> None:
        """Act on a message: keys have changed, or all of them have."""
        if message[0] != b"invalidate":
            return
        names = message[1]
        if names is None:
            self.lose(source)
            return
        if self._keeper is not None:
            self._keeper.changed([name.decode("utf-8", "surrogatepass") for name in names])
        if self._watched:
            self._tell(names)

    def lose(self, source: Source) -> None:
        """Note that what was read may have changed, all of it."""
        if self._keeper is not None:
            self._keeper.lose(source)
        self._tell(list(self._watched))

    def _forget(self, name: bytes, changed: "asyncio.Future[None]") -> None:
        watching = self._watched.get(name, set())
        watching.discard(changed)
        if not watching:
            self._watched.pop(name, None)

    def _tell(self, names: Iterable[bytes]) -> None:
        for name in names:
            for changed in self._watched.pop(name, ()):
                if not changed.done():
                    changed.set_result(None)

"""Invalidation messages: between its replies, a server reports keys that have changed.

With a near cache it reports every key that was read over the connection; otherwise only keys that
somebody watches, so that others cost nothing. See `CLIENT TRACKING` and `CLIENT CACHING`,
https://redis.io/docs/latest/commands/client-tracking/.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from redis.exceptions import ResponseError

from .requests import Command, Hook, Request

TRUST_SECONDS = 1.0
"""How long the near cache may serve what a connection read, since its last answered PING."""
TRUST_RENEWAL_SECONDS = 0.5
"""After this time a read of the near cache sends the next PING, in the background."""


class Source(Protocol):
    """A connection over which entries were read."""

    trusted_until: float
    """Until when the near cache may serve what was read over it, by `time.monotonic`."""
    renew_at: float
    """When to send the next PING, by the same clock."""

    def prove(self, key: str) -> None:
        """Send a PING, and ask whether the server still has `key`; never blocks, never raises."""


class Keeper(Protocol):
    """Keeps replies until the server reports that they have changed: the near cache."""

    def keeps(self, request: Request, source: Source) -> Hook:  # pyright: ignore[reportReturnType]
        """Return the hook that keeps the replies to a request that is sent now."""

    def changed(self, keys: Iterable[str]) -> None:
        """Remove the keys that the server reports as changed."""

    def lose(self, source: Source) -> None:
        """Remove the entries of a connection that is lost."""


class InvalidationTracker:
    """The invalidation messages of one connection.

    The connection asks for them only if they are `wanted`. With a keeper, if the server refuses,
    `refused` is called with its error and with the consequence.
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
        """Whether the server reports changes."""
        self._watched: dict[bytes, set[asyncio.Future[None]]] = {}

    @property
    def command(self) -> Command:
        """The command that asks for them."""
        return ("CLIENT", "TRACKING", "ON", *(() if self._keeper is not None else ("OPTIN",)))

    def begin(self, reply: Any) -> None:
        """Note the server's reply to `command`."""
        self.is_on = reply == b"OK"
        if isinstance(reply, ResponseError) and self._keeper is not None:
            self._refused(reply, "there is no near cache of it")

    def hook(self, request: Request, source: Source) -> Hook | None:
        """Return the hook that keeps the replies to a request, if there is a near cache."""
        if self._keeper is None:
            return None
        keep = self._keeper.keeps(request, source)
        return lambda replies: keep(replies) if self.is_on else None

    def watch(self, name: bytes, changed: "asyncio.Future[None]") -> list[Command]:
        """Complete `changed` when the server reports the key, or cannot report it any more.

        Return the commands that must come before the one that reads the key. If there are no
        messages, cancel `changed`.
        """
        if not self.is_on:
            changed.cancel()
            return []
        self._watched.setdefault(name, set()).add(changed)
        changed.add_done_callback(partial(self._forget, name))
        return [] if self._keeper is not None else [("CLIENT", "CACHING", "YES")]

    def on_push(self, message: list[Any], source: Source) -> None:
        """Act on a message: some keys have changed, or all of them."""
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
        """Note that every key that was read may have changed."""
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

"""Messages: what a server tells, between its replies, of keys that have changed.

With a near cache it tells of every key that was read over the connection; else only of those that
somebody watches, which costs nothing otherwise. See `CLIENT TRACKING` and `CLIENT CACHING`,
https://redis.io/docs/latest/commands/client-tracking/.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from redis.exceptions import InvalidResponse, ResponseError

from ..near import NearCache, Source


class Messages:
    """The messages of one connection.

    They are asked for where they are `wanted`. `refused` is called with the error of a server that
    does not tell such things.
    """

    def __init__(
        self,
        near: NearCache | None,
        refused: Callable[[ResponseError], None],
        *,
        wanted: bool = True,
    ) -> None:
        self._near, self._refused, self.wanted = near, refused, wanted
        self.are_on = False
        """Whether the server tells what changes."""
        self._watched: dict[bytes, set[asyncio.Future[None]]] = {}

    @property
    def request(self) -> tuple[str, ...]:
        """The command that asks for them."""
        return ("CLIENT", "TRACKING", "ON", *(() if self._near is not None else ("OPTIN",)))

    def begin(self, reply: Any) -> None:
        """Note what the server has answered to the request."""
        if isinstance(reply, ResponseError):
            self._refused(reply)
        elif reply != b"OK":
            raise InvalidResponse("a reply that belongs to another command")
        else:
            self.are_on = True

    def watch(self, name: bytes, changed: "asyncio.Future[None]") -> tuple[str, ...]:
        """Have `changed` done when the server tells of a key, or cannot do so any more.

        Return the command that has to come before the next one, which reads the key. Where there
        are no messages, `changed` is cancelled.
        """
        if not self.are_on:
            changed.cancel()
            return ()
        self._watched.setdefault(name, set()).add(changed)
        changed.add_done_callback(partial(self._forget, name))
        return () if self._near is not None else ("CLIENT", "CACHING", "YES")

    def hear(self, message: list[Any], source: Source) -> None:
        """Act on a message: keys have changed, or all of them have."""
        if message[0] != b"invalidate":
            return
        names = message[1]
        if names is None:
            self.lose(source)
            return
        if self._near is not None:
            self._near.changed([name.decode("utf-8", "surrogatepass") for name in names])
        if self._watched:
            self._tell(names)

    def lose(self, source: Source) -> None:
        """Note that what was read may have changed, all of it."""
        if self._near is not None:
            self._near.lose(source)
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

"""Looks: what keys hold, read by the fastest way, also while the backend is away."""

from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from ..base import CacheBackend, Nonces
from ..errors import UnansweredError, UnavailableError
from ..loops import insist_on_asyncio
from ..resilience import Outage
from ..stored import is_plausible
from .pending import PendingInvalidations

T = TypeVar("T")

TAG_MS = 30 * 24 * 60 * 60 * 1000
"""How long a tag's nonce is kept, in milliseconds; an entry that lives longer ends with it."""

Look = tuple[bytes | None, Nonces, bool]
"""The bytes of a key, the nonces of its tags, and whether the backend is there."""
AWAY: Look = (None, (), False)
"""The look at any key while the backend is away."""


class Looks:
    """The looks of one manager at its backend. Only `ask` raises if the backend is away."""

    def __init__(
        self, backend: CacheBackend, outage: Outage, pending: PendingInvalidations
    ) -> None:
        self._backend, self._outage, self._pending = backend, outage, pending

    async def look(self, key: str, tags: tuple[str, ...] = (), *, by_hand: bool = False) -> Look:
        """Return the bytes of a key, and the nonces of tags, by the fastest way.

        `by_hand` says that the value may have been set by hand: such a value does not name its key,
        so a PING has to prove that the reply is the one to this request.
        """
        is_well = not self._pending.is_open and self._outage.since is None
        try:
            soon = self._backend.read_nowait(key, tags, by_hand=by_hand) if is_well else None
        except RuntimeError:
            insist_on_asyncio()
            raise
        if soon is None:
            return await self._look(key, tags)
        nonces: Nonces = ()
        try:
            found = await soon
        except UnansweredError as error:
            return await self._look(key, tags, error.deadline)
        except Exception:  # the backend has noted it
            return AWAY
        if type(found) is list:
            if any(isinstance(reply, Exception) for reply in found):
                return await self._look(key, tags)
            found, nonces = found[0], tuple([nonce or None for nonce in found[1:]])
        if by_hand or is_plausible(key, found):
            return found, nonces, True
        return await self._look(key, tags)

    async def _look(self, key: str, tags: tuple[str, ...], deadline: float | None = None) -> Look:
        if self._pending.covers(key, *tags):
            return AWAY
        more = () if deadline is None else (deadline,)
        try:
            standing, nonces = await self.ask(self._backend.look(key, tags, *more))
        except UnavailableError:
            return AWAY
        return standing, nonces, True

    async def read_many(self, keys: list[str]) -> Nonces | None:
        """Return the bytes of keys, or `None` if the backend cannot be asked."""
        try:
            return await self.ask(self._backend.get_many_bytes(keys))
        except UnavailableError:
            return None

    async def nonces_now(self, tags: tuple[str, ...]) -> Nonces | None:
        """Return the nonces at the keys `tags`, or `None` if the backend cannot be asked."""
        return await self._nonces(tags, self._backend.nonces_now(tags))

    async def nonces_made(self, tags: tuple[str, ...]) -> Nonces | None:
        """Do as `nonces_now`, but make the nonces that are missing."""
        return await self._nonces(tags, self._backend.nonces(tags, TAG_MS))

    async def _nonces(
        self, tags: tuple[str, ...], step: Coroutine[Any, Any, Nonces]
    ) -> Nonces | None:
        if self._pending.covers(*tags):
            step.close()
            return None
        try:
            return await self.ask(step)
        except UnavailableError:
            return None

    async def ask(self, step: Awaitable[T]) -> T:
        """Await a step of the backend; raise `UnavailableError` for whatever it raises."""
        try:
            result = await step
        except UnavailableError:
            raise
        except Exception as error:
            self._outage.failed(error)
            raise UnavailableError(str(error)) from None
        self._outage.worked()
        return result

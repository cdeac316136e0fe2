"""Walks over the keys of a pattern that are wanted at the same time, as one.

A walk that has begun is of no use to who has written since: it may be past the key already. So who
comes while one is under way waits for the next, and all who come meanwhile share that. However many
callers there are, at most one walk of a pattern is under way and one waits, in each event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable

from ..keys import KeyPattern
from ..loops import running_loop

Walk = Callable[[], Awaitable[bool]]
_Place = tuple[asyncio.AbstractEventLoop, KeyPattern]


class Walks:
    """The walks of one manager."""

    def __init__(self) -> None:
        self._running: dict[_Place, asyncio.Future[None]] = {}
        self._next: dict[_Place, asyncio.Task[bool]] = {}

    async def join(self, pattern: KeyPattern, walk: Walk) -> bool:
        """Return what a walk of `pattern` returns that begins after this call.

        A caller who is cancelled leaves the others their walk.
        """
        loop = running_loop()
        place = (loop, pattern)
        waiting, running = self._next.get(place), self._running.get(place)
        if waiting is None:
            if running is None:
                return await self._walk(place, walk)
            waiting = self._next[place] = loop.create_task(self._follow(place, running, walk))
            waiting.add_done_callback(lambda task: self._ended(place, task))
        return await asyncio.shield(waiting)

    async def _follow(self, place: _Place, running: asyncio.Future[None], walk: Walk) -> bool:
        await asyncio.shield(running)
        del self._next[place]  # who comes from here on comes too late for this one
        return await self._walk(place, walk)

    async def _walk(self, place: _Place, walk: Walk) -> bool:
        done = self._running[place] = place[0].create_future()
        try:
            return await walk()
        finally:
            del self._running[place]
            done.set_result(None)

    def _ended(self, place: _Place, task: asyncio.Task[bool]) -> None:
        if self._next.get(place) is task:  # it was cancelled before its turn, as its loop ends
            del self._next[place]
        if not task.cancelled():
            task.exception()  # is noted: who has waited for it may have been cancelled

"""Walks over the keys of a pattern, shared by callers that want them at the same time.

A walk that has begun may already be past a key that was written since. So a caller that comes
during a walk waits for the next one, and all callers that come meanwhile share that. For each
pattern, at most one walk is under way and one waits, in each event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable

from ..keys import KeyPattern
from ..loops import running_loop

Walk = Callable[[], Awaitable[int]]
_Place = tuple[asyncio.AbstractEventLoop, KeyPattern]


class Walks:
    """The walks of one manager."""

    def __init__(self) -> None:
        self._running: dict[_Place, asyncio.Future[None]] = {}
        self._next: dict[_Place, asyncio.Task[int]] = {}

    async def join(self, pattern: KeyPattern, walk: Walk) -> int:
        """Return the result of a walk of `pattern` that begins after this call.

        If a caller is cancelled, the others still get theirs.
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

    async def _follow(self, place: _Place, running: asyncio.Future[None], walk: Walk) -> int:
        await asyncio.shield(running)
        del self._next[place]  # a caller that comes from here on needs the next walk
        return await self._walk(place, walk)

    async def _walk(self, place: _Place, walk: Walk) -> int:
        done = self._running[place] = place[0].create_future()
        try:
            return await walk()
        finally:
            del self._running[place]
            done.set_result(None)

    def _ended(self, place: _Place, task: asyncio.Task[int]) -> None:
        if self._next.get(place) is task:  # it was cancelled before its turn: its loop ends
            del self._next[place]
        if not task.cancelled():
            task.exception()  # mark it as retrieved: the callers may have been cancelled

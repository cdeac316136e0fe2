"""A pool of pipelines, each for one request at a time; if none is free, a request waits in line."""

import asyncio
from collections.abc import Callable

from .pipeline import Pipeline
from .requests import BrokenConnectionError


class Pool:
    """Pipelines of one event loop, at most `size`; `make` makes one.

    Acquire one of the `turns` first, and then a pipeline.
    """

    def __init__(self, make: Callable[[], Pipeline], size: int) -> None:
        self._make = make
        self.turns = asyncio.Semaphore(size)
        self._idle: list[Pipeline] = []
        self._lent: set[Pipeline] = set()
        self._is_closed = self._is_replaced = False

    def acquire(self) -> Pipeline:
        """Lend a pipeline; give it and the turn back with `release`.

        Raises `BrokenConnectionError`, and gives the turn back, if another pool has replaced this one.
        """
        if self._is_replaced:
            self.turns.release()
            raise BrokenConnectionError("there is a newer pool")
        idle = self._idle
        while idle and idle[-1].is_over:
            idle.pop()
        pipeline = idle.pop() if idle else self._make()  # the one that was used last
        self._lent.add(pipeline)
        return pipeline

    def release(self, pipeline: Pipeline) -> None:
        """Take a pipeline back; one that waits for an answer is dropped."""
        self._lent.discard(pipeline)
        if pipeline.is_waiting or self._is_closed:
            pipeline.end(BrokenConnectionError("it is not needed any more"))
        else:
            self._idle.append(pipeline)
        self.turns.release()

    def end(self) -> list[Pipeline]:
        """End the idle pipelines and return them; `release` ends those that are lent now."""
        self._is_closed = True
        ended, self._idle = self._idle, []
        for pipeline in ended:
            pipeline.end(BrokenConnectionError("it is not needed any more"))
        return ended

    def replace(self) -> None:
        """End all pipelines, for another pool has their places now; what waits there fails."""
        self._is_replaced = True
        self.end()
        for pipeline in self._lent:
            pipeline.end(BrokenConnectionError("there is a newer pool"))

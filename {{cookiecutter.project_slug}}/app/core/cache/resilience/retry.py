"""Work in the background that is tried again, after longer and longer pauses.

Between two tries there is a timer and no task, so an event loop that is closed without warning
leaves no unfinished task. The work is then lost; `start` begins it again in another loop.
"""

import asyncio
import os
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any

from ..loops import running_loop

SETTLE_SECONDS = 5.0
"""How long a task may go on when the cache is closed."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
JITTER = 0.25


class BackgroundRetry:
    """Work that is tried until it succeeds: until `work` does not raise.

    The first try comes `initial_delay` seconds after the start; each pause is twice as long as the one
    before, up to `max_delay`, more or less a quarter. Safe to use from several threads.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[object]],
        *,
        initial_delay: float = FIRST_PAUSE_SECONDS,
        max_delay: float = LONGEST_PAUSE_SECONDS,
    ) -> None:
        self._work, self._initial_delay, self._max_delay = work, initial_delay, max_delay
        self._lock = threading.Lock()
        self._pause = initial_delay
        self._home: asyncio.AbstractEventLoop | None = None
        """The event loop in which it is under way."""
        self._process = 0
        """The process of that loop: a fork has a copy of the loop, but does not run it."""
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start in the running event loop, unless the work is under way in a loop that runs."""
        home = self._home
        if home is not None and home.is_running() and self._process == os.getpid():
            return
        with self._lock:
            self._pause = self._initial_delay
            self._wait()

    async def stop(self) -> None:
        """Stop it if it is under way in the running event loop."""
        if self._home is not asyncio.get_running_loop():
            return
        timer, task = self._timer, self._task
        self._home = self._timer = self._task = None
        if timer is not None:
            timer.cancel()
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _wait(self) -> None:
        loop = running_loop()
        self._home, self._process, self._task = loop, os.getpid(), None
        delay = self._pause * random.uniform(1 - JITTER, 1 + JITTER)
        # What is of the request that has found out, such as its id in log lines, is none of the work's.
        self._timer = loop.call_later(delay, self._begin, loop, context=Context())

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._home is loop:  # else another loop does the work by now
            self._task = loop.create_task(self._try())

    async def _try(self) -> None:
        try:
            await self._work()
        except Exception:  # the work itself has noted it
            if self._task is asyncio.current_task():
                self._pause = min(2 * self._pause, self._max_delay)
                self._wait()
        except asyncio.CancelledError:  # the event loop ends
            self._forget()
            raise
        else:
            self._forget()

    def _forget(self) -> None:
        if self._task is asyncio.current_task():
            self._home = self._task = None


class BackgroundTasks:
    """The tasks of one manager, in all event loops, for which nobody waits until the cache is closed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work` in a task of its own."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for the tasks of the running event loop; cancel those that take too long."""
        loop = asyncio.get_running_loop()
        while tasks := [task for task in self._tasks if task.get_loop() is loop]:
            _, late = await asyncio.wait(tasks, timeout=SETTLE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.difference_update(tasks)  # their callbacks may still be due

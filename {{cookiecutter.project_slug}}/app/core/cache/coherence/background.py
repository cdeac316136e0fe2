"""Tasks that nobody waits for, until the cache is closed."""

import asyncio
from collections.abc import Coroutine
from typing import Any

SETTLE_SECONDS = 5.0
"""How long a task may go on when the cache is closed."""


class BackgroundTasks:
    """The tasks of one manager, in all event loops."""

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

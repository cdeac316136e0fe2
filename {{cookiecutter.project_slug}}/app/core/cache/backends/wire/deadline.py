"""Deadlines, which this process does not use up itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

STALL_GRACE_SECONDS = 0.05
"""A timer that is so late was held up by this process: once, there is as long to read replies."""


@asynccontextmanager
async def until(deadline: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` at `deadline`, in the event loop's time, or a little after a stall."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        now = loop.time()
        grace = STALL_GRACE_SECONDS if now > deadline + STALL_GRACE_SECONDS else 0.0
        timeout.reschedule(now + grace)

    async with asyncio.timeout(None) as timeout:
        timer = loop.call_at(deadline, end)
        try:
            yield
        finally:
            timer.cancel()

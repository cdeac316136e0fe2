"""What a process of its own needs that does jobs for the tests: orders in, answers out.

A line on its standard input is a job, with its details as JSON; on its standard output it answers
each of them, in a line too. It runs in an installed project, so this is imported as `jobs`.
"""

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable


def say(**message: object) -> None:
    """Tell the test something."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def serve(do: Callable[..., Awaitable[object]]) -> None:
    """Do one job after the other until there is no more."""
    say(ready=True)
    while order := await asyncio.to_thread(sys.stdin.readline):
        try:
            say(result=await do(**json.loads(order)))
        except Exception:  # noqa: BLE001 - the test wants to know
            say(error=traceback.format_exc())

"""The service as it is, but each process tells how many connections it leaves when it has ended."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from app.main import app  # type: ignore[import-not-found] # of the project that it runs in

LIFESPAN: Final = app.router.lifespan_context
REDIS_PORT: Final = int(os.environ["REDIS_PORT"])


def connections() -> int:
    """Return how many sockets of this process are connected to Redis."""
    found = 0
    for file in Path("/dev/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(file.name))) as copy:
            found += copy.getpeername()[1:2] == (REDIS_PORT,)
    return found


@asynccontextmanager
async def lifespan(served: Any) -> AsyncIterator[Any]:  # noqa: ANN401
    """Do what the service does at its start and end, and then look what is left."""
    async with LIFESPAN(served) as state:
        yield state
    await asyncio.sleep(0)  # in which what was closed is gone
    sys.stderr.write(f"{os.getpid()} leaves {connections()} connections\n")


app.router.lifespan_context = lifespan

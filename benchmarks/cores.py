"""Holding processes on one core, where the system can do that.

Where a client and Redis take turns, as they do for a single caller, a call takes half as long if
both are on the core that is awake anyway. Which core either is on is chance, and lasts for a while.
"""

import os
from pathlib import Path

from redis import Redis
from redis_server import RedisServer


def hold(process: int, *, one_core: bool) -> None:
    """Hold a process on the first core that this one may use, or let it use them all."""
    if hasattr(os, "sched_setaffinity"):
        cores = _ALL[:1] if one_core else _ALL
        os.sched_setaffinity(process, cores)


def process_of(server: RedisServer) -> int:
    """Return the number of the server's process, if this one has started it, else 0."""
    with Redis.from_url(server.url) as client:
        process = int(client.info("server")["process_id"])
    status = Path(f"/proc/{process}/status")  # in a container it has the number of another
    ours = status.exists() and f"\nPPid:\t{os.getpid()}\n" in status.read_text()
    return process if ours else 0


_ALL = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

"""Processes of this package, and how they are told where Redis is."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from typing import Final

from redis_server import RedisServer

from . import ROOT

SECONDS: Final = 60.0
"""How long a process may take to start, to answer or to stop."""

_REDIS: Final = "BENCHMARK_REDIS"


async def start(
    module: str,
    *arguments: str,
    redis: RedisServer | None = None,
    python: str = sys.executable,
    stderr: int | None = PIPE,
) -> Process:
    """Start a module of this package, with pipes to its standard input and output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if redis is not None:
        where = [redis.host, redis.port, redis.db, redis.password]
        environment[_REDIS] = json.dumps(where)  # a password has no place among the arguments
    return await asyncio.create_subprocess_exec(
        *(python, "-m", f"{__package__}.{module}", *arguments),
        env=environment,
        stdin=PIPE,
        stdout=PIPE,
        stderr=stderr,
    )


def redis_of_this_process() -> RedisServer:
    """Return the Redis that whoever started this process has told it of."""
    return RedisServer(*json.loads(os.environ[_REDIS]))


async def end(process: Process) -> None:
    """End a process, if it has not ended."""
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), SECONDS)
    except TimeoutError:
        process.kill()
        await process.communicate()


def last_line(complaint: bytes) -> str:
    """Return the last line that a process has printed: what it failed with."""
    return (complaint.decode().strip().splitlines() or ["it ended"])[-1]

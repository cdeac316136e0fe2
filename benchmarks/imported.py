"""What it costs to import: a fresh interpreter each time, with its bytecode compiled before.

What is imported comes on top of FastAPI and redis-py, which every contender stands on.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

from . import BYTECODE, TEMPLATE, processes
from .contenders import CannotError, Contender, Foundation
from .measure import Effort, Open, Stage

_MEMORY: Final = Path("/proc/self/statm")
_PROGRAM: Final = f"""
import json, resource, sys, time
from pathlib import Path

def pages():
    memory = Path({str(_MEMORY)!r})
    return int(memory.read_text().split()[1]) if memory.exists() else 0

first, then = sys.argv[1:]
exec(first)
before, began = pages(), time.perf_counter()
exec(then)
took, more = time.perf_counter() - began, pages() - before
print(json.dumps({{"ms": took * 1e3, "MB": more * resource.getpagesize() / 1e6}}))
"""


def imported(quantity: Literal["ms", "MB"]) -> Open:
    """Measure the time or the memory of an import."""

    @asynccontextmanager
    async def stage(contender: Contender, _: Effort) -> AsyncIterator[Stage]:
        if quantity == "MB" and not _MEMORY.exists():
            raise CannotError(f"this system has no {_MEMORY} that tells its memory")
        foundation = "" if isinstance(contender, Foundation) else Foundation.imports

        async def measure() -> float:
            return float(json.loads(await _python(foundation, contender.imports))[quantity])

        yield Stage(measure)

    return stage


async def _python(*arguments: str) -> bytes:
    paths = {"PYTHONPATH": str(TEMPLATE), "PYTHONPYCACHEPREFIX": str(BYTECODE)}
    environment = {**os.environ, **paths, "PYTHONDONTWRITEBYTECODE": ""}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", _PROGRAM, *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaint = await process.communicate()
    if process.returncode:
        raise CannotError(processes.last_line(complaint))
    return printed

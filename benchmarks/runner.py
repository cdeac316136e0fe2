"""In turn, round by round: what disturbs the machine for a while disturbs all contenders.

Each contender works in a process of its own. Its result is the median of its rounds, with
quartiles. Its ratio is that of its median to the baseline's; the quartiles of the ratio are those
of the ratios within each round.
"""

import asyncio
import json
import os
import statistics
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from redis_server import RedisServer

from . import ROOT, cores, processes
from .contenders import CannotError, Contender
from .measure import Effort, Work


class Worker:
    """A process in which one contender works."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def ask(self, question: object) -> dict[str, Any]:
        """Return the answer. Raises `CannotError` with the reason that the process gives."""
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), processes.SECONDS)
        answer: dict[str, Any] = json.loads(line or '{"reason": "its process has ended"}')
        if "reason" in answer:
            raise CannotError(answer["reason"])
        return answer


Workers = dict[type[Contender], Worker]


@dataclass(slots=True)
class Result:
    """What was measured of one contender in one work."""

    name: str
    samples: list[float] = field(default_factory=list)
    commands: int | None = None
    """How many commands Redis was sent for one call."""
    reason: str = ""
    """Why it could not do the work."""


@asynccontextmanager
async def workers(
    kinds: Collection[type[Contender]], server: RedisServer, loop: str
) -> AsyncIterator[Workers]:
    """Lend a process for each contender."""
    async with AsyncExitStack() as stack:
        lent: Workers = {}
        for kind in kinds:
            process = await processes.start(
                "worker",
                *(kind.__name__, loop),
                redis=server,
                python=await _python(kind.group),
                stderr=None,
            )
            stack.push_async_callback(processes.end, process)
            lent[kind] = Worker(process)
        yield lent


async def run(
    work: Work,
    workers: Workers,
    effort: Effort,
    *,
    redis_process: int,
    progress: Callable[[int], None],
) -> list[Result]:
    """Measure the contenders of a work in turn; tell `progress` how many rounds are done."""
    results = {kind: Result(kind.name) for kind in work.contenders}

    async def ask(kind: type[Contender], question: object) -> dict[str, Any]:
        if results[kind].reason:
            return {}
        try:
            return await workers[kind].ask(question)
        except CannotError as error:
            results[kind].reason = str(error)
            return {}

    progress(0)
    if redis_process:
        cores.hold(redis_process, one_core=work.one_caller)
    for kind, result in results.items():
        opened = {"open": work.name, "effort": [effort.rounds, effort.seconds]}
        result.commands = (await ask(kind, opened)).get("commands")
    for done in range(1, effort.rounds + 1):
        for kind, result in results.items():
            result.samples += (await ask(kind, "measure")).values()
        progress(done)
    for kind in results:
        await ask(kind, "close")
    return list(results.values())


def quartiles(samples: list[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(samples) == 1:
        return samples[0], samples[0], samples[0]
    lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return lower, median, upper


async def _python(group: str) -> str:
    """Return this interpreter, or that of an environment with the dependencies of a group."""
    if not group:
        return sys.executable
    command = (os.environ.get("UV", "uv"), "run", "--quiet", "--only-group", group, "python")
    process = await asyncio.create_subprocess_exec(
        *(*command, "-c", "import sys; print(sys.executable)"),
        cwd=ROOT,
        env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(ROOT / ".build" / group)},
        stdout=PIPE,
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"uv cannot make the environment of {group}")
    return printed.decode().strip()

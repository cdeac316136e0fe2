"""In turn, round by round: what disturbs the machine for a while disturbs all contenders.

The result of a contender is the median of its rounds, with quartiles. Its ratio is that of its
median to the baseline's; the quartiles of the ratio are those of the ratios within each round.
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
from .contenders import Contender
from .measure import Effort, Work


class Worker:
    """A process in which contenders work."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), processes.SECONDS)
        if not line:
            raise RuntimeError(f"the process that was asked {question} has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


Workers = dict[str, Worker]
"""By the dependency group of their environment, `""` for this one."""


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
    groups: Collection[str], server: RedisServer, loop: str
) -> AsyncIterator[Workers]:
    """Lend a process for each environment."""
    async with AsyncExitStack() as stack:
        lent: Workers = {}
        for group in groups:
            python = await _python(group)
            process = await processes.start(
                "worker", loop, redis=server, python=python, stderr=None
            )
            stack.push_async_callback(processes.end, process)
            lent[group] = Worker(process)
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
    progress(0)
    if redis_process:
        cores.hold(redis_process, one_core=work.one_caller)
    results = {kind: Result(kind.name) for kind in work.contenders}
    for group, worker in workers.items():
        kinds = {kind.__name__: kind for kind in work.contenders if kind.group == group}
        opening = {"open": work.name, "effort": [effort.rounds, effort.seconds]}
        opened = await worker.ask({**opening, "contenders": list(kinds)})
        for name, kind in kinds.items():
            results[kind].commands = opened["commands"].get(name)
            results[kind].reason = opened["reasons"].get(name, "")
    for done in range(1, effort.rounds + 1):
        for kind, result in results.items():
            if not result.reason:
                answer = await workers[kind.group].ask({"measure": kind.__name__})
                result.reason = answer.get("reason", "")
                result.samples.append(answer.get("value", 0.0))
        progress(done)
    for worker in workers.values():
        await worker.ask({"close": work.name})
    return list(results.values())


async def versions(
    workers: Workers, kinds: Collection[type[Contender]]
) -> dict[str, dict[str, str]]:
    """Return the version of each contender's package, and that of its redis-py."""
    found = {}
    for kind in kinds:
        packages = [kind.package, "redis"]
        known = await workers[kind.group].ask({"versions": packages})
        found[kind.name] = {"peer": known[kind.package], "redis": known["redis"]}
    return found


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

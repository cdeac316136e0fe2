"""A process in which contenders work, for the runner that has started it.

    python -m benchmarks.worker LOOP

All that can be installed together share one, so that they share what chance does to a process: its
place among the cores, its standing with the scheduler, its memory. Questions and answers are lines
of JSON on standard input and output:

    {"versions": [PACKAGE, ...]}                    what is installed
    {"open": WORK, "effort": [ROUNDS, SECONDS], "contenders": [CLASS, ...]}
    {"measure": CLASS}                              once, any number of times
    {"close": WORK}

Why a contender cannot do a work is answered as its reason.
"""

import asyncio
import gc
import importlib.metadata
import json
import logging
import os
import sys
from contextlib import AsyncExitStack
from typing import Any, Final

import redis.asyncio
import uvloop
from redis_server import RedisServer

from . import contenders, cores, processes
from .contenders import CannotError, Contender
from .measure import Call, Effort, Stage, Work
from .payloads import RUNS
from .works import WORKS

LOOPS: Final = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}

_TRIALS: Final = 3
_ABOUT_CONNECTIONS: Final = ("AUTH ", "CLIENT ", "HELLO ", "PING", "SELECT ")


class Conversation:
    """What is asked and answered, on streams that nobody else prints to."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    async def question(self) -> Any:
        """Return the next question, or `None` if there are no more."""
        line = await asyncio.to_thread(sys.stdin.readline)
        return json.loads(line) if line else None

    def answer(self, **answer: object) -> None:
        """Answer it."""
        print(json.dumps(answer), file=self._answers, flush=True)


async def serve(server: RedisServer) -> None:
    """Do what is asked until there are no more questions."""
    talk, works = Conversation(), {work.name: work for work in WORKS}
    while question := await talk.question():
        if "versions" in question:
            version = importlib.metadata.version
            talk.answer(**{package: version(package) for package in question["versions"]})
        else:
            cores.hold(0, one_core=works[question["open"]].one_caller)
            await _do(works[question["open"]], question, server, talk)
            gc.unfreeze()
            talk.answer()


async def _do(work: Work, question: Any, server: RedisServer, talk: Conversation) -> None:
    stages: dict[str, Stage] = {}
    commands, reasons = {}, {}
    async with AsyncExitStack() as stack:
        for name in question["contenders"]:
            try:
                contender: Contender = getattr(contenders, name)(server)
                stack.push_async_callback(contender.close)
                opened = work.open(contender, Effort(*question["effort"]))
                stages[name] = await stack.enter_async_context(opened)
                await _measured(stages[name], work)  # for nothing, so that everything is warm
                commands[name] = await _commands(server, stages[name].call)
            except Exception as error:  # noqa: BLE001, whatever it is, it is the reason
                reasons[name] = _reason(error)
        talk.answer(commands=commands, reasons=reasons)
        gc.collect()
        gc.freeze()  # what is there by now need not be looked through in every round
        while "measure" in (question := await talk.question()):
            gc.collect()
            try:
                talk.answer(value=await _measured(stages[question["measure"]], work))
            except Exception as error:  # noqa: BLE001
                talk.answer(reason=_reason(error))


async def _measured(stage: Stage, work: Work) -> float:
    """Measure once; again if something had to be computed, for the machine may have stood still."""
    for _ in range(_TRIALS):
        before = RUNS.count
        measured = await stage.measure()
        if RUNS.count == before or not work.hits:
            return measured
    raise CannotError(f"it ran the function {RUNS.count - before} times where all is cached")


async def _commands(server: RedisServer, call: Call | None) -> int | None:
    """Count what one call sends to Redis; what a script does there is not sent."""
    if call is None:
        return None
    async with redis.asyncio.from_url(server.url) as client, client.monitor() as monitor:
        await call()
        await client.echo("that was all")
        count = 0
        async for command in monitor.listen():
            if "that was all" in command["command"]:
                break
            own = not command["command"].startswith(_ABOUT_CONNECTIONS)
            count += own and command["client_type"] != "lua"
    return count


def _reason(error: Exception) -> str:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split())
    return text if isinstance(error, CannotError) else f"it says {type(error).__name__}: {text}"


if __name__ == "__main__":
    logging.getLogger().addHandler(logging.NullHandler())  # a library may log how it fails
    with asyncio.Runner(loop_factory=LOOPS[sys.argv[1]]) as runner:
        runner.run(serve(processes.redis_of_this_process()))

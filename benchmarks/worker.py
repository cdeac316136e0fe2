"""A process in which one contender works, for the runner that has started it.

    python -m benchmarks.worker CONTENDER LOOP

Questions and answers are lines of JSON on standard input and output. `{"open": WORK, "effort":
[ROUNDS, SECONDS]}` makes the contender ready, `"measure"` measures it, any number of times,
`"close"` ends the work, and `"versions"` asks what is installed. An answer with a `reason` tells
why the contender cannot do the work, which is over then.
"""

import asyncio
import gc
import importlib.metadata
import json
import logging
import os
import sys
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


async def serve(kind: type[Contender], server: RedisServer) -> None:
    """Do what is asked until there are no more questions."""
    talk, works = Conversation(), {work.name: work for work in WORKS}
    while (question := await talk.question()) is not None:
        if question == "versions":
            version = importlib.metadata.version
            talk.answer(peer=version(kind.package), redis=version("redis"))
            continue
        try:
            await _do(works[question["open"]], Effort(*question["effort"]), kind(server), talk)
        except Exception as error:  # noqa: BLE001, whatever it is, it is the reason
            talk.answer(reason=_reason(error))
        else:
            talk.answer()


async def _do(work: Work, effort: Effort, contender: Contender, talk: Conversation) -> None:
    cores.hold(0, one_core=work.one_caller)
    try:
        async with work.open(contender, effort) as stage:
            await _measured(stage, work)  # for nothing, so that everything is warm
            talk.answer(commands=await _commands(contender.server, stage.call))
            gc.collect()
            gc.freeze()  # what is there by now need not be looked through in every round
            while await talk.question() == "measure":
                gc.collect()
                talk.answer(value=await _measured(stage, work))
    finally:
        gc.unfreeze()
        await contender.close()


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
    with asyncio.Runner(loop_factory=LOOPS[sys.argv[2]]) as runner:
        runner.run(serve(getattr(contenders, sys.argv[1]), processes.redis_of_this_process()))

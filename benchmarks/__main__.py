"""Measure every work and write the results: `make bench`, or `make bench QUICK=1` for a minute."""

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import redis_server

from . import chart, cores, machine, report, runner
from .contenders import PEERS
from .measure import Work
from .worker import LOOPS
from .works import WORKS


def main() -> None:
    """Run the command."""
    options = _options()
    _prefer_a_process()
    with redis_server.redis_server(report=lambda _: None) as server:
        everything = asyncio.run(_everything(options, server))
    options.output.mkdir(parents=True, exist_ok=True)
    report.write_json(everything, options.output / "results.json")
    report.write_markdown(everything, options.output / "results.md")
    chart.write(everything, options.output / "results.svg")
    print(report.summary(everything))
    print(f"Written to {options.output}: results.md, results.json, results.svg")


async def _everything(options: argparse.Namespace, server: redis_server.RedisServer) -> report.Json:
    works = _works(options)
    kinds = dict.fromkeys(kind for work in works for kind in work.contenders)
    groups = dict.fromkeys(kind.group for kind in kinds)
    redis_process = cores.process_of(server)
    load, began, measured = machine.load(), time.monotonic(), []
    async with runner.workers(groups, server, options.loop) as workers:
        for place, work in enumerate(works, 1):
            effort = work.quick if options.quick else work.effort
            progress = _progress(f"{place} of {len(works)}: {work.title}", effort.rounds)
            results = await runner.run(
                work, workers, effort, redis_process=redis_process, progress=progress
            )
            measured.append(report.as_json(work, results, effort))
        peers = await runner.versions(workers, [kind for kind in kinds if kind in PEERS])
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": round(time.monotonic() - began),
        "quick": options.quick,
        "loop": options.loop,
        "machine": machine.machine(),
        "load_average": [round(load, 1), round(machine.load(), 1)],
        "versions": machine.versions(server),
        "peers": peers,
        "works": measured,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--without-peers", action="store_true", help="the module and redis-py only")
    parser.add_argument("--only", nargs="+", choices=[work.name for work in WORKS], metavar="WORK")
    parser.add_argument("--loop", choices=LOOPS, default="uvloop", help="uvicorn chooses its own")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="FOLDER")
    return parser.parse_args()


def _works(options: argparse.Namespace) -> list[Work]:
    works = [work for work in WORKS if not options.only or work.name in options.only]
    if not options.without_peers:
        return works
    return [
        replace(work, contenders=tuple([kind for kind in work.contenders if kind not in PEERS]))
        for work in works
    ]


def _prefer_a_process() -> None:
    """Take a server of the PATH, if there is one: the network of a container costs more."""
    if shutil.which("redis-server") or shutil.which("valkey-server"):
        os.environ["TEST_REDIS"] = "process"


def _progress(line: str, rounds: int) -> Callable[[int], None]:
    """Return what shows how many rounds are done: in one line of a terminal, else at the end."""

    def show(done: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == rounds else ""
            print(
                f"\r\x1b[2K{line}, round {done} of {rounds}", end=end, file=sys.stderr, flush=True
            )
        elif done == rounds:
            print(line, file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    main()

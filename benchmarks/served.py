"""An application behind a real uvicorn, in a process of its own.

    python -m benchmarks.served CONTENDER ENDPOINT

It finds the address of Redis in its environment and prints its own port. GET /runs tells how often
the endpoint ran.
"""

import asyncio
import http.client
import json
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from . import contenders, payloads, processes
from .contenders import CannotError, Contender, Function, route
from .measure import Effort, Open, Stage

CONNECTIONS: Final = 32


def served(endpoint: Function, paths: int = 100) -> Open:
    """Keep uvicorn busy with so many paths, and count its answers."""

    @asynccontextmanager
    async def stage(contender: Contender, effort: Effort) -> AsyncIterator[Stage]:
        names = (type(contender).__name__, endpoint.__name__)
        server = await processes.start("served", *names, redis=contender.server)
        try:
            port = await _port(server)
            asked = [route(endpoint).format(number=number) for number in range(paths)]
            # A miss, a hit, and one that may come before routing.
            bodies = await asyncio.to_thread(_fetched, port, *asked * 3)
            if any(json.loads(each) != json.loads(payloads.body_of(endpoint)) for each in bodies):
                raise CannotError("it does not answer what the endpoint returns")
            runs = await asyncio.to_thread(_fetched, port, "/runs")

            async def measure() -> float:
                numbers = (str(port), str(CONNECTIONS), str(effort.seconds))
                client = await processes.start("load", *numbers, endpoint.__name__, str(paths))
                printed, complaint = await client.communicate()
                if client.returncode:
                    raise CannotError(processes.last_line(complaint))
                if await asyncio.to_thread(_fetched, port, "/runs") != runs:
                    raise CannotError("it ran the endpoint where all is cached")
                return float(printed)

            yield Stage(measure)
        finally:
            await processes.end(server)

    return stage


async def _port(server: Process) -> int:
    assert server.stdout is not None
    line = await asyncio.wait_for(server.stdout.readline(), processes.SECONDS)
    if not line:
        _, complaint = await server.communicate()
        raise CannotError(processes.last_line(complaint))
    return int(line)


def _fetched(port: int, *paths: str) -> set[bytes]:
    """Return the bodies at these paths, asked for one after the other over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=processes.SECONDS)
    bodies = set()
    for path in paths:
        connection.request("GET", path)
        bodies.add(connection.getresponse().read())
    connection.close()
    return bodies


def main() -> None:
    """Serve until a signal comes."""
    import uvicorn

    contender, endpoint = sys.argv[1:]
    redis = processes.redis_of_this_process()
    app = getattr(contenders, contender)(redis).app(getattr(payloads, endpoint))
    app.get("/runs")(lambda: payloads.RUNS.count)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(app, log_level="warning")  # with the loop that it chooses itself
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()

"""Many processes, event loops and callers share one cache, and Redis is killed under them."""

import asyncio
import json
import os
import re
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import httpx2
import pytest

from tests.baked import BakedProject, environment, eventually, free_port, migrate
from tests.servers import LOOPBACK, Server, one_server

WORKER: Final = Path(__file__).with_name("life_worker.py")
SEED: Final = os.environ.get("TEST_SEED") or secrets.token_hex(4)
WORKERS: Final = 4
READERS, WRITERS = 45, 5
USERS: Final = 10
TIMES: Final = 2
LOG_WITH_PROCESSES: Final = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"with process": {"format": "%(process)d %(message)s"}},
    "handlers": {"all": {"class": "logging.StreamHandler", "formatter": "with process"}},
    "root": {"handlers": ["all"], "level": "INFO"},
}
COMPLAINTS: Final = re.compile(
    r"Traceback|never (?:retrieved|awaited)|destroyed|Warning: (?!Enable tracemalloc)"
)
SCENES: Final = (
    *("forks_after_import", "forks_while_it_is_used", "forks_while_redis_is_away"),
    *("loops_one_after_another", "loops_that_end_without_a_word", "loops_in_threads"),
    "clients_one_after_another",
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Lend a Redis that nobody else uses, so that its connections are those of these tests."""
    with one_server() as server:
        yield server


def connected(server: Server) -> int:
    """Return how many connections a server has, besides the one that asks."""
    with server.client() as client:
        return len(client.client_list()) - 1


def settings(project: BakedProject, server: Server, folder: Path) -> dict[str, str]:
    """Return the settings of a service with this Redis, and with keys and data of its own."""
    return {
        "CACHE_BACKEND": "redis",
        "CACHE_KEY_PREFIX": folder.name,
        "CACHE_OPERATION_TIMEOUT": "5",  # however busy this machine is
        "DATABASE_URL": f"sqlite+aiosqlite:///{folder}/app.db",
        "LOG_LEVEL": "DEBUG",
        "PYTHONPATH": f"{project.path}{os.pathsep}{WORKER.parent}",
        "PYTHONWARNINGS": "always,ignore:This process",  # is forked, and has threads
        "REDIS_HOST": LOOPBACK,
        "REDIS_PORT": str(server.port),
        "REDIS_MAX_CONNECTIONS": "4",
    }


@contextmanager
def running(
    project: BakedProject, server: Server, folder: Path, *options: str, **more: str
) -> Iterator[str]:
    """Run the service, and lend its address; it has to end without leaving anything."""
    port, log = free_port(), folder / "service.log"
    config = folder / "log.json"
    config.write_text(json.dumps(LOG_WITH_PROCESSES))
    migrate(project, folder)
    command = [".venv/bin/uvicorn", "farewell:app", "--host", LOOPBACK, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--log-config", config, "--no-access-log", *options],
            cwd=project.path,
            env=environment(**settings(project, server, folder) | more),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://{LOOPBACK}:{port}"

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx2.get(f"{url}/health/live").is_success
        except httpx2.TransportError:
            return False

    try:
        eventually(answers, "the service to answer", seconds=60)
        yield url
    finally:
        process.terminate()
        process.wait(30)
    left = re.findall(r" leaves (\d+) connections", log.read_text())
    assert left
    assert set(left) == {"0"}
    # uvicorn leaves the socket open on which it listens.
    own = re.compile(rf"^.* unclosed <.* laddr=\('{LOOPBACK}', {port}\)>$", re.MULTILINE)
    assert COMPLAINTS.findall(own.sub("", log.read_text())) == [], log.read_text()


# --- processes, loops and threads ----------------------------------------------------------------


def test_p5_every_worker_of_a_server_serves_hits_and_closes_its_connections(
    installed: BakedProject, server: Server, tmp_path: Path
) -> None:
    """Four worker processes share what one of them computed, and what one of them invalidated."""
    # A connection of its own for each request, so that any worker may answer it.
    limits = httpx2.Limits(max_keepalive_connections=0)
    with (
        running(installed, server, tmp_path, "--workers", str(WORKERS)) as url,
        httpx2.Client(base_url=url, limits=limits) as client,
        ThreadPoolExecutor(20) as threads,
    ):
        path = f"/users/{client.post('/users', json=user(1, 0)).json()['id']}"

        def read(_: int) -> tuple[str, str]:
            response = client.get(path)
            return response.json()["name"], response.headers["Cache-Status"]

        def all_have_hits() -> bool:
            assert {name for name, _ in threads.map(read, range(40))} == {"1: 0"}
            log = (tmp_path / "service.log").read_text()
            return len(set(re.findall(r"^(\d+) hit ", log, re.MULTILINE))) == WORKERS

        eventually(all_have_hits, "each worker to serve a hit")
        assert connected(server) >= WORKERS
        assert client.put(path, json=user(1, 1)).is_success
        read_then = list(threads.map(read, range(40)))
    assert {name for name, _ in read_then} == {"1: 1"}
    assert sum("; hit; ttl=" in status for _, status in read_then) > 10
    assert (tmp_path / "service.log").read_text().count(" leaves 0 connections") >= WORKERS


@pytest.mark.parametrize("scene", SCENES)
def test_p5_a_manager_made_at_import_serves_many_lives(
    installed: BakedProject, server: Server, tmp_path: Path, scene: str
) -> None:
    """Values are right and connections get closed, in forks, threads and loops."""
    python = str(installed.path / ".venv/bin/python")
    variables = settings(installed, server, tmp_path)
    migrate(installed, tmp_path)
    if scene == "loops_that_end_without_a_word":  # Python itself complains of those
        variables["PYTHONWARNINGS"] = "ignore"
    with subprocess.Popen(
        [python, "-P", WORKER, scene],
        cwd=installed.path,
        env=environment(**variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            if scene == "forks_while_redis_is_away":
                for asked, deed in (("kill Redis", server.kill), ("start Redis", server.start)):
                    assert process.stdout.readline() == f"{asked}\n"
                    deed()
                    process.stdin.write("done\n")
                    process.stdin.flush()
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
            if not server.awake:
                server.start()
    assert process.returncode == 0, errors
    assert json.loads(output) == {"wrong": [], "connected": 0}, errors
    assert COMPLAINTS.findall(errors) == [], errors


# --- Redis is killed under callers ---------------------------------------------------------------


def user(number: int, version: int) -> dict[str, str]:
    """Return a user whose name tells which one it is, and in which version."""
    return {"name": f"{number}: {version}", "email": f"user-{number}@example.com"}


class Callers:
    """Fifty of them: some change users, each its own, and the others read one or all of them."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self._random = Random(SEED)  # noqa: S311 - no secret
        self._paths: list[str] = []
        self._returned = [0] * USERS
        """The version of each user whose change has been answered."""
        self._over = False
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0

    async def call(self, while_they_call: Callable[[], None]) -> None:
        """Let them call while something else is done, in a thread."""
        for number in range(USERS):
            created = await self._client.post("/users", json=user(number, 0))
            self._paths.append(f"/users/{created.json()['id']}")
        async with asyncio.TaskGroup() as group:
            for _ in range(READERS):
                group.create_task(self._read())
            for number in range(WRITERS):
                group.create_task(self._write(range(number, USERS, WRITERS)))
            await asyncio.to_thread(while_they_call)
            self._over = True

    async def _ask(self, method: str, path: str, body: object = None) -> httpx2.Response | None:
        began = time.monotonic()
        try:
            response = await self._client.request(method, path, json=body)
        except httpx2.TransportError:
            response = None
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.counts["calls"] += 1
        if response is not None and response.is_success:
            if "; hit" in response.headers.get("Cache-Status", ""):
                self.counts["hits"] += 1
            return response
        self.counts["errors"] += 1
        return None

    async def _read(self) -> None:
        while not self._over:
            number = self._random.randrange(USERS)
            returned = self._returned.copy()
            if self._random.random() < 0.2:
                response = await self._ask("GET", "/users")
                if response is not None:
                    for each, found in enumerate(response.json()):
                        self._check(each, found, returned)
            else:
                response = await self._ask("GET", self._paths[number])
                if response is not None:
                    self._check(number, response.json(), returned)

    def _check(self, number: int, found: dict[str, str | int], returned: list[int]) -> None:
        of, _, version = str(found["name"]).partition(": ")
        right = (f"/users/{found['id']}", of) == (self._paths[number], str(number))
        self.counts["values"] += 1
        self.counts["wrong values"] += not right or found["email"] != user(number, 0)["email"]
        self.counts["stale after invalidation"] += int(version) < returned[number]

    async def _write(self, mine: range) -> None:
        versions = dict.fromkeys(mine, 0)
        while not self._over:
            number = self._random.choice(mine)
            versions[number] += 1
            changed = await self._ask("PUT", self._paths[number], user(number, versions[number]))
            if changed is not None:
                self._returned[number] = versions[number]
            self.counts["changes"] += 1
            await asyncio.sleep(self._random.uniform(0.1, 0.5))


@pytest.mark.alone
def test_p5_p6_redis_is_killed_and_restarted_under_fifty_callers(
    installed: BakedProject, server: Server, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """No caller sees an error, a wrong value or one that is older than an answered change."""
    resumed: list[float] = []

    async def play(url: str) -> Callers:
        limits = httpx2.Limits(max_connections=READERS + WRITERS)
        async with httpx2.AsyncClient(base_url=url, timeout=20, limits=limits) as client:
            callers = Callers(client)

            def so_many_more(what: str, number: int) -> None:
                enough = callers.counts[what] + number
                eventually(lambda: callers.counts[what] >= enough, f"{number} {what}")

            def kill_and_restart() -> None:
                for _ in range(TIMES):
                    so_many_more("hits", 200)
                    server.kill()
                    so_many_more("calls", 300)
                    server.start()
                    began = time.monotonic()
                    so_many_more("hits", 1)
                    resumed.append(time.monotonic() - began)
                so_many_more("hits", 200)

            await callers.call(kill_and_restart)
            return callers

    with running(installed, server, tmp_path, CACHE_OPERATION_TIMEOUT="0.25") as url:
        callers = asyncio.run(play(url))
    counts = callers.counts
    wrong = {what: counts[what] for what in ("errors", "wrong values", "stale after invalidation")}
    report(
        f"Redis killed and restarted {TIMES} times under {READERS + WRITERS} callers, seed {SEED}: "
        f"{', '.join(f'{what} {number}' for what, number in wrong.items())}; {dict(counts)}; the "
        f"slowest call took {callers.slowest:.2f} s, hits resumed after {max(resumed):.2f} s"
    )
    assert wrong == dict.fromkeys(wrong, 0)
    assert max(resumed) < 10
    assert callers.slowest < 10

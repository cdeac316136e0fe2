"""Fixtures for every test.

`client` talks to an application in this process, with the memory backend. Tests that need Redis
use `start_service` with `redis_environment`: the service as a process of its own, over HTTP.
"""

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import httpx2
import pytest
from fastapi.testclient import TestClient

from tests.isolation import assert_isolated as assert_that_they_are_isolated
from tests.redis_server import NoRedisError, RedisServer
from tests.redis_server import redis_server as find_redis

# % if cookiecutter.example_resource
# The database of a test is the default one: a file in the folder that the test works in.
os.environ.pop("DATABASE_URL", None)
# % endif
# The decorators take their cache manager when `app` is imported. So its backend is chosen here,
# before that, and is the same for the whole run, whatever the environment or a .env file says.
os.environ["CACHE_BACKEND"] = "memory"

from app.core.config import Settings
from app.main import create_app

MAIN = Path(__file__).resolve().parent.parent / "app" / "main.py"
START_WITHIN = 60.0  # seconds
REPORTED = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, as the server does."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> Iterator[RedisServer]:
    """Lend a real Redis. Which one it is stands in the summary of the run."""
    report = pytestconfig.stash.setdefault(REPORTED, []).append
    with ExitStack() as stack:
        try:
            server = stack.enter_context(find_redis(report))
        except NoRedisError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        yield server


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what fixtures reported: their output is not shown otherwise."""
    for line in config.stash.get(REPORTED, []):
        terminalreporter.write_line(line)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Make settings in an empty folder: no .env file is read, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    return Settings()


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """Talk to a started application of this process. Its cache is empty."""
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture
def assert_isolated() -> Callable[..., str]:
    """Lend what asks an endpoint as two people: neither must see the other's answer."""
    return assert_that_they_are_isolated


class StartService(Protocol):
    """Start the service with these environment variables and return a client for it."""

    def __call__(self, **environment: str) -> httpx2.Client: ...


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """Start the service as a process, once or more; all are stopped after the test.

    They share one folder to work in, an empty one, so that no .env file is read.
    """
    with ExitStack() as stack:

        def start(**environment: str) -> httpx2.Client:
            return stack.enter_context(running_service(tmp_path, environment))

        yield start


@pytest.fixture
def redis_environment(redis_server: RedisServer) -> dict[str, str]:
    """Return the settings for that Redis, with a key prefix of this test's own."""
    return {
        "CACHE_BACKEND": "redis",
        "CACHE_KEY_PREFIX": f"test-{uuid.uuid4().hex}",
        "REDIS_HOST": redis_server.host,
        "REDIS_PORT": str(redis_server.port),
        "REDIS_DB": str(redis_server.db),
        "REDIS_PASSWORD": redis_server.password or "",
    }


@contextmanager
def running_service(folder: Path, environment: dict[str, str]) -> Iterator[httpx2.Client]:
    """Run the service in `folder` on a free port of loopback until the context ends."""
    port = free_port()
    command = [sys.executable, "-m", "fastapi", "run", str(MAIN), "--host", "127.0.0.1"]
    log = folder / f"service-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_alive(client, process, log)
            yield client
    finally:
        process.terminate()
        process.wait(START_WITHIN)


def wait_until_alive(client: httpx2.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the service answers; fail with its log if it ends or takes too long."""
    deadline = time.monotonic() + START_WITHIN
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if client.get("/health/live").is_success:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    pytest.fail(f"The service did not start:\n{log.read_text(errors='replace')}")


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

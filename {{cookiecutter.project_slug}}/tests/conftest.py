"""Fixtures for every test.

`client` talks to an application in this process, with the memory backend. Tests that need Redis
use `start_service` with `redis_environment`: the service as a process of its own, over HTTP.
"""

import os
# % if cookiecutter.example_resource
import shutil
# % endif
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import Protocol

import httpx2
import pytest
# % if cookiecutter.example_resource
from alembic import command
from alembic.config import Config
# % endif
from fastapi.testclient import TestClient

# What whoever runs the tests has set, in the environment or in a .env file, is not for the tests.
# The decorators take their cache manager when `app` is imported. So that is done without a setting
# but the backend, which is the same for the whole run, and in an empty folder.
SETTINGS = (
    "APP_",
    "CACHE_",
    # % if cookiecutter.example_resource
    "DATABASE_",
    # % endif
    "LOG_",
    "PROMETHEUS_",
    "REDIS_",
)
for name in [name for name in os.environ if name.upper().startswith(SETTINGS)]:
    del os.environ[name]
os.environ["CACHE_BACKEND"] = "memory"
with tempfile.TemporaryDirectory() as empty, chdir(empty):
    from app.core.cache import CacheManager
    from app.core.cache.testing.redis_server import RedisServer
    from app.core.config import Settings
    from app.main import create_app

# The fixtures of the cache's test kit, such as `cache`; and `redis_server`, a real Redis.
pytest_plugins = ["app.core.cache.testing", "app.core.cache.testing.found"]

MAIN = Path(__file__).resolve().parent.parent / "app" / "main.py"
# % if cookiecutter.example_resource
MIGRATIONS = Config(toml_file=MAIN.parent.parent / "pyproject.toml")
# % endif
START_WITHIN = 60.0  # seconds


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, as the server does."""
    return "asyncio"


# % if cookiecutter.example_resource
@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a database with all tables, once, of which each test has a copy."""
    folder = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command.upgrade(MIGRATIONS, "head")
    return folder / "app.db"


@pytest.fixture(autouse=True)
def database(tmp_path: Path, migrated: Path) -> Path:
    """Put a database with all tables where a test works."""
    return Path(shutil.copy(migrated, tmp_path))


# % endif
@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder: no .env file is read, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings() -> Settings:
    """Make settings of nothing but the defaults."""
    return Settings()


@pytest.fixture(scope="session")
def cache_redis_url(redis_server: RedisServer) -> str:
    """Say where the Redis of the fixture `redis_cache` is."""
    return redis_server.url


@pytest.fixture
def client(settings: Settings, cache: CacheManager) -> Iterator[TestClient]:
    """Talk to a started application of this process. Its cache is empty."""
    with TestClient(create_app(settings)) as client:
        yield client


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

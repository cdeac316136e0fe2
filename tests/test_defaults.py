"""What a service does that was rendered and has been told nothing but where its Redis is."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest
from redis_server import RedisServer

from tests.baked import Bake, BakedProject, environment, eventually, free_port

PREFIX = """
from app.main import app
from app.core.cache import CacheFactory

print(CacheFactory.get_cache_key_prefix())
"""


@pytest.fixture(scope="module")
def python(installed: BakedProject) -> Path:
    """Return a Python that has what a service needs."""
    return installed.path / ".venv" / "bin" / "python"


@pytest.fixture
def redis(redis_server: RedisServer) -> dict[str, str]:
    """Return what tells a service where the Redis is, and nothing else."""
    return {
        "REDIS_HOST": redis_server.host,
        "REDIS_PORT": str(redis_server.port),
        "REDIS_DB": str(redis_server.db),
        "REDIS_PASSWORD": redis_server.password or "",
    }


@contextmanager
def serving(
    project: BakedProject, python: Path, *command: str, **settings: str
) -> Iterator[tuple[httpx2.Client, Path]]:
    """Serve the project by `python -m command`; lend a client, and the file of its log."""
    port = free_port()
    log = project.path / f"{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", *command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=project.path,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def alive() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return client.get("/health/live").is_success
        except httpx2.TransportError:
            return False

    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            eventually(alive, "the service to answer", seconds=60)
            yield client, log
    finally:
        process.terminate()
        process.wait(30)


def prefix(project: BakedProject, python: Path, **settings: str) -> str:
    """Return what the keys of a service begin with."""
    done = subprocess.run(
        [python, "-c", PREFIX],
        cwd=project.path,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_p2_two_services_on_one_redis_share_no_entry(
    bake: Bake, python: Path, redis: dict[str, str]
) -> None:
    """With default settings, neither reads what the other has stored, nor removes it."""
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(
                serving(bake(project_name=name), python, "uvicorn", "app.main:app", **redis)
            )[0]
            for name in ("Order Desk", "Stock Room")
        }
        for name, client in clients.items():
            created = client.post("/users", json={"name": name, "email": "who@example.com"})
            assert created.json()["id"] == 1
        for _ in range(2):
            for name, client in clients.items():
                read = client.get("/users/1")
                assert read.json()["name"] == name
        assert "; hit; ttl=" in read.headers["Cache-Status"]
        clients["Order Desk"].delete("/users/1")
        assert "; hit; ttl=" in clients["Stock Room"].get("/users/1").headers["Cache-Status"]


@pytest.mark.parametrize("example", ["yes", "no"])
def test_the_prefix_is_the_slug_unless_told_otherwise(
    bake: Bake, python: Path, example: str
) -> None:
    """A variable comes before a `.env` file, and that before the slug; empty means unset."""
    project = bake(project_slug="order-desk", example_resource=example)
    assert prefix(project, python) == "order-desk"
    assert prefix(project, python, CACHE_KEY_PREFIX="") == "order-desk"
    assert prefix(project, python, CACHE_KEY_PREFIX="given") == "given"
    (project.path / ".env").write_text("CACHE_KEY_PREFIX=written\n")
    assert prefix(project, python) == "written"
    assert prefix(project, python, CACHE_KEY_PREFIX="given") == "given"
    shutil.copy(project.path / ".env.example", project.path / ".env")
    assert prefix(project, python) == "order-desk"


@pytest.mark.parametrize("example", ["yes", "no"])
def test_the_log_says_once_in_each_process_which_cache_is_used(
    bake: Bake, python: Path, redis: dict[str, str], example: str
) -> None:
    """The line is seen at the level that is the default, however the service is started."""
    project = bake(example_resource=example)
    for command, processes in (
        (("fastapi", "run"), 1),
        (("uvicorn", "app.main:app"), 1),
        (("uvicorn", "app.main:app", "--workers", "2"), 2),
    ):
        with serving(project, python, *command, **redis) as (client, log):
            assert client.get("/health/ready").is_success
            eventually(partial(each_has_said, log, processes), "each process to say it")
        lines = said(log)
        assert len(lines) == processes, log.read_text()
        assert all("INFO app.core.cache.config: " in line for line in lines)
        assert all("key prefix 'cached-service'" in line for line in lines)


def each_has_said(log: Path, processes: int) -> bool:
    """Tell whether so many processes have said which cache they use."""
    return len(said(log)) >= processes


def said(log: Path) -> list[str]:
    """Return the lines that say which cache is used."""
    return [line for line in log.read_text().splitlines() if "cache in RedisBackend(" in line]

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

from tests.baked import (
    Bake,
    BakedProject,
    environment,
    eventually,
    free_port,
    log_of,
    migrate,
    serving,
)

PREFIX = """
from app.main import app
from app.core.cache import CacheFactory

print(CacheFactory.get_cache_key_prefix())
"""
SETTINGS = """
from app.core.cache import CacheFactory
from app.core.cache.settings import CacheSettings
from app.core.config import Settings
from app.main import app

print(Settings() == Settings(_env_file=None))
print({**CacheSettings.load().model_dump(), "cache_key_prefix": ""})
print(CacheFactory.get_cache_manager().backend)
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
def running(
    project: BakedProject, python: Path, *command: str, **settings: str
) -> Iterator[tuple[httpx2.Client, Path]]:
    """Serve the project by `python -m command`; lend a client, and the file of its log."""
    port = free_port()
    server = [str(python), "-m", *command, "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    if (project.path / "migrations").exists():
        migrate(project, project.path, python)
    with serving(server, project.path, url, "/health/live", **settings) as client:
        yield client, log_of(server, project.path, url)


def prefix(project: BakedProject, python: Path, **settings: str) -> str:
    """Return what the keys of a service begin with."""
    return printed(PREFIX, project, python, **settings)


def printed(code: str, project: BakedProject, python: Path, **settings: str) -> str:
    """Run code in a service, and return what it prints."""
    done = subprocess.run(
        [python, "-c", code],
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
                running(bake(project_name=name), python, "uvicorn", "app.main:app", **redis)
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
@pytest.mark.parametrize(
    ("settings", "backend"),
    [
        ({}, "MemoryBackend("),
        ({"REDIS_HOST": "redis.example"}, "RedisBackend(host='redis.example', port=6379"),
        (
            {"REDIS_URL": "redis://redis.example:6380/1"},
            "RedisBackend(host='redis.example', port=6380",
        ),
        (
            {"REDIS_SENTINELS": "one.example,two.example", "REDIS_SENTINEL_MASTER": "main"},
            "RedisBackend(",
        ),
        ({"REDIS_HOST": "redis.example", "CACHE_BACKEND": "memory"}, "MemoryBackend("),
    ],
    ids=["nothing", "host", "url", "sentinels", "backend"],
)
def test_a_copied_example_of_settings_changes_nothing(
    bake: Bake, python: Path, example: str, settings: dict[str, str], backend: str
) -> None:
    """All settings are as they are without it, and an address is all that Redis needs."""
    project = bake(example_resource=example)
    before = printed(SETTINGS, project, python, **settings)
    assert before.splitlines()[-1].startswith(backend), before
    lines = project.read(".env.example").splitlines()
    told = {line.partition("=")[0]: line for line in lines if line and not line.startswith("#")}
    assert told.keys() >= settings.keys()
    told |= {name: f"{name}={value}" for name, value in settings.items()}
    (project.path / ".env").write_text("\n".join(told.values()))
    assert printed(SETTINGS, project, python) == before


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
        with running(project, python, *command, **redis) as (client, log):
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

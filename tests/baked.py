"""A rendered project, and what the tests do with one."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import httpx2
from redis_server import RedisServer

ROOT: Final = Path(__file__).resolve().parent.parent
TEMPLATE: Final = ROOT / "{{cookiecutter.project_slug}}"
UV: Final = os.environ.get("UV") or shutil.which("uv") or "uv"

NOT_RENDERED: Final = ("app/core/cache/", "observe/")
"""What is copied as it is."""

CACHE: Final = TEMPLATE / "app" / "core" / "cache"
NEEDS: Final = {"fastapi", "pydantic-settings", "redis[hiredis]"}
"""What the folder of the cache needs, as its README says."""

_LEFT_BY_TOOLS: Final = {".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
INNER_TEMP: Final = "PYTEST_DEBUG_TEMPROOT"
"""Where a pytest that is started here has its folders."""
_NOT_PASSED_ON: Final = (
    *("VIRTUAL_ENV", "PYTHONPATH", "MAKE", "MFLAGS", "PYTEST_"),
    *("APP_", "CACHE_", "DATABASE_", "LOG_", "REDIS_"),
)


@dataclass(frozen=True, slots=True)
class BakedProject:
    """A project that the template has rendered."""

    path: Path

    def files(self) -> list[str]:
        """Return the rendered files, relative to the project."""
        found = (file.relative_to(self.path) for file in self.path.rglob("*") if file.is_file())
        return sorted(str(file) for file in found if not _LEFT_BY_TOOLS & set(file.parts))

    def read(self, file: str) -> str:
        """Return a file's text."""
        return (self.path / file).read_bytes().decode()

    def run(self, *command: str | Path, **more: str) -> str:
        """Run a command in the project, with `more` in its environment; return what it printed."""
        return run(*command, cwd=self.path, **more)


class Bake(Protocol):
    """Renders the template with some answers, and its defaults for the rest."""

    def __call__(self, **answers: str) -> BakedProject: ...


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment, without what was set for this process only, and more."""
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(_NOT_PASSED_ON) or name == INNER_TEMP
    }
    return kept | {"PATH": f"{Path(UV).parent}{os.pathsep}{kept['PATH']}"} | more


def run(*command: str | Path, cwd: Path, text: str = "", **more: str) -> str:
    """Run a command with `text` as its input and `more` in its environment; it has to succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        input=text,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{command} exited with {done.returncode}:\n{done.stdout}"
    return done.stdout


def migrate(project: BakedProject, folder: Path, python: Path | None = None, **more: str) -> None:
    """Make the tables of a service that works in `folder`, as its `make migrate` does."""
    python = python or project.path / ".venv" / "bin" / "python"
    command = (python, "-m", "alembic", "-c", project.path / "pyproject.toml", "upgrade", "head")
    run(*command, cwd=folder, **more)


def _of_pyenv(version: str) -> list[Path]:
    if (pyenv := shutil.which("pyenv")) is None:
        return []
    root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True).stdout
    return [*Path(root.strip()).glob(f"versions/{version}.*/bin/python")]


def find_python(version: str) -> str | None:
    """Return an interpreter of this version, if the machine has one: of the PATH, or of pyenv."""
    found = [shutil.which(f"python{version}"), *_of_pyenv(version)]
    for python in found:
        if python is None:
            continue
        # A name on the PATH may be that of a version that is not installed.
        done = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
        if done.stdout.startswith(f"Python {version}."):
            return str(python)
    return None


def copy_cache(to: Path, *, with_tests: bool = False) -> None:
    """Copy the folder of the cache, as somebody does who adopts it, mostly without its tests."""
    left_out = ["__pycache__"] if with_tests else ["__pycache__", "tests"]
    shutil.copytree(CACHE, to, ignore=shutil.ignore_patterns(*left_out))


def redis_settings(server: RedisServer, prefix: str) -> dict[str, str]:
    """Return the settings of a cache on this Redis."""
    return {
        "CACHE_KEY_PREFIX": prefix,
        "REDIS_HOST": server.host,
        "REDIS_PORT": str(server.port),
        "REDIS_DB": str(server.db),
        "REDIS_PASSWORD": server.password or "",
    }


def eventually(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait until the condition holds; fail if it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} seconds for {what}"
        time.sleep(0.05)


def free_port() -> int:
    """Return a port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def serving(
    command: list[str], folder: Path, url: str, path: str, **variables: str
) -> Iterator[httpx2.Client]:
    """Run a server in a folder until the context ends; return a client for it when `path` answers.

    Its log has the name and the port of the server: `log_of`.
    """
    log = log_of(command, folder, url)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def answers(client: httpx2.Client) -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return client.get(path).is_success
        except httpx2.TransportError:
            return False

    try:
        with httpx2.Client(base_url=url, timeout=30) as client:
            eventually(lambda: answers(client), f"{command[0]} to answer", seconds=60)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def log_of(command: list[str], folder: Path, url: str) -> Path:
    """Return where the log of a server is."""
    return folder / f"{Path(command[0]).name}-{url.rpartition(':')[2]}.log"

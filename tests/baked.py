"""A rendered project, and what the tests do with one."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from redis_server import RedisServer

ROOT: Final = Path(__file__).resolve().parent.parent
TEMPLATE: Final = ROOT / "{{cookiecutter.project_slug}}"
UV: Final = os.environ.get("UV") or shutil.which("uv") or "uv"

NOT_RENDERED: Final = ("app/core/cache/", "tests/cache/", "tests/redis_server.py")
"""What is copied as it is."""

CACHE: Final = TEMPLATE / "app" / "core" / "cache"
NEEDS: Final = {"fastapi", "pydantic-settings", "redis[hiredis]"}
"""What the folder of the cache needs, as its README says."""

_LEFT_BY_TOOLS: Final = {".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
_NOT_PASSED_ON: Final = (
    *("VIRTUAL_ENV", "PYTHONPATH", "MAKE", "MFLAGS", "PYTEST_"),
    *("APP_", "CACHE_", "DATABASE_", "LOG_LEVEL", "REDIS_"),
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

    def run(self, *command: str | Path) -> str:
        """Run a command in the project; return what it printed, and fail with it if it failed."""
        return run(*command, cwd=self.path)


class Bake(Protocol):
    """Renders the template with some answers, and its defaults for the rest."""

    def __call__(self, **answers: str) -> BakedProject: ...


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment, without what was set for this process only, and more."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
    return kept | {"PATH": f"{Path(UV).parent}{os.pathsep}{kept['PATH']}"} | more


def run(*command: str | Path, cwd: Path, text: str = "", **more: str) -> str:
    """Run a command with `text` as its input and `more` in its environment."""
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


def copy_cache(to: Path) -> None:
    """Copy the folder of the cache, as somebody does who adopts it."""
    shutil.copytree(CACHE, to, ignore=shutil.ignore_patterns("__pycache__"))


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

"""The command line as scripts use it: in this process, or in one of its own."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ... import CacheManager
from ...ops.cli.main import cli
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..package import NAME, ROOT

WITHIN = 60.0
"""Seconds that a process may take."""


class Ran(NamedTuple):
    """What became of a command."""

    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        """All that it has printed."""
        return self.out + self.err

    @property
    def json(self) -> Any:
        """The object that it has printed."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def lines(self) -> list[Any]:
        """The objects that it has printed, one on each line."""
        return [json.loads(line) for line in self.out.splitlines()]


class CommandLine:
    """Runs commands with settings of its own, in an empty folder."""

    def __init__(
        self,
        server: RedisServer,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.server, self.folder = server, folder
        self._monkeypatch, self._capsys = monkeypatch, capsys
        backend = redis_backend(server)
        self.prefix = backend.key_prefix
        for name in list(os.environ):
            if name.upper().startswith(("CACHE_", "REDIS_")):
                monkeypatch.delenv(name)
        monkeypatch.chdir(folder)
        self.set(
            CACHE_BACKEND="redis",
            CACHE_KEY_PREFIX=self.prefix,
            REDIS_HOST=server.host,
            REDIS_PORT=str(server.port),
            REDIS_DB=str(server.db),
            REDIS_PASSWORD=server.password or "",
            COLUMNS="80",
        )

    def set(self, **variables: str) -> None:
        """Set variables of the environment."""
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def unset(self, name: str) -> None:
        """Remove a variable of the environment."""
        self._monkeypatch.delenv(name)

    def __call__(self, *args: str) -> Ran:
        """Run a command in this process."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli(list(args), prog_name="cache")
        code = ended.value.code or 0
        assert isinstance(code, int)
        return Ran(code, *self._capsys.readouterr())

    def start(self, *args: str, package: str = NAME, **more: Any) -> Any:
        """Start a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", package, *args],
            env={**os.environ, "PYTHONPATH": str(more.pop("root", ROOT))},
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            | more,
        )

    def process(self, *args: str, **more: Any) -> Ran:
        """Run a command in a process of its own."""
        with self.start(*args, **more) as process:
            try:
                out, err = process.communicate(timeout=WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Ran(process.returncode, out or "", err or "")

    def fill(self, work: Callable[[CacheManager], Awaitable[Any]]) -> None:
        """Use the cache as a service does, in an event loop of its own."""

        async def use() -> None:
            manager = CacheManager(redis_backend(self.server, key_prefix=self.prefix))
            try:
                await work(manager)
            finally:
                await manager.close()

        asyncio.run(use())

    def clear(self) -> None:
        """Remove what is left."""

        async def remove(manager: CacheManager) -> None:
            await manager.clear()

        self.fill(remove)

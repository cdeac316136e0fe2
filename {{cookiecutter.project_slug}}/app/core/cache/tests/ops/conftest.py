"""The command line, for tests of its commands."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ...testing.redis_server import RedisServer

if TYPE_CHECKING:
    from .command_line import CommandLine


@pytest.fixture
def command(
    redis_server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator["CommandLine"]:
    """Lend a command line for a real Redis, below a key prefix of this test's own."""
    from .command_line import CommandLine  # noqa: PLC0415 - it needs typer

    line = CommandLine(redis_server, tmp_path, monkeypatch, capsys)
    yield line
    line.clear()

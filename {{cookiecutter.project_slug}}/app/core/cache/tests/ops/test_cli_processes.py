"""The command line as a process (promise P10): `python -m`, questions, pipes, signals, other packages."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ... import CacheManager
from ..faults import WITHIN
from ..package import NAME, copy_to
from .command_line import CommandLine
from .test_cli import entries


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let an interrupt end processes that are started here, even if these tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Copy the cache into another application, and return the folder of that."""
    target = tmp_path / "root" / "my" / "pkg" / "cache"
    copy_to(target)
    for folder in (target.parent, target.parent.parent):
        (folder / "__init__.py").touch()
    return tmp_path / "root"


def test_the_help_is_that_of_the_package(command: CommandLine, copied: Path) -> None:
    """It names the package as it is called, and fits 80 columns."""
    found = command.process("--help", package="my.pkg.cache", root=copied)
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("Usage: python -m my.pkg.cache [OPTIONS] COMMAND")
    assert max(map(len, found.out.splitlines())) <= 80


@pytest.mark.slow
def test_another_package_does_the_same(command: CommandLine, copied: Path) -> None:
    """From any directory; what the cache logs does not get between."""
    command.fill(entries)
    for args in (["stats", "--json"], ["keys", "--json"], ["explain", "user:1", "--json"]):
        mine = command.process(*args, package="my.pkg.cache", root=copied, cwd="/")
        ours = command.process(*args)
        assert (mine.code, mine.err) == (ours.code, ours.err) == (0, "")
        assert [*mine.lines[0]] == [*ours.lines[0]]
    command.set(REDIS_PORT="1")
    found = command.process("keys", package="my.pkg.cache", root=copied)
    assert (found.code, len(found.err.splitlines())) == (3, 1)


def test_an_env_file_of_the_directory_is_read(command: CommandLine, tmp_path: Path) -> None:
    """As the service reads it."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / ".env").write_text("CACHE_DEFAULT_TTL=77\n")
    found = command.process("config", "--json", cwd=tmp_path / "here")
    values = {each["name"]: each["value"] for each in found.json["settings"]}
    assert values["CACHE_DEFAULT_TTL"] == 77


def test_without_ops_there_is_one_line(command: CommandLine, copied: Path) -> None:
    """The folder may be deleted, and the rest goes on."""
    shutil.rmtree(copied / "my" / "pkg" / "cache" / "ops")
    found = command.process("--help", package="my.pkg.cache", root=copied)
    assert (found.code, found.out) == (2, "")
    assert re.fullmatch(
        "the command line needs the file ops/cli/main.py of the cache.*\n", found.err
    )


def test_without_its_packages_there_is_one_line(command: CommandLine) -> None:
    """They come with `fastapi[standard]`."""
    code = (
        "import runpy, sys, importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name in ('typer', 'rich') else find(name)\n"
        f"runpy.run_module('{NAME}', run_name='__main__')\n"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (2, "")
    assert (
        found.stderr == "the command line needs typer and rich: pip install 'fastapi[standard]'\n"
    )


def test_what_an_application_logs_is_told_once(command: CommandLine, tmp_path: Path) -> None:
    """It has set up its logging; of an outage there is one line all the same."""
    (tmp_path / "noisy.py").write_text(
        "import logging\nfrom fastapi import FastAPI\n"
        "logging.basicConfig(level=logging.INFO)\napp = FastAPI()\n"
    )
    command.set(REDIS_PORT="1")
    found = command.process("keys", "--app", "noisy:app", cwd=tmp_path)
    assert (found.code, found.out) == (3, "")
    assert len(found.err.splitlines()) == 1


def test_a_terminal_of_ascii_is_enough(command: CommandLine) -> None:
    """Other letters are escaped there."""

    async def letters(manager: CacheManager) -> None:
        await manager.set("größe", "ß")

    command.fill(letters)
    command.set(PYTHONIOENCODING="ascii", LC_ALL="C")
    found = command.process("keys")
    assert (found.code, found.err) == (0, "")
    assert "gr\\xf6\\xdfe" in found.out


# Pipes and signals.


def test_a_closed_pipe_ends_quietly(command: CommandLine) -> None:
    """As in `keys | head`."""

    async def many(manager: CacheManager) -> None:
        await manager.set_many({f"{'key' * 50}:{number}": 1 for number in range(3000)})

    command.fill(many)
    for form in ([], ["--json"]):
        with command.start("keys", *form) as process:
            assert process.stdout.readline()
            process.stdout.close()
            assert process.wait(WITHIN) == 0
            assert process.stderr.read() == ""


@pytest.mark.parametrize("name", ["watch", "bench"])
def test_an_interrupt_ends_quietly(command: CommandLine, redis_client: Any, name: str) -> None:
    """With 130, and nothing is left in Redis."""
    args = {"watch": ["--every", "0.1"], "bench": ["--number", "100000"]}[name]
    with command.start(name, *args) as process:
        assert (process.stderr if name == "watch" else process.stdout).readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=WITHIN)
    assert (process.returncode, told) == (130, "")
    assert [*redis_client.scan_iter(f"{command.prefix}:*")] == []


# A terminal.


class Terminal:
    """What a process shows on a terminal."""

    def __init__(self, leader: int) -> None:
        self._leader, self.text = leader, ""

    def until(self, text: str) -> None:
        """Read until a text is shown; an empty one stands for the end."""
        deadline = time.monotonic() + WITHIN
        while not text or text not in self.text:
            assert select.select([self._leader], [], [], max(0, deadline - time.monotonic()))[0], (
                self.text
            )
            try:
                found = os.read(self._leader, 10_000)
            except OSError:  # nobody writes any more
                found = b""
            if not found:
                assert not text, self.text
                return
            self.text += found.decode()

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._leader, text.encode())


@contextmanager
def at_terminal(command: CommandLine, *args: str) -> Iterator[tuple[Any, Terminal]]:
    """Start a command on a terminal of its own."""
    leader, follower = pty.openpty()
    try:
        with command.start(
            *args, stdin=follower, stdout=follower, stderr=follower, start_new_session=True
        ) as process:
            os.close(follower)
            try:
                yield process, Terminal(leader)
                process.wait(WITHIN)
            finally:
                process.kill()  # which does nothing to one that has ended
    finally:
        with suppress(OSError):
            os.close(leader)


@pytest.mark.parametrize(
    ("answer", "code", "left"),
    [("y\n", 0, 1), ("YES\n", 0, 1), ("n\n", 1, 3), ("\n", 1, 3), ("\x04", 1, 3)],
    ids=["y", "yes", "n", "nothing", "end"],
)
def test_a_question_is_asked(command: CommandLine, answer: str, code: int, left: int) -> None:
    """How many entries it is about, and only a yes is one."""
    command.fill(entries)
    with at_terminal(command, "invalidate", "user:*") as (process, terminal):
        terminal.until(f"Remove 2 entries that match {command.prefix}:user:*? [y/N] ")
        terminal.type(answer)
        terminal.until("")
    assert process.returncode == code
    assert len(command("keys", "--json").lines) == left


def test_an_interrupt_is_an_answer(command: CommandLine) -> None:
    """Nothing is removed."""
    command.fill(entries)
    with at_terminal(command, "clear") as (process, terminal):
        terminal.until("[y/N] ")
        process.send_signal(signal.SIGINT)
        terminal.until("")
    assert process.returncode == 130
    assert len(command("keys", "--json").lines) == 3


def test_progress_is_told_on_a_terminal(command: CommandLine) -> None:
    """And disappears in the end."""
    command.fill(entries)
    with at_terminal(command, "stats") as (process, terminal):
        terminal.until("")
    assert process.returncode == 0
    assert "counting entries" in terminal.text
    command.set(FORCE_COLOR="1")
    assert "counting entries" not in command("stats").all


@pytest.mark.slow
def test_p7_the_application_says_the_prefix(command: CommandLine, tmp_path: Path) -> None:
    """If no setting says it: another one would be that of another service."""
    shop = tmp_path / "shop"
    shop.mkdir()
    copy_to(shop / "cache")
    (shop / "__init__.py").touch()
    (shop / "main.py").write_text(
        f"import os\nfrom fastapi import FastAPI\nos.environ['CACHE_KEY_PREFIX'] = {command.prefix!r}\n"
        "from .cache import get_cache_manager\nget_cache_manager()\napp = FastAPI()\n"
    )
    command.unset("CACHE_KEY_PREFIX")
    command.fill(lambda manager: manager.set("user:7", 1))
    options = {"package": "shop.cache", "root": tmp_path}
    assert "user:7" in command.process("keys", **options).out
    said = command.process("clear", "--yes", **options)
    assert (said.code, f"all of {command.prefix}:*" in said.out) == (0, True)
    (shop / "main.py").unlink()
    for args in (["keys"], ["clear", "--yes"], ["invalidate", "*", "--yes"], ["stats"]):
        said = command.process(*args, **options)
        assert said.code == 2
        assert "set CACHE_KEY_PREFIX to the prefix of the keys of the service" in said.err

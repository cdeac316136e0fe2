"""The page of the command line: its examples are what the commands print, and it leaves nothing out."""

import asyncio
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.main import get_command

from ...ops.cli.main import cli
from ...ops.counters import counters_of, publish
from ..internals import without_shared_manager
from ..package import FOLDER, as_here
from .command_line import CommandLine
from .test_cli import COMMANDS

PAGE = (FOLDER / "docs" / "command-line.md").read_text()
PICTURE = (FOLDER / "docs" / "command-line.svg").read_text()
APPLICATION = as_here(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0])
EXAMPLES = re.findall(r"```console\n\$ python -m app\.core\.cache (.*?)\n(.*?)```", PAGE, re.DOTALL)
UNSTEADY = {"watch", "version"}
"""Commands whose lines depend on the moment."""


@pytest.fixture
def shop(command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Lend a command line for the application of the page, which has been asked as the page says."""
    (tmp_path / "shop.py").write_text(APPLICATION)
    monkeypatch.syspath_prepend(str(tmp_path))
    without_shared_manager(monkeypatch)
    monkeypatch.setitem(sys.modules, "shop", None)  # an application may have this name, too
    del sys.modules["shop"]
    shop: Any = __import__("shop")
    cache = shop.get_cache_manager()
    counters_of(cache)

    async def publish_all() -> None:
        await cache.set("rates", {"EUR": 1, "USD": 1.1}, expire="1d")
        assert await publish(cache)
        await cache.close()

    with TestClient(shop.lamps) as client:
        for number in (7, 7, 7, 8):
            assert client.get(f"/lamps/{number}").status_code == 200
    asyncio.run(publish_all())
    return command


def steady(text: str, command: CommandLine) -> set[str]:
    """Return the lines of a text, without what differs from run to run: numbers, digests, spaces."""
    text = text.replace(command.prefix, "shop").replace(str(Path.cwd()), "/srv/shop")
    text = re.sub(r"[0-9a-f]{16,}", "h", text)
    text = re.sub(r"\d[\d.,:-]*", "0", text.replace("localhost", "127.0.0.1"))
    text = re.sub(r"\b(k|M|G)?B\b", "B", text)
    return {" ".join(line.split()) for line in text.splitlines()}


def test_the_examples_are_what_the_commands_print(shop: CommandLine) -> None:
    """One after the other, but for numbers and digests."""
    assert {arguments.split()[0] for arguments, _ in EXAMPLES} == {*COMMANDS}
    for arguments, shown in EXAMPLES:
        found = shop(*shlex.split(arguments))
        assert found.code in (0, 1)
        told, printed = steady(shown, shop) - {"..."}, steady(found.all, shop)
        if arguments.split()[0] == "config":  # a server for tests may have a password
            told, printed = ({line.split()[0] for line in each} for each in (told, printed))
        if arguments.split()[0] not in UNSTEADY:
            assert told <= printed, (arguments, told - printed)


def test_every_command_is_told() -> None:
    """In the table, and no other one is."""
    table = PAGE.partition("| command |")[2].partition("\n\n")[0]
    assert [*dict.fromkeys(re.findall(r"^\| `([a-z]+)", table, re.MULTILINE))] == [*COMMANDS]
    assert [*get_command(cli).commands] == [*COMMANDS]  # type: ignore[attr-defined] # it is a group


def test_every_exit_code_is_told() -> None:
    """Those that the commands have."""
    table = PAGE.partition("| exit code |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == ["0", "1", "2", "3", "130"]


def test_the_picture_loads_nothing() -> None:
    """No font and no picture of anybody else; it shows commands of the page."""
    assert set(re.findall(r"https?://[^\"'<>) ]+", PICTURE)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|@font-face|url\((?!#)|<image|<script", PICTURE)
    shown = re.findall(r"&#160;app\.core\.cache&#160;(\w+)|app\.core\.cache\xa0(\w+)", PICTURE)
    assert len(shown) >= 5
    assert {name for each in shown for name in each if name} <= {*COMMANDS}

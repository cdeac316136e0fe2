"""`version` (promise P10): whether a copy of the folder is as it was released."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from ...ops.cli import version_shown
from ...ops.release import (
    RELEASE,
    VERSION,
    differences,
    digests_of,
    version_of,
    written,
)
from ..package import FOLDER, copy_to
from .command_line import CommandLine, Ran


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the folder, release that, and let the command look at it."""
    folder = tmp_path / "cache"
    copy_to(folder)
    (folder / VERSION).write_text("1.2.3\n")
    (folder / RELEASE).write_text(written(digests_of(folder)))
    monkeypatch.setattr(version_shown, "FOLDER", folder)
    return folder


def version(command: CommandLine) -> Ran:
    """Run the command in both forms, which say the same."""
    text, said = command("version"), command("version", "--json")
    assert text.code == said.code
    assert text.out.startswith(f"{said.json['version']}, {said.json['state']}\n")
    return said


def test_a_release_is_told(command: CommandLine, released: Path) -> None:
    """What the interpreter and hidden tools leave does not count, nor do line ends."""
    (released / "__pycache__").mkdir(exist_ok=True)
    (released / "__pycache__" / "base.pyc").write_bytes(b"x")
    (released / ".some_cache").write_text("x")
    page = released / "README.md"
    page.write_bytes(page.read_bytes().replace(b"\n", b"\r\n"))
    found = version(command)
    assert found.code == 0
    assert found.json == {
        "version": "1.2.3",
        "state": "as released",
        "changed": [],
        "missing": [],
        "added": [],
    }


def test_differences_are_told(command: CommandLine, released: Path) -> None:
    """Changed, missing and added files, by their paths."""
    (released / "base.py").write_text("# mine\n")
    (released / "backends" / "near.py").unlink()
    (released / "ops" / "mine.py").touch()
    found = version(command)
    assert (found.code, found.json["state"]) == (1, "differs")
    assert found.json["changed"] == ["base.py"]
    assert found.json["missing"] == ["backends/near.py"]
    assert found.json["added"] == ["ops/mine.py"]
    assert " changed  base.py\n" in command("version").out


def test_the_tests_may_be_deleted(command: CommandLine, released: Path) -> None:
    """All of them: a copy without that folder is as released, one that lacks a file of it is not."""
    tests = released / "tests"
    (tests / "keys").mkdir(parents=True)
    for file in ("test_events.py", "keys/test_tags.py"):
        (tests / file).write_text("# a test\n")
    (released / RELEASE).write_text(written(digests_of(released)))
    (tests / "keys" / "test_tags.py").unlink()
    assert version(command).json["missing"] == ["tests/keys/test_tags.py"]
    (tests / "test_events.py").write_text("# mine\n")
    assert version(command).json["changed"] == ["tests/test_events.py"]
    shutil.rmtree(tests)
    found = version(command)
    assert (found.code, found.json["state"]) == (0, "as released")


def test_without_the_list_it_is_no_release(command: CommandLine, released: Path) -> None:
    """So it is between releases."""
    (released / RELEASE).unlink()
    found = version(command)
    assert (found.code, found.json) == (0, {"version": "1.2.3", "state": "not a release"})


@pytest.mark.parametrize("data", [b"\xff\x00", b"mine\n"])
def test_a_damaged_list_is_told(command: CommandLine, released: Path, data: bytes) -> None:
    """By its name alone, since it tells nothing of the other files."""
    (released / RELEASE).write_bytes(data)
    found = version(command)
    assert (found.code, found.json["changed"], found.json["missing"]) == (1, [RELEASE], [])
    assert command("version").out == f"1.2.3, differs\n changed  {RELEASE}\n"


@pytest.mark.parametrize("text", [None, "", "\udcff"])
def test_a_version_may_be_unknown(released: Path, text: str | None) -> None:
    """Its file is missing, empty, or no text."""
    (released / VERSION).unlink()
    if text is not None:
        (released / VERSION).write_text(text, errors="surrogateescape")
    assert version_of(released) == "unknown"


def test_the_list_is_that_of_sha256sum(released: Path) -> None:
    """So that `sha256sum --check` reads it, too."""
    lines = (released / RELEASE).read_text().splitlines()
    assert f"{hashlib.sha256((released / 'base.py').read_bytes()).hexdigest()}  base.py" in lines
    assert all(re.fullmatch(r"[0-9a-f]{64}  [\w./-]+", line) for line in lines)
    assert differences(released) == ([], [], [])


def test_this_folder_has_a_version() -> None:
    """In a file of its own."""
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+(\+g[0-9a-f]+)?)?", version_of(FOLDER))

"""The pages of `docs/`: their blocks, the programs that these are, and what they say is printed."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.baked import ROOT, BakedProject, environment

DOCS: Final = ROOT / "docs"
WORKER: Final = Path(__file__).with_name("page_worker.py")

_BLOCK: Final = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_PRINTED: Final = re.compile(r"^ *# -> ?(.*)$", re.MULTILINE)
_COMMAND: Final = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code in a page. With a title it is that file of a service."""

    language: str
    title: str
    text: str
    start: int

    def commands(self) -> Iterator[tuple[str, str | None]]:
        """Yield the commands of a shell, with what each prints if the page says that."""
        if self.language == "console":
            yield from _COMMAND.findall(self.text)
        else:
            for line in self.text.replace("\\\n", "").splitlines():
                yield line, None


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page, in order. An open one at the end is none."""
    return [
        Block(match[1], match[2] or "", match[3], match.start(3)) for match in _BLOCK.finditer(page)
    ]


def program(page: str) -> str:
    """Return a page as a module: its Python is where it was, and all other lines are empty."""
    code = ["\n"] * page.count("\n")
    for block in blocks(page):
        if block.language == "python" and not block.title:
            first = page.count("\n", 0, block.start)
            lines = block.text.splitlines(keepends=True)
            code[first : first + len(lines)] = lines
    return "".join(code)


def run_program(page: str, name: str, project: BakedProject, folder: Path, **more: str) -> str:
    """Run the Python of a page in an installed service; return what it prints.

    What goes wrong is an `AssertionError` that has the traceback, with lines of the page.
    """
    file = folder / f"{name.replace('-', '_')}.py"
    file.write_text(program(page), encoding="utf-8")
    done = subprocess.run(
        [project.path / ".venv/bin/python", "-P", "-W", "error", WORKER, file],
        cwd=folder,
        env=environment(PYTHONPATH=str(project.path), **more),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{name}.md: {done.stderr}"
    return done.stdout


def insist_on_output(got: str, wanted: str, where: str) -> None:
    """Fail if what was printed is something else; `...` is any text, and alone any lines."""
    lines = ["(?:.*\n)*" if line == "..." else _any(line) for line in wanted.splitlines()]
    assert re.fullmatch("".join(lines), got), f"{where} says:\n{wanted}\nand it prints:\n{got}"


def _any(line: str) -> str:
    return ".*".join(map(re.escape, line.split("..."))) + "\n"


def said_by(page: str) -> str:
    """Return what the comments of a page say its program prints."""
    return "".join(f"{line}\n" for line in _PRINTED.findall(program(page)))


def settings_in(block: Block) -> dict[str, str]:
    """Return the variables of a block that is a `.env` file."""
    return dict(line.split("=", 1) for line in block.text.splitlines())


def shell(command: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

"""What the README tells people to do has been done here."""

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.baked import ROOT, TEMPLATE, environment, eventually, free_port, run
from tests.examples import examples_of

README = (ROOT / "README.md").read_text()
PAGES = [
    *(
        ROOT / f"{name}.md"
        for name in ("README", "DEVELOPING", "CHANGELOG", "DECISIONS", "CONTRIBUTING", "SECURITY")
    ),
    *sorted((ROOT / "docs" / "migrate").glob("*.md")),
]
UVX, CLONE, ENTER, DEMO, CURL, TEST, TEST_ALL, NEW = (
    "uvx cookiecutter ADDRESS",
    "git clone ADDRESS fastapi-cache-template",
    "cd fastapi-cache-template",
    "make demo",
    "curl -i http://127.0.0.1:8000/users/1",
    "make test",
    "make test-all",
    "make new TO=..",
)


PRELUDE = """
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

router = APIRouter()


async def open_session(request: Request) -> object:
    return request.app


SessionDep = Annotated[object, Depends(open_session)]


class UserIn(BaseModel):
    name: str


class UserOut(BaseModel):
    name: str
"""
"""What stands around the code of the README."""

MEASURED = {
    "hits a second, uvicorn, 2 KB": "Endpoint, 2 KB, over uvicorn with 32 connections",
    "µs for a hit of a function": "Hit of a decorated function, 200 bytes, one caller",
    "µs for a miss of a function": "Miss and fill of a decorated function, 200 bytes",
}
"""The rows of the README's table that were measured, and where they stand in the results."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a git repository that holds the template as it stands here."""
    repository = tmp_path_factory.mktemp("repository") / "template"
    left_by_tools = (".venv", ".build", ".tools", "__pycache__", ".*_cache", ".hypothesis")
    ignored = shutil.ignore_patterns(".git", "uv.lock", *left_by_tools)
    shutil.copytree(ROOT, repository, ignore=ignored)
    run("git", "init", "--quiet", cwd=repository)
    run("git", "add", "--all", cwd=repository)
    author = ("-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.com")
    options = ("-c", "commit.gpgsign=false", "commit", "--quiet", "--message", "As it stands")
    run("git", *author, *options, cwd=repository)
    return repository


@pytest.fixture(scope="module")
def clone(address: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which somebody stands who has followed the README."""
    folder = tmp_path_factory.mktemp("clone")
    run(*shlex.split(CLONE.replace("ADDRESS", str(address))), cwd=folder)
    return folder / ENTER.removeprefix("cd ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which the demo is built, and not a developer's own."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def port() -> int:
    """Return the port of the demo, 8000 being perhaps in use."""
    return free_port()


@pytest.fixture(scope="module")
def demo(clone: Path, folder: Path, port: int) -> Iterator[Path]:
    """Run `make demo` as in a terminal, and return the file that has what it prints."""
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            shlex.split(DEMO),
            cwd=clone,
            env=environment(PORT=str(port), BUILD=str(folder)),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def is_up() -> bool:
        text = output.read_text()
        assert process.poll() is None, text
        return "Ctrl-C ends it." in text

    try:
        eventually(is_up, "make demo to serve", seconds=180)
        yield output
    finally:
        if process.poll() is None:
            # Ctrl-C reaches every process of a terminal.
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)
    # make may be gone before those that it started.
    eventually(lambda: "The demo has ended." in output.read_text(), "the demo to end")
    assert "Traceback" not in output.read_text()


def test_the_commands_are_those_that_are_run() -> None:
    """The README's commands are those that the tests of this file and CI run."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert "".join(blocks).splitlines() == [UVX, CLONE, ENTER, DEMO, CURL, TEST, TEST_ALL, NEW]
    assert TEST_ALL in map(str.strip, (ROOT / ".ci" / "test").read_text().splitlines())


def test_uvx_makes_a_service(address: Path, cookiecutter_config: Path, tmp_path: Path) -> None:
    """`uvx cookiecutter` asks the questions, and the defaults make a service beside it."""
    command = shlex.split(UVX.replace("ADDRESS", str(address)))
    run(*command, cwd=tmp_path, text="\n" * 8, COOKIECUTTER_CONFIG=str(cookiecutter_config))
    assert (tmp_path / "cached-service" / "app" / "main.py").is_file()


def test_the_code_is_accepted(adopter: Path) -> None:
    """The example of the README is right, with models and a session of one's own."""
    [code] = examples_of(ROOT / "README.md")
    routes = "\nassert len(router.routes) == 2\n"
    run(adopter, "-c", PRELUDE + code + routes, cwd=TEMPLATE, PYTHONDONTWRITEBYTECODE="1")


@pytest.mark.parametrize("row", MEASURED)
def test_the_figures_are_those_of_the_benchmark(row: str) -> None:
    """The table of the README says what the benchmark has measured last."""
    names = cells_of(README, "")[1:]
    results = (ROOT / "benchmarks" / "results.md").read_text()
    section = results.partition(f"## {MEASURED[row]}\n")[2].partition("\n## ")[0]
    assert cells_of(README, row)[1:] == [cells_of(section, name)[1] for name in names]


def cells_of(page: str, first: str) -> list[str]:
    """Return the cells of the row of a table that begins with one."""
    rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines())
    return next(row for row in rows if row and row[0] == first)


def test_the_demo_shows_a_miss_and_a_hit(demo: Path, port: int) -> None:
    """The command that the demo prints, run twice, shows a miss and then a hit."""
    printed = next(line.strip() for line in demo.read_text().splitlines() if "curl" in line)
    assert printed == CURL.replace("8000", str(port))
    first = run(*shlex.split(printed), "--silent", cwd=ROOT)
    second = run(*shlex.split(printed), "--silent", cwd=ROOT)
    assert re.search("cache-status: .*; fwd=miss; stored", first.lower())
    assert re.search("cache-status: .*; hit; ttl=", second.lower())
    assert first.splitlines()[-1] == second.splitlines()[-1]


def test_the_demo_names_the_docs_page(demo: Path, port: int) -> None:
    """The page of docs that the demo prints is there."""
    url = f"http://127.0.0.1:{port}/docs"
    assert url in demo.read_text()
    assert "<title>" in run("curl", "--silent", "--fail", url, cwd=ROOT)


@pytest.mark.usefixtures("demo")
def test_a_second_demo_says_that_the_port_is_taken(port: int, tmp_path: Path) -> None:
    """A demo on a port that is in use ends at once, and says what to do."""
    done = subprocess.run(
        shlex.split(DEMO),
        cwd=ROOT,
        env=environment(PORT=str(port), BUILD=str(tmp_path)),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode != 0
    assert f"Port {port} of 127.0.0.1 cannot be used" in done.stderr
    assert "Try: make demo PORT=8001" in done.stderr


def test_new_asks_and_writes_a_service(tmp_path: Path) -> None:
    """`make new` asks the questions, and the defaults make a service in the folder given."""
    command = shlex.split(NEW.replace("..", str(tmp_path)))
    run(*command, cwd=ROOT, text="\n" * 8, HOME=str(tmp_path / "home"))
    assert (tmp_path / "cached-service" / "app" / "main.py").is_file()


def test_the_readme_is_short() -> None:
    """The README has fewer than 120 lines."""
    assert len(README.splitlines()) < 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to something that exists."""
    links = re.findall(r"\]\(<?([^)>#]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []

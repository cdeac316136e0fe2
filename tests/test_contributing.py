"""What the service tells those who change it: the commands without make, and AGENTS.md."""

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.baked import ROOT, Bake, BakedProject, environment, eventually, free_port

PAGES = ("AGENTS.md", "CONTRIBUTING.md", "README.md", "SECURITY.md")
EXAMPLE = """
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.items import router
from app.core.cache import CacheMiddleware

app = FastAPI()
app.add_middleware(CacheMiddleware)
app.include_router(router)
with TestClient(app) as client:
    for _ in range(2):
        answer = client.get("/items/1")
        print(answer.json()["name"], answer.headers["Cache-Status"].split("; ")[1])
    client.put("/items/1", json={"name": "second"})
    answer = client.get("/items/1")
    print(answer.json()["name"], answer.headers["Cache-Status"].split("; ")[1])
"""


def table(project: BakedProject) -> dict[str, list[str]]:
    """Return the table of the README: what stands for each target of the Makefile."""
    section = project.read("README.md").partition("## Without make\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `make ([\w-]+)` \| (.*) \|$", section, re.MULTILINE)
    return {name: re.findall(r"`((?:uv run|docker compose) [^`]+)`", text) for name, text in rows}


def made(project: BakedProject, target: str) -> list[str]:
    """Return what make would run, without where uv is and what it puts into the environment."""
    lines = project.run("make", "--dry-run", target).splitlines()
    found = [re.search(r"(?:\buv run|^docker compose) .*", line) for line in lines]
    return [" ".join(shlex.split(match[0])) for match in found if match]


def test_without_make_the_commands_are_the_same(installed: BakedProject) -> None:
    """The table has every target that `make help` shows, but CI's, and what each of them runs."""
    shown = re.findall(r"^  make ([\w-]+)", installed.run("make", "help"), re.MULTILINE)
    targets = table(installed)
    assert targets.keys() == set(shown) - {"help", "image"}
    for target, commands in targets.items():
        told = [" ".join(shlex.split(command)) for command in commands]
        assert told == made(installed, target), target


def test_the_commands_without_make_run(installed: BakedProject) -> None:
    """Those that end do so with success; of the tests it is enough that they are found."""
    targets = table(installed)
    for command in [*targets["lint"], *targets["format"]]:
        installed.run("sh", "-c", command)
    for command in [*targets["test"], *targets["test-cache"]]:
        found = installed.run("sh", "-c", f"{command} --collect-only --quiet")
        assert "tests collected" in found


def test_the_service_starts_without_make(installed: BakedProject, tmp_path: Path) -> None:
    """What stands for `make dev` serves until it is interrupted."""
    [command] = table(installed)["dev"]
    port = free_port()
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command.split(), f"--port={port}"],
            cwd=installed.path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/health/live").is_success
        except httpx2.TransportError:
            return False

    try:
        eventually(answers, "the service to answer", seconds=60)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)


def test_the_example_of_agents_is_cached_and_invalidated(
    bake: Bake, installed: BakedProject
) -> None:
    """Its code, put where it says, gives a miss, a hit, and a miss after the write."""
    project = bake()
    [code] = re.findall(
        r"^```python\n(.*?)^```$", project.read("AGENTS.md"), re.DOTALL | re.MULTILINE
    )
    (project.path / "app/api/items.py").write_text(f'"""Items."""\n\n{code}')
    (project.path / "check.py").write_text(EXAMPLE)
    python = installed.path / ".venv/bin/python"
    told = project.run(python, "check.py").splitlines()
    assert told[-3:] == ["first fwd=miss", "first hit", "second fwd=miss"]


@pytest.mark.parametrize("example", ["yes", "no"])
def test_what_the_pages_name_is_there(bake: Bake, example: str) -> None:
    """Their links lead to files, and AGENTS.md names folders, commands and fixtures that exist."""
    project = bake(example_resource=example)
    for page in PAGES:
        links = re.findall(r"\]\(<?([^)>#]*)", project.read(page))
        missing = [
            each for each in links if "://" not in each and not (project.path / each).exists()
        ]
        assert missing == [], page
    agents = project.read("AGENTS.md")
    assert len(agents.splitlines()) < 80
    rows = re.findall(r"^\| (`[^|]*`) \|", agents, re.MULTILINE)
    for name in re.findall(r"`([^`]+)`", " ".join(rows)):
        if name.startswith("make "):
            project.run("make", "--dry-run", *name.split()[1:])
        else:
            assert (project.path / name).exists(), name


def test_the_pages_hold_the_answers(bake: Bake) -> None:
    """Whoever finds a weakness reads to whom to write."""
    text = bake(author_name="Ada Lovelace", author_email="ada@example.com").read("SECURITY.md")
    assert "Ada Lovelace, ada@example.com." in text
    assert (ROOT / "SECURITY.md").exists()

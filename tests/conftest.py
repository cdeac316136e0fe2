"""Fixtures: a rendered project, an installed one, a Redis, and a line in the report."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis_server as finder
from cookiecutter.main import cookiecutter
from redis_server import NoRedisError, RedisServer

from tests.baked import NEEDS, ROOT, TEMPLATE, UV, Bake, BakedProject, run

REPORTED = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the template, without what linters and interpreters left in its folders."""
    copy = tmp_path_factory.mktemp("template")
    left_by_tools = shutil.ignore_patterns("__pycache__", ".*_cache", ".hypothesis", ".venv")
    shutil.copy(ROOT / "cookiecutter.json", copy)
    for folder in (ROOT / "hooks", TEMPLATE):
        shutil.copytree(folder, copy / folder.name, ignore=left_by_tools)
    return copy


@pytest.fixture(scope="session")
def cookiecutter_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a configuration that keeps cookiecutter out of the user's home folder."""
    folder = tmp_path_factory.mktemp("cookiecutter")
    folders = {"cookiecutters_dir": str(folder), "replay_dir": str(folder / "replay")}
    config = folder / "config.json"
    config.write_text(json.dumps(folders))
    return config


@pytest.fixture(scope="session")
def bake(
    template: Path, tmp_path_factory: pytest.TempPathFactory, cookiecutter_config: Path
) -> Bake:
    """Return the function that renders the template, each time into a folder of its own."""

    def render(**answers: str) -> BakedProject:
        path = cookiecutter(
            str(template),
            no_input=True,
            extra_context=answers,
            output_dir=str(tmp_path_factory.mktemp("baked")),
            config_file=str(cookiecutter_config),
        )
        return BakedProject(Path(path))

    return render


@pytest.fixture(scope="session")
def installed(bake: Bake) -> BakedProject:
    """Return the default render, installed with `uv sync`."""
    project = bake()
    project.run(UV, "sync", "--quiet")
    return project


@pytest.fixture(scope="session")
def installed_without_example(bake: Bake) -> BakedProject:
    """Return the render without the example, installed with `uv sync`."""
    project = bake(example_resource="no")
    project.run(UV, "sync", "--quiet")
    return project


@pytest.fixture(scope="session")
def adopter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an interpreter that has a server and what the folder of the cache needs."""
    folder = tmp_path_factory.mktemp("adopter")
    run(UV, "venv", "--quiet", "--python", sys.executable, ".venv", cwd=folder)
    python = folder / ".venv" / "bin" / "python"
    run(UV, "pip", "install", "--quiet", "--python", python, "uvicorn", *sorted(NEEDS), cwd=folder)
    return python


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Return a function that adds a line to the summary of the run."""
    return pytestconfig.stash.setdefault(REPORTED, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what was reported: output of passing tests and of fixtures is not shown otherwise."""
    for line in config.stash.get(REPORTED, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def redis_server(report: Callable[[str], None]) -> Iterator[RedisServer]:
    """Lend the Redis that the finder of the generated service finds."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(finder.redis_server(report))
        except NoRedisError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        yield server

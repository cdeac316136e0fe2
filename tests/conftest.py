"""Fixtures: a rendered project, an installed one, a Redis, and a line in the report."""

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import redis_server as finder
from cookiecutter.main import cookiecutter
from redis_server import NoRedisError, RedisServer

from tests.baked import INNER_TEMP, NEEDS, NOT_RENDERED, ROOT, TEMPLATE, UV, Bake, BakedProject, run
from tests.yard import Yard

QUICK: Final = {
    "test_adoption.py",
    "test_bake.py",
    "test_hooks.py",
    "test_readme.py",
    "test_redis_server.py",
    "test_release.py",
    "test_service.py",
    "test_size.py",
}
"""What `make test` runs: it has to say in three minutes whether all is well. The rest is slow."""
LONG: Final = (
    *("test_service.py", "test_docs.py", "test_neighbours.py", "test_cache_topologies.py"),
    *("test_image.py", "test_bounds.py", "test_floors.py", "test_replays.py", "test_answers.py"),
    *("test_fence_processes.py", "test_defaults.py", "test_bake.py", "test_update.py"),
)
"""What takes longest. It begins first, so that no process has much left at the end."""
REPORTED = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what only `make test-all` runs, and begin with what takes longest."""
    for item in items:
        if item.path.name not in QUICK:
            item.add_marker("slow")
    order = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let an interrupt end processes that are started here, even if this runs in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def inner_temp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give each pytest that is started here a folder of its own for temporary files.

    Else it would clear away at its end what runs before it have left, which takes minutes.
    """
    tmp_path_factory.getbasetemp()  # first, so that it is where it always is
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv(INNER_TEMP, folder)
        yield


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
def small(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the template without the files that no answer can change."""
    copy = tmp_path_factory.mktemp("small") / "template"
    shutil.copytree(template, copy)
    for name in NOT_RENDERED:
        shutil.rmtree(copy / TEMPLATE.name / name)
    return copy


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """Return a folder with neighbours, none of which may be harmed."""
    return Yard(tmp_path)


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
    reported: list[str] = config.stash.get(REPORTED, [])
    for line in dict.fromkeys(reported):
        terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a process of several send what was reported in it to the one that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["reported"] = session.config.stash.get(REPORTED, [])


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - the plugin's types are its own
    """Take what such a process has sent."""
    reported = node.config.stash.setdefault(REPORTED, [])
    reported += getattr(node, "workeroutput", {}).get("reported", [])


@pytest.fixture(scope="session")
def redis_server(report: Callable[[str], None]) -> Iterator[RedisServer]:
    """Lend the Redis that the finder of the generated service finds."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(finder.redis_server(report))
        except NoRedisError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        yield server

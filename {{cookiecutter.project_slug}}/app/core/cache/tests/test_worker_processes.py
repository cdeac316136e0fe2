"""The memory backend in more than one worker process warns: each would have a cache of its own."""

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .. import MemoryBackend, workers
from ..workers import is_one_of_several
from .package import NAME, ROOT, program

WITHIN = 60.0  # seconds

SERVICE = """
import logging
from contextlib import asynccontextmanager
from fastapi import FastAPI
from {package} import CacheFactory

logging.basicConfig()

@asynccontextmanager
async def lifespan(_):
    print("started", flush=True)
    yield

cache = CacheFactory.create_cache_manager()
app = FastAPI(lifespan=lifespan)

if __name__ == "__main__":
    import uvicorn
    uvicorn.run("service:app", port=0, workers=2)
"""


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Have the process looked at anew."""
    workers._warn.cache_clear()
    yield
    workers._warn.cache_clear()


@contextmanager
def running(folder: Path, *command: str) -> Iterator[Path]:
    """Run a server of the service above until the context ends; yield what it writes to."""
    (folder / "service.py").write_text(program(SERVICE))
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "CACHE_BACKEND": "memory"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield log
    finally:
        process.terminate()
        process.wait(WITHIN)


def warnings_of(log: Path, number: int) -> int:
    """Return how often a server has warned, once so many workers have started."""
    deadline = time.monotonic() + WITHIN
    while (text := log.read_text()).count("started\n") < number:
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    return len(re.findall("one of several workers.*set CACHE_BACKEND=redis", text))


UVICORN = ("-m", "uvicorn", "service:app", "--port", "0")


FASTAPI = ("-m", "fastapi", "run", "service.py", "--host", "127.0.0.1", "--port", "0")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [(*UVICORN, "--workers", "2"), (*FASTAPI, "--workers", "2"), ("service.py",)],
    ids=["uvicorn", "fastapi run", "uvicorn.run"],
)
def test_each_of_several_workers_warns_once(command: tuple[str, ...], tmp_path: Path) -> None:
    """However their number was told."""
    with running(tmp_path, *command) as log:
        assert warnings_of(log, 2) == 2


def test_a_process_of_its_own_for_reloading_does_not(tmp_path: Path) -> None:
    """There is one at a time."""
    with running(tmp_path, *UVICORN, "--reload") as log:
        assert warnings_of(log, 1) == 0


@pytest.mark.parametrize(
    ("arguments", "several"),
    [
        (["--workers", "4"], True),
        (["--workers=4"], True),
        (["--workers", "1"], False),
        (["--workers=1"], False),
        (["--workers"], False),
        (["--workers", "auto"], False),
        (["4", "--other", "4"], False),
        ([], False),
    ],
)
def test_another_server_is_known_by_its_arguments(
    arguments: list[str], several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By that which all have in common."""
    monkeypatch.setattr(sys, "argv", ["server", *arguments])
    assert is_one_of_several() is several


@pytest.mark.parametrize(("number", "several"), [(1, False), (2, True)])
def test_gunicorn_is_known_by_its_arbiter(number: int, several: bool) -> None:
    """Its workers are forks, whose callers are those of the first process."""
    arbiter = ModuleType("gunicorn.arbiter")
    source = """
class Arbiter:
    def __init__(self, workers):
        self.num_workers = workers

    def spawn_worker(self, work):
        return work()
"""
    exec(source, vars(arbiter))
    assert vars(arbiter)["Arbiter"](number).spawn_worker(is_one_of_several) is several


def test_a_process_warns_once(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """However many backends it makes; with what to do."""
    caplog.set_level(logging.WARNING, NAME)
    monkeypatch.setattr(workers, "is_one_of_several", lambda: True)
    for _ in range(3):
        MemoryBackend()
    [record] = caplog.records
    assert "what one of them invalidates the others go on serving" in record.getMessage()
    assert "set CACHE_BACKEND=redis" in record.getMessage()


def test_a_single_process_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """This one, for example."""
    MemoryBackend()
    assert caplog.records == []

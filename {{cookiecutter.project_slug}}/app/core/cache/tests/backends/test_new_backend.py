"""A new backend: six methods in a file in `backends/`, and the contract suite in another file."""

import subprocess
from pathlib import Path
from typing import Final

import pytest

from ..package import ROOT, program
from ..processes import ALONE, PYTEST

# As ARCHITECTURE.md beside the cache says: a new file in `backends/` with six methods.
BACKEND: Final = """
import time
from datetime import timedelta
from typing import Any

from ..base import CacheBackend


class DictBackend(CacheBackend):
    def __init__(self) -> None:
        self.entries: dict[str, tuple[Any, float | None]] = {}

    async def get(self, key: str) -> Any | None:
        return self.entries[key][0] if await self.exists(key) else None

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        seconds = expire.total_seconds() if isinstance(expire, timedelta) else expire
        end = None if seconds is None else time.monotonic() + seconds
        self.entries[key] = value, end
        return await self.exists(key)

    async def delete(self, key: str) -> bool:
        there = await self.exists(key)
        self.entries.pop(key, None)
        return there

    async def exists(self, key: str) -> bool:
        _, end = self.entries.get(key, (None, 0.0))
        return end is None or time.monotonic() < end

    async def clear(self) -> bool:
        for key in [key for key in self.entries if key.startswith(f"{self.key_prefix}:")]:
            del self.entries[key]
        return True

    async def close(self) -> None:
        pass
"""
SUITE: Final = """
from pathlib import Path

import pytest
from {package} import backends
from {package}.tests.backends.contract import BackendContract

backends.__path__.append(str(Path(__file__).parent))  # as if the file were in that folder
from {package}.backends.dict_backend import DictBackend


class TestDictBackend(BackendContract):
    @pytest.fixture
    def backend(self) -> DictBackend:
        return DictBackend()
"""


def passed(folder: Path, backend: str) -> tuple[int, str]:
    """Run the suite on a backend; return the exit code of pytest and its summary."""
    (folder / "dict_backend.py").write_text(program(backend))
    (folder / "test_dict_backend.py").write_text(program(SUITE))
    done = subprocess.run(
        [*PYTEST, "test_dict_backend.py"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), **ALONE},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_six_methods_in_one_file_pass_the_suite(tmp_path: Path) -> None:
    """Nothing else has to be written, and nothing has to be known of these tests."""
    code, says = passed(tmp_path, BACKEND)
    assert code == 0, says
    assert " passed" in says


@pytest.mark.slow
def test_the_suite_finds_what_is_wrong(tmp_path: Path) -> None:
    """A backend whose `clear` takes what is not its own, and that says it removed what was not there."""
    wrong = BACKEND.replace('if key.startswith(f"{self.key_prefix}:")', "")
    wrong = wrong.replace("return there", "return True")
    code, says = passed(tmp_path, wrong)
    assert code == 1, says
    assert "test_p7_clear_keeps_to_the_key_prefix" in says
    assert "test_a_missing_key_is_none" in says

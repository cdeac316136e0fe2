"""The module works with the oldest packages that it names and the newest; it refuses older ones."""

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from adoption.copies import files_of
from adoption.surroundings import floors_of

from tests.baked import CACHE, ROOT, UV, copy_cache, run
from tests.clones import write
from tests.test_layouts import DRIVER, LAYOUTS

pytestmark = pytest.mark.slow
ENDS: Final = ("lowest", "newest")
"""Groups of dependencies in pyproject.toml."""
QUICK: Final = (
    *("test_decorators.py", "test_fastapi.py", "test_versions.py"),
    *("backends/test_connections.py", "backends/test_contract.py", "backends/test_multiplexed.py"),
    *("backends/test_pool.py", "backends/near/test_hits.py", "backends/near/test_invalidations.py"),
    *("calls/test_checks.py", "calls/test_gates.py", "calls/test_raised_endpoints.py"),
    *("calls/test_routes.py", "calls/test_two_users.py"),
    *("http/test_scopes.py", "http/test_status.py"),
    *("reads/test_observed.py", "reads/test_routes.py", "reads/test_uses.py"),
    *("settings/test_environment.py", "settings/test_redis_url.py"),
    *("stored/test_response_headers.py", "values/test_types.py"),
)
"""The module's tests that touch FastAPI, redis-py and Pydantic, and take a minute on two cores."""
OF_NEWER_FASTAPI: Final = "test_the_schema_is_that_of_the_functions"
"""It looks at a field that is computed; FastAPI 0.100 has no such fields in its schema."""
HTTPX: Final = {"httpx2.py": "from httpx import *\n"}
"""What the tests import needs a newer AnyIO; the package before it has the same names."""

TOO_OLD: Final = {
    "fastapi": ["fastapi==0.100.0"],
    "pydantic": ["pydantic==2.6.4", "pydantic-core==2.16.3"],
    "pydantic_settings": ["pydantic-settings==2.1.0"],
    "redis": ["redis==7.4.0"],
    "hiredis": ["hiredis==3.1.0"],
}
PROGRAM: Final = """
import os
from shop.caching import CacheConfigError, CacheFactory, CacheSettings

for backend in ("memory", "redis"):
    os.environ["CACHE_BACKEND"] = backend
    try:
        CacheFactory.create_cache_manager()
        print("made")
    except CacheConfigError as error:
        print(error)
"""

Python = Callable[[str], Path]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Return the function that makes an environment of a group, and returns its interpreter."""
    made: dict[str, Path] = {}

    def interpreter(group: str) -> Path:
        if group not in made:
            folder = tmp_path_factory.mktemp(group) / ".venv"
            run(
                *(UV, "sync", "--quiet", "--only-group", group, "--python", sys.executable),
                cwd=ROOT,
                UV_PROJECT_ENVIRONMENT=str(folder),
            )
            made[group] = folder / "bin" / "python"
        return made[group]

    return interpreter


def test_the_lowest_are_those_that_the_module_names() -> None:
    """The group of dependencies is the list of floors.py, and that of the README."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    lowest = dict(pin.split("==") for pin in groups["lowest"] if isinstance(pin, str))
    floors = floors_of(files_of(CACHE))
    assert {name: lowest[name] for name in floors} == floors


def test_the_modules_own_tests_pass_with_the_lowest(python: Python, tmp_path: Path) -> None:
    """Those that touch the packages. The service's `make test-cache` runs all with the newest."""
    copy_cache(tmp_path / "shop" / "caching", with_tests=True)
    write(tmp_path, HTTPX)
    tests = [f"shop/caching/tests/{name}" for name in QUICK]
    said = run(
        *(python("lowest"), "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"),
        *("--import-mode=importlib", "-p", "no:cacheprovider", *tests),
        *("-k", f"not {OF_NEWER_FASTAPI}"),
        cwd=tmp_path,
        PYTHONPATH=str(tmp_path),
        TEST_REDIS="process",  # these environments have no testcontainers
    )
    passed = re.search(r"^(\d+) passed", said.splitlines()[-1])
    assert passed, said
    assert int(passed[1]) > 1000
    assert "skipped" not in said.splitlines()[-1]


@pytest.mark.parametrize("layout", ["src", "deep"])
@pytest.mark.parametrize("end", ENDS)
def test_endpoints_are_cached(end: str, layout: str, python: Python, tmp_path: Path) -> None:
    """A miss and a hit in an application, without a warning of the module."""
    shape = LAYOUTS[layout]
    write(tmp_path, {**shape.files, "driver.py": DRIVER})
    copy_cache(tmp_path / shape.folder)
    command = ("driver.py", shape.module, "GET /items/1", "GET /items/1")
    said = run(python(end), *command, cwd=tmp_path, PYTHONPATH=shape.path)
    assert '[[200, "fwd=miss; stored",' in said
    assert '[200, "hit",' in said


@pytest.mark.parametrize("package", TOO_OLD)
def test_a_package_that_is_too_old_is_told(package: str, python: Python, tmp_path: Path) -> None:
    """In one line, when it is first needed; memory works with any redis-py and hiredis."""
    lowest = python("lowest")
    old = tmp_path / "old"
    options = ("--quiet", "--no-deps", "--python", lowest, "--target", old)
    run(UV, "pip", "install", *options, *TOO_OLD[package], cwd=tmp_path)
    copy_cache(tmp_path / "shop" / "caching")
    (tmp_path / "program.py").write_text(PROGRAM)
    said = run(lowest, "-W", "ignore", "program.py", cwd=tmp_path, PYTHONPATH=str(old))
    floor = floors_of(files_of(CACHE))[package.replace("_", "-")]
    version = TOO_OLD[package][0].partition("==")[2]
    told = f"the cache needs the Python package {package} {floor} or newer, and {version}"
    memory, redis = said.splitlines()
    assert redis.startswith(told)
    assert memory == "made" if "redis" in package else memory.startswith(told)

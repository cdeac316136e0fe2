"""The service's dependencies at both ends of their bounds, on its oldest and newest Python here."""

import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pytest

from tests.baked import UV, Bake, BakedProject, find_python, run

VERSIONS: Final = ("3.11", "3.12", "3.13")
"""Newer ones are those of .ci/newest-python."""
SETTINGS: Final = {"TEST_REDIS": os.environ.get("TEST_REDIS", "")}
INSTALLED: Final = {version: path for version in VERSIONS if (path := find_python(version))} | {
    f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable
}
"""The Pythons of this machine by version, the one of these tests among them."""
OLDEST, NEWEST = (pick(INSTALLED, key=lambda v: int(v.split(".")[1])) for pick in (min, max))
CORNERS: Final = ((OLDEST, "lowest-direct"), (NEWEST, "highest"))
"""The rest is between them; test_service.py has the highest on the Python of these tests."""


def missing(found: Iterable[str], wanted: str) -> list[str]:
    """Return the versions that somebody insists on, and that were not found."""
    return sorted(set(wanted.split()) - set(found))


def test_the_pythons_are_reported(report: Callable[[str], None]) -> None:
    """The summary says which there are; those of TEST_PYTHONS have to be among them."""
    report(f"The bounds of dependencies were tried between Python {OLDEST} and {NEWEST}")
    report(f"Pythons of this machine: {', '.join(INSTALLED)}")
    assert missing(INSTALLED, os.environ.get("TEST_PYTHONS", "")) == []


def test_a_python_that_is_missing_is_told() -> None:
    """Whoever insists on one hears that it is not there."""
    assert missing(["3.11", "3.12"], "3.11 3.13") == ["3.13"]
    assert missing(["3.11"], "") == []


@pytest.fixture(scope="module")
def rendered(bake: Bake) -> BakedProject:
    """Return a service, which no test changes."""
    return bake()


@pytest.mark.usefixtures("redis_server")
@pytest.mark.parametrize(("version", "resolution"), CORNERS)
def test_its_own_tests_pass(
    rendered: BakedProject, tmp_path: Path, version: str, resolution: str
) -> None:
    """Those of the service; those of the cache module are run elsewhere."""
    project = BakedProject(Path(shutil.copytree(rendered.path, tmp_path / "service")))
    project.run(
        *(UV, "sync", "--quiet", "--no-python-downloads"),
        *("--python", INSTALLED[version], "--resolution", resolution),
    )
    own = sorted(str(path) for path in (project.path / "tests").glob("test_*.py"))
    output = run(UV, "run", "--no-sync", "pytest", "-q", *own, cwd=project.path, **SETTINGS)
    assert " passed" in output


def test_each_dependency_has_both_bounds(rendered: BakedProject) -> None:
    """The lower one is what the tests run with, and the next incompatible version is excluded."""
    metadata = tomllib.loads(rendered.read("pyproject.toml"))
    needs = [*metadata["project"]["dependencies"], *metadata["dependency-groups"]["dev"]]
    assert [need for need in needs if not (">=" in need and ",<" in need)] == []

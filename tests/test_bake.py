"""Every combination of choices renders to a clean project."""

import itertools
import json
import re

import pytest
from redis_server import REDIS_IMAGE
from yaml import safe_load

from tests import checks
from tests.baked import NOT_RENDERED, ROOT, Bake, BakedProject

CHOICES = json.loads((ROOT / "cookiecutter.json").read_text())
NAMES = ("python_version", "license", "example_resource")
COMBINATIONS = list(
    itertools.product(CHOICES["python_version"], CHOICES["license"], ("yes", "no")),
)

# "A user" of a machine or of the service may be mentioned; `User`, `users` and `user_id` are code.
TRACES_OF_THE_EXAMPLE = re.compile(
    r"\bUser\b|[Uu]sers\b|\buser_|(?i:sqlalchemy|aiosqlite|alembic|migrat|database|app\.db|example\.patch)"
)
NOT_OF_THE_EXAMPLE = "# The number of the database there."  # of REDIS_DB, in .env.example


@pytest.fixture(scope="module", params=COMBINATIONS, ids="-".join)
def project(request: pytest.FixtureRequest, bake: Bake) -> BakedProject:
    """Return the project of one combination of choices."""
    return bake(**dict(zip(NAMES, request.param, strict=True)))


def test_no_jinja_is_left(project: BakedProject) -> None:
    """No file has a brace, a tag or a name of the template left in it."""
    assert checks.leftover_jinja(project) == []


def test_every_file_parses(project: BakedProject) -> None:
    """Every TOML, YAML, JSON and Python file is one."""
    assert checks.unparsable(project) == []


def test_white_space_is_tidy(project: BakedProject) -> None:
    """No line has trailing space, and every file ends with exactly one newline."""
    assert checks.untidy(project) == []


def test_linter_and_formatter_are_silent(project: BakedProject) -> None:
    """Ruff, with the project's own rules, finds nothing and changes nothing."""
    project.run("ruff", "check", "--no-cache")
    project.run("ruff", "format", "--check", "--no-cache")


@pytest.mark.parametrize("license_", CHOICES["license"])
def test_nothing_of_an_unwanted_example_is_left(bake: Bake, license_: str) -> None:
    """Without the example, no file outside the cache module names users or a database."""
    project = bake(example_resource="no", license=license_)
    traces = [
        f"{file}: {trace.group()}"
        for file in project.files()
        if not file.startswith(NOT_RENDERED) and file != "LICENSE"
        for trace in TRACES_OF_THE_EXAMPLE.finditer(
            f"{file}\n{project.read(file).replace(NOT_OF_THE_EXAMPLE, '')}"
        )
    ]
    assert traces == []


def test_prompts_are_few_and_give_advice() -> None:
    """There are at most eight prompts, and each has a label."""
    prompts = [name for name in CHOICES if not name.startswith("_")]
    assert len(prompts) <= 8
    assert sorted(CHOICES["__prompts__"]) == sorted(prompts)


def test_compose_uses_the_image_of_the_tests(bake: Bake) -> None:
    """The compose file and the tests run the same Redis; the one of the file is pinned, besides."""
    compose = safe_load(bake().read("compose.yaml"))
    image, _, digest = compose["services"]["redis"]["image"].partition("@sha256:")
    assert image == REDIS_IMAGE
    assert re.fullmatch("[0-9a-f]{64}", digest)


def test_the_python_chosen_is_that_of_the_image_and_of_ci(bake: Bake) -> None:
    """The choice of a Python reaches the Dockerfile and the workflow."""
    project = bake(python_version="3.12")
    assert "python:3.12-" in project.read("Dockerfile")
    assert "3.12" in project.read(".github/workflows/ci.yml")
    assert "3.13" not in project.read("Dockerfile") + project.read(".github/workflows/ci.yml")


@pytest.mark.parametrize("license_", CHOICES["license"])
def test_the_licence_chosen_is_the_only_one(bake: Bake, license_: str) -> None:
    """A LICENSE file is there for every licence but the proprietary one."""
    project = bake(license=license_)
    assert ("LICENSE" in project.files()) == (license_ != "Proprietary")

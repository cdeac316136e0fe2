"""What CI, its bot and commits are configured by: the linters of such files find nothing.

The linters are those of the tests' own environment, pinned in pyproject.toml. None of them uses the
network.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.baked import ROOT, UV, Bake, BakedProject, run

BIN: Final = Path(sys.executable).parent
CHOICES: Final = json.loads((ROOT / "cookiecutter.json").read_text())
UV_VERSION: Final = re.compile(r"uv==([\d.]+)")
LINTERS: Final = {
    "actionlint": [".github/workflows/ci.yml"],
    "hadolint": ["Dockerfile"],
    "yamllint": ["--strict", "."],
    "zizmor": ["--quiet", "--offline", "--persona=pedantic", "."],
}
SCHEMAS: Final = {
    "compose-spec": ["compose.yaml", "compose.production.yaml"],
    "github-workflows": [".github/workflows/ci.yml"],
    "gitlab-ci": [".gitlab-ci.yml"],
    "renovate": ["renovate.json"],
}


@pytest.fixture(scope="module", params=["yes", "no"], ids=["example", "no example"])
def project(request: pytest.FixtureRequest, bake: Bake) -> BakedProject:
    """Return a project of either kind."""
    return bake(example_resource=request.param)


def lint(folder: Path, linter: str, *arguments: str) -> None:
    """Run a linter, which finds shellcheck beside it; fail with what it found."""
    program = BIN / linter
    more = [f"-shellcheck={BIN / 'shellcheck'}"] if linter == "actionlint" else []
    assert program.exists(), f"{linter} is missing: uv sync"
    run(program, *more, *arguments, cwd=folder)


@pytest.mark.parametrize("linter", LINTERS)
def test_linters_find_nothing(project: BakedProject, linter: str) -> None:
    """Workflows, Dockerfile and YAML of the service are clean."""
    lint(project.path, linter, *LINTERS[linter])


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_fit_their_schemas(project: BakedProject, schema: str) -> None:
    """What GitHub, GitLab, Compose and Renovate read has the form that they ask for."""
    files = SCHEMAS[schema]
    lint(project.path, "check-jsonschema", f"--builtin-schema=vendor.{schema}", *files)


def test_the_templates_own_files_are_clean() -> None:
    """The linters find nothing in the workflow of this repository, and its bot's file fits."""
    lint(ROOT, "actionlint", ".github/workflows/ci.yml")
    lint(ROOT, "zizmor", "--quiet", "--offline", "--persona=pedantic", ".github")
    lint(ROOT, "yamllint", "--strict", ".github", ".yamllint.yaml")
    lint(ROOT, "check-jsonschema", "--builtin-schema=vendor.renovate", "renovate.json")
    scripts = sorted(str(script) for script in (ROOT / ".ci").iterdir())
    lint(ROOT, "shellcheck", "--severity=warning", *scripts)


@pytest.mark.parametrize(
    ("linter", "file", "fault"),
    [
        ("actionlint", ".github/workflows/ci.yml", ("run: make lint", "run: echo $X; [ $X = 1 ]")),
        ("hadolint", "Dockerfile", ("useradd --uid", "sudo useradd --uid")),
        ("yamllint", "compose.yaml", ("services:", "services: ")),
        (
            "zizmor",
            ".github/workflows/ci.yml",
            ("@df4cb1c069e1874edd31b4311f1884172cec0e10", "@v6"),
        ),
    ],
)
def test_a_linter_finds_what_is_wrong(
    bake: Bake, linter: str, file: str, fault: tuple[str, str]
) -> None:
    """None is silent because it does not look."""
    project = bake()
    wrong = project.read(file).replace(*fault)
    assert wrong != project.read(file)
    (project.path / file).write_text(wrong)
    with pytest.raises(AssertionError, match="exited with"):
        lint(project.path, linter, *LINTERS[linter])


@pytest.mark.parametrize("version", CHOICES["python_version"])
def test_every_python_is_pinned(bake: Bake, version: str) -> None:
    """The image of each Python to choose from has its digest, the same for Docker and GitLab."""
    project = bake(python_version=version)
    [pinned] = re.findall(r"^ARG PYTHON_IMAGE=(.+)$", project.read("Dockerfile"), re.MULTILINE)
    assert re.fullmatch(rf"python:{re.escape(version)}-slim@sha256:[0-9a-f]{{64}}", pinned)
    assert yaml.safe_load(project.read(".gitlab-ci.yml"))["test"]["image"] == pinned


def test_everything_that_ci_takes_from_others_is_pinned(project: BakedProject) -> None:
    """Actions by commit with the version beside it, images by digest, uv by one version."""
    workflow, pipeline = project.read(".github/workflows/ci.yml"), project.read(".gitlab-ci.yml")
    uses = re.findall(r"uses: (.*)", workflow)
    assert uses
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in uses)
    images = re.findall(r"image: (?:&\w+ )?(.*)", pipeline)
    assert len(images) == 2
    assert all(re.search(r"@sha256:[0-9a-f]{64}\"?$", each) for each in images)
    texts = (workflow, pipeline, project.read("Dockerfile"))
    assert len({version for text in texts for version in UV_VERSION.findall(text)}) == 1
    assert all(UV_VERSION.search(text) for text in texts)


@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_ci_without_a_lock_says_what_to_do(bake: Bake, host: str) -> None:
    """The first run ends with one line if nobody has committed the lock."""
    project = bake()
    if host == "github":
        workflow = yaml.safe_load(project.read(".github/workflows/ci.yml"))
        steps = workflow["jobs"]["test"]["steps"]
        [script] = [step["run"] for step in steps if step["name"] == "Look for the lock"]
    else:
        [script, *_] = yaml.safe_load(project.read(".gitlab-ci.yml"))["test"]["before_script"]
    done = subprocess.run(
        ["sh", "-ec", script], cwd=project.path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    [line] = done.stdout.splitlines()
    assert line.endswith("uv.lock is missing. Run 'uv lock' and commit it.")
    (project.path / "uv.lock").touch()
    project.run("sh", "-ec", script)


def test_ci_insists_on_the_lock(project: BakedProject) -> None:
    """Both kinds of CI take uv.lock as it is, so that one that does not fit is an error."""
    workflow = yaml.safe_load(project.read(".github/workflows/ci.yml"))
    pipeline = yaml.safe_load(project.read(".gitlab-ci.yml"))
    assert workflow["env"]["UV_LOCKED"] == pipeline["variables"]["UV_LOCKED"] == "1"


def test_both_kinds_of_ci_run_the_same(project: BakedProject) -> None:
    """What one runs of the Makefile, the other runs, too."""
    made = [
        re.findall(r"make (?!redis)[\w-]+$", project.read(file), re.MULTILINE)
        for file in (".github/workflows/ci.yml", ".gitlab-ci.yml")
    ]
    assert made[0] == made[1] == ["make lint", "make test", "make image"]


def commands(project: BakedProject, target: str) -> list[str]:
    """Return what a target of the Makefile runs by uv, without where uv is and the environment."""
    lines = project.run("make", "--dry-run", target).splitlines()
    return [line[line.index("uv run") :] for line in lines if "uv run" in line]


@pytest.mark.slow
def test_commits_are_checked_by_what_ci_checks(installed: BakedProject, tmp_path: Path) -> None:
    """The hooks of pre-commit are the commands of `make lint`, they pass, and they can fail."""
    hooks = yaml.safe_load(installed.read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == commands(installed, "lint")
    project = BakedProject(tmp_path / "service")
    shutil.copytree(installed.path, project.path, ignore=shutil.ignore_patterns(".venv", ".git"))
    project.run("git", "init", "--quiet")
    project.run("git", "add", ".")
    project.run(UV, "sync", "--quiet")
    commit = [str(BIN / "pre-commit"), "run", "--all-files"]
    more = {"PRE_COMMIT_HOME": str(tmp_path / "home")}
    assert run(*commit, cwd=project.path, **more).count("Passed") == len(hooks)
    (project.path / "app" / "wrong.py").write_text("x  =  y\n")
    project.run("git", "add", ".")
    with pytest.raises(AssertionError, match="Failed"):
        run(*commit, "rules", cwd=project.path, **more)

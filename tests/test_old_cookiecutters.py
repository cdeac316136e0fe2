"""Older versions of cookiecutter render the same, or are refused before there is a folder."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.baked import ROOT, UV, Bake, BakedProject, run
from tests.yard import typed

OLDEST, OLDER, TOO_OLD = "cookiecutter-oldest", "cookiecutter-older", "cookiecutter-too-old"
NEEDED = "cookiecutter 2.1 or newer is needed, for example: pip install --upgrade cookiecutter"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> "Old":
    """Return what runs the cookiecutter of a dependency group."""
    return Old(tmp_path_factory.mktemp("old"))


class Old:
    """Versions of cookiecutter, each in an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config = folder / "config.yaml"  # 1.7 reads no JSON
        self._config.write_text(f"cookiecutters_dir: {folder}\nreplay_dir: {folder}/replay\n")

    def __call__(
        self, group: str, template: Path, output: Path, *arguments: str, text: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Run it on this template, in this folder."""
        environment = self._folder / group
        if not environment.exists():
            run(
                *(UV, "sync", "--quiet", "--project", ROOT, "--only-group", group),
                cwd=ROOT,
                UV_PROJECT_ENVIRONMENT=str(environment),
            )
        options = ("--config-file", str(self._config), "--output-dir", str(output))
        return subprocess.run(
            [environment / "bin" / "python", "-m", "cookiecutter", template, *options, *arguments],
            cwd=output,
            env={**os.environ, "PYTHONUTF8": "1"},
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )


def contents(project: BakedProject) -> dict[str, str]:
    """Return each file with its text."""
    return {file: project.read(file) for file in project.files()}


@pytest.mark.parametrize("group", [OLDEST, OLDER])
def test_an_older_one_renders_the_same(
    old: Old, group: str, template: Path, tmp_path: Path, bake: Bake
) -> None:
    """What is given is heeded, the example that is not wanted too."""
    for example in ("yes", "no", "False"):
        output = tmp_path / example
        output.mkdir()
        given = (f"example_resource={example}", "license=Proprietary")
        done = old(group, template, output, "--no-input", *given)
        assert done.returncode == 0, done.stdout
        expected = contents(bake(example_resource=example, license="Proprietary"))
        assert contents(BakedProject(output / "cached-service")) == expected


@pytest.mark.parametrize("group", [OLDEST, OLDER])
def test_an_older_one_heeds_what_is_typed(
    old: Old, group: str, template: Path, tmp_path: Path, bake: Bake
) -> None:
    """The example is left out where that is the answer."""
    done = old(group, template, tmp_path, text=typed(example_resource="no"))
    assert done.returncode == 0, done.stdout
    assert contents(BakedProject(tmp_path / "cached-service")) == contents(
        bake(example_resource="no")
    )


@pytest.mark.parametrize("group", [OLDEST, OLDER])
def test_an_older_one_refuses_the_same(
    old: Old, group: str, template: Path, tmp_path: Path
) -> None:
    """A slug that would lead out of the folder is refused there, too, and what is no yes or no."""
    (tmp_path / "neighbour").mkdir()
    for answer in ("project_slug=x/..", "project_slug=..", "example_resource=maybe"):
        done = old(group, template, tmp_path, "--no-input", answer)
        assert done.returncode == 1
        assert "is refused. Rule: " in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["neighbour"]


def test_one_that_is_too_old_is_refused(old: Old, template: Path, tmp_path: Path) -> None:
    """It would leave files unrendered; it names the version wanted and makes nothing."""
    (tmp_path / "neighbour").mkdir()
    for arguments in (["--no-input"], ["--no-input", "project_slug=x/.."], []):
        done = old(TOO_OLD, template, tmp_path, *arguments, text=typed())
        assert done.returncode == 1
        assert NEEDED in done.stdout
        assert "Traceback" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["neighbour"]

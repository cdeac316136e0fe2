"""What is printed after a service was made: where it is, and commands that work as they stand."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.baked import ROOT, BakedProject, environment, run

RUN_BY = ("test_dev.py", "test_service.py")


def make(template: Path, config: Path, output: Path, *, answers: tuple[str, ...] = ()) -> list[str]:
    """Return the command that makes a service in a folder."""
    options = ("--no-input", "--config-file", str(config), "--output-dir", str(output))
    return [sys.executable, "-m", "cookiecutter", str(template), *options, *answers]


def contents(folder: Path) -> dict[str, bytes]:
    """Return each file of a service with its bytes."""
    project = BakedProject(folder)
    return {file: (folder / file).read_bytes() for file in project.files()}


@pytest.mark.parametrize("name", ["services", "my services", 'it\'s "so"', "ünï {0} %s $HOME"])
def test_the_commands_lead_into_the_service(
    name: str, template: Path, cookiecutter_config: Path, tmp_path: Path
) -> None:
    """At most four are printed; the first goes to the service, and the others are known there."""
    said = run(*make(template, cookiecutter_config, tmp_path / name), cwd=tmp_path)
    folder = tmp_path / name / "cached-service"
    assert f"Your service is in {folder}\n" in said
    commands = re.findall(r"^  (.+)$", said, re.MULTILINE)
    assert 1 < len(commands) <= 4
    assert run("sh", "-c", f"{commands[0]}\npwd", cwd=tmp_path).strip() == str(folder)
    targets = run("make", "help", cwd=folder)
    for command in commands[1:]:
        program, target = shlex.split(command, comments=True)
        assert f"  {program} {target} " in targets, command
        # These tests run it.
        tests = "".join((ROOT / "tests" / name).read_text() for name in RUN_BY)
        assert f'"{program}", "{target}"' in tests, command


@pytest.mark.parametrize("redirection", [">&-", "| true", "> /dev/full"])
def test_a_service_stays_if_nobody_can_hear(
    redirection: str, template: Path, cookiecutter_config: Path, tmp_path: Path
) -> None:
    """A script may close the output, or stop to read it."""
    command = shlex.join(make(template, cookiecutter_config, tmp_path))
    subprocess.run(["sh", "-c", f"{command} {redirection}"], env=environment(), check=False)
    assert (tmp_path / "cached-service" / "LICENSE").is_file()


def test_made_twice_it_is_the_same(
    template: Path, cookiecutter_config: Path, tmp_path: Path
) -> None:
    """The hook may run again, in a folder that it has seen."""
    command = make(template, cookiecutter_config, tmp_path, answers=("license=Proprietary",))
    run(*command, cwd=tmp_path)
    before = contents(tmp_path / "cached-service")
    run(*command, "--overwrite-if-exists", cwd=tmp_path)
    assert contents(tmp_path / "cached-service") == before

"""What is printed after a service was made: where it is, and commands that work as they stand."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

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


OVER: Final = ("--overwrite-if-exists", "--skip-if-file-exists")
NEITHER: Final = ("example_resource=no", "license=Proprietary")


def test_files_of_ones_own_are_kept(
    template: Path, cookiecutter_config: Path, tmp_path: Path
) -> None:
    """What stood before where files of the example would be is not of this run, even if empty."""
    folder = tmp_path / "cached-service"
    mine = [
        folder / name for name in ("LICENSE", "app/api/users.py", "app/models.py", "example.patch")
    ]
    mine += [folder / "migrations" / name for name in ("env.py", "versions/0002_mine.py")]
    for number, path in enumerate(mine):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine\n" * number)
    run(*make(template, cookiecutter_config, tmp_path, answers=NEITHER), *OVER, cwd=tmp_path)
    assert [path.read_text() for path in mine] == ["mine\n" * number for number in range(len(mine))]
    assert (folder / "app" / "main.py").is_file()
    assert not (folder / "tests" / "test_users.py").exists()


@pytest.mark.parametrize("answers", [(), NEITHER], ids=["the same", "neither"])
def test_over_a_service_that_is_there_nothing_changes(
    answers: tuple[str, ...], template: Path, cookiecutter_config: Path, tmp_path: Path
) -> None:
    """If what is there is skipped, its example and the patch of it stay, whatever is answered."""
    run(*make(template, cookiecutter_config, tmp_path), cwd=tmp_path)
    folder = tmp_path / "cached-service"
    before = contents(folder)
    run(*make(template, cookiecutter_config, tmp_path, answers=answers), *OVER, cwd=tmp_path)
    assert contents(folder) == before


def test_the_patch_is_of_what_was_rendered(
    template: Path, cookiecutter_config: Path, tmp_path: Path
) -> None:
    """Lines of one's own, in a file that is skipped, are not among those that it takes out."""
    command = make(template, cookiecutter_config, tmp_path)
    run(*command, cwd=tmp_path)
    folder = tmp_path / "cached-service"
    before = (folder / "example.patch").read_bytes()
    (folder / "example.patch").unlink()
    (folder / "README.md").write_text("mine\n")
    (folder / "app" / "models.py").write_text("mine\n")
    run(*command, *OVER, cwd=tmp_path)
    assert (folder / "example.patch").read_bytes() == before


def test_a_migration_of_ones_own_stays_in_its_folder(
    template: Path, cookiecutter_config: Path, tmp_path: Path
) -> None:
    """Without the example its folder stays, for what is in it, when all else is overwritten."""
    mine = tmp_path / "cached-service" / "migrations" / "versions" / "0002_mine.py"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine\n")
    command = make(template, cookiecutter_config, tmp_path, answers=NEITHER)
    run(*command, "--overwrite-if-exists", cwd=tmp_path)
    files = [path for path in mine.parent.parent.rglob("*") if path.is_file()]
    assert files == [mine]

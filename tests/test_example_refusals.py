"""`make remove-example` when it cannot end well: all is as it was, and what is said is true."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.baked import Bake, BakedProject, environment

SCRIPT: Final = "scripts/remove_example.py"
FAULTY: Final = """
import os, runpy, signal, sys

script, count, fault = sys.argv[1:]
left, again = int(count), fault == "always"

def failing(do):
    def call(path, *others, **named):
        global left
        if not os.path.isabs((path, *others)[-1]):  # in the service, not in a folder beside
            left -= 1
            if left == 0 or (left < 0 and again):
                if fault != "OSError" and not again:
                    done = do(path, *others, **named)
                    os.kill(os.getpid(), signal.Signals[fault])
                    return done
                raise PermissionError(1, "no", path)
        return do(path, *others, **named)
    return call

os.replace, os.unlink = failing(os.replace), failing(os.unlink)
sys.argv = [script]
runpy.run_path(script, run_name="__main__")
"""
"""Runs the script; the change of a file of this number fails, or a signal comes just after it."""

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def rendered(bake: Bake) -> BakedProject:
    """Return a service with the example, which no test changes."""
    return bake()


@pytest.fixture
def project(rendered: BakedProject, tmp_path: Path) -> BakedProject:
    """Return a copy of it for one test, in which its owner has changed a line."""
    project = BakedProject(Path(shutil.copytree(rendered.path, tmp_path / "service")))
    append(project, "README.md", "Mine.\n")
    return project


def append(project: BakedProject, file: str, text: str) -> None:
    """Write more to the end of a file, which may be new."""
    with (project.path / file).open("a") as opened:
        opened.write(text)


def held(project: BakedProject) -> Files:
    """Return what each file of a project holds."""
    return {file: (project.path / file).read_bytes() for file in project.files()}


def remove(project: BakedProject, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the project, on the script if nothing else is said."""
    return subprocess.run(
        [sys.executable, *(arguments or (SCRIPT,))],
        cwd=project.path,
        env=environment() | more,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def refusal(project: BakedProject, *arguments: str, **more: str) -> str:
    """Have the removal refused, and return what it says; it has changed nothing."""
    before = held(project)
    done = remove(project, *arguments, **more)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert held(project) == before
    return done.stderr


@pytest.mark.parametrize("fault", ["OSError", "SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("share", [0, 0.5, 1], ids=["first", "middle", "last"])
def test_a_failure_halfway_puts_all_back(project: BakedProject, share: float, fault: str) -> None:
    """Whichever file cannot be changed, and whenever it is interrupted."""
    changes = project.read("example.patch").count("\n+++ ") + 1  # and the patch itself
    number = 1 + round(share * (changes - 1))
    before = held(project)
    done = remove(project, "-c", FAULTY, SCRIPT, str(number), fault)
    assert done.returncode != 0
    assert held(project) == before
    assert "Nothing was changed" not in done.stderr
    assert fault != "OSError" or "as it was" in done.stderr


def test_what_cannot_be_put_back_is_kept_beside(project: BakedProject) -> None:
    """If the disk refuses that, too, the files as they were are in a folder that is named."""
    before = held(project)
    done = remove(project, "-c", FAULTY, SCRIPT, "20", "always")
    assert done.returncode == 1
    folder = Path(done.stderr.strip().rpartition(" ")[2])
    lost = {file for file, text in before.items() if held(project).get(file) != text}
    assert lost
    assert all((folder / file).read_bytes() == before[file] for file in lost)


def test_what_cannot_be_written_is_seen_before(project: BakedProject) -> None:
    """The file is named, and nothing was tried."""
    denied = (
        "import os, runpy; can = os.access; "
        "os.access = lambda path, how: path != 'app/main.py' and can(path, how); "
        f"runpy.run_path('{SCRIPT}', run_name='__main__')"
    )
    said = refusal(project, "-c", denied)
    assert "These cannot be written:\napp/main.py\nNothing was changed" in said


OWN: Final = {
    "a field of a removed import": ("app/core/config.py", "\nKEY: SecretStr\n", "SecretStr"),
    "a removed import of tests": ("tests/conftest.py", "\nCOPY = shutil.copy\n", "shutil"),
    "a removed module": ("app/api/mine.py", "import app.models\n", "app.models"),
    "a module from its package": ("app/api/mine.py", "from app import models\n", "app.models"),
    "a relative import": ("app/api/mine.py", "from ..core import database\n", "app.core.database"),
    "a relative import of names": ("app/mine.py", "from .models import User\n", "app.models"),
    "a late import": ("app/mine.py", "def f():\n    from app.api import users\n", "app.api.users"),
    "a removed package": ("scripts/mine.py", "import sqlalchemy.orm as o\n", "sqlalchemy.orm"),
    "a removed name": ("tests/test_a.py", "from tests.conftest import MIGRATIONS\n", "MIGRATIONS"),
    "a removed setting": ("app/mine.py", "def f(s):\n    s.database_url\n", "s.database_url"),
    "removed state": (
        "app/mine.py",
        "def f(r):\n    r.app.state.sessions\n",
        "r.app.state.sessions",
    ),
    "a removed fixture": ("tests/test_a.py", "def test_a(database): ...\n", "fixture database"),
    "a fixture by name": (
        "tests/test_a.py",
        "import pytest\n\n@pytest.mark.usefixtures('migrated')\ndef test_a(): ...\n",
        "fixture migrated",
    ),
    "a migration": (
        "migrations/versions/0002_mine.py",
        "down_revision = '0001'\n",
        "migrations, goes",
    ),
    "a note in its folder": ("migrations/README.md", "Mine.\n", "migrations, goes"),
}
"""What an owner adds: the file, the text, and what of it stands in the way."""


@pytest.mark.parametrize(("file", "text", "name"), OWN.values(), ids=OWN)
def test_what_needs_the_example_is_named_before(
    project: BakedProject, file: str, text: str, name: str
) -> None:
    """A service that would not work is not made; its file and what it needs are named."""
    append(project, file, text)
    [line] = [each for each in refusal(project).splitlines() if each.startswith(f"{file}:")]
    assert name in line


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("app/api/mine.py", "import app.core.cache\nfrom . import health\ndatabase = models = 1\n"),
        (
            "tests/test_a.py",
            "import pytest\n\n@pytest.fixture\ndef database(): ...\n\ndef test_a(database): ...\n",
        ),
        ("app/mine.py", "class Mine:\n    database_url = 1\n\ndef f(m):\n    m.database_url\n"),
        ("app/core/config.py", "\nfrom pydantic import SecretStr\n\nKEY: SecretStr\n"),
        ("app/mine.py", "this is no Python\n"),
    ],
    ids=["other names", "own fixture", "own field", "own import", "no Python"],
)
def test_what_does_not_need_it_stays(project: BakedProject, file: str, text: str) -> None:
    """Names that only look like those of the example are no reason to refuse."""
    append(project, file, text)
    done = remove(project)
    assert (done.returncode, done.stderr) == (0, "")
    assert project.read(file).endswith(text)


def test_a_file_left_out_is_looked_at_too(project: BakedProject) -> None:
    """EXCEPT does not let a router stay that includes what goes."""
    assert "app/api/router.py:" in refusal(project, SCRIPT, "app/api/router.py")


@pytest.mark.parametrize("file", ["README.md", "app/models.py", "example.patch"])
def test_line_ends_of_windows_are_named(project: BakedProject, file: str) -> None:
    """It is they that differ, and not what is written in the file."""
    path = project.path / file
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert f"CRLF instead of LF:\n{file}\n" in refusal(project)


def test_without_git_one_line_says_so(project: BakedProject, tmp_path: Path) -> None:
    """It is the only program that is needed beside Python."""
    assert "git takes the example out, and is not on the PATH." in refusal(
        project, PATH=str(tmp_path)
    )


def test_without_the_patch_the_example_is_out(project: BakedProject) -> None:
    """A second run, of the script that somebody has kept, says so."""
    (project.path / "example.patch").unlink()
    assert "the example is out already" in refusal(project)


def test_packages_that_stay_are_told(project: BakedProject, tmp_path: Path) -> None:
    """If uv fails after the files are swapped, what is done and what is left to do is said."""
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\n[ $1 = run ] && shift && exec '{sys.executable}' \"$@\"\n")
    uv.chmod(0o755)
    done = subprocess.run(
        ["make", "remove-example"],
        cwd=project.path,
        env=environment(PATH=f"{tmp_path}:{environment()['PATH']}"),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode != 0
    assert "The example is out, but its packages are not: run 'uv sync'" in done.stderr
    assert not (project.path / "app/models.py").exists()

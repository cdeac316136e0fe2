"""`make remove-example`: a service from which the example was removed is one that never had it."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests import checks
from tests.baked import TEMPLATE, Bake, BakedProject, environment, run
from tests.documents import DOCS, blocks

PATCH: Final = "example.patch"
LOCK: Final = "uv.lock"
HOSTILE: Final = {
    "project_name": 'The "quoted" -one- \\ +two+ @@ -1,2 +1,2 @@',
    "description": "--- a/README.md 👩‍🚀 $(touch canary) 'single'",
}
ANSWERS: Final[list[dict[str, str]]] = [
    {},
    {"license": "Proprietary", "python_version": "3.11"},
    HOSTILE,
]


@pytest.fixture(scope="module")
def rendered(bake: Bake) -> BakedProject:
    """Return a service with the example, which no test changes."""
    return bake()


@pytest.fixture
def project(rendered: BakedProject, tmp_path: Path) -> BakedProject:
    """Return a copy of it for one test."""
    return BakedProject(Path(shutil.copytree(rendered.path, tmp_path / "service")))


@pytest.fixture(scope="module")
def expected(bake: Bake) -> dict[str, str]:
    """Return what is to be left of it: the files of a service that never had the example."""
    return contents(bake(example_resource="no"))


@pytest.fixture
def no_uv(tmp_path: Path) -> str:
    """Return a PATH on which uv runs scripts in this environment, and makes none."""
    stand_in = tmp_path / "bin" / "uv"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f"#!/bin/sh\n[ $1 != run ] || {{ shift; exec '{sys.executable}' \"$@\"; }}\n"
    )
    stand_in.chmod(0o755)
    return f"{stand_in.parent}:{environment()['PATH']}"


def contents(project: BakedProject) -> dict[str, str]:
    """Return each file with its text; the lock is uv's."""
    return {file: project.read(file) for file in project.files() if file != LOCK}


def refusal(project: BakedProject, path: str) -> str:
    """Have the removal refused, and return what it says; it has changed nothing."""
    before = contents(project)
    done = subprocess.run(
        ["make", "remove-example"],
        cwd=project.path,
        env=environment(PATH=path),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode != 0
    assert "Nothing was changed" in done.stderr
    assert contents(project) == before
    return done.stderr


@pytest.mark.parametrize("answers", ANSWERS, ids=["defaults", "others", "hostile"])
def test_what_is_left_is_a_service_without_the_example(
    bake: Bake, no_uv: str, answers: dict[str, str]
) -> None:
    """Byte for byte, whatever was answered, and without an empty folder."""
    project = bake(**answers)
    run("make", "remove-example", cwd=project.path, PATH=no_uv)
    expected = bake(**answers, example_resource="no")
    assert contents(project) == contents(expected)
    assert folders(project) == folders(expected)


def folders(project: BakedProject) -> set[Path]:
    """Return the folders of a project."""
    return {path.relative_to(project.path) for path in project.path.rglob("*") if path.is_dir()}


def test_it_leaves_an_environment_that_works(
    project: BakedProject, expected: dict[str, str]
) -> None:
    """After use, too: no package of the database is installed any more, and the service starts."""
    project.run("make", "migrate")
    project.run("make", "remove-example")
    assert "sqlalchemy" not in project.read(LOCK) + project.run("uv", "pip", "list")
    project.run("uv", "run", "--no-sync", "python", "-W", "error", "-c", "import app.main")
    assert set(project.files()) - expected.keys() == {LOCK, "app.db"}
    assert not [path for path in folders(project) if path.parts[0] == "migrations"]


@pytest.mark.parametrize("inside", ["", "services/cached"])
def test_it_works_in_a_repository(
    rendered: BakedProject, expected: dict[str, str], tmp_path: Path, no_uv: str, inside: str
) -> None:
    """The service may be the repository, or a folder of a larger one."""
    repository = tmp_path / "repository"
    repository.mkdir()
    run("git", "init", "--quiet", cwd=repository)
    folder = repository / inside
    shutil.copytree(rendered.path, folder, dirs_exist_ok=True)
    project = BakedProject(folder)
    (folder / "app/models.py").write_text("# mine\n")
    assert "app/models.py" in refusal(project, no_uv)
    run("make", "remove-example", "EXCEPT=app/models.py", cwd=folder, PATH=no_uv)
    (folder / "app/models.py").unlink()
    found = {file: text for file, text in contents(project).items() if file[:5] != ".git/"}
    assert found == expected


def test_it_works_after_the_tutorial(
    project: BakedProject, expected: dict[str, str], no_uv: str
) -> None:
    """What the tutorial has its readers write stays, without the example."""
    page = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    written = {block.title: block.text for block in blocks(page) if block.title}
    assert "app/api/router.py" in written
    for file, text in written.items():
        (project.path / file).write_text(text, encoding="utf-8")
    run("make", "remove-example", cwd=project.path, PATH=no_uv)
    found = contents(project)
    router = [line for line in written["app/api/router.py"].splitlines() if "users" not in line]
    assert found["app/api/router.py"].splitlines() == router
    assert {**found, **written} == {**expected, **written}


def changed(project: BakedProject, file: str, old: str, new: str) -> None:
    """Change a file as its owner does."""
    text = project.read(file)
    assert text.count(old) == 1
    (project.path / file).write_text(text.replace(old, new))


OWN_LINES: Final = {
    ".env.example": ("LOG_FORMAT=text", "LOG_FORMAT=text\nMINE=1"),
    "README.md": ("## Run\n", "## Mine\n\nMany lines.\n\n\n\n\n\n\n## Run\n"),
    "app/api/router.py": (
        "\nrouter.include_router(users)",
        "\nrouter.include_router(items)\nrouter.include_router(users)",
    ),
    "app/core/config.py": (
        "    database_url: SecretStr",
        "    mine: int = 1\n    database_url: SecretStr",
    ),
    "pyproject.toml": ('    "alembic', '    "aiostream>=0.7",\n    "alembic'),
}
"""Lines beside those of the example."""


@pytest.mark.parametrize("file", [file for file in OWN_LINES if file != "pyproject.toml"])
def test_own_lines_stay(
    project: BakedProject, expected: dict[str, str], no_uv: str, file: str
) -> None:
    """What stands beside the lines of the example, even next to them, is kept."""
    old, new = OWN_LINES[file]
    changed(project, file, old, new)
    run("make", "remove-example", cwd=project.path, PATH=no_uv)
    found = contents(project)
    added = Counter(found[file].splitlines()) - Counter(expected[file].splitlines())
    assert added == Counter(new.splitlines()) - Counter(old.splitlines())
    assert not Counter(expected[file].splitlines()) - Counter(found[file].splitlines())
    assert {**found, file: ""} == {**expected, file: ""}


def test_own_lines_within_the_example_are_not_lost(project: BakedProject, no_uv: str) -> None:
    """A line among those of the example, as `uv add` may write it, is its owner's to move."""
    changed(project, "pyproject.toml", *OWN_LINES["pyproject.toml"])
    assert "pyproject.toml" in refusal(project, no_uv)


INSIDE: Final = {
    "a key": ("compose.yaml", "      - data:/data\n\n", '      - data:/data\n    user: "0"\n\n'),
    "a key after a blank line": (
        "compose.yaml",
        "      - data:/data\n\n",
        "      - data:/data\n\n    # Mine.\n    environment:\n      DATABASE_URL: x\n\n",
    ),
    "a comment and a key": (
        "compose.yaml",
        "      - data:/data\n\n",
        '      - data:/data\n# Mine.\n    user: "0"\n\n',
    ),
    "a volume": ("compose.yaml", "  data:\n", "  data:\n  uploads:\n"),
    "options of a volume": ("compose.yaml", "  data:\n", "  data:\n    external: true\n"),
    "a volume of the service": (
        "compose.yaml",
        "      - data:/data\n    depends_on",
        "      - data:/data\n      - mine:/mine\n    depends_on",
    ),
    "a key in production": (
        "compose.production.yaml",
        '"${SERVICE_IMAGE-}"\n',
        '"${SERVICE_IMAGE-}"\n    user: "0"\n',
    ),
    "a command of a target": ("Makefile", 'OFFLINE." >&2; exit 1; }\n', None),
    "a setting": ("pyproject.toml", "[tool.pytest.ini", "mine = 1\n\n[tool.pytest.ini"),
    "a statement": ("scripts/dev.py", 'stands above.")\n', 'stands above.")\n        mine()\n'),
    "a paragraph": ("README.md", "The rest stands in [", "Mine.\n\nThe rest stands in ["),
}
"""Lines below what goes that are a part of it."""


@pytest.mark.parametrize(("file", "old", "new"), INSIDE.values(), ids=INSIDE)
def test_own_lines_do_not_fall_into_what_is_above(
    project: BakedProject, no_uv: str, file: str, old: str, new: str | None
) -> None:
    """What is in a block that goes is its owner's to move; the file is named."""
    changed(project, file, old, f"{old}\techo mine\n" if new is None else new)
    said = refusal(project, no_uv)
    assert file in said
    assert "Do by hand" in said


BELOW: Final = {
    "a service": (
        "compose.yaml",
        "      - data:/data\n\n",
        "      - data:/data\n\n  # Mine.\n  mine:\n    image: mine\n\n",
    ),
    "a target": ("Makefile", "\nup: password", "\n# Mine.\nmine:\n\techo\n\nup: password"),
    "a table": ("pyproject.toml", "[tool.pytest.ini", "[tool.mine]\na = 1\n\n[tool.pytest.ini"),
    "a chapter": ("README.md", "The rest stands in [", "## Mine\n\nText.\n\nThe rest stands in ["),
    "a router": ("app/api/router.py", "_router(users)\n", "_router(users)\nrouter.mine = 1\n"),
    "a setting": ("app/core/config.py", 'hold a password.",\n    )\n', None),
}
"""Lines below what goes that are no part of it."""


@pytest.mark.parametrize("change", BELOW.values(), ids=BELOW)
def test_own_lines_below_stay(
    project: BakedProject,
    expected: dict[str, str],
    no_uv: str,
    change: tuple[str, str, str | None],
) -> None:
    """What stands beside a block that goes, and not in it, is kept."""
    file, old, new = change
    new = f"{old}    mine: int = 1\n" if new is None else new
    changed(project, file, old, new)
    run("make", "remove-example", cwd=project.path, PATH=no_uv)
    found = contents(project)
    added = Counter(found[file].splitlines()) - Counter(expected[file].splitlines())
    assert added == Counter(new.splitlines()) - Counter(old.splitlines())
    assert checks.unparsable(project) == []


def test_what_goes_is_not_taken_from_another_place(project: BakedProject, no_uv: str) -> None:
    """Who has copied lines of the example is asked which are meant."""
    line = "import shutil\n"
    changed(project, "tests/conftest.py", line, f"{line}import mine\n{line}")
    assert "once more" in refusal(project, no_uv)


@pytest.mark.parametrize("example", ["yes", "no"])
def test_databases_are_never_committed(bake: Bake, example: str) -> None:
    """One that was there before stays ignored when the example is out."""
    lines = bake(example_resource=example).read(".gitignore").splitlines()
    assert {"*.db", "*.db-*"} <= set(lines)


def test_a_change_of_any_file_of_the_example_is_not_lost(project: BakedProject, no_uv: str) -> None:
    """The removal is refused, names the file, and does not touch the others."""
    alone = re.findall(r"^--- a/(.*)\n\+\+\+ /dev/null$", project.read(PATCH), re.MULTILINE)
    assert "app/models.py" in alone
    for file in alone:
        text = project.read(file)
        (project.path / file).write_text(text + "# mine\n")
        assert file in refusal(project, no_uv)
        (project.path / file).write_text(text)


def test_what_is_removed_stands_once(rendered: BakedProject) -> None:
    """The lines that go are nowhere else in their file, so that no others can go instead."""
    for part in re.split(r"^--- a/", rendered.read(PATCH), flags=re.MULTILINE)[1:]:
        file, _, hunks = part.partition("\n")
        for hunk in re.split(r"^@@.*\n", hunks, flags=re.MULTILINE)[1:]:
            old = [line[1:] for line in hunk.splitlines() if line[:1] != "+"]
            kept = [line[:1] not in "-+" for line in hunk.splitlines() if line[:1] != "+"]
            while kept[0]:
                del old[0], kept[0]
            while kept[-1]:
                del old[-1], kept[-1]
            assert rendered.read(file).count("\n".join(old)) == 1, (file, old)


def test_each_file_with_a_part_of_the_example_is_in_the_patch() -> None:
    """The list in the template of the patch has all of them, in order, and no others."""
    with_parts = sorted(
        str(file.relative_to(TEMPLATE))
        for file in TEMPLATE.rglob("*")
        if file.is_file() and file.name != PATCH and b"cookiecutter.example_" in file.read_bytes()
    )
    listed = re.findall(r'^    "(.*)",$', (TEMPLATE / PATCH).read_text(), re.MULTILINE)
    assert listed == with_parts

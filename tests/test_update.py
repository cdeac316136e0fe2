"""`cruft update` brings a newer template into a service, over what its owner has changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.baked import ROOT, UV, BakedProject, run
from tests.clones import Files, git, write

pytestmark = pytest.mark.slow
SERVICE = "{{cookiecutter.project_slug}}"
OLD = "app/core/cache/docs/old.md"
BRACES = 'TEMPLATE = "{{ user.id }}"\n'
SECOND: Files = {
    f"{SERVICE}/app/core/cache/docs/new.md": BRACES,
    f"{SERVICE}/app/core/cache/rooms/new.py": BRACES,
    f"{SERVICE}/app/core/cache/picture.bin": bytes(range(256)),
    f"{SERVICE}/docs/{'{{cookiecutter.project_slug}}'}.md": "# {{ cookiecutter.project_name }}\n",
    f"{SERVICE}/{OLD}": None,
}
"""What the second version of the template adds and removes."""
CHOICES = {
    "defaults": {},
    "without the example": {"example_resource": False, "license": "Proprietary"},
    "odd names": {"project_name": 'A "Desk" \\ ü', "project_slug": "desk"},
}

Cruft = Callable[..., str]


@pytest.fixture(scope="module")
def history(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository of the template, with two versions: `v1` and `v2`."""
    root = tmp_path_factory.mktemp("history") / "template"
    shutil.copytree(template, root)
    write(root, {f"{SERVICE}/{OLD}": "old\n"})
    git(root, "init", "--quiet")
    commit(root, "v1")
    write(root, SECOND)
    edit(root / SERVICE / "app" / "core" / "cache" / "README.md", "# Cache\n", "# The cache\n")
    edit(root / SERVICE / "app" / "core" / "cache" / "base.py", "\n\n", "\n\n# new\n")
    edit(root / SERVICE / "Makefile", "\nlint: ", "\nnew: uv ## Something new\n\ttrue\n\nlint: ")
    edit(root / SERVICE / "README.md", "\n## Run\n", "\nNew: {{ cookiecutter.planet }}\n\n## Run\n")
    answers = json.loads((root / "cookiecutter.json").read_text())
    answers["planet"] = "Mars"
    answers["_copy_without_render"].append("app/core/cache/rooms/*")
    (root / "cookiecutter.json").write_text(json.dumps(answers, indent=2))
    commit(root, "v2")
    return root


def commit(root: Path, tag: str) -> None:
    """Commit all, with a tag."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", tag)
    git(root, "tag", tag)


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first place of a text in a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def cruft(tmp_path_factory: pytest.TempPathFactory) -> Cruft:
    """Return what runs cruft, in an environment of its own and without the user's home."""
    home = tmp_path_factory.mktemp("cruft")
    run(
        *(UV, "sync", "--quiet", "--project", ROOT, "--only-group", "cruft"),
        cwd=ROOT,
        UV_PROJECT_ENVIRONMENT=str(home / ".venv"),
    )

    def ran(*arguments: str | Path, cwd: Path) -> str:
        command = home / ".venv" / "bin" / "cruft"
        return run(command, *arguments, cwd=cwd, HOME=str(home), PYTHONUTF8="1")

    return ran


def create(cruft: Cruft, history: Path, folder: Path, version: str, answers: object) -> Path:
    """Make a service of a version of the template, and commit it."""
    folder.mkdir()
    given = ("--no-input", "--extra-context", json.dumps(answers))
    cruft("create", history, "--checkout", version, *given, cwd=folder)
    (service,) = folder.iterdir()
    git(service, "init", "--quiet")
    commit(service, "first")
    return service


def contents(service: Path) -> dict[str, bytes]:
    """Return the files of a service."""
    files = [file for file in BakedProject(service).files() if not file.startswith(".git/")]
    return {file: (service / file).read_bytes() for file in files}


@pytest.mark.parametrize("answers", CHOICES.values(), ids=CHOICES)
def test_an_unchanged_service_becomes_a_fresh_one(
    answers: dict[str, object], history: Path, cruft: Cruft, tmp_path: Path
) -> None:
    """Byte for byte: changed, added and removed files, and a new question with its default."""
    service = create(cruft, history, tmp_path / "old", "v1", answers)
    assert (service / OLD).exists()
    cruft("update", "--skip-apply-ask", "--checkout", "v2", cwd=service)
    fresh = create(cruft, history, tmp_path / "fresh", "v2", answers)
    assert contents(service) == contents(fresh)
    assert "New: Mars\n" in (service / "README.md").read_text()
    assert (service / "app/core/cache/rooms/new.py").read_text() == BRACES
    assert not (service / OLD).exists()


@pytest.mark.parametrize("answers", CHOICES.values(), ids=CHOICES)
def test_a_service_that_cruft_did_not_make_can_be_linked(
    answers: dict[str, object], history: Path, cruft: Cruft, tmp_path: Path
) -> None:
    """With the version and answers that it was made with, it is as if cruft had made it."""
    service = create(cruft, history, tmp_path / "old", "v1", answers)
    (service / ".cruft.json").unlink()
    commit(service, "unlinked")
    given = ("--no-input", "--extra-context", json.dumps(answers))
    cruft("link", history, "--checkout", "v1", *given, cwd=service)
    commit(service, "linked")
    cruft("update", "--skip-apply-ask", "--checkout", "v2", cwd=service)
    assert contents(service) == contents(create(cruft, history, tmp_path / "fresh", "v2", answers))


def test_what_the_owner_changed_stays(history: Path, cruft: Cruft, tmp_path: Path) -> None:
    """Other lines of the same files, files of his own, and files that he has deleted."""
    service = create(cruft, history, tmp_path / "old", "v1", {})
    page = service / "app" / "core" / "cache" / "README.md"
    edit(page, "- [Licence]", "- Mine.\n- [Licence]")
    with (service / "Makefile").open("a") as makefile:
        makefile.write("\nmine: ## Something of mine\n\ttrue\n")
    write(
        service, {"app/mine.py": "MINE = 1\n", "app/core/cache/base.py": None, "compose.yaml": None}
    )
    git(service, "add", "--all")
    git(service, "commit", "--quiet", "--message", "mine")
    cruft("update", "--skip-apply-ask", "--checkout", "v2", cwd=service)
    text = page.read_text()
    assert text.startswith("# The cache\n")
    assert "- Mine.\n" in text
    assert "\nmine: " in (service / "Makefile").read_text()
    assert "\nnew: " in (service / "Makefile").read_text()
    assert (service / "app" / "mine.py").read_text() == "MINE = 1\n"
    assert not (service / "app" / "core" / "cache" / "base.py").exists()
    assert not (service / "compose.yaml").exists()
    fresh = contents(create(cruft, history, tmp_path / "fresh", "v2", {}))
    after = contents(service)
    assert {file for file in after if after[file] != fresh.get(file)} == {
        *("app/core/cache/README.md", "Makefile", "app/mine.py"),
    }


def test_the_same_lines_are_a_conflict(history: Path, cruft: Cruft, tmp_path: Path) -> None:
    """Both are there, between git's markers, and all else is updated."""
    service = create(cruft, history, tmp_path / "old", "v1", {})
    page = service / "app" / "core" / "cache" / "README.md"
    edit(page, "# Cache\n", "# My cache\n")
    git(service, "commit", "--all", "--quiet", "--message", "mine")
    said = cruft("update", "--skip-apply-ask", "--checkout", "v2", cwd=service)
    assert "with conflicts" in said
    assert page.read_text().startswith("<<<<<<< ours\n# My cache\n=======\n# The cache\n>>>>>>>")
    assert not (service / OLD).exists()
    assert (service / "app/core/cache/rooms/new.py").read_text() == BRACES

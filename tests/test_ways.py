"""Every way to a service gives the same one: tools, versions, sources, and Pythons."""

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.baked import ROOT, UV, Bake, BakedProject, find_python, run

GROUPS: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
(NEWEST,) = GROUPS["render"]
(OLDEST,) = GROUPS["cookiecutter-oldest"]
(OLDER,) = GROUPS["cookiecutter-older"]
PYTHONS: Final = ("3.11", "3.12", "3.13")


INSTALLED: Final = {version: path for version in PYTHONS if (path := find_python(version))}


class Home:
    """A folder with sources of the template, and with whatever the tools keep in a home."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.path = folder
        (folder / "tmp").mkdir()
        self.clone = folder / "clone"
        shutil.copytree(template, self.clone)
        git = ("git", "-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.com")
        for command in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "Begin")):
            run(*git, *command, cwd=self.clone)
        self.zip = folder / "template.zip"
        run("git", "archive", "--prefix=template/", f"--output={self.zip}", "HEAD", cwd=self.clone)

    def run(self, *command: str | Path) -> str:
        """Run a tool that must not read or change the user's own home."""
        variables = {
            "HOME": str(self.path),
            "PIPX_HOME": str(self.path / "pipx"),
            "TMPDIR": str(self.path / "tmp"),
            "UV_CACHE_DIR": run(UV, "cache", "dir", cwd=self.path).strip(),
        }
        return run(*command, cwd=self.path, **variables)

    def uvx(self, package: str, python: str) -> list[str | Path]:
        """Return the command that runs cookiecutter with uvx, which makes it an environment."""
        return [UV, "tool", "run", "--quiet", "--python", INSTALLED[python], "--from", package]

    def of_group(self, group: str, program: str) -> Path:
        """Return a program of a dependency group, in an environment of its own."""
        environment = self.path / group
        sync = (UV, "sync", "--quiet", "--project", ROOT, "--only-group", group)
        run(*sync, cwd=ROOT, UV_PROJECT_ENVIRONMENT=str(environment))
        return environment / "bin" / program


@pytest.fixture(scope="module")
def home(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return the folder that all ways share."""
    return Home(tmp_path_factory.mktemp("home"), template)


@pytest.fixture(scope="module")
def expected(bake: Bake) -> dict[str, tuple[int, bytes]]:
    """Return what the template's own tools make of the defaults."""
    return contents(bake().path)


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return each file with its mode and its bytes, without the one that is cruft's own."""
    files = {file: folder / file for file in BakedProject(folder).files() if file != ".cruft.json"}
    return {file: (path.stat().st_mode, path.read_bytes()) for file, path in files.items()}


def by_pipx(home: Home) -> list[str | Path]:
    """Return the command that the documentation of cookiecutter names first."""
    pipx = home.of_group("pipx", "pipx")
    return [pipx, "run", "--spec", NEWEST, "cookiecutter", home.clone, "--no-input"]


def by_cruft(home: Home) -> list[str | Path]:
    """Return the command of those who want updates."""
    return [home.of_group("cruft", "cruft"), "create", f"file://{home.clone}", "--no-input"]


def by_uvx(package: str, python: str, source: str) -> Callable[[Home], list[str | Path]]:
    """Return the function that makes the command for a version, a Python and a source."""

    def command(home: Home) -> list[str | Path]:
        sources = {
            "clone": str(home.clone),
            "url": f"git+file://{home.clone}",
            "zip": str(home.zip),
        }
        program = home.uvx(package, python)
        return [*program, "cookiecutter", sources[source], "--no-input"]

    return command


WAYS: Final = {
    "pipx": by_pipx,
    "cruft": by_cruft,
    **{
        f"{package} on {python} from a {source}": by_uvx(package, python, source)
        for package, python, source in (
            # Each version, each Python and each source with each other, once.
            *((OLDEST, "3.11", "clone"), (OLDER, "3.11", "url"), (NEWEST, "3.11", "zip")),
            *((OLDEST, "3.12", "url"), (OLDER, "3.12", "zip"), (NEWEST, "3.12", "clone")),
            *((OLDEST, "3.13", "zip"), (OLDER, "3.13", "clone"), (NEWEST, "3.13", "url")),
        )
        if python in INSTALLED
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same(
    way: str, home: Home, expected: dict[str, tuple[int, bytes]], tmp_path: Path
) -> None:
    """Byte for byte, and the last words say where it is."""
    said = home.run(*WAYS[way](home), "--output-dir", tmp_path)
    assert contents(tmp_path / "cached-service") == expected
    assert f"\n  cd {tmp_path / 'cached-service'}\n" in said


def test_the_pythons_are_reported(report: Callable[[str], None]) -> None:
    """The machine has at least one of those that a service is made for."""
    report(f"Ways to a service were tried on Python {', '.join(INSTALLED)}")
    assert INSTALLED


@pytest.mark.parametrize("way", ["pipx", "cruft"])
def test_a_refusal_is_one_message(way: str, home: Home, tmp_path: Path) -> None:
    """Other programs than cookiecutter's own end with it, too, and leave nothing."""
    slug = {
        "pipx": ["project_slug=redis"],
        "cruft": ["--extra-context", '{"project_slug": "redis"}'],
    }
    command = [*WAYS[way](home), "--output-dir", tmp_path, *slug[way]]
    with pytest.raises(AssertionError, match="project_slug 'redis' is refused") as raised:
        home.run(*command)
    assert "Traceback" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_what_cruft_makes_for_itself_is_not_announced(home: Home, tmp_path: Path) -> None:
    """It renders the template again to compare, and removes that."""
    home.run(*by_cruft(home), "--output-dir", tmp_path)
    service = tmp_path / "cached-service"
    (service / "LICENSE").write_text("None.\n")
    said = home.run(home.of_group("cruft", "cruft"), "diff", "--project-dir", service)
    assert "\n-None.\n" in said
    assert "Your service is in" not in said

"""`adopt.py` copies the module into an application, compares a copy, and says what is missing."""

import subprocess
import sys
from pathlib import Path

import pytest
from adoption.surroundings import floors_of, settings_of

from tests.baked import CACHE, environment
from tests.clones import FIRST, LINES, Clone, Files, Shop, git, seen, write


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """Return a clone with one release."""
    clone = Clone(tmp_path / "clone")
    clone.release("1.0.0", FIRST)
    return clone


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return an application without a copy."""
    return Shop(tmp_path / "shop")


def names(folder: Path) -> set[str]:
    """Return the names of the files of a copy."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("options", "without"),
    [
        ([], ["tests/test_base.py"]),
        (["--with-tests"], []),
        (["--without", "near"], ["tests/test_base.py", "backends/near.py"]),
        (
            ["--without", "ops", "testing"],
            ["tests/test_base.py", "ops/audit.py", "testing/clock.py"],
        ),
    ],
)
def test_a_copy_has_the_parts_that_one_wants(
    options: list[str], without: list[str], clone: Clone, shop: Shop
) -> None:
    """The tests only if one asks for them; it is as it was released, and says what was left out."""
    ran = clone.adopt("copy", shop.copy, *options, ends=0)
    assert names(shop.copy) == {*FIRST, "version.txt"} - {*without}
    assert "from shop.platform.caching import cache_response" in ran.out
    said = clone.adopt("check", shop.copy, ends=0).out
    assert "is 1.0.0 (cache-v1.0.0), as it was released" in said
    assert said.count("left out  ") == len(without)


@pytest.mark.parametrize(
    ("files", "arguments", "says"),
    [
        ({"cache/mine.py": "x"}, ["cache"], "is there already"),
        ({"cache": "x"}, ["cache"], "is no folder"),
        ({"cache.py": "x"}, ["cache"], "Python would import the folder in its place"),
        ({}, ["my-cache"], "'my-cache' is no name of a package"),
        ({}, ["class"], "'class' is no name of a package"),
        ({}, ["cache", "--release", "1.5.0"], "no release 1.5.0"),
        ({}, ["cache", "--release", "nonsense"], "'nonsense' is neither a release nor a commit"),
        ({}, ["cache", "--release", "--help"], "expected one argument"),
        ({}, ["cache", "--without", "ops", "--with-tests"], "the tests are those of the whole"),
        ({}, ["cache", "--without", "nonsense"], "invalid choice"),
        ({".cache.adopt/x": "x"}, ["cache"], "is of a run that is under way"),
    ],
)
def test_a_copy_that_cannot_be_is_refused(
    files: Files, arguments: list[str], says: str, clone: Clone, shop: Shop
) -> None:
    """Before anything is written."""
    write(shop.root, files)
    before = seen(shop.root)
    done = subprocess.run(
        [sys.executable, clone.root / "scripts" / "adopt.py", "copy", *arguments],
        cwd=shop.root,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert seen(shop.root) == before


def test_differences_are_told_and_shown(clone: Clone, shop: Shop) -> None:
    """Changed, missing and added files, each on a line; `diff` shows the lines."""
    clone.adopt("copy", shop.copy, "--without", "ops", ends=0)
    assert clone.adopt("diff", shop.copy, ends=0).out == (
        "Only in cache-v1.0.0: ops/, which was left out\n"
        "Only in cache-v1.0.0: tests/, which was left out\n"
    )
    changed = LINES.replace("line 2\n", "line 2, mine\n")
    write(shop.copy, {"base.py": changed, "LICENSE": None, "own.py": "x\n"})
    write(shop.copy, {"docs/page.md": LINES.replace("\n", "\r\n")})
    said = clone.adopt("check", shop.copy, ends=1).out
    told = [
        line for line in said.splitlines() if line.split()[0] in {"changed", "missing", "added"}
    ]
    assert told == ["missing   LICENSE", "changed   base.py", "added     own.py"]
    lines = clone.adopt("diff", shop.copy, ends=1).out.splitlines()
    assert "Only in cache-v1.0.0: LICENSE" in lines
    assert "Only in this copy: own.py" in lines
    assert [line for line in lines if line.startswith(("-line", "+line"))] == [
        *("-line 2", "+line 2, mine"),
    ]


def test_a_newer_release_is_told(clone: Clone, shop: Shop) -> None:
    """The newest by its numbers; a tag of the template is none of the module."""
    clone.adopt("copy", shop.copy, ends=0)
    clone.release("1.9.0", {})
    clone.release("1.10.0", {}, tag="v{}")
    clone.commit({"version.txt": "1.11.0.dev0\n"})
    git(clone.root, "tag", "v2.0.0")
    assert "1.10.0 (v1.10.0) is newer" in clone.adopt("check", shop.copy, ends=0).out


def test_packages_that_are_missing_or_too_old_are_told(clone: Clone, shop: Shop) -> None:
    """With the version needed and the one that the application's Python has."""
    for name, version in (("redis", "7.9.1"), ("pydantic_settings", "2.2.0")):
        info = {f"{name}-{version}.dist-info/METADATA": f"Name: {name}\nVersion: {version}\n"}
        write(shop.root / "packages", info)
    write(shop.root / ".venv" / "bin", {"python": "#!/bin/sh\n"})
    python = shop.root / ".venv" / "bin" / "python"
    site = "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p] + "
    asked = f"{site}[{str(shop.root / 'packages')!r}]; exec(sys.argv.pop(1))"
    python.write_text(f'#!/bin/sh\nshift; shift\nexec {sys.executable} -I -c "{asked}" "$@"\n')
    python.chmod(0o755)
    said = clone.adopt("copy", shop.copy, ends=1).out
    assert "redis: 8.0 or newer is needed, 7.9.1 is installed" in said
    assert "anyio: 3.7.1 or newer is needed, none is installed" in said
    assert "pydantic-settings" not in said
    assert "try: uv add 'redis[hiredis]>=8.0' 'anyio>=3.7.1'" in said


@pytest.mark.parametrize(
    ("file", "text", "code"),
    [
        ("requirements.txt", "redis==7.4.0  # pinned", 1),
        ("requirements-prod.txt", "Redis[hiredis]<8", 1),
        ("requirements.txt", "redis>=5\nredis-om<1", 0),
        ("requirements.txt", "redis==8.*", 0),
        ("pyproject.toml", "project.dependencies = ['redis ~= 5.2; python_version > \"3\"']", 1),
        ("pyproject.toml", "dependency-groups.web = ['redis<=8.0.0']", 0),
        ("pyproject.toml", "tool.poetry.dependencies.redis = '^5.0'", 1),
        ("pyproject.toml", "tool.poetry.dependencies.redis = {version = '^8.0'}", 0),
        ("pyproject.toml", "[[", 0),
    ],
)
def test_a_bound_below_a_floor_is_told(
    file: str, text: str, code: int, clone: Clone, shop: Shop
) -> None:
    """Wherever an application says what it requires; the exit code tells it, too."""
    write(shop.root, {file: f"{text}\n"})
    said = clone.adopt("copy", shop.copy, ends=code).out
    assert said.count("redis: 8.0 or newer is needed, and the project says") == code


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({".env": "REDIS_HOST=other\n"}, "REDIS_HOST is used already (.env:1)"),
        ({"compose.yaml": "x:\n  - CACHE_BACKEND=x\n"}, "CACHE_BACKEND is used already"),
        ({"src/shop/conf.py": "class S:\n    redis_host: str\n"}, "set CACHE_REDIS_HOST"),
        ({"src/shop/conf.py": 'x = os.environ["REDIS_SSL"]\n'}, "REDIS_SSL is used already"),
        ({"src/shop/conf.py": "redis_host = 1  # REDIS_HOST\n"}, None),
        ({"tests/test_x.py": 'REDIS_HOST = "x"\n', ".venv/x.py": "REDIS_HOST = 1\n"}, None),
        (
            {"src/shop/conf.py": 'class S(BaseSettings):\n    x = {"env_file": ".env"}\n'},
            'Say extra="ignore" there',
        ),
        (
            {"src/shop/conf.py": 'class S(BaseSettings): env_file = ".env"; extra = "ignore"\n'},
            None,
        ),
    ],
)
def test_settings_that_the_application_has_are_told(
    files: Files, told: str | None, clone: Clone, shop: Shop
) -> None:
    """With the place, and what to set instead; comments, tests and environments do not count."""
    write(shop.root, files)
    said = clone.adopt("copy", shop.copy, ends=0).out
    assert (told or "Copied") in said
    assert told or ("is used already" not in said and "extra=" not in said)


def test_the_needs_are_those_of_the_module() -> None:
    """They are read from its files, and are those of its README."""
    files = {str(path.relative_to(CACHE)): path.read_bytes() for path in CACHE.rglob("*.py")}
    floors = floors_of(files)
    readme = " ".join((CACHE / "README.md").read_text().split())
    titles = {"fastapi": "FastAPI", "pydantic": "Pydantic", "redis": "redis-py", "anyio": "AnyIO"}
    assert {*titles, "pydantic-settings", "hiredis"} == {*floors}
    assert all(f"{titles.get(name, name)} {floor}" in readme for name, floor in floors.items())
    assert {"REDIS_HOST", "CACHE_BACKEND", "CACHE_NEAR_SIZE"} <= {*settings_of(files)}


def test_an_older_python_is_told(clone: Clone) -> None:
    """In one line, before anything that it lacks is imported."""
    code = "import sys; sys.version_info = (3, 10); sys.version = '3.10.1 '; import adoption"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=clone.root / "scripts",
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "Refused: Python 3.11 or newer is needed; this is 3.10.1\n"

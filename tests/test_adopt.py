"""`adopt.py` copies the module into an application, compares a copy, and says what is missing."""

import subprocess
import sys
from pathlib import Path

import pytest
from adoption.surroundings import floors_of, keeps_below, packages_missing, settings_of

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
    assert ("The tests need pytest, hypothesis" in ran.out) == ("--with-tests" in options)
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
        ("pyproject.toml", "tool.poetry.dependencies.redis = [{version = '^5.0'}, '6.*']", 1),
        ("pyproject.toml", "tool.poetry.dependencies.redis = [{version = '^5.0'}, '^8.0']", 0),
        ("pyproject.toml", "tool.poetry.group.web.dependencies.redis = '~7.4'", 1),
        ("pyproject.toml", "[[", 0),
        ("pyproject.toml", f"project.x = {'[' * 5000}{']' * 5000}", 0),
        ("pyproject.toml", "project.dependencies = 5", 0),
        ("pyproject.toml", "project.optional-dependencies = ['a']", 0),
        ("pyproject.toml", "tool.poetry = 'x'", 0),
    ],
)
def test_a_bound_below_a_floor_is_told(
    file: str, text: str, code: int, clone: Clone, shop: Shop
) -> None:
    """Wherever an application says what it requires; the exit code tells it, too."""
    write(shop.root, {file: f"{text}\n"})
    said = clone.adopt("copy", shop.copy, ends=code).out
    assert said.count("redis: 8.0 or newer is needed, and the project says") == code


def test_files_that_requirements_include_are_read(clone: Clone, shop: Shop) -> None:
    """Those of constraints, too; each once, though they include one another."""
    files = {
        "requirements.txt": "-r deps/base.txt\n-r https://example.com/x.txt\n-r .\nfastapi\n",
        "deps/base.txt": "--requirement=../requirements.txt\n-c oldest.txt  # these\nredis<8\n",
        "deps/oldest.txt": "anyio == 3.6.2\n",
    }
    write(shop.root, files)
    said = clone.adopt("copy", shop.copy, ends=1).out
    assert said.count("and the project says 'redis<8'") == 1
    assert said.count("and the project says 'anyio == 3.6.2'") == 1


@pytest.mark.parametrize(
    ("floor", "below", "fine"),
    [
        ("0.100.1", "^0.95.0 ^0.99", "^0 ^0.100 ^0.100.0 ^0.101 ^1 ^1.2.3"),
        ("0.100.1", "~0.99 ~=0.99.0 ==0.95.*", "~0 ~1 ~0.100 ~=0.99 ~=0.100.0 ==0.*"),
        ("0.100.1", "<0.100.1 <=0.100 ==0.100.0 0.100 <=0.100.1rc1", "<0.100.2 <=0.100.1 <1"),
        ("0.0.4", "^0.0.3 ^0.0.0 ~=0.0.3.1", "^0.0 ^0.0.4 ~0.0.3 ~=0.0.3"),
        ("1.2.3", "~1.1 ~1.1.9 ~=1.2.2.1 1.1.x", "~1 ~1.2 ~1.2.0 ~=1.2 ~=1.2.2 ^1 ^1.0.0 1.*"),
        ("2.7", "~2.6 ~=2.6.0 2.6.* ~2.6.9.9 =2.6.1", "~2 ~=2.6 2.* * ~=2 ^2.6 =2.7 v2.7"),
        ("2.7", "^2!1.0,<2.7 ===2.6", ">=2.6 >2.6 !=2.6.* !=2.7 <>2.6 <1!0 ==1!0.1 <=2.*"),
        ("8.0", "==5.* <8 <8.0.0 <8.0rc1 ==7 <=8.0.dev1", "==8.* ==8 <=8 <8.0.post1 ==8.0-1"),
        ("8.0", ">=5,<8 <8,>=5 (<8) [x]==7 [x,y]~=7.1", ">=5,<9 (<8.1) ==8.0+x @x/==7.zip"),
        ("8.0", "^5||^7 <6|6.* ~=7.4;x>'8'", "^5||^8 ^8|^5 >=8;x<'3' >=8\t--hash=sha256:7"),
    ],
)
def test_the_end_of_each_bound_is_that_of_its_operator(floor: str, below: str, fine: str) -> None:
    """By the rules of PEP 440 and of Poetry: nothing that allows the floor is told."""
    for bound in below.split(" "):
        assert keeps_below(f"a.Package {bound}", "a-package", floor), bound
    for bound in fine.split(" "):
        assert not keeps_below(f"a.Package {bound}", "a-package", floor), bound
    assert not keeps_below("a-package-x ==0", "a-package", floor)


@pytest.mark.parametrize(
    "value", ["5", "'redis<8'", "[5, ['redis<8'], {redis = 5}]", "{x = {y = 1}}"]
)
def test_what_has_another_type_in_a_project_is_as_if_it_were_not_there(
    value: str, tmp_path: Path
) -> None:
    """Wherever it is: a file that is TOML may say anything."""
    project, poetry = ("dependencies", "optional-dependencies.x"), ("dependencies.redis", "group.x")
    keys = [f"project.{key}" for key in project] + [f"tool.poetry.{key}" for key in poetry]
    keys += ["dependency-groups.x", "tool.poetry.group.x.dependencies.redis"]
    for key in keys:
        for end in range(1, key.count(".") + 2):
            path = ".".join(key.split(".")[:end])
            write(tmp_path, {"pyproject.toml": f"{path} = {value}\n"})
            assert list(packages_missing({}, tmp_path, None)) == [], path


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

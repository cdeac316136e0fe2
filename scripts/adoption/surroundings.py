"""What an application has, and the cache module needs: packages, and names of settings."""

import ast
import json
import keyword
import re
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from .releases import VERSION, Files, RefusalError

_FLOORS: Final = "floors.py"
_SETTINGS: Final = "settings/model.py"
_BESIDES: Final = {"anyio": "3.7.1"}
"""What floors.py does not look at: it has no version that is quickly read."""
_PYTHON: Final = "3.11"
_OF_A_PROJECT: Final = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", ".git")
_CONFIGURATION: Final = (
    *("*.py", ".env*", "*.env", "*.toml", "Dockerfile*", "*compose*.yml", "*compose*.yaml"),
)
_NOT_READ: Final = {"node_modules", "site-packages", "venv", "__pycache__", "tests", "build"}
_INCLUDED: Final = re.compile(r"(?:-[rc]|--requirement|--constraint)[\s=]*(.+)")
_CLAUSE: Final = re.compile(
    r"(===|==|~=|!=|<>|<=|>=|[<>=^~])?\s*v?(?:(\d+)!)?(\d+(?:\.\d+)*)((?:\.[*x])+)?([^\s,()<>=!~^]*)",
    re.IGNORECASE,
)
"""An operator, an epoch, the numbers of a release, `.*`, and what follows, such as `rc1`."""
_SHOWN: Final = 3
"""So many places are named for each setting."""
_MOST_SECONDS: Final = 60
_ASK: Final = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = None
print(json.dumps(found))
"""


def project_of(folder: Path) -> Path:
    """Return the root of the application in which a folder is, or will be."""
    for parent in folder.parents:
        if any((parent / name).exists() for name in _OF_A_PROJECT):
            return parent
    return folder.parent


class Needs:
    """What an application lacks, and which settings it uses itself. Ask before a change.

    Raises `RefusalError` if the interpreter does not answer.
    """

    def __init__(self, files: Files, folder: Path, python: Path | None) -> None:
        project = project_of(folder)
        python = python or python_of(project)
        no_python = (
            f"note      {project} has no .venv: name its Python by --python, or look yourself"
        )
        self.notes = [no_python] if python is None else []
        self.packages = list(packages_missing(files, project, python))
        self.lines = [*self.packages, *settings_clashing(files, project, folder)]


def import_of(folder: Path) -> Iterator[str]:
    """Yield a line on how the folder is most likely imported, and on what has to be done for it."""
    parts = list(folder.relative_to(project_of(folder)).parts)
    first = 1 if parts[0] == "src" and len(parts) > 1 else 0
    names = list(takewhile(_is_name, reversed(parts[first:])))[::-1]
    yield f"Import it by: from {'.'.join(names)} import cache_response, get_cache_manager"
    if len(names) < len(parts) - first:
        above = "/".join(parts[: len(parts) - len(names)])
        yield f"{above} is no name of a package: Python finds it with {above} in PYTHONPATH"


def _is_name(part: str) -> bool:
    return part.isidentifier() and not keyword.iskeyword(part)


def floors_of(files: Files) -> dict[str, str]:
    """Return the oldest versions of packages that a release works with."""
    floors: dict[str, str] = {}
    for node in ast.parse(files.get(_FLOORS, b"")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            floors |= ast.literal_eval(node.value)
    return {name.replace("_", "-"): floor for name, floor in (floors | _BESIDES).items()}


def settings_of(files: Files) -> list[str]:
    """Return the names of the variables that a release reads."""
    tree = ast.parse(files.get(_SETTINGS, b""))
    names = [
        line.target.id.upper()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == "CacheSettings"
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    ]
    return [name for name in names if name.startswith(("CACHE_", "REDIS_"))]


def packages_missing(files: Files, project: Path, python: Path | None) -> Iterator[str]:
    """Yield a line for each package that is missing, too old, or kept too old by the project."""
    floors = floors_of(files)
    found = _installed(python, list(floors))
    if found and _numbers(str(found["python"])) < _numbers(_PYTHON):
        yield f"python: {_PYTHON} or newer is needed, {found['python']} is there"
    bounds = list(_requirements(project))
    missing = []
    for name, floor in floors.items():
        if found and _numbers(found[name] or "") < _numbers(floor):
            yield f"{name}: {floor} or newer is needed, {found[name] or 'none'} is installed"
            missing.append(f"'{_with_extra(name)}>={floor}'")
        for line in bounds:
            if keeps_below(line, name, floor):
                yield f"{name}: {floor} or newer is needed, and the project says {line!r}"
    if missing:
        yield f"try: uv add {' '.join(missing)}, or the same with pip install"


def settings_clashing(files: Files, project: Path, folder: Path) -> Iterator[str]:
    """Yield a line for each setting that the application uses already, and for traps of `.env`."""
    names = "|".join([*settings_of(files), "REDIS_SSL"])
    # A variable, or the field of a class of settings.
    wanted = re.compile(rf"\b({names})\b|^\s+({names.lower()})\s*:")
    used: dict[str, list[str]] = {}
    for path in _configuration(project, folder):
        where = str(path.relative_to(project))
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            yield f"{where}: it could not be read"
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for match in wanted.finditer(line.partition("#")[0]):
                used.setdefault((match[1] or match[2]).upper(), []).append(f"{where}:{number}")
        if "BaseSettings" in text and "env_file" in text and not re.search(r"extra\W+ignore", text):
            yield (
                f"{where}: its BaseSettings refuse what they do not know in the .env file, so also "
                f'settings of the cache. Say extra="ignore" there'
            )
    for name, places in sorted(used.items()):
        shown = ", ".join(list(dict.fromkeys(places))[:_SHOWN])
        is_redis = name.startswith("REDIS_")
        instead = (
            f". If it is for another Redis, set CACHE_{name} for the cache" if is_redis else ""
        )
        yield f"{name} is used already ({shown}), and the cache reads it{instead}"


def _configuration(project: Path, folder: Path) -> Iterator[Path]:
    """Yield the files of an application that may have settings, but none of a copy."""
    found = project.rglob(_SETTINGS)
    copies = [path.parents[1] for path in found if (path.parents[1] / VERSION).is_file()]
    for pattern in _CONFIGURATION:
        for path in sorted(project.rglob(pattern)):
            above = path.relative_to(project).parts[:-1]
            is_other = any(part in _NOT_READ or part.startswith(".") for part in above)
            if (
                path.is_file()
                and not is_other
                and not any(map(path.is_relative_to, (folder, *copies)))
            ):
                yield path


def python_of(project: Path) -> Path | None:
    """Return the interpreter of an application's own environment."""
    for name in ("bin/python", "Scripts/python.exe"):
        if (python := project / ".venv" / name).exists():
            return python
    return None


def _installed(python: Path | None, names: list[str]) -> dict[str, str | None]:
    """Return the versions of Python and of packages there; nothing if there is no Python."""
    if python is None:
        return {}
    try:
        done = subprocess.run(
            [python, "-I", "-c", _ASK, *names],
            capture_output=True,
            check=True,
            encoding="utf-8",
            timeout=_MOST_SECONDS,
        )
        found: dict[str, str | None] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise RefusalError(
            f"{python} does not tell which packages it has ({error}): name another by --python"
        ) from None
    return found


def _requirements(project: Path) -> Iterator[str]:
    """Yield what the files of a project require, each in the form of PEP 508 or of Poetry.

    What has another type than it should is as if it were not there.
    """
    yield from _lines_of(sorted(project.glob("requirements*.txt")), set())
    try:
        said = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    lists = [_table(said, "project").get("dependencies")]
    lists += _table(said, "project", "optional-dependencies").values()
    lists += _table(said, "dependency-groups").values()
    for each in lists:
        yield from (line for line in _list(each) if isinstance(line, str))
    poetry = _table(said, "tool", "poetry")
    tables = [_table(poetry, "dependencies"), _table(poetry, "dev-dependencies")]
    tables += [_table(group, "dependencies") for group in _table(poetry, "group").values()]
    for name, bound in (item for table in tables for item in table.items()):
        choices = _list(bound) or [bound]  # one for each platform
        texts: list[Any] = [
            each.get("version") if isinstance(each, dict) else each for each in choices
        ]
        if all(isinstance(text, str) for text in texts):
            yield f"{name} {' || '.join(texts)}"


def _lines_of(files: list[Path], seen: set[Path]) -> Iterator[str]:
    """Yield the lines of files of requirements, and of those that they include."""
    for path in files:
        if not path.is_file() or path.resolve() in seen:
            continue
        seen.add(path.resolve())
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            text = line.partition("#")[0].strip()
            if included := _INCLUDED.fullmatch(text):
                yield from _lines_of([path.parent / included[1]], seen)
            else:
                yield text


def _table(found: object, *names: str) -> dict[str, Any]:
    """Return a table of a TOML file; an empty one if there is none."""
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _list(found: object) -> list[Any]:
    return found if isinstance(found, list) else []


def keeps_below(line: str, name: str, floor: str) -> bool:
    """Whether a requirement allows no version that is new enough."""
    own = re.match(r"([\w.-]+)\s*(?:\[[^]]*\])?\s*", line)
    if own is None or re.sub(r"[-_.]+", "-", own[1]).lower() != name:
        return False
    bounds = re.split(r";|@|\s--", line[own.end() :])[0]
    return all(  # Poetry has choices
        any(_ends_below(clause, floor) for clause in _CLAUSE.finditer(choice))
        for choice in re.split(r"\|+", bounds)
    )


def _ends_below(clause: re.Match[str], floor: str) -> bool:
    """Whether the newest version of a clause is too old, by the rules of PEP 440 and of Poetry."""
    sign, epoch, release, rest, suffix = (text or "" for text in clause.groups())
    numbers = [int(number) for number in release.split(".")]
    first = next((at for at, number in enumerate(numbers[:3]) if number), len(numbers[:3]) - 1)
    is_exact = sign in ("", "=", "==", "===")
    if rest:
        bumped = len(numbers) - 1 if is_exact else None
    else:
        bumped = {"^": first, "~": min(len(numbers), 2) - 1, "~=": len(numbers) - 2}.get(sign)
    if bumped is not None and bumped >= 0:  # all below the next of these numbers
        numbers = [*numbers[:bumped], numbers[bumped] + 1]
        rank, is_allowed = 0, False
    elif not rest and (is_exact or sign in ("<=", "<")):
        rank, is_allowed = _rank(suffix), sign != "<"
    else:
        return False
    end = (int(epoch or 0), _significant(numbers), rank)
    lowest = (0, _significant(_numbers(floor)), 0)
    return end < lowest or (end == lowest and not is_allowed)


def _rank(suffix: str) -> int:
    """Return where a version is beside that without its suffix: before (-1), there, or after."""
    public = suffix.partition("+")[0]
    is_after = re.match(r"[-_.]?(?:post|rev|r(?!c)|\d)", public, re.IGNORECASE)
    return 1 if is_after else -1 if public else 0


def _significant(numbers: list[int]) -> list[int]:
    """Return the numbers of a release without zeros at its end: 8 is 8.0."""
    return numbers[: max((at for at, number in enumerate(numbers, 1) if number), default=0)]


def _with_extra(name: str) -> str:
    return "redis[hiredis]" if name == "redis" else name


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]

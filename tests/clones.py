"""A clone of this repository with a small cache module in it, and an application beside it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.baked import ROOT, environment

FOLDER: Final = "{{cookiecutter.project_slug}}/app/core/cache"
Files = Mapping[str, str | bytes | None]
LINES: Final = "".join(f"line {number}\n" for number in range(1, 21))
FIRST: Final[Files] = {
    "__init__.py": '"""A cache."""\n',
    "LICENSE": "MIT\n",
    "floors.py": '_OF_REDIS = {"redis": "8.0"}\n_OF_ALL = {"pydantic_settings": "2.2"}\n',
    "settings/model.py": "class CacheSettings:\n    redis_host: str\n    cache_backend: str\n",
    "base.py": LINES,
    "backends/near.py": "NEAR = 1\n",
    "http/route.py": "ROUTE = 1\n",
    "ops/audit.py": LINES,
    "testing/clock.py": LINES,
    "tests/test_base.py": LINES,
    "docs/page.md": LINES,
    "docs/picture.bin": b"\x00\x01",
}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run of the tool came to."""

    code: int
    out: str
    err: str


def git(folder: Path, *arguments: str) -> str:
    """Run git with an author, without the user's configuration; return what it prints."""
    who = ("-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.com")
    done = subprocess.run(
        ["git", *who, *arguments],
        cwd=folder,
        env=environment(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write(folder: Path, files: Files) -> None:
    """Write files below a folder; `None` removes one."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data if isinstance(data, bytes) else data.encode())


def seen(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return what is in a folder, but for git's own: modes and contents."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in folder.rglob("*")
        if ".git" not in path.parts and "__pycache__" not in path.parts
    }


class Clone:
    """A repository with the tool and the module, whose releases a test makes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / FOLDER
        for name in ("adopt.py", "size.py", "adoption"):
            source, target = ROOT / "scripts" / name, root / "scripts" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        git(root, "init", "--quiet")

    def commit(self, files: Files) -> str:
        """Commit changes of the module; return the commit."""
        write(self.folder, files)
        git(self.root, "add", "--all")
        git(self.root, "commit", "--quiet", "--allow-empty", "--message", "change")
        return git(self.root, "rev-parse", "HEAD").strip()

    def release(self, number: str, files: Files, tag: str = "cache-v{}") -> None:
        """Release changes of the module, with a tag."""
        self.commit({**files, "version.txt": f"{number}\n"})
        git(self.root, "tag", tag.format(number))

    def adopt(self, command: str, folder: Path, *more: str, ends: int) -> Ran:
        """Run the tool on a copy, by a plain Python; it ends with this code, and one line if 2."""
        done = subprocess.run(
            [sys.executable, "-sE", self.root / "scripts" / "adopt.py", command, folder, *more],
            env=environment(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == ends, done.stdout + done.stderr
        assert done.stderr.count("\n") == (ends == 2), done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)


class Shop:
    """An application in a git repository, with a copy of the module."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.copy = root / "src" / "shop" / "platform" / "caching"
        root.mkdir()
        git(root, "init", "--quiet")
        write(root, {"pyproject.toml": "[project]\nname = 'shop'\n", ".gitignore": ".venv\n"})

    def commit(self) -> None:
        """Commit all that there is."""
        git(self.root, "add", "--all")
        git(self.root, "commit", "--quiet", "--allow-empty", "--message", "change")

    def change(self, files: Files) -> None:
        """Change the copy, and commit that."""
        write(self.copy, files)
        self.commit()


def two_releases(folder: Path) -> Clone:
    """Return a clone with a release, and one after it that has a line more."""
    clone = Clone(folder)
    clone.release("1.0.0", FIRST)
    clone.release("1.1.0", {"base.py": LINES + "theirs\n"})
    return clone

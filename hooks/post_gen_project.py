"""Remove what was not chosen, make the patch that removes the example, and say what is next."""

import json
import os
import shlex
import tempfile
from contextlib import suppress
from difflib import unified_diff
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
PATCH = Path("example.patch")

EXAMPLE = [
    "app/api/users.py",
    "app/core/database.py",
    "app/models.py",
    "migrations/env.py",
    "migrations/script.py.mako",
    "migrations/versions/0001_users.py",
    "scripts/remove_example.py",
    "tests/test_migrations.py",
    "tests/test_users.py",
    "tests/test_users_on_redis.py",
]
"""The files of the example alone."""

# Why a path goes, and the paths that go.
REMOVED = [
    (not ANSWERS["example_resource"], [*EXAMPLE, "migrations/versions", "migrations", PATCH]),
    (ANSWERS["license"] == "Proprietary", ["LICENSE"]),
]

NEXT = """
Your service is in {folder}

Next:
  cd {quoted}
  make dev     # starts it, and says what to try; Ctrl-C ends it
  make test    # runs its tests
"""


def say_what_is_next() -> None:
    """Print it, but not for a folder that `cruft update` makes and removes again."""
    folder = Path.cwd()
    if "_commit" in ANSWERS and folder.is_relative_to(Path(tempfile.gettempdir()).resolve()):
        return
    text = NEXT.format(folder=folder, quoted=shlex.quote(str(folder)))
    with suppress(OSError):  # a pipe that nobody reads is no reason to remove the service
        os.write(1, os.fsencode(text))


def removal(file: str, without: str) -> list[str]:
    """Return the lines of a patch that makes a file what it is without the example, or no file."""
    old = Path(file).read_text("utf-8").split("\n")[:-1]
    new = without.split("\n")[:-1]
    target = f"b/{file}" if new else "/dev/null"
    # With one line around each change, so that few of its owner's changes stand in the way.
    lines = unified_diff(old, new, f"a/{file}", target, n=1, lineterm="")
    return ["" if line == " " else line for line in lines]  # no white space at the end of a line


if __name__ == "__main__":
    if ANSWERS["example_resource"]:
        files = json.loads(PATCH.read_text("utf-8")) | dict.fromkeys(EXAMPLE, "")
        lines = [line for file, without in files.items() for line in removal(file, without)]
        PATCH.write_bytes("\n".join([*lines, ""]).encode())
    for unwanted, paths in REMOVED:
        if unwanted:
            for path in map(Path, paths):
                path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    say_what_is_next()

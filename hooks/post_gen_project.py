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
NOT_CHOSEN = "# Not chosen.\n"  # what the template renders of a file that goes

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

# Those of which the template may have rendered that they are not chosen; others are the owner's.
REMOVED = [*EXAMPLE, PATCH, "LICENSE"]
FOLDERS = ["migrations/versions", "migrations"]

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


def removal(file: str, was: str, without: str) -> list[str]:
    """Return the lines of a patch that makes a file what it is without the example, or no file."""
    old = was.split("\n")[:-1]
    new = [] if without == NOT_CHOSEN else without.split("\n")[:-1]
    target = f"b/{file}" if new else "/dev/null"
    # With one line around each change, so that few of its owner's changes stand in the way.
    lines = unified_diff(old, new, f"a/{file}", target, n=1, lineterm="")
    return ["" if line == " " else line for line in lines]  # no white space at the end of a line


def make_patch() -> None:
    """Make the patch of what was rendered, unless it is that of a service that was there before."""
    if (text := PATCH.read_bytes()).startswith(b"{"):
        files = json.loads(text)
        lines = [line for file, texts in files.items() for line in removal(file, *texts)]
        PATCH.write_bytes("\n".join([*lines, ""]).encode())


def remove_what_was_not_chosen() -> None:
    """Remove what was rendered for nothing, and folders that are empty then."""
    for path in map(Path, REMOVED):
        if path.is_file() and path.read_bytes() == NOT_CHOSEN.encode():
            path.unlink()
    if not ANSWERS["example_resource"]:
        for folder in map(Path, FOLDERS):
            with suppress(OSError):  # the owner's own files are in it
                folder.rmdir()


if __name__ == "__main__":
    if ANSWERS["example_resource"]:
        make_patch()
    remove_what_was_not_chosen()
    say_what_is_next()

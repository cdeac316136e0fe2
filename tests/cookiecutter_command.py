"""The `cookiecutter` command in a process of its own, which imports nothing else."""

import io
import os
import sys
from pathlib import Path

from cookiecutter.cli import main as cookiecutter


def command_line(folder: Path, typed: Path, arguments: tuple[str, ...]) -> None:
    """Be the command, in this folder; what is typed is in a file, and what is said goes beside."""
    os.chdir(folder)
    # cookiecutter has looked for the home when it was preloaded; it reads the file later.
    os.environ |= {
        "HOME": str(typed.parent / "home"),
        "COOKIECUTTER_CONFIG": str(typed.with_name("config.json")),
    }
    os.dup2(os.open(typed, os.O_RDONLY), 0)
    os.dup2(os.open(typed.with_suffix(".out"), os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 1)
    os.dup2(1, 2)
    sys.stdin = io.TextIOWrapper(io.FileIO(0), "utf-8", "surrogateescape")
    sys.stdout = sys.stderr = io.TextIOWrapper(
        io.FileIO(1, "w"), "utf-8", "backslashreplace", write_through=True
    )
    cookiecutter(list(arguments))

"""The command line: `python -m app.core.cache --help`, by the name that this package has."""

import sys
from importlib import import_module
from importlib.util import find_spec

from .errors import CacheConfigError
from .optional import insist_on_file


def main() -> None:
    """Run a command. The exit code is 2 if `ops/`, or a package that the commands need, is missing."""
    try:
        insist_on_file("ops/cli/main.py", "the command line")
    except CacheConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    missing = [name for name in ("typer", "rich") if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"the command line needs {' and '.join(missing)}: pip install 'fastapi[standard]'\n"
        )
        sys.exit(2)
    import_module(f"{__package__}.ops.cli.main").main(f"python -m {__package__}")


if __name__ == "__main__":
    main()

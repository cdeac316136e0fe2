"""Release the cache module, or open the next version: write its version and its list of digests.

    python scripts/release.py 1.0.0           # version.txt, release.sha256 and the changelog
    git commit -am "Release 1.0.0 of the cache module" && git tag cache-v1.0.0
    python scripts/release.py 1.1.0 --open    # 1.1.0.dev0, and no list until the next release

`python -m app.core.cache version` then tells whether a copy of the folder is as it was released.
scripts/adopt.py finds releases by their tags, and takes a newer one into a copy.
"""

import argparse
import datetime as dt
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Final

CACHE: Final = (
    Path(__file__).parent.parent / "{{cookiecutter.project_slug}}" / "app" / "core" / "cache"
)
CHANGELOG: Final = Path(__file__).parent.parent / "CHANGELOG.md"
_PART: Final = "## The cache module\n\n"
_OPEN: Final = "### [Unreleased]\n"
_NUMBER: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


def digests_module() -> SimpleNamespace:
    """Return the file of the cache that makes the list; nothing is imported, or left there."""
    return SimpleNamespace(**runpy.run_path(str(CACHE / "ops" / "release.py")))


def release(number: str, folder: Path = CACHE) -> None:
    """Write the version and the list of digests. Raises `ValueError` for another form of number."""
    _check(number)
    digests = digests_module()
    (folder / digests.VERSION).write_text(f"{number}\n", encoding="utf-8")
    text = digests.written(digests.digests_of(folder))
    (folder / digests.RELEASE).write_text(text, encoding="utf-8")


def reopen(number: str, folder: Path = CACHE) -> None:
    """Begin the work on a version, which has no list. Raises `ValueError` for another number."""
    _check(number)
    digests = digests_module()
    (folder / digests.VERSION).write_text(f"{number}.dev0\n", encoding="utf-8")
    (folder / digests.RELEASE).unlink(missing_ok=True)


def dated(changelog: str, number: str, day: dt.date) -> str:
    """Return the changelog with what is unreleased of the cache module as this release."""
    before, part, after = changelog.partition(_PART)
    return before + part + after.replace(_OPEN, f"### [{number}] - {day.isoformat()}\n", 1)


def reopened(changelog: str) -> str:
    """Return the changelog with a place for what is unreleased of the cache module."""
    return changelog.replace(_PART, f"{_PART}{_OPEN}\n", 1)


def _check(number: str) -> None:
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"{number!r} is no version of the form 1.2.3")


def main() -> int:
    """Do what the arguments say; return 2 for a number of another form."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("number", help="a version, such as 1.0.0")
    parser.add_argument("--open", action="store_true", help="begin the work on this version")
    given = parser.parse_args()
    try:
        (reopen if given.open else release)(given.number)
        text = CHANGELOG.read_text(encoding="utf-8")
        today = dt.datetime.now(dt.UTC).date()
        text = reopened(text) if given.open else dated(text, given.number, today)
        CHANGELOG.write_text(text, encoding="utf-8")
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())

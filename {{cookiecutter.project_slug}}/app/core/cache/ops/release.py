"""Whether a copy of this folder is as it was released, by the digests in `release.sha256`.

A release writes that file, in the form of `sha256sum`; between releases there is none. Line ends
count as one line feed, whatever a checkout has made of them. The folder `tests` may be deleted.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

VERSION, RELEASE = "version.txt", "release.sha256"
_LEFT_OUT, _TESTS = "__pycache__", "tests/"


class Differences(NamedTuple):
    """The files in which a copy differs from the release: paths below the folder, in order."""

    changed: list[str]
    missing: list[str]
    added: list[str]

    def __bool__(self) -> bool:
        return any(self)


def version_of(folder: Path) -> str:
    """Return the version of a copy; "unknown" if its file is missing or is no text."""
    try:
        return (folder / VERSION).read_text(encoding="utf-8").split()[0]
    except (OSError, ValueError, IndexError):
        return "unknown"


def digests_of(folder: Path) -> dict[str, str]:
    """Return the digest of each file below a folder, but of hidden ones, caches and the list itself."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        is_hidden = any(part.startswith(".") or part == _LEFT_OUT for part in parts)
        if path.is_file() and not is_hidden and parts != (RELEASE,):
            digests["/".join(parts)] = sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
    return digests


def written(digests: Mapping[str, str]) -> str:
    """Return the text of the list of a release."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items()))


def differences(folder: Path) -> Differences | None:
    """Return how a copy differs from its release; `None` if it has no list, so is not a release."""
    try:
        lines = (folder / RELEASE).read_text(encoding="utf-8").splitlines()
        released = {path: digest for digest, path in (line.split("  ", 1) for line in lines)}
    except FileNotFoundError:
        return None
    except ValueError:  # it is damaged, so tells of no other file
        return Differences([RELEASE], [], [])
    here = digests_of(folder)
    may_miss = () if any(path.startswith(_TESTS) for path in here) else (_TESTS,)
    return Differences(
        [path for path in here if path in released and released[path] != here[path]],
        [path for path in released if path not in here and not path.startswith(may_miss)],
        [path for path in here if path not in released],
    )

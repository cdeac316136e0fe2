"""What an update does with each file: it merges the old release, the copy and the new release.

What only one side has changed is taken from that side. What both have changed is merged line by
line, by `git merge-file`. Nothing that was written in the copy is lost.
"""

import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from size import OPTIONAL

from .copies import lf, like, link_at
from .releases import OF_A_RELEASE, Files, RefusalError

TESTS: Final = ("tests/",)
PARTS: Final = (*OPTIONAL, TESTS)
"""What may be left out: files, or folders, that go together."""
_OURS: Final = "this copy"
_MOST_CONFLICTS: Final = 127  # git merge-file tells no larger number


def same(one: bytes | None, other: bytes | None) -> bool:
    """Whether two files are the same but for their line ends; none is none."""
    if one is None or other is None:
        return one is other
    return lf(one) == lf(other)


def left_out(base: Files, ours: Files, groups: tuple[tuple[str, ...], ...] = PARTS) -> list[str]:
    """Return those groups of a release's files of which a copy has nothing."""
    gone: list[str] = []
    for group in groups:
        paths = [path for path in base if path.startswith(group)]
        if paths and not any(path in ours for path in paths):
            gone += group
    return gone


def with_markers(ours: Files) -> list[str]:
    """Return the files of a copy in which an update left conflict markers that are still there."""
    start = f"<<<<<<< {_OURS}".encode()
    return [path for path, data in ours.items() if start in lf(data).split(b"\n")]


@dataclass
class Plan:
    """The changes of an update, and what is to be told of them."""

    folder: Path
    base: Files
    ours: Files
    new: Files
    labels: tuple[str, str]
    """What the releases before and after are called at conflicts."""
    changes: dict[str, bytes | None] = field(default_factory=dict)
    merged: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    """Files in which both sides changed the same lines; in `changes` they have markers."""
    refused: list[str] = field(default_factory=list)
    """What no merge can do, and why."""
    notes: list[str] = field(default_factory=list)
    _links: list[str] = field(default_factory=list)
    """Links in place of what the update would change, or of folders in which it would."""

    def __post_init__(self) -> None:
        """Compare the three, file by file."""
        folders = {f"{parent}/" for path in self.base for parent in _above(path)}
        groups = (*PARTS, *((folder,) for folder in folders))
        self._gone = tuple(left_out(self.base, self.ours, groups))
        for path in sorted({*self.base, *self.new}):
            self._decide(path)
        self.refused += [
            f"{link} is a symbolic link: put the file or folder itself there"
            for link in dict.fromkeys(self._links)
        ]

    def _decide(self, path: str) -> None:
        before, here, then = self.base.get(path), self.ours.get(path), self.new.get(path)
        if same(before, then) or same(here, then):
            return
        if link := link_at(self.folder, path):
            self._links.append(link)
        elif here is None and before is None and then is not None:
            self._add(path, then)
        elif path in OF_A_RELEASE:
            self.changes[path] = then
        elif here is None:
            self.notes.append(f"{path} is changed in the release, and was deleted here: stays so")
        elif same(before, here):
            self.changes[path] = then and like(then, here)
        elif then is None:
            self.notes.append(f"{path} is removed in the release, and was changed here: kept")
        elif b"\0" in here + then:
            self.refused.append(f"{path} is no text, and both sides changed it: take one of theirs")
        else:
            self._merge(path, lf(before or b""), here, lf(then))

    def _add(self, path: str, then: bytes) -> None:
        """Add a file of the release, unless it is of a part that is not wanted, or has no place."""
        if path.startswith(self._gone):
            self.notes.append(f"{path} is new, and of a part that was left out here: not added")
        elif any((self.folder / parent).is_file() for parent in _above(path)):
            self.refused.append(f"{path} is new, and a file is in its way: rename yours")
        elif (self.folder / path).is_dir():
            self.refused.append(f"{path} is new, and a folder is in its way: rename yours")
        else:
            self.changes[path] = like(then, self.ours.get("__init__.py", b""))

    def _merge(self, path: str, before: bytes, here: bytes, then: bytes) -> None:
        text, conflicts = _merged(lf(here), before, then, self.labels)
        self.changes[path] = like(text, here)
        (self.conflicts if conflicts else self.merged).append(path)


def _above(path: str) -> list[PurePosixPath]:
    """Return the folders that a file is in, below that of the module."""
    return list(PurePosixPath(path).parents)[:-1]


def _merged(here: bytes, before: bytes, then: bytes, labels: tuple[str, str]) -> tuple[bytes, int]:
    """Return the merged text, and the number of conflicts, which have markers in it."""
    files = {"here": here, "before": before, "then": then}
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        titles = [option for title in (_OURS, *labels) for option in ("-L", title)]
        done = subprocess.run(
            ["git", "merge-file", "-p", "--diff3", *titles, *files],
            cwd=folder,
            capture_output=True,
            check=False,
        )
    if not 0 <= done.returncode <= _MOST_CONFLICTS:
        raise RefusalError(f"git merge-file failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout, done.returncode

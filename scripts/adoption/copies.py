"""A copy of the cache module in an application: its files, and how they are replaced at once.

A new folder is made whole beside the old one, as `.NAME.adopt`. Then the old one is renamed to
`.NAME.adopt-old`, the new one to its name, and the old one to `.NAME.adopt-done`, which is deleted.
A run that ends anywhere leaves the old one whole until the new one has its name. The next update
brings the old one back, or tidies up. It deletes no `-old` that has a file which the copy has not.
"""

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

from .releases import VERSION, Files, RefusalError, git

_NOT_OURS: Final = {"__pycache__"}
_IN_NONE: Final = "failed: fatal: not a git repository (or any"
"""What git says where there is no repository. Of one that it does not open it says other things."""
_SAVED: Final = "a file of {} was changed while the update ran: try again"
_SHOWN: Final = 3
"""So many files are named of those that only an earlier folder has."""


def files_of(folder: Path) -> Files:
    """Return the files of a copy, but hidden ones and those of interpreters and linters."""
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") or part in _NOT_OURS for part in parts):
            found["/".join(parts)] = path.read_bytes()
    return found


def resolved(folder: Path) -> Path:
    """Return where a copy really is; an interrupted run leaves it to the next update.

    Raises `RefusalError` if there is no copy.
    """
    real = folder.resolve()
    _, old, _ = _beside(real)
    if old.exists() and not real.exists():
        raise RefusalError(f"an interrupted update left {real} as {old}: the next one renames it")
    if not (real / "__init__.py").is_file():
        raise RefusalError(f"{folder} is no copy of the cache module: there is no __init__.py")
    return real


def mended(folder: Path) -> Path:
    """Return where a copy really is, and mend what an interrupted update has left.

    Raises `RefusalError` if there is no copy, or if a folder is left that may be the only one that
    has some file.
    """
    real = folder.resolve()
    stage, old, done = _beside(real)
    if old.exists() and not real.exists():
        old.rename(real)
        _remove(stage)
        print(f"An earlier update was interrupted. {real} is as it was before.")
    elif old.exists():
        _insist_on_nothing_lost(old, real)
        _remove(old)
        _remove(stage)
    _remove(done)
    return resolved(folder)


def insist_on_no_old(folder: Path) -> None:
    """Raise `RefusalError` if an interrupted update left the copy that was in this place."""
    _, old, _ = _beside(folder)
    if old.exists():
        raise RefusalError(
            f"an interrupted update left your copy as {old}: run `update` again, which renames it"
        )


def link_at(folder: Path, path: str) -> str | None:
    """Return the file, or the first folder above it, that is a symbolic link; `None` if none is."""
    above = [str(parent) for parent in reversed(list(PurePosixPath(path).parents)[:-1])]
    return next((part for part in (*above, path) if (folder / part).is_symlink()), None)


def links_in(folder: Path, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the symbolic links that are in place of files, or of folders above them."""
    found = (link_at(folder, path) for path in sorted(paths))
    return tuple(dict.fromkeys(link for link in found if link))


def version_of(files: Files) -> str | None:
    """Return the version that a copy says it has."""
    return files.get(VERSION, b"").decode(errors="replace").strip() or None


def insist_on_commits(folder: Path, files: Files) -> None:
    """Raise `RefusalError` unless git has all of the copy, so that the update can be undone."""
    try:
        tracked = git(folder, "ls-files", "-z", "--", ".") or b""
    except RefusalError as error:
        if _IN_NONE not in str(error):
            raise
        raise RefusalError(
            f"{folder} is in no git repository, so that an update could not be undone. Commit it "
            f"to one, or say --no-git"
        ) from None
    changed = git(folder, "status", "--porcelain", "--", ".") or b""
    untracked = files.keys() - set(tracked.decode(errors="surrogateescape").split("\0"))
    if changed or untracked:
        lines = changed.decode(errors="replace").splitlines()
        some = "; ".join([line.strip() for line in lines[:3]] or sorted(untracked)[:3])
        raise RefusalError(
            f"{folder} has changes that are not committed: {some}. Commit them first"
        )


def crlf(data: bytes) -> bool:
    """Whether most lines of a file end as on Windows."""
    return data.count(b"\r\n") * 2 > data.count(b"\n")


def lf(data: bytes) -> bytes:
    """Return the file with line feeds; as it is if it is no text."""
    return data if b"\0" in data else data.replace(b"\r\n", b"\n")


def like(data: bytes, model: bytes) -> bytes:
    """Return the file with line ends like those of the model."""
    return lf(data).replace(b"\n", b"\r\n") if crlf(model) and b"\0" not in data else data


def create(folder: Path, files: Files) -> None:
    """Write a folder that is not there, or is empty: all of it or nothing."""
    stage = _stage(folder)
    try:
        _write_all(stage, dict(files))
        if folder.exists():
            folder.rmdir()
        stage.rename(folder)
    finally:
        _remove(stage)


def change(folder: Path, changes: Mapping[str, bytes | None], ours: Files) -> None:
    """Write files of a copy, and remove those with `None`: all of it or nothing.

    Raises `RefusalError` if the files of the copy are no longer `ours`, of which the changes were
    made.
    """
    stage = _stage(folder)
    _, old, done = _beside(folder)
    try:
        shutil.copytree(folder, stage, symlinks=True, dirs_exist_ok=True)
        _make_writable(stage)
        read = _contents(stage)
        if files_of(stage) != ours:
            raise RefusalError(_SAVED.format(folder))
        if links := links_in(stage, changes):
            raise RefusalError(f"{links[0]} is a symbolic link")
        _write_all(stage, changes)
        _remove_empty(stage, changes)
        _copy_modes(folder, stage)
        folder.rename(old)
        try:
            _insist_on_same(old, read, folder)  # by its name, nobody can save a file there now
            stage.rename(folder)
        except BaseException:
            old.rename(folder)
            raise
    finally:
        _remove(stage)
    with suppress(OSError):  # all is done; the next update tidies up
        old.rename(done)
        _remove(done)


def _stage(folder: Path) -> Path:
    """Make the folder in which the new one is made. Raises `RefusalError` if it is there."""
    stage, _, _ = _beside(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        stage.mkdir()
    except FileExistsError:
        raise RefusalError(
            f"{stage} is of a run that is under way, or was interrupted before it changed "
            f"anything. If none is under way, delete it and try again"
        ) from None
    return stage


def _write_all(stage: Path, changes: Mapping[str, bytes | None]) -> None:
    for path, data in changes.items():
        _write(stage / path, data)


def _contents(folder: Path) -> dict[str, bytes]:
    """Return what is in each file, and where each link leads to, but for what interpreters left."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_symlink():
            found[str(name)] = os.fsencode(path.readlink())
        elif path.is_file() and _NOT_OURS.isdisjoint(name.parts):
            found[str(name)] = path.read_bytes()
    return found


def _insist_on_nothing_lost(old: Path, real: Path) -> None:
    """Raise `RefusalError` unless each file of an earlier folder is the same in the copy."""
    here = _contents(real)
    only = sorted(path for path, data in _contents(old).items() if here.get(path) != data)
    if only:
        some = ", ".join(only[:_SHOWN]) + (" and others" if only[_SHOWN:] else "")
        raise RefusalError(
            f"an interrupted update left {old}, in which {some} are not as in {real}. Take what "
            f"you need of it, delete it and try again"
        )


def _insist_on_same(old: Path, read: Mapping[str, bytes], folder: Path) -> None:
    if _contents(old) != read:
        raise RefusalError(_SAVED.format(folder))


def _beside(folder: Path) -> tuple[Path, Path, Path]:
    """Return where a new folder is made, and the old one is kept, before and after it is done."""
    start = f".{folder.name}.adopt"
    return (
        folder.with_name(start),
        folder.with_name(f"{start}-old"),
        folder.with_name(f"{start}-done"),
    )


def _write(path: Path, data: bytes | None) -> None:
    """Write a file anew, with the mode of the one before; remove it if there is no data."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    path.unlink(missing_ok=True)
    if data is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if mode is not None:
        path.chmod(mode)


def _remove_empty(stage: Path, changes: Mapping[str, bytes | None]) -> None:
    """Remove folders out of which the last file went, and what interpreters left there."""
    for path in (path for path, data in changes.items() if data is None):
        for parent in list(PurePosixPath(path).parents)[:-1]:
            folder = stage / parent
            if folder.is_dir() and all(left.name in _NOT_OURS for left in folder.iterdir()):
                shutil.rmtree(folder)


def _copy_modes(folder: Path, stage: Path) -> None:
    for path in (*stage.rglob("*"), stage):
        before = folder / path.relative_to(stage)
        if path.is_dir() and not path.is_symlink() and before.is_dir():
            shutil.copymode(before, path)


def _make_writable(folder: Path) -> None:
    for parent, _, _ in os.walk(folder):
        Path(parent).chmod(Path(parent).stat().st_mode | stat.S_IRWXU)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        _make_writable(folder)
        shutil.rmtree(folder)

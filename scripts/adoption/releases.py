"""The releases of the cache module, as tags of this repository, and the files that each has."""

import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = "{{cookiecutter.project_slug}}/app/core/cache"
VERSION: Final = "version.txt"
OF_A_RELEASE: Final = (VERSION, "release.sha256")
"""What is written by a release, and by nobody else: an update takes it as it is there."""
RELEASED: Final = re.compile(r"\d+\.\d+\.\d+")
"""The version of a release. That of a commit between releases is `1.2.0.dev0+gCOMMIT` in a copy."""
_TAG: Final = re.compile(r"(?:cache-)?v(\d+)\.(\d+)\.(\d+)")

Files = dict[str, bytes]
"""The files below a folder: what is in each, by its path."""


class RefusalError(Exception):
    """The tool does not do what it was asked for, and has changed nothing."""


class Release(NamedTuple):
    """A release, or another commit of this repository."""

    ref: str
    version: str
    files: Files


def git(folder: Path, *arguments: str, may_fail: bool = False) -> bytes | None:
    """Return what git prints; `None` if it fails and may. Raises `RefusalError` otherwise."""
    # Variables as git sets them in a hook would lead to another repository.
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), "-c", "core.quotePath=false"]
    try:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, check=False, env={**kept, "LC_ALL": "C"}
        )
    except FileNotFoundError:
        raise RefusalError("git is needed, and is not on the PATH") from None
    if done.returncode and may_fail:
        return None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())  # in one line
        raise RefusalError(f"git {' '.join(arguments[:3])} failed: {said}")
    return done.stdout


def _lines(output: bytes | None) -> list[str]:
    return (output or b"").decode(errors="replace").splitlines()


def release(wanted: str) -> Release:
    """Return a release by its number, or any commit. Raises `RefusalError` if there is none."""
    number = wanted.removeprefix("v")
    if not RELEASED.fullmatch(number):
        return _at(wanted)
    for tag in (f"cache-v{number}", f"v{number}"):
        if _version_at(tag) == number:  # the template's own releases have such tags, too
            return _at(tag)
    known = ", ".join(reversed([_number(tag) for tag in _tags()])) or "none"
    raise RefusalError(
        f"there is no release {number} in {ROOT}: try git fetch --tags. Known are: {known}"
    )


def newest() -> Release:
    """Return the newest release, or the commit that is checked out while there is none."""
    tags = _tags()
    return _at(tags[-1] if tags else "HEAD")


def nearest(files: Files) -> str:
    """Return the commit whose files are most like these, and how many are the same."""
    ours = {_blob(data) + path for path, data in files.items()}
    best, most = "", -1
    for commit in _lines(git(ROOT, "log", "-n", "500", "--format=%h", "--", FOLDER)):
        listed = _lines(git(ROOT, "ls-tree", "-r", f"{commit}:{FOLDER}", may_fail=True))
        entries = (line.partition("\t") for line in listed)
        same = len(ours & {entry.split()[2] + path for entry, _, path in entries})
        if same > most:
            best, most = commit, same
    return f"commit {best}: {most} of {len(files)} files are the same there"


def _blob(data: bytes) -> str:
    """Return the name that git has for a file's content, with its own line ends."""
    data = data.replace(b"\r\n", b"\n")
    return sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _tags() -> list[str]:
    """Return the tags of releases of the cache module, from the oldest to the newest."""
    found = {}
    for tag in sorted(_lines(git(ROOT, "tag", "--list", "v*", "cache-v*")), reverse=True):
        match = _TAG.fullmatch(tag)
        if match and _version_at(tag) == _number(tag):
            found[tuple(map(int, match.groups()))] = tag  # `cache-v` comes last, and counts
    return [found[number] for number in sorted(found)]


def _number(tag: str) -> str:
    return tag.rpartition("v")[2]


def _version_at(ref: str) -> str | None:
    text = git(ROOT, "show", f"{ref}:{FOLDER}/{VERSION}", may_fail=True)
    return None if text is None else text.decode(errors="replace").strip()


def _at(ref: str) -> Release:
    found = git(
        *(ROOT, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"),
        may_fail=True,
    )
    if found is None:
        raise RefusalError(f"{ref!r} is neither a release nor a commit of {ROOT}")
    commit = found.decode().strip()
    own_line_ends = ("-c", "core.autocrlf=false", "-c", "core.eol=lf")
    tar = git(ROOT, *own_line_ends, "archive", "--format=tar", f"{commit}:{FOLDER}", may_fail=True)
    if tar is None:
        raise RefusalError(f"{ref} has no folder {FOLDER}")
    files = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            data = archive.extractfile(member)
            if data is not None:
                files[member.name] = data.read()
    version = files.get(VERSION, b"unknown").decode(errors="replace").strip()
    if not RELEASED.fullmatch(version):  # a copy says by itself from which commit it is
        version = f"{version}+g{commit[:12]}"
        files[VERSION] = f"{version}\n".encode()
    return Release(ref if _TAG.fullmatch(ref) else commit[:12], version, files)


def text_at(ref: str, path: str) -> str:
    """Return a file of this repository at a commit; an empty text if it is not there."""
    return (git(ROOT, "show", f"{ref}:{path}", may_fail=True) or b"").decode(errors="replace")


def to_do(base: Release, new: Release) -> Iterator[str]:
    """Yield what CHANGELOG.md says that adopters have to do from the one release to the other.

    It is nothing if the other is older.
    """
    if git(ROOT, "merge-base", "--is-ancestor", new.ref, base.ref, may_fail=True) is not None:
        return
    text = text_at(new.ref, "CHANGELOG.md").partition("## The cache module\n")[2]
    for entry in text.partition("\n## ")[0].split("\n### ")[1:]:
        if entry.startswith(f"[{base.version}]"):
            return
        title, _, rest = entry.partition("\n")
        todo = rest.partition("#### To do\n")[2].partition("\n#### ")[0].strip()
        if todo:
            yield f"\nTo do for {title}:\n{todo}"

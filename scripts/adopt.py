"""Bring the cache module into your application, and keep it up to date. Python 3.11 and git do.

    python3 scripts/adopt.py copy   ../shop/src/shop/cache --without ops testing
    python3 scripts/adopt.py check  ../shop/src/shop/cache    # what differs, and what is missing
    python3 scripts/adopt.py diff   ../shop/src/shop/cache
    python3 scripts/adopt.py update ../shop/src/shop/cache    # a newer release over your changes

The exit code is 0 if all is well or done, and 1 if something differs, is missing or is left to you.
It is 2 if the command was refused: then nothing was changed, and one line says why. If a copy was
made or updated and only that could not be printed, it is 1.
"""

import argparse
import difflib
import io
import keyword
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from adoption import copies, merging, releases
from adoption.releases import Files, RefusalError, Release
from adoption.surroundings import Needs, import_of
from size import OPTIONAL

FINE, LEFT, REFUSED = 0, 1, 2
OF_TESTS: Final = "pytest, hypothesis, httpx2, prometheus-client and fastapi[standard]"
PARTS: Final = {
    group[0].strip("/").rpartition("/")[2].removesuffix(".py"): group for group in OPTIONAL
}
"""The parts that may be left out, by their names: `near`, `ops`, `testing` and so on."""


def copy(given: argparse.Namespace) -> int:
    """Copy a release into a folder that is not there yet."""
    folder: Path = given.folder.resolve()
    _insist_on_place(folder)
    release = releases.release(given.release) if given.release else releases.newest()
    has_tests = any(path.startswith(merging.TESTS) for path in release.files)
    if given.with_tests and given.without:
        raise RefusalError("the tests are those of the whole module: leave out --without or them")
    if given.with_tests and not has_tests:
        raise RefusalError(f"{release.ref} has no tests in the folder of the module")
    groups = [PARTS[name] for name in given.without]
    groups += [] if given.with_tests else [merging.TESTS]
    left_out = tuple(start for group in groups for start in group)
    files = {path: data for path, data in release.files.items() if not path.startswith(left_out)}
    needs = Needs(release.files, folder, given.python)
    copies.create(folder, files)
    given.done = f"{folder} was made"
    print(f"Copied {len(files)} files of {_name(release)} to {folder}")
    for line in import_of(folder):
        print(line)
    if given.with_tests:
        print(f"The tests need {OF_TESTS}")
    if releases.git(folder, "check-ignore", "--quiet", ".", may_fail=True) is not None:
        print("Your .gitignore keeps this folder out of git. It has to be in it, to be updated.")
    return _tell_needs(needs)


def check(given: argparse.Namespace) -> int:
    """Tell whether a copy differs from its release, and what the application lacks for it."""
    folder = copies.resolved(given.folder)
    ours = copies.files_of(folder)
    base = _base(given, ours)
    links = copies.links_in(folder, base.files)
    differing = list(_differences(base.files, ours, links))
    print(f"{folder} is {_name(base)}{'' if differing else ', as it was released'}")
    for line in differing:
        print(line)
    for path in _left_out(base.files, ours, links):
        print(f"left out  {path}")
    newest = releases.newest()
    if newest.version != base.version and releases.RELEASED.fullmatch(newest.version):
        print(f"{_name(newest)} is newer: python3 scripts/adopt.py update {given.folder}")
    needs = Needs(base.files, folder, given.python)
    return max(FINE if not differing else LEFT, _tell_needs(needs))


def diff(given: argparse.Namespace) -> int:
    """Show how a copy differs from its release, or from another one."""
    folder = copies.resolved(given.folder)
    ours = copies.files_of(folder)
    base = _base(given, ours)
    links = copies.links_in(folder, base.files)
    without = _left_out(base.files, ours, links)
    for part in without:
        print(f"Only in {base.ref}: {part}, which was left out")
    for link in links:
        print(f"{link} is a symbolic link: an update does not change what it leads to")
    code = LEFT if links else FINE
    unseen = _behind(links, base.files) - ours.keys()
    for path in sorted({*base.files, *ours} - {releases.VERSION, *unseen}):
        before, here = base.files.get(path), ours.get(path)
        if merging.same(before, here) or (here is None and path.startswith(tuple(without))):
            continue
        code = LEFT
        if before is None or here is None:
            print(f"Only in {'this copy' if before is None else base.ref}: {path}")
        else:
            names = (f"{base.ref}/{path}", f"this copy/{path}")
            lines = difflib.unified_diff(_lines(before), _lines(here), *names, lineterm="")
            print("\n".join(lines))
    return code


def update(given: argparse.Namespace) -> int:
    """Take a newer release over the changes that were made in a copy."""
    folder = copies.mended(given.folder)
    ours = copies.files_of(folder)
    base = _base(given, ours)
    new = releases.release(given.to) if given.to else releases.newest()
    marked = merging.with_markers(ours)
    if base.files == new.files:
        print(f"{folder} is {_name(new)} already")
        for path in marked:
            print(f"conflict  {path}: mend it where the markers are")
        return LEFT if marked else FINE
    if marked:
        raise RefusalError(f"conflict markers are still in {', '.join(marked)}: mend that first")
    if not given.no_git:
        copies.insist_on_commits(folder, ours)
    plan = merging.Plan(folder, base.files, ours, new.files, (_name(base), _name(new)))
    if plan.conflicts and not given.markers:
        plan.refused.append(
            f"both sides changed the same lines of {', '.join(plan.conflicts)}. With --markers the "
            f"files get conflict markers there, as git makes them"
        )
    if plan.refused:
        raise RefusalError("; ".join(plan.refused))
    needs = Needs(new.files, folder, given.python)
    copies.change(folder, plan.changes, ours)
    given.done = f"{folder} was updated to {_name(new)}"
    _tell_changes(plan, base, new)
    for line in plan.conflicts:
        print(f"conflict  {line}: mend it where the markers are")
    for line in releases.to_do(base, new):
        print(line)
    return max(LEFT if plan.conflicts else FINE, _tell_needs(needs))


def _lines(data: bytes) -> list[str]:
    return copies.lf(data).decode(errors="replace").splitlines()


def _insist_on_place(folder: Path) -> None:
    """Raise `RefusalError` unless a package can be made there, and nothing is in its way."""
    if not folder.name.isidentifier() or keyword.iskeyword(folder.name):
        raise RefusalError(f"{folder.name!r} is no name of a package: it could not be imported")
    if folder.is_dir() and any(folder.iterdir()):
        raise RefusalError(f"{folder} is there already. `update` takes a newer release into a copy")
    if folder.exists() and not folder.is_dir():
        raise RefusalError(f"{folder} is there already, and is no folder")
    if (module := folder.with_suffix(".py")).exists():
        raise RefusalError(f"{module} is there: Python would import the folder in its place")
    copies.insist_on_no_old(folder)


def _base(given: argparse.Namespace, ours: Files) -> Release:
    """Return the release that a copy was made of. Raises `RefusalError` if that is unknown."""
    if given.base:
        return releases.release(given.base)
    version = copies.version_of(ours)
    if version and releases.RELEASED.fullmatch(version):
        return releases.release(version)
    if version and "+g" in version:
        return releases.release(version.partition("+g")[2])
    raise RefusalError(
        f"the copy says that its version is {version or 'unknown'}, which is no release. Say by "
        f"--base of which commit it is. It is nearest to {releases.nearest(ours)}"
    )


def _name(release: Release) -> str:
    return f"{release.version} ({release.ref})" if "+" not in release.version else release.version


def _left_out(base: Files, ours: Files, links: tuple[str, ...]) -> list[str]:
    """Return the parts that were left out: those behind a link are there."""
    there = _behind(links, base)
    return merging.left_out(base, {**dict.fromkeys(there, b""), **ours})


def _behind(links: tuple[str, ...], paths: Files) -> set[str]:
    """Return the files that are links, or are in folders that are."""
    starts = tuple(f"{link}/" for link in links)
    return {path for path in paths if f"{path}/".startswith(starts)}


def _differences(base: Files, ours: Files, links: tuple[str, ...]) -> Iterator[str]:
    """Yield a line for each file that differs, but for parts that may be left out and are."""
    without = tuple(_left_out(base, ours, links))
    behind = _behind(links, base)
    yield from (f"link      {link}" for link in links)
    for path in sorted({*base, *ours} - {releases.VERSION}):
        if path not in base:
            yield f"added     {path}"
        elif path in ours and not merging.same(base[path], ours[path]):
            yield f"changed   {path}"
        elif path not in {*ours, *behind} and not path.startswith(without):
            yield f"missing   {path}"


def _tell_needs(needs: Needs) -> int:
    """Print what the application lacks, and which settings it uses itself."""
    for line in (*needs.notes, *(f"look at   {line}" for line in needs.lines)):
        print(line)
    return LEFT if needs.packages else FINE


def _tell_changes(plan: merging.Plan, base: Release, new: Release) -> None:
    print(f"{_name(base)} became {_name(new)}: {len(plan.changes)} files were changed")
    for path in plan.merged:
        print(f"merged    {path}")
    for line in plan.notes:
        print(f"kept      {line}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (copy, check, diff, update):
        each = commands.add_parser(
            command.__name__, help=command.__doc__, description=command.__doc__
        )
        each.set_defaults(command=command)
        each.add_argument("folder", type=Path, help="the folder of the copy: a package of yours")
        if command is not diff:
            each.add_argument("--python", type=Path, help="the application's Python; or its .venv")
        if command is copy:
            each.add_argument("--release", help="a release or a commit; the newest release")
            each.add_argument(
                "--without",
                nargs="+",
                default=[],
                choices=PARTS,
                metavar="PART",
                help=", ".join(PARTS),
            )
            each.add_argument(
                "--with-tests", action="store_true", help="the module's tests as well"
            )
            continue
        each.add_argument(
            "--base", help="the release or commit that the copy is of, if it does not say"
        )
        if command is update:
            each.add_argument("--to", help="a release or a commit; the newest release")
            each.add_argument(
                "--markers",
                action="store_true",
                help="leave conflict markers where both changed the same lines",
            )
            each.add_argument(
                "--no-git",
                action="store_true",
                help="update what git does not have: nothing can undo it",
            )
    return parser


def main() -> int:
    """Do what the arguments say; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name of a file may be no text
            stream.reconfigure(errors="backslashreplace")
    given = _parser().parse_args(namespace=argparse.Namespace(done=None))
    try:
        code = int(given.command(given))
        if sys.stdout is not None:
            sys.stdout.flush()
    except (RefusalError, OSError, subprocess.CalledProcessError) as error:
        return _tell_error(error, given.done)
    return code


def _tell_error(error: Exception, done: str | None) -> int:
    """Tell why nothing was changed, or that something was, of which no more can be told."""
    refusal = "Refused" if isinstance(error, RefusalError) else "Refused, and nothing was changed"
    with suppress(OSError):
        print(
            f"{done}; then this went wrong" if done else refusal, error, sep=": ", file=sys.stderr
        )
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # else the interpreter tries again when it ends, and ends with 120
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return LEFT if done else REFUSED


if __name__ == "__main__":
    sys.exit(main())

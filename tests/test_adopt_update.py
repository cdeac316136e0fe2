"""`adopt.py update` takes a newer release over changes of one's own, and loses none of them."""

import random
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from adoption.merging import Plan

from tests import baked
from tests.clones import FIRST, LINES, Clone, Files, Shop, git, seen, write

MINE = LINES.replace("line 2\n", "line 2, mine\n")
THEIRS = LINES.replace("line 18\n", "line 18, theirs\n")
BOTH = MINE.replace("line 18\n", "line 18, theirs\n")
CLASHING = LINES.replace("line 2\n", "line 2, theirs\n")
SECOND: Files = {
    "base.py": THEIRS,
    "ops/audit.py": None,
    "ops/added.py": "ADDED = 1\n",
    "tests/test_added.py": "ADDED = 1\n",
    "docs/picture.bin": b"\x00\x02",
    "rooms/new.py": "NEW = 1\n",
}


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """Return a clone with two releases."""
    clone = Clone(tmp_path / "clone")
    clone.release("1.0.0", FIRST)
    clone.release("1.1.0", SECOND)
    return clone


@pytest.fixture
def shop(tmp_path: Path, clone: Clone) -> Shop:
    """Return an application that has committed a copy of the first release."""
    shop = Shop(tmp_path / "shop")
    clone.adopt("copy", shop.copy, "--release", "1.0.0", "--with-tests", ends=0)
    shop.commit()
    return shop


def files(folder: Path) -> dict[str, bytes]:
    """Return the files of a copy."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_unchanged_copy_becomes_the_new_release(clone: Clone, shop: Shop) -> None:
    """Exactly that: files are changed, added and removed; nothing is left beside it."""
    ran = clone.adopt("update", shop.copy, ends=0)
    assert "1.0.0 (cache-v1.0.0) became 1.1.0 (cache-v1.1.0)" in ran.out
    other = shop.copy.with_name("other")
    clone.adopt("copy", other, "--with-tests", ends=0)
    assert files(shop.copy) == files(other)
    assert sorted(path.name for path in shop.copy.parent.iterdir()) == ["caching", "other"]
    assert "is 1.1.0 (cache-v1.1.0) already" in clone.adopt("update", shop.copy, ends=0).out


def test_an_update_can_go_back(clone: Clone, shop: Shop) -> None:
    """A release by its number may be an older one, too."""
    before = files(shop.copy)
    clone.adopt("update", shop.copy, ends=0)
    shop.commit()
    clone.adopt("update", shop.copy, "--to", "1.0.0", ends=0)
    assert files(shop.copy) == before


@dataclass(frozen=True, slots=True)
class Case:
    """What the copy changed, what it has after the update, and what is told."""

    mine: Files
    after: Files
    told: str


CASES = {
    "other lines": Case({"base.py": MINE}, {"base.py": BOTH}, "merged    base.py"),
    "the same change": Case({"base.py": THEIRS}, {"base.py": THEIRS}, "became 1.1.0"),
    "another file": Case({"http/route.py": MINE}, {"http/route.py": MINE}, "became 1.1.0"),
    "deleted, changed there": Case({"base.py": None}, {"base.py": None}, "deleted here: stays so"),
    "deleted, as there": Case({"ops/audit.py": None}, {"ops/added.py": None}, "not added"),
    "deleted, not changed": Case({"LICENSE": None}, {"LICENSE": None}, "became 1.1.0"),
    "added": Case({"mine/own.py": "OWN = 1\n"}, {"mine/own.py": "OWN = 1\n"}, "became 1.1.0"),
    "added, as there": Case(
        {"rooms/new.py": "NEW = 1\n"}, {"rooms/new.py": "NEW = 1\n"}, "became 1.1.0"
    ),
    "changed, removed there": Case(
        {"ops/audit.py": MINE}, {"ops/audit.py": MINE}, "ops/audit.py is removed in the release"
    ),
    "a part is gone": Case(
        {"tests/test_base.py": None},
        {"tests/test_base.py": None, "tests/test_added.py": None},
        "left out here: not added",
    ),
    "hidden and ignored": Case(
        {".ruff_cache/x": "x", "__pycache__/x.pyc": b"\0"},
        {".ruff_cache/x": "x", "__pycache__/x.pyc": b"\0"},
        "became 1.1.0",
    ),
    "without the version": Case({"version.txt": "1.0.0"}, {"version.txt": "1.1.0\n"}, "became"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_changes_of_ones_own_stay(case: Case, clone: Clone, shop: Shop) -> None:
    """And all else becomes the new release."""
    shop.change(case.mine)
    ran = clone.adopt("update", shop.copy, ends=0)
    assert case.told in ran.out
    expected = {**FIRST, **SECOND, "version.txt": "1.1.0\n", **case.after}
    wanted = {
        name: data if isinstance(data, bytes) else data.encode()
        for name, data in expected.items()
        if data is not None
    }
    assert files(shop.copy) == wanted


REFUSED = {
    "the same lines": ({"base.py": LINES.replace("line 18\n", "x\n")}, "the same lines of base.py"),
    "no text": ({"docs/picture.bin": b"\x00\x03"}, "docs/picture.bin is no text"),
    "a file in the way": ({"rooms": "mine\n"}, "a file is in its way"),
    "a folder in the way": ({"rooms/new.py/x.py": "mine\n"}, "a folder is in its way"),
    "added on both sides": ({"rooms/new.py": "mine\n"}, "the same lines of rooms/new.py"),
}


@pytest.mark.parametrize(("mine", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_merged_is_refused(mine: Files, says: str, clone: Clone, shop: Shop) -> None:
    """Then nothing has changed, though other files could have been updated."""
    shop.change(mine)
    before = seen(shop.root)
    assert says in clone.adopt("update", shop.copy, ends=2).err
    assert seen(shop.root) == before


def test_conflict_markers_are_left_where_one_asks_for_them(clone: Clone, shop: Shop) -> None:
    """With both sides and what was before; the rest of the file is merged."""
    shop.change({"base.py": MINE.replace("line 18\n", "line 18, mine\n")})
    ran = clone.adopt("update", shop.copy, "--markers", ends=1)
    assert "conflict  base.py" in ran.out
    text = (shop.copy / "base.py").read_text()
    assert "line 2, mine\n" in text
    assert text.partition("<<<<<<<")[2] == (
        " this copy\nline 18, mine\n||||||| 1.0.0 (cache-v1.0.0)\nline 18\n=======\n"
        "line 18, theirs\n>>>>>>> 1.1.0 (cache-v1.1.0)\nline 19\nline 20\n"
    )


def test_what_git_could_not_bring_back_is_not_touched(clone: Clone, shop: Shop) -> None:
    """A change, a new file, an ignored one, and a copy without git: the line says which."""
    shop.change({"base.py": MINE})
    for files, says in (
        ({"base.py": LINES + "more\n"}, "M src/shop/platform/caching/base.py"),
        ({"base.py": MINE, "own.py": "x"}, "?? src/shop/platform/caching/own.py"),
        ({"../../../../.gitignore": "own.py\n"}, "not committed: own.py"),
    ):
        write(shop.copy, files)
        before = seen(shop.root)
        assert says in clone.adopt("update", shop.copy, ends=2).err
        assert seen(shop.root) == before
    (shop.root / ".git").rename(shop.root.parent / "elsewhere")
    assert "is in no git repository" in clone.adopt("update", shop.copy, ends=2).err
    clone.adopt("update", shop.copy, "--no-git", ends=0)
    assert (shop.copy / "base.py").read_text() == BOTH


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({".git/config": "[[\n"}, "fatal: bad config line 1"),
        ({".git": "gitdir: /nowhere\n"}, "fatal: not a git repository: /nowhere"),
        ({}, "fatal: detected dubious ownership in repository"),
    ],
)
def test_a_repository_that_git_does_not_open_is_refused_in_its_words(
    files: Files, says: str, clone: Clone, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository is there: to do without git is no advice for it."""
    if ".git" in files:
        (shop.root / ".git").rename(shop.root.parent / "elsewhere")
    if not files:
        other = f'case "$*" in *{shop.root}*) export GIT_TEST_ASSUME_DIFFERENT_OWNER=1;; esac\n'
        own = f"export HOME={shop.root} GIT_CONFIG_NOSYSTEM=1\n"
        tools = shop.root.parent / "tools"
        write(tools, {"git": f'#!/bin/sh\n{other}{own}exec {shutil.which("git")} "$@"\n'})
        (tools / "git").chmod(0o755)
        monkeypatch.setattr(baked, "UV", str(tools / "uv"))  # its folder is first on the PATH
    write(shop.root, files)
    before = seen(shop.root)
    said = clone.adopt("update", shop.copy, ends=2).err
    assert says in said
    assert "--no-git" not in said
    assert seen(shop.root) == before


@pytest.mark.parametrize("version", ["0.9.0.dev0", "", "2.0.0", "nonsense", None])
def test_an_unknown_base_is_refused(version: str | None, clone: Clone, shop: Shop) -> None:
    """Until one says which it is; the nearest commit is named where no release is."""
    shop.change({"version.txt": version})
    before = seen(shop.root)
    said = clone.adopt("update", shop.copy, ends=2).err
    if version == "2.0.0":
        assert "there is no release 2.0.0" in said
        assert "Known are: 1.1.0, 1.0.0" in said
    else:
        nearest = git(clone.root, "rev-parse", "--short", "cache-v1.0.0").strip()
        assert f"nearest to commit {nearest}" in said
    assert seen(shop.root) == before
    clone.adopt("update", shop.copy, "--base", "1.0.0", ends=0)
    assert (shop.copy / "version.txt").read_text() == "1.1.0\n"


def test_a_copy_of_a_commit_knows_which(clone: Clone, tmp_path: Path) -> None:
    """Between releases, too, a copy can be compared and updated."""
    commit = clone.commit({"version.txt": "1.2.0.dev0\n", "base.py": LINES})
    shop = Shop(tmp_path / "other")
    clone.adopt("copy", shop.copy, "--release", "HEAD", ends=0)
    assert (shop.copy / "version.txt").read_text() == f"1.2.0.dev0+g{commit[:12]}\n"
    shop.change({"base.py": MINE})
    clone.release("1.2.0", {"base.py": THEIRS})
    clone.adopt("update", shop.copy, ends=0)
    assert (shop.copy / "base.py").read_text() == BOTH
    assert (shop.copy / "version.txt").read_text() == "1.2.0\n"


def test_a_checkout_of_windows_keeps_its_line_ends(clone: Clone, shop: Shop) -> None:
    """Where git makes them CRLF, files that change or are new have them too."""
    shop.change({"base.py": MINE})
    git(shop.root, "config", "core.autocrlf", "true")
    git(shop.root, "rm", "-r", "--cached", "--quiet", ".")
    git(shop.root, "reset", "--hard", "--quiet")
    assert b"line 2, mine\r\n" in (shop.copy / "base.py").read_bytes()
    clone.adopt("update", shop.copy, ends=0)
    assert (shop.copy / "base.py").read_bytes() == BOTH.replace("\n", "\r\n").encode()
    assert (shop.copy / "rooms/new.py").read_bytes() == b"NEW = 1\r\n"
    assert (shop.copy / "docs/picture.bin").read_bytes() == b"\x00\x02"
    assert "1 insertion(+), 1 deletion(-)" in git(shop.root, "diff", "--stat", "--", "*/base.py")


def test_modes_stay(clone: Clone, shop: Shop) -> None:
    """Of a file that may not be written, and of its folder, they are as before."""
    (shop.copy / "base.py").chmod(0o444)
    shop.copy.joinpath("docs").chmod(0o555)
    clone.adopt("update", shop.copy, ends=0)
    assert (shop.copy / "base.py").read_text() == THEIRS
    assert stat.S_IMODE((shop.copy / "base.py").stat().st_mode) == 0o444
    assert stat.S_IMODE((shop.copy / "docs").stat().st_mode) == 0o555


def test_a_link_to_the_folder_stays_a_link(clone: Clone, shop: Shop, tmp_path: Path) -> None:
    """The folder that it leads to is updated; a file in it that is a link is not followed."""
    link = tmp_path / "link"
    link.symlink_to(shop.copy)
    clone.adopt("update", link, ends=0)
    assert link.is_symlink()
    assert (link / "base.py").read_text() == THEIRS
    shop.commit()
    (shop.root / "elsewhere.py").write_text(THEIRS)
    (shop.copy / "base.py").unlink()
    (shop.copy / "base.py").symlink_to(shop.root / "elsewhere.py")
    shop.commit()
    said = clone.adopt("update", link, "--to", "1.0.0", ends=2).err
    assert "base.py is a symbolic link" in said


@pytest.mark.parametrize(
    ("link", "leads_to"),
    [
        ("rooms", "empty"),  # the release adds a file in it
        ("docs", "docs"),
        ("ops", "ops"),
        ("base.py", "base.py"),
        ("base.py", "nowhere.py"),
    ],
)
def test_nothing_is_written_through_a_link(
    link: str, leads_to: str, clone: Clone, shop: Shop
) -> None:
    """Nor is what a link leads to called deleted: `check` and `diff` tell that it is a link."""
    outside = shop.root / "outside"
    write(outside, {"empty/kept.txt": "x"})
    place = shop.copy / link
    if place.exists():
        place.rename(outside / link)
    missing = "LICENSE"
    (shop.copy / missing).unlink()
    place.symlink_to(outside / leads_to)
    shop.commit()
    before = seen(shop.root)
    said = clone.adopt("update", shop.copy, ends=2).err
    assert said == f"Refused: {link} is a symbolic link: put the file or folder itself there\n"
    assert seen(shop.root) == before
    if link != "rooms":
        out = clone.adopt("check", shop.copy, ends=1).out
        assert f"link      {link}\n" in out
        assert out.count("missing   ") == 1
        assert "left out" not in out
        assert clone.adopt("diff", shop.copy, ends=1).out == (
            f"{link} is a symbolic link: an update does not change what it leads to\n"
            f"Only in cache-v1.0.0: {missing}\n"
        )


def test_a_link_of_ones_own_is_nothing_to_an_update(clone: Clone, shop: Shop) -> None:
    """It stays, beside the module's files."""
    (shop.copy / "mine").symlink_to(shop.root)
    shop.commit()
    clone.adopt("update", shop.copy, ends=0)
    assert (shop.copy / "mine").readlink() == shop.root


def test_the_list_of_a_release_is_that_of_the_release(clone: Clone, shop: Shop) -> None:
    """One that is damaged or away in the copy is no change of its owner."""
    clone.release("1.2.0", {"release.sha256": "1  base.py\n"})
    clone.release("1.3.0", {"release.sha256": "2  base.py\n"})
    clone.adopt("update", shop.copy, "--to", "1.2.0", ends=0)
    for damaged in ("mine\n", b"\0", None):
        shop.change({"release.sha256": damaged, "version.txt": "1.2.0"})
        clone.adopt("update", shop.copy, ends=0)
        assert (shop.copy / "release.sha256").read_text() == "2  base.py\n"


def test_the_changelog_says_what_to_do(clone: Clone, shop: Shop) -> None:
    """For each release that is taken, and not for those before."""
    parts = "".join(
        f"### [{number}] - 2026-01-01\n\n#### To do\n\n- Mind {number}.\n\n#### Added\n\n- All.\n\n"
        for number in ("1.3.0", "1.2.0", "1.1.0", "1.0.0")
    )
    text = f"# Changelog\n\n## The cache module\n\n{parts}## The template\n\n### [1]\n"
    clone.release("1.3.0", {"../../../../CHANGELOG.md": text})
    out = clone.adopt("update", shop.copy, ends=0).out
    assert [line for line in out.splitlines() if line.startswith("- ")] == [
        *("- Mind 1.3.0.", "- Mind 1.2.0.", "- Mind 1.1.0."),
    ]


def test_no_line_of_ones_own_is_lost(tmp_path: Path) -> None:
    """Whatever both sides do, it is in the result; what was deleted stays deleted."""
    chance = random.Random(17)  # noqa: S311 - no secret
    names = [f"{folder}{number}.py" for folder in ("", "a/", "a/b/") for number in range(60)]
    base = {name: b"1\n2\n3\n4\n5\n" for name in names if chance.random() < 0.8}
    ours, theirs = some(base, names, "mine", chance), some(base, names, "theirs", chance)
    plan = Plan(tmp_path, base, ours, theirs, ("before", "after"))
    result = {**ours, **plan.changes}
    for name, data in ours.items():
        after = result[name]
        own = [line for line in data.splitlines() if line.startswith(b"mine")]
        assert all(line in (after or b"") for line in own)
        assert after is not None or data == base[name]
    assert not any(result.get(name) for name in base.keys() - ours.keys())
    assert plan.merged
    assert plan.conflicts
    assert plan.notes


def some(
    base: dict[str, bytes], names: list[str], owner: str, chance: random.Random
) -> dict[str, bytes]:
    """Change a third of the files, delete some, and add some."""
    changed = dict(base)
    for number, name in enumerate(names):
        lines = changed.get(name, b"").decode().splitlines(keepends=True)
        match chance.randrange(4):
            case 0:
                changed.pop(name, None)
            case 1:
                lines.insert(chance.randrange(len(lines) + 1), f"{owner} {number}\n")
                changed[name] = "".join(lines).encode()
            case 2 if lines:
                lines[chance.randrange(len(lines))] = f"{owner} {number}\n"
                changed[name] = "".join(lines).encode()
    return changed

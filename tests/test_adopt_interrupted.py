"""`adopt.py` may be killed, and files may be saved while it runs: nothing of a copy is lost."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from adoption.copies import change, files_of, mended
from adoption.releases import RefusalError

from tests.baked import ROOT, environment
from tests.clones import FIRST, LINES, Clone, Shop, seen, two_releases, write

CHANGES = {"base.py": b"new\n", "ops/audit.py": None, "rooms/new.py": b"NEW = 1\n"}
KILLED = 77
DRIVER = f"""
import os, sys
from pathlib import Path
from adoption.copies import change, files_of

left = int(sys.argv[1])


def count(event, arguments):
    global left
    writes = event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
    if writes or event in {{"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"}}:
        left -= 1
        if left == 0:
            os._exit({KILLED})


sys.addaudithook(count)
change(Path(sys.argv[2]), {CHANGES!r}, files_of(Path(sys.argv[2])))
"""
"""Changes a copy, and kills itself before the so manieth change of a file."""


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """Return a clone with two releases."""
    return two_releases(tmp_path / "clone")


@pytest.fixture
def shop(tmp_path: Path, clone: Clone) -> Shop:
    """Return an application that has committed a copy, with a file that git ignores."""
    shop = Shop(tmp_path / "shop")
    clone.adopt("copy", shop.copy, "--release", "1.0.0", ends=0)
    write(shop.root, {".gitignore": "local.env\n"})
    write(shop.copy / "settings", {"local.env": "MINE=1\n"})
    shop.commit()
    return shop


def beside(folder: Path, end: str) -> Path:
    """Return a folder that a run may leave."""
    return folder.with_name(f".{folder.name}.adopt{end}")


def interrupted(folder: Path) -> None:
    """Leave what a run does that is killed between its two renames."""
    shutil.copytree(folder, beside(folder, ""))
    folder.rename(beside(folder, "-old"))


def test_a_run_that_is_killed_leaves_one_or_the_other(tmp_path: Path) -> None:
    """Whenever it is: the next one finds the old copy or the new one, as a whole.

    At one place only, it cannot tell by itself that the old one may go.
    """
    folder = tmp_path / "home" / "cache"
    write(folder, FIRST)
    before = seen(folder)
    are_new: list[bool] = []
    kept = 0
    code = KILLED
    while code == KILLED:
        code = subprocess.run(
            [sys.executable, "-c", DRIVER, str(len(are_new) + 1), folder],
            env=environment(PYTHONPATH=str(ROOT / "scripts")),
            check=False,
        ).returncode
        stage, old = beside(folder, ""), beside(folder, "-old")
        if stage.exists() and folder.exists():
            with pytest.raises(RefusalError, match="is of a run that is under way"):
                change(folder, {}, files_of(folder))
            shutil.rmtree(stage)
        if old.exists() and folder.exists():
            with pytest.raises(RefusalError, match=r"in which base.py, ops/audit.py are not as in"):
                mended(folder)
            assert seen(old) == before
            shutil.rmtree(old)
            kept += 1
        assert mended(folder) == folder
        assert [path.name for path in folder.parent.iterdir()] == ["cache"]
        now = seen(folder)
        are_new.append(now != before)
        if are_new[-1]:
            names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
            assert names == {*FIRST} - {"ops/audit.py"} | {"rooms/new.py"}
            assert (folder / "base.py").read_bytes() == CHANGES["base.py"]
            shutil.rmtree(folder)
            write(folder, FIRST)
    assert code == 0
    assert kept == 1
    assert are_new == sorted(are_new)
    assert not are_new[0]
    assert len(are_new) > len(FIRST)


def test_only_an_update_brings_a_copy_back(clone: Clone, shop: Shop) -> None:
    """The others say that it does, and leave all as it is; no file is lost."""
    interrupted(shop.copy)
    before = seen(shop.root)
    for command in ("copy", "check", "diff"):
        said = clone.adopt(command, shop.copy, ends=2).err
        assert f"left your copy as {beside(shop.copy, '-old')}" in said or "the next one" in said
        assert "delete it" not in said
        assert seen(shop.root) == before
    assert "is as it was before" in clone.adopt("update", shop.copy, "--no-git", ends=0).out
    assert (shop.copy / "base.py").read_text() == LINES + "theirs\n"
    assert (shop.copy / "settings" / "local.env").read_text() == "MINE=1\n"
    assert [path.name for path in shop.copy.parent.iterdir()] == ["caching"]


def test_what_only_the_earlier_folder_has_is_kept(clone: Clone, shop: Shop) -> None:
    """Where git made the copy anew, a file that git ignores is in the earlier folder only."""
    whole = shop.copy.with_name("whole")
    shutil.copytree(shop.copy, whole)
    interrupted(shop.copy)
    whole.rename(shop.copy)
    (shop.copy / "settings" / "local.env").unlink()
    before = seen(shop.root)
    for command, code in (("check", 0), ("diff", 0), ("copy", 2), ("update", 2)):
        ran = clone.adopt(command, shop.copy, ends=code)
        assert command != "update" or "in which settings/local.env are not as in" in ran.err
        assert seen(shop.root) == before
    write(shop.copy / "settings", {"local.env": "MINE=1\n"})
    clone.adopt("update", shop.copy, "--no-git", ends=0)
    assert [path.name for path in shop.copy.parent.iterdir()] == ["caching"]


@pytest.mark.parametrize("file", ["base.py", "settings/local.env", "new.py"])
@pytest.mark.parametrize("before", ["the rename", "it is copied"])
def test_a_file_that_is_saved_meanwhile_is_not_lost(
    file: str, before: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The update is refused, and the copy is as somebody saved it."""
    ours = files_of(shop.copy)
    saved: list[str] = []

    def save_and(do: Callable[..., object]) -> Callable[..., object]:
        def done(*arguments: object, **options: object) -> object:
            if not saved:
                saved.append(file)
                write(shop.copy, {file: "saved\n"})
            return do(*arguments, **options)

        return done

    if before == "the rename":
        monkeypatch.setattr(Path, "rename", save_and(Path.rename))
    else:
        monkeypatch.setattr(shutil, "copytree", save_and(shutil.copytree))
    with pytest.raises(RefusalError, match="was changed while the update ran"):
        change(shop.copy, {"base.py": b"new\n"}, ours)
    assert (shop.copy / file).read_text() == "saved\n"
    assert file == "base.py" or (shop.copy / "base.py").read_text() == LINES
    assert [path.name for path in shop.copy.parent.iterdir()] == ["caching"]

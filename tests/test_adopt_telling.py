"""`adopt.py` says what it did, and only that: whatever its Python, its output and the names are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.baked import ROOT, environment
from tests.clones import LINES, Clone, Shop, seen, two_releases, write


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """Return a clone with two releases."""
    return two_releases(tmp_path / "clone")


@pytest.fixture
def shop(tmp_path: Path, clone: Clone) -> Shop:
    """Return an application that has committed a copy of the first release."""
    shop = Shop(tmp_path / "shop")
    clone.adopt("copy", shop.copy, "--release", "1.0.0", ends=0)
    shop.commit()
    return shop


@pytest.mark.parametrize("command", ["copy", "update", "check"])
@pytest.mark.parametrize("text", [None, "", "#!/bin/sh\nexit 3\n", "#!/bin/sh\necho x\n"])
def test_a_python_that_does_not_answer_is_refused(
    command: str, text: str | None, clone: Clone, shop: Shop
) -> None:
    """Before anything is changed: it is away, no program, fails, or answers something else."""
    python = shop.root / ".venv" / "bin" / "python"
    if text is not None:
        write(python.parent, {"python": text})
        python.chmod(0o755)
    before = seen(shop.root)
    folder = shop.copy.with_name("other") if command == "copy" else shop.copy
    options = ["--python", str(python)] if text is None else []
    said = clone.adopt(command, folder, *options, ends=2).err
    assert f"{python} does not tell which packages it has" in said
    assert seen(shop.root) == before


@pytest.mark.parametrize("command", ["copy", "update"])
@pytest.mark.parametrize("output", ["full", "closed pipe", "none"])
def test_what_was_done_is_done_though_it_cannot_be_printed(
    command: str, output: str, clone: Clone, shop: Shop
) -> None:
    """The exit code is 1, and the one line that is left says so; no output at all is fine."""
    folder = shop.copy.with_name("other") if command == "copy" else shop.copy
    script = [sys.executable, str(clone.root / "scripts" / "adopt.py"), command, str(folder)]
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *script] if output == "none" else script
    reads, writes = os.pipe()
    os.close(reads)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            shell,
            env=environment(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull),
            stdout=writes if output == "closed pipe" else full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    os.close(writes)
    assert (folder / "base.py").read_text() == LINES + "theirs\n"
    assert (done.returncode, done.stderr.count("\n")) == ((0, 0) if output == "none" else (1, 1))
    assert output == "none" or f"{folder} was " in done.stderr
    assert "Refused" not in done.stderr


def test_a_name_that_is_no_text_is_told(clone: Clone, shop: Shop) -> None:
    """As a backslash and its bytes."""
    write(shop.copy, {os.fsdecode(b"m\xff.py"): "x"})
    env = environment(PYTHONIOENCODING="utf-8:strict")
    done = subprocess.run(
        [sys.executable, clone.root / "scripts" / "adopt.py", "check", shop.copy],
        env=env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "added     m\\udcff.py\n" in done.stdout


def test_markers_that_are_left_are_told_again(clone: Clone, shop: Shop) -> None:
    """By the same update, and by the next one, which is refused."""
    shop.change({"base.py": LINES + "mine\n"})
    clone.adopt("update", shop.copy, "--markers", ends=1)
    ran = clone.adopt("update", shop.copy, ends=1)
    assert "already\nconflict  base.py: mend it" in ran.out
    shop.commit()
    clone.release("1.2.0", {"LICENSE": "MIT, 2026\n"})
    said = clone.adopt("update", shop.copy, ends=2).err
    assert "conflict markers are still in base.py" in said
    shop.change({"base.py": LINES + "mine\n"})
    clone.adopt("update", shop.copy, ends=0)


def test_an_older_release_has_nothing_to_do(clone: Clone, shop: Shop) -> None:
    """What its changelog says is done, or is taken back."""
    part = "\n\n#### To do\n\n- Mind it.\n\n"
    text = f"## The cache module\n\n### [Unreleased]{part}### [1.2.0]{part}"
    clone.release("1.2.0", {"../../../../CHANGELOG.md": text})
    clone.release("1.3.0", {"../../../../CHANGELOG.md": text.replace("1.2.0", "1.3.0")})
    assert "Mind it" in clone.adopt("update", shop.copy, ends=0).out
    shop.commit()
    assert "Mind it" not in clone.adopt("update", shop.copy, "--to", "1.2.0", ends=0).out


@pytest.mark.parametrize(
    ("folder", "name"), [("my-pkg/cache", "cache"), ("src/my-pkg/a/b", "a.b"), ("a/class/b", "b")]
)
def test_an_import_is_one_that_python_reads(
    folder: str, name: str, clone: Clone, shop: Shop
) -> None:
    """What is above a folder that is no name of a package has to be where Python looks."""
    out = clone.adopt("copy", shop.root / folder, ends=0).out
    assert f"Import it by: from {name} import" in out
    above = folder.removesuffix(f"/{name.replace('.', '/')}")
    assert f"with {above} in PYTHONPATH" in out


def test_another_copy_is_no_setting_of_the_application(clone: Clone, shop: Shop) -> None:
    """What the module says of its own settings is told of none of its copies."""
    (shop.root / ".env").write_text("REDIS_HOST=other\n")
    out = clone.adopt("copy", shop.copy.with_name("other"), ends=0).out
    assert out.count("look at") == 1
    assert "REDIS_HOST is used already (.env:1), and" in out


def test_the_mode_of_the_folder_stays(clone: Clone, shop: Shop) -> None:
    """Though it may not be written."""
    shop.copy.chmod(0o555)
    clone.adopt("update", shop.copy, ends=0)
    assert shop.copy.stat().st_mode & 0o777 == 0o555


def test_make_adopt_says_what_it_needs_and_knows_home(tmp_path: Path) -> None:
    """Without INTO it stops; a tilde that the shell left is that of the user, and a $ is a $."""
    env = environment(HOME=str(tmp_path))
    for into, code, says in (
        ([], 2, "INTO: is missing"),
        (["INTO=~/my-cache"], 2, "'my-cache' is no name of a package"),
        (["INTO=~/shop/cache"], 0, f"to {tmp_path}/shop/cache\n"),
        ([f"INTO={tmp_path}/a$b/$$c/$(HOME)#/cache"], 0, f"to {tmp_path}/a$b/$$c/$(HOME)#/cache\n"),
    ):
        done = subprocess.run(
            ["make", "--silent", "adopt", *into],
            cwd=ROOT,
            env=env,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert says in done.stdout + done.stderr

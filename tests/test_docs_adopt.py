"""The commands of docs/adopt.md, typed as they stand there, and its table of parts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from adopt import PARTS
from release import digests_module, release

from tests.baked import CACHE, ROOT, environment
from tests.clones import FOLDER, Shop, git
from tests.documents import DOCS, blocks

PAGE = (DOCS / "adopt.md").read_text()
COMMANDS = [
    line for block in blocks(PAGE) if block.language == "sh" for line in block.text.splitlines()
]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone of a repository whose second release of the module is not fetched yet."""
    upstream = tmp_path / "upstream"
    left_out = shutil.ignore_patterns("__pycache__", ".*_cache")
    shutil.copytree(ROOT / "scripts", upstream / "scripts", ignore=left_out)
    shutil.copytree(CACHE, upstream / FOLDER, ignore=left_out)
    shutil.copy(ROOT / "Makefile", upstream)
    git(upstream, "init", "--quiet")
    made(upstream, "1.0.0")
    git(tmp_path, "clone", "--quiet", str(upstream), "clone")
    changed = upstream / FOLDER / "README.md"
    changed.write_text(changed.read_text().replace("# Cache\n", "# The cache\n", 1))
    made(upstream, "1.1.0")
    return tmp_path / "clone"


def made(upstream: Path, number: str) -> None:
    """Release the module, as a maintainer does."""
    release(number, upstream / FOLDER)
    git(upstream, "add", "--all")
    git(upstream, "commit", "--quiet", "--message", f"Release {number}")
    git(upstream, "tag", f"cache-v{number}")


def typed(command: str, clone: Path) -> str:
    """Type a command; return what it prints."""
    who = {
        f"GIT_{role}_{what}": "ada@example.com"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    path = f"{Path(sys.executable).parent}:{environment()['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=clone,
        env=environment(**who, PATH=path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def test_the_commands_do_what_the_page_says(clone: Path, tmp_path: Path) -> None:
    """A copy, a smaller one, no difference, and an update over a change of one's own."""
    shop = Shop(tmp_path / "shop")
    said = {command: typed(command, clone) for command in COMMANDS[:-2]}
    assert "from shop.cache import cache_response" in said[COMMANDS[0]]
    assert not (tmp_path / "other" / "cache" / "ops").exists()
    assert any("as it was released" in text for text in said.values())
    folder = shop.root / "src" / "shop" / "cache"
    page = folder / "README.md"
    page.write_text(page.read_text() + "\nMine.\n")
    shop.commit()
    *_, update = [typed(command, clone) for command in COMMANDS[-2:]]
    assert "1.0.0 (cache-v1.0.0) became 1.1.0 (cache-v1.1.0)" in update
    assert page.read_text().startswith("# The cache\n")
    assert page.read_text().endswith("\nMine.\n")
    found = digests_module().differences(folder)
    assert found.changed == ["README.md"]


def test_the_page_names_each_part() -> None:
    """Those that may be left out."""
    row = next(line for line in PAGE.splitlines() if line.startswith("| `--without"))
    assert [name for name in PARTS if f"`{name}`" not in row] == []

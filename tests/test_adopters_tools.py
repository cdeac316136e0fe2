"""The linters and type checkers of an adopter have nothing to say of the folder of the cache."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.baked import BakedProject, copy_cache, environment, run
from tests.clones import write

TOOLS: Final = Path(sys.executable).parent
RULES: Final = {
    "a common selection": 'line-length = 88\nlint.select = ["E", "F", "I", "B", "UP", "D", "BLE"]',
    "another convention": 'lint.select = ["D", "DOC"]\nlint.pydocstyle.convention = "numpy"',
    "short lines": 'line-length = 79\nformat.quote-style = "single"\nlint.select = ["E", "Q"]',
    "all": 'preview = true\ntarget-version = "py313"\nlint.select = ["ALL"]',
}
OWN: Final = '''"""An application with a cache."""

from shop.platform.caching import cache_response, get_cache_manager


@cache_response(get_cache_manager(), key_prefix="double")
async def double(number: int) -> int:
    """Return the double of a number."""
    return 2 * number
'''


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return an application that has a copy of the folder, at another depth."""
    shop = tmp_path / "src" / "shop"
    copy_cache(shop / "platform" / "caching")
    for package in (shop, shop / "platform"):
        write(package, {"__init__.py": f'"""The package {package.name}."""\n'})
    write(shop, {"main.py": OWN})
    return tmp_path


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_ruff_is_silent(rules: str, shop: Path) -> None:
    """The folder has settings of its own; those of the application hold for the rest of it."""
    (shop / "ruff.toml").write_text(f"{rules}\n")
    run(TOOLS / "ruff", "check", "--no-cache", "src/shop/platform/caching", cwd=shop)
    run(TOOLS / "ruff", "format", "--check", "--no-cache", "src/shop/platform/caching", cwd=shop)
    write(shop, {"src/shop/wrong.py": 'import os\n\ndef  wrong():\n    """wrong"""; x = \'1\'\n'})
    done = subprocess.run([TOOLS / "ruff", "check", "--no-cache"], cwd=shop, check=False)
    assert done.returncode == 1


@pytest.mark.slow
def test_mypy_is_silent(installed: BakedProject, shop: Path) -> None:
    """With `--strict`, on all rooms."""
    python = installed.path / ".venv" / "bin" / "python"
    assert "no issues found" in mypy(python, shop)


@pytest.mark.slow
def test_mypy_is_silent_without_the_packages_of_rooms(adopter: Path, shop: Path) -> None:
    """Without pytest, typer, rich and prometheus-client, once the rooms that use them are gone."""
    for room in ("ops", "testing"):
        run("rm", "-r", f"src/shop/platform/caching/{room}", cwd=shop)
    assert "no issues found" in mypy(adopter, shop)


def mypy(python: Path, shop: Path) -> str:
    """Run mypy at its strictest, with the packages of this interpreter."""
    options = ("--strict", "--python-executable", python, "--cache-dir", "/dev/null")
    return run(TOOLS / "mypy", *options, "src", cwd=shop, MYPYPATH="src")


@pytest.mark.slow
def test_basedpyright_is_silent(installed: BakedProject, shop: Path) -> None:
    """In its mode "standard"; in "strict" too, for code that uses the folder."""
    python = installed.path / ".venv" / "bin" / "python"
    for mode, ignored in (("standard", []), ("strict", ["src/shop/platform/caching"])):
        config = {"include": ["src"], "ignore": ignored, "typeCheckingMode": mode}
        (shop / "pyrightconfig.json").write_text(json.dumps(config))
        done = subprocess.run(
            [TOOLS / "basedpyright", "--pythonpath", python],
            cwd=shop,
            env=environment(),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert "0 errors, 0 warnings, 0 notes" in done.stdout, done.stdout

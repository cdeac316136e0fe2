"""Type checkers at their strictest have nothing to say of code that uses the cache."""

import json
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.baked import BakedProject
from tests.examples import modules

APPLICATION: Final = Path(__file__).parent / "typed_application.py"
OF_FRAGMENTS: Final = ("Variable", "Function", "Class")
"""What an example defines, it need not use."""


@pytest.fixture(scope="module")
def typed(installed: BakedProject) -> Path:
    """Return a folder in a service with the examples of the documents, and an application."""
    folder = installed.path / "typed"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, text in modules().items():
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copy(APPLICATION, folder)
    return folder


def test_mypy_is_silent(installed: BakedProject, typed: Path) -> None:
    """With `--strict`, on the examples and on the application."""
    said = installed.run(".venv/bin/mypy", "--strict", typed.name)
    assert f"no issues found in {len(list(typed.iterdir()))} source files" in said


def test_basedpyright_is_silent(installed: BakedProject, typed: Path) -> None:
    """In its mode "strict"; what a checker infers is what the annotations say."""
    rules = dict.fromkeys([f"reportUnused{what}" for what in OF_FRAGMENTS], False)
    config = {"include": [typed.name], "typeCheckingMode": "strict", **rules}
    (typed.parent / "pyrightconfig.json").write_text(json.dumps(config))
    basedpyright = Path(sys.executable).with_name("basedpyright")
    said = installed.run(basedpyright, "--pythonpath", ".venv/bin/python")
    assert "0 errors, 0 warnings, 0 notes" in said


def test_the_checkers_see_what_is_wrong(installed: BakedProject, typed: Path) -> None:
    """A wrong argument is an error: the types are not all `Any`."""
    wrong = "from typed.typed_application import read_user\n\nread_user.set\nread_user('one')\n"
    (typed.parent / "wrong.py").write_text(wrong)
    with pytest.raises(AssertionError, match="incompatible type"):
        installed.run(".venv/bin/mypy", "--strict", "wrong.py")
    (typed.parent / "wrong.py").unlink()

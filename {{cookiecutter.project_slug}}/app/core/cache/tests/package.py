"""The package that is tested, under whatever name and wherever it stands."""

import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

NAME: Final = __name__.removesuffix(".tests.package")
cache: Final[ModuleType] = sys.modules[NAME]
FOLDER: Final = Path(__file__).resolve().parent.parent
ROOT: Final = FOLDER.parents[NAME.count(".")]
"""The folder from which it is imported."""

_IN_DOCUMENTS: Final = "app.core.cache"


def as_here(text: str) -> str:
    """Return what a document says, with the name that the package has here."""
    return text.replace(_IN_DOCUMENTS, NAME)


def program(text: str) -> str:
    """Return a program that imports the package: its name stands where `{package}` does."""
    return text.replace("{package}", NAME)


def copy_to(folder: Path) -> None:
    """Copy the package, as somebody does who adopts it without its tests."""
    left_out = {str(FOLDER): {"tests"}}

    def ignored(inside: str, names: list[str]) -> set[str]:
        return {"__pycache__"} | left_out.get(inside, set())

    shutil.copytree(FOLDER, folder, ignore=ignored)

"""Whether a file belongs to the cache, to a library, or to the application."""

import os
import site
import sysconfig
from functools import lru_cache
from typing import Any, Final

PACKAGE: Final = f"{__package__}."
"""The prefix of the names of the cache's own modules."""


def _here() -> str:
    """Return the folder of the cache, written as the interpreter writes it."""
    return os.path.dirname(_here.__code__.co_filename) + os.sep  # noqa: PTH120 - `Path` would tidy it


FOLDER: Final = _here()
_INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_PATHS = sysconfig.get_paths()
_LIBRARIES = tuple(
    folder + os.sep
    for folder in (
        *(_PATHS[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        site.getusersitepackages(),
    )
)
_homes: tuple[str, ...] = ()
"""Folders of the application's packages that are installed like a library."""


@lru_cache(maxsize=4096)
def is_own(file: str) -> bool:
    """Whether a file is the application's, and not the cache's or an installed library's."""
    if file.startswith((FOLDER, "<frozen ")):
        return False
    is_library = file.startswith(_LIBRARIES) or any(part in file for part in _INSTALLED)
    return not is_library or file.startswith(_homes)


def follow(function: Any) -> bool:
    """Count the package of a function as part of the application, even if it is installed.

    Return whether that is new.
    """
    global _homes  # noqa: PLW0603 - one for the process
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    ends = [file.rfind(part) + len(part) for part in _INSTALLED if part in file]
    if not ends:
        return False
    package, inside, _ = file[max(ends) :].partition(os.sep)
    home = file[: max(ends)] + package + inside
    if home in _homes:
        return False
    _homes = (*_homes, home)
    is_own.cache_clear()
    return True

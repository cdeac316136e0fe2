"""Whether a file belongs to the cache, to a library, or to the application."""

import os
import site
import sysconfig
from functools import lru_cache
from typing import Any, Final

_PACKAGE: Final = f"{__package__}."


def _here() -> str:
    """Return the folder of the cache, written as the interpreter writes it."""
    return os.path.dirname(_here.__code__.co_filename) + os.sep  # noqa: PTH120 - `Path` would tidy it


_FOLDER: Final = _here()
_TESTS: Final = "tests"
"""The folder in which the tests of the cache are; to the cache they are an application."""
_INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_PATHS = sysconfig.get_paths()
_PLACES = [_PATHS[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
_LIBRARIES = tuple(folder + os.sep for folder in (*_PLACES, site.getusersitepackages()))
_homes: tuple[str, ...] = ()
"""Folders of the application's packages that are installed like a library."""


def is_of_cache(file: str) -> bool:
    """Whether a file is one of the cache's own."""
    return file.startswith(_FOLDER) and not file.startswith(_TESTS + os.sep, len(_FOLDER))


def is_module_of_cache(name: str) -> bool:
    """Whether a module is one of the cache's own."""
    return name.startswith(_PACKAGE) and not name.startswith(f"{_TESTS}.", len(_PACKAGE))


@lru_cache(maxsize=4096)
def is_own(file: str) -> bool:
    """Whether a file is the application's, and not the cache's or an installed library's."""
    if is_of_cache(file) or file.startswith("<frozen "):
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

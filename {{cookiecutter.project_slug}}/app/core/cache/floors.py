"""The versions that the cache needs of others, where a lack of them would not be seen at once.

Found by running the tests with older ones. redis-py below 8.0 takes other options, so that each
connection would fail; what is below the rest gives other results here and there.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from .errors import CacheConfigError

_OF_REDIS = {"redis": (8, 0), "hiredis": (3, 2)}
_OF_ALL = {"fastapi": (0, 100, 1), "pydantic": (2, 7), "pydantic_settings": (2, 2)}


@cache
def insist_on_redis_py() -> None:
    """Raise `CacheConfigError` if redis-py or hiredis is missing or too old."""
    _insist(_OF_REDIS, "CACHE_BACKEND=redis", "pip install 'redis[hiredis]>=8.0'")


@cache
def insist_on_the_rest() -> None:
    """Raise `CacheConfigError` if what both backends need is too old."""
    wanted = [f"'{name.replace('_', '-')}>={_text(floor)}'" for name, floor in _OF_ALL.items()]
    _insist(_OF_ALL, "the cache", f"pip install {' '.join(wanted)}")


def _insist(floors: Mapping[str, tuple[int, ...]], what: str, remedy: str) -> None:
    for package, floor in floors.items():
        found = _version(package)
        if found is None or _numbers(found) < floor:
            name = "redis-py" if package == "redis" else package.replace("_", "-")
            raise CacheConfigError(
                f"{what} needs {name} {_text(floor)} or newer, and "
                f"{'it is not installed' if found is None else f'{found} is installed'}: {remedy}"
            )


def _version(package: str) -> str | None:
    """Return what a package says of itself: to read its metadata takes milliseconds."""
    try:
        return str(import_module(package).__version__)
    except (ImportError, AttributeError):  # missing, or a folder of this name
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple([int(number) for number in re.findall(r"\d+", version)[:3]])


def _text(floor: tuple[int, ...]) -> str:
    return ".".join(map(str, floor))

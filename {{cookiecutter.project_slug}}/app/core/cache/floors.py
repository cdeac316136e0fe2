"""The oldest versions of other packages that the cache works with.

They were found by running the tests with older versions. redis-py below 8.0 takes other options, so
every connection would fail. With older versions of the other packages some results are wrong.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from .errors import CacheConfigError

_OF_REDIS = {"redis": "8.0", "hiredis": "3.2"}
_OF_ALL = {"fastapi": "0.100.1", "pydantic": "2.7", "pydantic_settings": "2.2"}


@cache
def insist_on_redis_py() -> None:
    """Raise `CacheConfigError` if redis-py or hiredis is missing or too old."""
    _insist(_OF_REDIS)


@cache
def insist_on_the_rest() -> None:
    """Raise `CacheConfigError` if a package that both backends need is too old."""
    _insist(_OF_ALL)


def _insist(floors: Mapping[str, str]) -> None:
    for package, floor in floors.items():
        try:  # the package itself: to read its metadata takes milliseconds
            found = str(import_module(package).__version__)
        except (ImportError, AttributeError):  # missing, or only a folder with this name
            found = ""
        if _numbers(found) < _numbers(floor):
            raise CacheConfigError(
                f"the cache needs the Python package {package} {floor} or newer, and "
                f"{f'{found} is installed' if found else 'it is not installed'}: "
                f"pip install '{package}>={floor}'"
            )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]

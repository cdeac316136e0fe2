"""Files that may be deleted are missed by a clear error."""

import pytest

from .. import CacheConfigError, CachedRoute, CacheStatusMiddleware
from ..optional import insist_on_file
from .package import NAME


@pytest.mark.parametrize("file", ["http/nothing.py", "nothing/nothing.py", "nothing.py"])
def test_a_deleted_file_is_named(file: str) -> None:
    """And so is what needs it."""
    with pytest.raises(CacheConfigError, match=f"^A_SETTING needs the file {file} of the cache"):
        insist_on_file(file, "A_SETTING")


def test_a_file_that_is_there_is_enough() -> None:
    """Nothing is raised, and the package hands out what is in it."""
    insist_on_file("http/route.py", "CachedRoute")
    assert CachedRoute.__module__ == f"{NAME}.http.route"
    assert CacheStatusMiddleware.__module__ == f"{NAME}.http.status"

"""What tests of reads share: a cache in memory, and that nothing is left of how reads are seen."""

import sys
from collections.abc import Iterator

import pytest

from ... import CacheManager
from .asking import who


@pytest.fixture
def manager(memory: CacheManager) -> CacheManager:
    """Lend a manager over memory."""
    return memory


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Have the variables as they were."""
    yield
    assert who.get() == "nobody"
    assert sys.getprofile() is None

"""What tests of records share."""

from collections.abc import AsyncIterator

import pytest

from ... import CacheManager
from ..conftest import lent, new_backend


@pytest.fixture(params=["memory", "redis", "near"])
async def own(request: pytest.FixtureRequest) -> AsyncIterator[CacheManager]:
    """Lend a manager over memory, over Redis, and over Redis with a near cache."""
    async with lent(CacheManager(new_backend(request))) as manager:
        yield manager

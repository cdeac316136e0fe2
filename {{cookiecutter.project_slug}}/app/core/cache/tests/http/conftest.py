"""Fixtures for the tests of `CacheMiddleware`."""

from collections.abc import AsyncIterator

import pytest

from ... import CacheManager
from ..conftest import OURS, new_backend
from .internals import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Lend a clock that stands still."""
    return Clock(monkeypatch)


@pytest.fixture(params=OURS)
async def exact(request: pytest.FixtureRequest) -> AsyncIterator[CacheManager]:
    """Lend a manager over each backend of our own in turn, empty, whose entries live as told."""
    manager = CacheManager(new_backend(request), ttl_jitter=0)
    yield manager
    await manager.clear()
    await manager.close()

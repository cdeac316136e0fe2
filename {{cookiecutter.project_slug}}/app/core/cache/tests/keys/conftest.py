"""What tests of keys share."""

import logging
from collections.abc import Callable

import pytest

from ... import MemoryBackend


@pytest.fixture
def backend() -> MemoryBackend:
    """Lend a backend that several managers share, as they do a Redis."""
    return MemoryBackend()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Lend a function that returns what has been warned of."""
    return lambda: [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]

"""What tests reach into beyond the public API. If an internal name changes, this file does."""

import asyncio
import dataclasses
import time
from typing import Any

import pytest

from .. import CacheFactory, CacheManager, MemoryBackend
from .faults import WITHIN


def always_due(function: Any) -> Any:
    """Let each entry of a cached function that has early refresh be computed anew at each hit."""
    calls = function.calls
    calls.freshness = dataclasses.replace(calls.freshness, early=1e12)
    return function


def entries_in(manager: CacheManager) -> dict[str, tuple[bytes, float]]:
    """Return what is in memory, by key, and until when."""
    assert isinstance(manager.backend, MemoryBackend)
    return manager.backend._entries


def lifetime(manager: CacheManager, key: str) -> float:
    """Return how long an entry in memory goes on to live, in seconds."""
    assert isinstance(manager.backend, MemoryBackend)
    _, until = entries_in(manager)[f"{manager.key_prefix}:{key}"]
    return until - manager.backend._clock()


def waiting(manager: CacheManager) -> int:
    """Return how many callers wait for others of this process."""
    return manager.fence.flights.followers()


async def joined(manager: CacheManager, followers: int) -> None:
    """Wait until so many callers wait for others of this process."""
    deadline = time.monotonic() + WITHIN
    while waiting(manager) < followers:
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


def waits_for_a_lease(manager: CacheManager) -> bool:
    """Whether a caller waits for another process."""
    return bool(manager.fence.leases._waits)


async def settled(manager: CacheManager) -> None:
    """Wait for what the manager does in the background."""
    await manager.fence.leases.tasks.settle()


def without_shared_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the factory make a new shared manager in this test."""
    monkeypatch.setattr(CacheFactory, "_manager", None)

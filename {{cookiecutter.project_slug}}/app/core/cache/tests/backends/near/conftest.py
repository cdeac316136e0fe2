"""Fixtures of the tests of the near cache."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis

from .... import (
    CacheManager,
)
from ....backends import redis_store
from ....testing.redis_server import RedisServer
from ...conftest import redis_backend
from ...faults import manager_behind
from .scene import AsUser, Elsewhere, Source, Wire, left


@pytest.fixture
def wire(redis_server: RedisServer) -> Iterator[Wire]:
    """Lend a wire to Redis."""
    with Wire(redis_server.host, redis_server.port) as wire:
        yield wire


@pytest.fixture
def prefix() -> str:
    """Return a prefix that several managers can share."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
async def manager(
    wire: Wire, redis_server: RedisServer, prefix: str
) -> AsyncIterator[CacheManager]:
    """Lend a manager with a near cache, at the end of the wire."""
    manager = manager_behind(
        wire, redis_server, near_size=1000, key_prefix=prefix, operation_timeout=5.0
    )
    yield manager
    await left(manager, wire)


@pytest.fixture
async def hasty(wire: Wire, redis_server: RedisServer, prefix: str) -> AsyncIterator[CacheManager]:
    """Lend one that waits for Redis no longer than a service does."""
    manager = manager_behind(wire, redis_server, near_size=1000, key_prefix=prefix)
    yield manager
    await left(manager, wire)


@pytest.fixture
async def other(redis_server: RedisServer, prefix: str) -> AsyncIterator[CacheManager]:
    """Lend the manager of what might be another process, which goes straight to Redis."""
    manager = CacheManager(redis_backend(redis_server, key_prefix=prefix))
    yield manager
    await manager.close()


@pytest.fixture
def source() -> Source:
    """Lend a source."""
    return Source()


@pytest.fixture
def as_user(redis_server: RedisServer, redis_client: Redis) -> Iterator[AsUser]:
    """Lend what makes managers of a user."""
    user = AsUser(redis_server, redis_client)
    yield user
    user.remove()


@pytest.fixture
def told_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody look who was not told."""
    monkeypatch.setattr(redis_store, "POLL_SECONDS", 1000.0)
    monkeypatch.setattr(redis_store, "_LONGEST_WAIT_SECONDS", 1000.0)


@pytest.fixture
async def elsewhere(manager: CacheManager) -> AsyncIterator[Elsewhere]:
    """Lend another thread."""
    elsewhere = Elsewhere()
    yield elsewhere
    await elsewhere.run(manager.close())
    elsewhere.end()

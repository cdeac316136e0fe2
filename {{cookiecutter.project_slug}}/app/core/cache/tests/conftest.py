"""Backends and managers over which the cache's tests run. Whatever they need, they bring."""

import math
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from redis import Redis

from .. import CacheBackend, CacheManager, MemoryBackend, RedisBackend
from ..testing import found
from ..testing.found import (  # noqa: F401 - hooks
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)
from ..testing.redis_server import RedisServer
from . import logs, package
from .proxy.fault_proxy import FaultProxy
from .run import (  # noqa: F401 - hooks and fixtures
    _alone,
    anyio_backend,
    pytest_configure,
    pytest_pycollect_makeitem,
)

OURS = ("memory", "redis")
SIX_METHODS = "six methods"
redis_server = found.redis_server
caplog = logs.caplog


class SixMethods(CacheBackend):
    """The least that a backend can be: what somebody writes who reads the contract only."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[Any, float]] = {}

    async def get(self, key: str) -> Any | None:
        value, end = self.entries.get(key, (None, 0.0))
        return value if time.monotonic() < end else None

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        if isinstance(expire, timedelta):
            seconds = expire.total_seconds()
        else:
            seconds = math.inf if expire is None else expire
        self.entries[key] = value, time.monotonic() + seconds
        return await self.exists(key)

    async def delete(self, key: str) -> bool:
        was_there = await self.exists(key)
        self.entries.pop(key, None)
        return was_there

    async def exists(self, key: str) -> bool:
        return key in self.entries and time.monotonic() < self.entries[key][1]

    async def clear(self) -> bool:
        for key in [key for key in self.entries if key.startswith(f"{self.key_prefix}:")]:
            del self.entries[key]
        return True

    async def close(self) -> None:
        self.entries.clear()


def redis_backend(server: RedisServer, **changes: Any) -> RedisBackend:
    """Make a backend for this server, with a key prefix of its own unless `changes` has one."""
    options: dict[str, Any] = {
        "host": server.host,
        "port": server.port,
        "db": server.db,
        "password": server.password,
        "timeout": 2.0,
        "operation_timeout": 2.0,  # a busy machine is no reason for a test to fail
        "key_prefix": f"test-{uuid.uuid4().hex}",
    }
    return RedisBackend(**{**options, **changes})


@asynccontextmanager
async def lent(manager: CacheManager) -> AsyncIterator[CacheManager]:
    """Lend a manager; nothing of it is left afterwards."""
    yield manager
    await manager.clear()
    await manager.close()


@pytest.fixture(params=[*OURS, SIX_METHODS])
async def manager(request: pytest.FixtureRequest) -> AsyncIterator[CacheManager]:
    """Lend a manager over each kind of backend in turn, empty."""
    async with lent(CacheManager(new_backend(request))) as manager:
        yield manager


@pytest.fixture(params=OURS)
async def our_manager(request: pytest.FixtureRequest) -> AsyncIterator[CacheManager]:
    """Lend a manager over each backend of our own in turn, empty."""
    async with lent(CacheManager(new_backend(request))) as manager:
        yield manager


@pytest.fixture(params=["memory", "redis", "near"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[CacheManager, CacheManager]]:
    """Lend two managers as two processes have them: over one backend, or two with one Redis."""
    first = new_backend(request)
    second = first
    if request.param != "memory":
        server: RedisServer = request.getfixturevalue("redis_server")
        second = redis_backend(server, key_prefix=first.key_prefix)
    async with lent(CacheManager(first)) as one, lent(CacheManager(second)) as other:
        yield one, other


def new_backend(request: pytest.FixtureRequest) -> CacheBackend:
    """Make the backend that the parameter of a fixture names."""
    if request.param in {"redis", "near"}:
        server: RedisServer = request.getfixturevalue("redis_server")
        return redis_backend(server, near_size=100 * (request.param == "near"))
    return MemoryBackend() if request.param == "memory" else SixMethods()


@pytest.fixture
def memory() -> CacheManager:
    """Lend a manager over memory."""
    return CacheManager(MemoryBackend())


@pytest.fixture
async def redis_manager(redis_server: RedisServer) -> AsyncIterator[CacheManager]:
    """Lend a manager over Redis, below a key prefix of its own."""
    async with lent(CacheManager(redis_backend(redis_server))) as manager:
        yield manager


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """Lend a proxy in front of Redis."""
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


@pytest.fixture(params=["plain", "cached"])
def app(request: pytest.FixtureRequest) -> FastAPI:
    """Lend an application with plain routes, and one with those that send again what was sent."""
    app = FastAPI()
    # By way of the package: the files of both may have been deleted.
    app.add_middleware(package.cache.CacheStatusMiddleware)
    if request.param == "cached":
        app.router.route_class = package.cache.CachedRoute
    return app


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[Redis]:
    """Lend a plain client, to see what stands in Redis."""
    with Redis.from_url(redis_server.url) as client:
        yield client

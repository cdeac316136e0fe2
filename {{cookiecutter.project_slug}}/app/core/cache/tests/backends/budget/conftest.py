"""Fixtures of the tests of the budget."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from .... import CacheManager
from ....backends.wire.multiplexed import MultiplexedConnection
from ....backends.wire.server import Server
from ....errors import UnavailableError
from ....testing.redis_server import RedisServer
from ...conftest import redis_backend
from ...faults import (
    PATIENT,
    Make,
    eventually,
    making,
    manager_behind,
    swept,
)
from ...proxy.fault_proxy import FaultProxy
from .calls import Lost, due, plain, tagged


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """Fail if there are tasks left afterwards, or was an error that nobody saw."""
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    before = len(asyncio.all_tasks())
    yield
    await eventually(lambda: len(asyncio.all_tasks()) <= before)
    assert unseen == []


@pytest.fixture
async def make(proxy: FaultProxy, redis_server: RedisServer) -> AsyncIterator[Make]:
    """Lend what makes managers that go through the proxy; nothing of them is left afterwards."""
    async with making(redis_server, partial(manager_behind, proxy, redis_server)) as make:
        yield make
        proxy.heal()


@pytest.fixture
async def other(redis_server: RedisServer) -> AsyncIterator[CacheManager]:
    """Lend a manager as another process has it: it reaches Redis all the while, and has time."""
    other = CacheManager(redis_backend(redis_server, **PATIENT))
    yield other
    await swept(redis_server, [other])


@pytest.fixture
async def manager(make: Make, other: CacheManager) -> CacheManager:
    """Lend a manager that goes through the proxy, with entries."""
    assert await other.set("key", "value") is True
    for function in (plain, tagged, due):
        assert await function(other)("1") == "1"
    return make(key_prefix=other.key_prefix)


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[Lost]:
    """Note each exchange that came to nothing, without those that were turned away."""
    execute, noted = Server.execute, []

    async def timed(server: Server, *args: Any) -> list[Any]:
        turned_away, begun = server.breaker.is_open, time.monotonic()
        try:
            return await execute(server, *args)
        except UnavailableError:
            if not turned_away:
                noted.append(Lost(begun, time.monotonic()))
            raise

    read_nowait = MultiplexedConnection.read_nowait

    def timed_read(line: MultiplexedConnection, *args: Any) -> "asyncio.Future[Any] | None":
        begun, answer = time.monotonic(), read_nowait(line, *args)

        def note(answer: "asyncio.Future[Any]") -> None:
            if not answer.cancelled() and isinstance(answer.exception(), TimeoutError):
                noted.append(Lost(begun, time.monotonic()))

        if answer is not None:
            answer.add_done_callback(note)
        return answer

    monkeypatch.setattr(Server, "execute", timed)
    monkeypatch.setattr(MultiplexedConnection, "read_nowait", timed_read)
    return noted

"""Who waits for another process is told when it is done (promise P4)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from redis import Redis

from .... import (
    CacheManager,
)
from ....backends import redis_store
from ....coherence import leases
from ....testing.redis_server import RedisServer
from ...conftest import redis_backend
from ...faults import WITHIN, eventually, manager_behind
from .scene import KEY, AsUser, Wire, connection_of

NEAR_OR_NOT: Final = pytest.mark.parametrize("near_size", [0, 100], ids=["", "near"])


class Leader:
    """Another process that computes an entry until it may go on."""

    def __init__(self, manager: CacheManager) -> None:
        self._manager, self.go_on, self._computes = manager, asyncio.Event(), asyncio.Event()

    async def begun(self) -> "asyncio.Task[Any]":
        """Begin, and return when it computes."""
        task = asyncio.create_task(self._manager.get_or_set(KEY, self._compute))
        await self._computes.wait()
        return task

    async def _compute(self) -> str:
        self._computes.set()
        await self.go_on.wait()
        return "the leader's"


def waiting(manager: CacheManager, count: int = 5) -> "list[asyncio.Task[Any]]":
    """Let so many callers wait for the leader."""
    return [asyncio.create_task(manager.get_or_set(KEY, lambda: "own")) for _ in range(count)]


def watched(manager: CacheManager) -> int:
    """Return how many keys somebody watches."""
    return len(connection_of(manager).tracker._watched)


@asynccontextmanager
async def three(
    wire: Wire, server: RedisServer, prefix: str, near_size: int
) -> AsyncIterator[list[CacheManager]]:
    """Lend three managers, as of three processes."""
    managers = [
        manager_behind(wire, server, key_prefix=prefix, near_size=near_size, operation_timeout=5.0)
        for _ in range(3)
    ]
    yield managers
    for manager in managers:
        await manager.clear()
        await manager.close()


@NEAR_OR_NOT
@pytest.mark.usefixtures("told_only")
async def test_p4_waiters_are_told(
    wire: Wire, redis_server: RedisServer, prefix: str, other: CacheManager, near_size: int
) -> None:
    """As soon as the leader has stored, also if it computes for longer than a lease lasts."""
    leader = Leader(other)
    async with three(wire, redis_server, prefix, near_size) as managers:
        for manager in managers:
            await manager.get("connect")
        leading, asked = await leader.begun(), wire.asked.copy()
        waiters = [task for manager in managers for task in waiting(manager)]
        await eventually(lambda: [watched(manager) for manager in managers] == [1] * 3)
        leader.go_on.set()
        async with asyncio.timeout(WITHIN):
            assert await asyncio.gather(leading, *waiters) == ["the leader's"] * 16
        spent = wire.asked - asked
        # All look; one of a process watches; who is told looks, and then the others do.
        assert spent[b"GET"] <= 3 * (5 + 2 + 5)
        assert spent[b"CLIENT"] <= (0 if near_size else 2 * 3)
        await eventually(lambda: [watched(manager) for manager in managers] == [0] * 3)


@NEAR_OR_NOT
@pytest.mark.usefixtures("told_only")
async def test_p4_waiters_are_told_that_a_lease_is_over(
    wire: Wire,
    redis_server: RedisServer,
    redis_client: Redis,
    prefix: str,
    near_size: int,
) -> None:
    """A leader that was killed leaves a lease that expires; one of them computes then."""
    lease = b"lease/1 0123456789abcdef " + leases._digest(())
    async with three(wire, redis_server, prefix, near_size) as managers:
        redis_client.set(f"{prefix}:{KEY}", lease, px=300)
        async with asyncio.timeout(WITHIN):
            for manager in managers:
                await manager.get("connect")
            found = await asyncio.gather(*(task for each in managers for task in waiting(each)))
        assert found == ["own"] * 15
        await eventually(lambda: [watched(manager) for manager in managers] == [0] * 3)


@NEAR_OR_NOT
async def test_p4_waiters_look_when_a_message_is_lost(
    wire: Wire, redis_server: RedisServer, prefix: str, other: CacheManager, near_size: int
) -> None:
    """After a while, and nobody watches any more when they have seen it."""
    leader = Leader(other)
    async with three(wire, redis_server, prefix, near_size) as (manager, *_):
        await manager.get("connect")
        leading = await leader.begun()
        waiters = waiting(manager)
        await eventually(lambda: watched(manager))
        wire.deaf = True
        leader.go_on.set()
        async with asyncio.timeout(WITHIN):
            assert await asyncio.gather(leading, *waiters) == ["the leader's"] * 6
        await eventually(lambda: watched(manager) == 0)


@NEAR_OR_NOT
async def test_p4_waiters_look_again_when_their_connection_breaks(
    wire: Wire,
    redis_server: RedisServer,
    prefix: str,
    other: CacheManager,
    monkeypatch: pytest.MonkeyPatch,
    near_size: int,
) -> None:
    """At once, and on the next one they watch again; nothing is left of the first."""
    monkeypatch.setattr(redis_store, "_LONGEST_WAIT_SECONDS", 1000.0)
    leader = Leader(other)
    async with three(wire, redis_server, prefix, near_size) as (manager, *_):
        await manager.get("connect")
        leading = await leader.begun()
        waiters, first = waiting(manager), connection_of(manager)
        await eventually(lambda: watched(manager))
        wire.drop()
        await eventually(lambda: connection_of(manager) is not first and watched(manager))
        leader.go_on.set()
        async with asyncio.timeout(WITHIN):
            assert await asyncio.gather(leading, *waiters) == ["the leader's"] * 6
        await eventually(lambda: watched(manager) == 0)
        assert not first.tracker._watched


async def answered(
    manager: CacheManager, server: RedisServer, *, wait: Callable[[], object]
) -> None:
    """See that callers who wait for another process get its value; close all managers."""
    leader = Leader(CacheManager(redis_backend(server, key_prefix=manager.key_prefix)))
    await manager.get("connect")
    leading = await leader.begun()
    waiters = waiting(manager)
    await eventually(wait)
    leader.go_on.set()
    async with asyncio.timeout(WITHIN):
        assert await asyncio.gather(leading, *waiters) == ["the leader's"] * 6
    await manager.clear()
    await manager.close()
    await leader._manager.close()


@pytest.mark.parametrize("more", [(), ("client|tracking",), ("client|caching",)], ids=str)
async def test_p4_waiters_look_from_time_to_time_who_may_not_be_told(
    as_user: AsUser,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
) -> None:
    """Both permissions that the README names are needed to be told; else they look."""
    monkeypatch.setattr(redis_store, "_LONGEST_WAIT_SECONDS", 1000.0)
    manager = as_user(*more, near_size=0)
    await answered(manager, redis_server, wait=lambda: manager.fence.leases._waits)


@pytest.mark.usefixtures("told_only")
async def test_p4_waiters_who_may_be_told_are(as_user: AsUser, redis_server: RedisServer) -> None:
    """With the two permissions that the README names, and no others, they need not look."""
    manager = as_user("client|tracking", "client|caching", near_size=0)
    await answered(manager, redis_server, wait=lambda: watched(manager))

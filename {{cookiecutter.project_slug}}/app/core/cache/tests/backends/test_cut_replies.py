"""Replies that are cut off while the connection stays open delay nobody for a lease (P4, P5)."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest

from ... import CacheManager, cache_response
from ...errors import UnavailableError
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..faults import eventually, manager_behind, soon, swept
from ..proxy.fault_proxy import Fault, FaultProxy

AT_MOST: Final = 1.0
"""Seconds that a call may take where Redis is well: a few operations that come to nothing."""
CALLERS: Final = 50
SECONDS: Final = 4.0
AFTER: Final = (0, 1, 2, 5, 10, 20, 30, 40, 50, 60)
"""After how many bytes a reply is cut."""
TAKEN: Final = b"$7\r\nsomeone\r\n"
"""A reply that says that something stands at the key, whether that is so or not."""
HARMS: Final = {
    "nothing of it": Fault("short"),
    "half of it": Fault("short", after=-1),
    "nothing any more": Fault("stall"),
    "the end": Fault("cut"),
    "a reset": Fault("reset"),
    "another answer": Fault("garbage", junk=TAKEN),
    "a late answer": Fault("delay", seconds=0.6),
}
"""What becomes of a reply."""


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """Lend a proxy in front of Redis."""
    with FaultProxy(redis_server.host, redis_server.port, seed=36) as proxy:
        yield proxy


@pytest.fixture
async def manager(proxy: FaultProxy, redis_server: RedisServer) -> AsyncIterator[CacheManager]:
    """Lend a manager that goes through the proxy."""
    manager = manager_behind(proxy, redis_server)
    yield manager
    proxy.heal()
    await swept(redis_server, [manager])


@pytest.mark.parametrize("keys", [5, 200])
@pytest.mark.parametrize("kind", ["short", "stall"])
@pytest.mark.parametrize("chance", [0.003, 0.025])
async def test_p5_fifty_callers_of_a_proxy_that_cuts_replies_short(
    proxy: FaultProxy, manager: CacheManager, kind: Any, chance: float, keys: int
) -> None:
    """The longest call takes a second at most, and each has its own value."""
    longest, ends = 0.0, time.monotonic() + SECONDS

    @cache_response(manager, "data", key="{number}")
    async def read(number: int) -> str:
        await asyncio.sleep(0.002)  # others come meanwhile
        return f"the value of {number}"

    async def caller(number: int) -> None:
        nonlocal longest
        chosen = random.Random(number)
        while time.monotonic() < ends:
            key, began = chosen.randrange(keys), time.monotonic()
            assert await read(key) == f"the value of {key}"
            longest = max(longest, time.monotonic() - began)
            if chosen.random() < 0.2:
                await manager.delete(f"data:{key}")
            await asyncio.sleep(0.001)

    proxy.inject(*(Fault(kind, chance=chance / len(AFTER), after=after) for after in AFTER))
    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    assert proxy.done[kind] > 1
    assert longest < AT_MOST


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("how", ["returns", "raises", "is cancelled"])
@pytest.mark.parametrize("command", [b"SET", b"EVALSHA"])
@pytest.mark.parametrize("harm", HARMS)
async def test_p4_a_lease_of_ours_that_nobody_needs_is_not_waited_for(
    proxy: FaultProxy, manager: CacheManager, harm: str, command: bytes, how: str, times: int
) -> None:
    """Whatever became of the answer to who put it there, or to who took it away."""
    fails = how == "raises"

    @cache_response(manager, "data", key="it")
    async def read() -> str:
        await asyncio.sleep(0.01)
        if fails:
            raise LookupError
        return "value"

    assert await manager.exists("warm") is False  # the connections are open
    await read.invalidate()
    fault = HARMS[harm]
    proxy.inject(
        Fault(fault.kind, 1.0, times, command, after=fault.after, seconds=0.6, junk=fault.junk)
    )
    began = time.monotonic()
    leader = asyncio.create_task(read())
    await asyncio.sleep(0)
    others = [asyncio.create_task(read()) for _ in range(5)]
    if how == "is cancelled":
        await eventually(lambda: proxy.done or leader.done())
        leader.cancel()
    await soon(asyncio.gather(leader, *others, return_exceptions=True))
    took = [time.monotonic() - began]
    fails = False
    await manager.delete("data:it")
    for _ in range(3):
        began = time.monotonic()
        assert await soon(asyncio.gather(*(read() for _ in range(5)))) == ["value"] * 5
        took.append(time.monotonic() - began)
    assert max(took) < AT_MOST


async def test_p4_a_lease_is_told_from_those_of_others(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of another manager, and of a process that this one was forked from, are not ours."""
    one = CacheManager(redis_backend(redis_server))
    other = CacheManager(redis_backend(redis_server, key_prefix=one.key_prefix))
    running, go_on = asyncio.Event(), asyncio.Event()

    @cache_response(one, "data", key="it")
    async def read() -> str:
        running.set()
        await go_on.wait()
        return "value"

    reading = asyncio.create_task(read())
    await running.wait()
    lease = await one.backend.get_bytes(f"{one.key_prefix}:data:it")
    assert not one.fence.leases.is_orphan(lease)  # it is held
    assert not other.fence.leases.is_orphan(lease)
    go_on.set()
    assert await reading == "value"
    assert one.fence.leases.is_orphan(lease)  # if it ever comes back
    assert not other.fence.leases.is_orphan(lease)
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as after a fork
    assert not one.fence.leases.is_orphan(lease)
    await one.clear()
    for manager in (one, other):
        await manager.close()


async def test_p4_a_lease_that_is_put_there_late_is_taken_by_the_next_leader(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server carried out what it was sent when nobody believed in it any more."""
    manager = CacheManager(redis_backend(redis_server))
    late: list[tuple[Any, ...]] = []

    async def unanswered(*step: Any) -> bytes | None:
        late.append(step)
        raise UnavailableError("no answer")

    @cache_response(manager, "data", key="it")
    async def read() -> str:
        return "value"

    with monkeypatch.context() as patch:
        patch.setattr(manager.backend, "acquire", unanswered)
        assert await read() == "value"
    await manager.backend.acquire(*late[0])
    began = time.monotonic()
    assert await read() == "value"
    assert time.monotonic() - began < AT_MOST
    assert await manager.exists("data:it") is True
    await manager.clear()
    await manager.close()

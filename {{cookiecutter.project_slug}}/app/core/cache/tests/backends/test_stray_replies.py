"""A connection whose replies have gone astray gives nobody a wrong value (promise P9)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from ... import CacheManager, cache_response
from ...testing.redis_server import RedisServer
from ..conftest import lent, redis_backend
from ..proxy.fault_proxy import Fault, FaultProxy, Kind

NUMBERS = range(10)


@pytest.fixture(params=[1, 10])
async def manager(
    proxy: FaultProxy, redis_server: RedisServer, request: pytest.FixtureRequest
) -> AsyncIterator[CacheManager]:
    """Lend a manager that goes through the proxy, over one connection and over several."""
    behind = replace(redis_server, host=proxy.host, port=proxy.port)
    async with lent(CacheManager(redis_backend(behind, max_connections=request.param))) as manager:
        yield manager
        proxy.heal()


@pytest.mark.parametrize(
    ("tags", "command"),
    [((), b"GET"), (("of:{number}",), b"GET"), (("of:{number}",), b"GETRANGE")],
)
async def test_p9_a_doubled_reply_gives_nobody_a_wrong_value(
    proxy: FaultProxy, manager: CacheManager, tags: tuple[str, ...], command: bytes
) -> None:
    """The first answer to another question is noticed, its connection dropped, and asked again.

    An answer in place of a nonce may cost a computation.
    """
    runs: list[int] = []

    @cache_response(manager, "data", tags=tags)
    async def function(number: int) -> dict[str, Any]:
        runs.append(number)
        return {"number": number}

    for number in NUMBERS:
        await function(number)
    proxy.inject(Fault("shift", command=command, times=1))
    before = proxy.connections
    for number in [*NUMBERS] * 5:
        assert await function(number) == {"number": number}
    assert proxy.done == {"shift": 1}
    assert proxy.connections == before + 1
    assert 10 <= len(runs) <= 10 + len(tags)


async def test_p9_a_record_that_stands_at_anothers_key_is_no_hit(
    proxy: FaultProxy, manager: CacheManager, redis_client: Redis
) -> None:
    """It is asked for once more, over the same connection, and then computed anew."""
    runs: list[int] = []

    @cache_response(manager, "data", key="{number}")
    async def function(number: int) -> int:
        runs.append(number)
        return number

    for number in (1, 2):
        assert await function(number) == number
    redis_client.rename(f"{manager.key_prefix}:data:1", f"{manager.key_prefix}:data:2")
    before = proxy.connections
    assert [await function(2), await function(2)] == [2, 2]
    assert runs == [1, 2, 2]
    assert proxy.connections == before


async def test_p9_a_doubled_reply_gives_no_wrong_plain_value(
    proxy: FaultProxy, manager: CacheManager
) -> None:
    """What `set` stores does not name its key, and is not confused with another key's either.

    The values are the numbers of the questions, counted from 0: whatever tells that replies are
    those to this question must be nothing that a value can be.
    """
    for number in NUMBERS:
        await manager.set(f"key:{number}", number)
    assert await manager.get("key:0") == 0
    proxy.inject(Fault("shift", command=b"GET", times=1))
    before = proxy.connections
    for number in [*NUMBERS[1:], *NUMBERS]:
        assert await manager.get(f"key:{number}") == number
    assert proxy.done == {"shift": 1}
    assert proxy.connections == before + 1


@pytest.mark.parametrize("kind", ["duplicate", "shift"])
async def test_p6_a_doubled_reply_loses_no_invalidation(
    proxy: FaultProxy, manager: CacheManager, kind: Kind
) -> None:
    """The answer to another walk, which found nothing, is not taken for the end of this one."""
    for number in NUMBERS:
        await manager.set(f"key:{number}", number)
    assert await manager.invalidate("none*")
    proxy.inject(Fault(kind, command=b"SCAN", times=1))
    walks = [manager.invalidate(pattern) for pattern in ("none*", "key:*")]
    assert all(await asyncio.gather(*walks))
    assert proxy.done == {kind: 1}
    assert await manager.get_many([f"key:{number}" for number in NUMBERS]) == {}

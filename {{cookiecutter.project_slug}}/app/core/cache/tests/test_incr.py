"""Counters: `incr`."""

import asyncio
from typing import Any

import pytest

from .. import (
    CacheManager,
)
from ..testing.redis_server import RedisServer
from .conftest import lent
from .faults import PATIENT, eventually, manager_behind
from .proxy.fault_proxy import Fault, FaultProxy


async def test_p3_a_counter_whose_tag_was_invalidated_begins_anew(
    our_manager: CacheManager,
) -> None:
    """It is as good as gone; while the tag is current, it is an entry that nothing is added to."""
    await our_manager.set("hits", 5, tags=["tag"])
    with pytest.raises(ValueError, match="no whole number without tags"):
        await our_manager.incr("hits")
    await our_manager.invalidate_tags("tag")
    assert await our_manager.incr("hits", 2) == 2


@pytest.mark.parametrize("by", [2**63, -(2**63), 10**30])
async def test_a_step_has_a_bound(manager: CacheManager, by: int) -> None:
    """The same for every backend; so has the sum, and the number stays."""
    with pytest.raises(ValueError, match=r"by=.* must be below 2\*\*63"):
        await manager.incr("key", by)
    assert await manager.incr("key", 2**62) == 2**62


async def test_a_sum_has_a_bound(our_manager: CacheManager) -> None:
    """What would be too large is not added."""
    await our_manager.set("key", 2**63 - 10)
    with pytest.raises(ValueError, match=r"by=100 cannot be added .* not below 2\*\*63"):
        await our_manager.incr("key", 100)
    assert await our_manager.get("key") == 2**63 - 10


async def test_p4_a_counter_loses_no_count(pair: tuple[CacheManager, CacheManager]) -> None:
    """Of two processes at once; `get` returns it and `set` puts another number."""
    counts = await asyncio.gather(*[each.incr("hits") for each in pair * 50])
    assert sorted(each or 0 for each in counts) == [*range(1, 101)]
    assert [await each.get("hits") for each in pair] == [100, 100]
    assert await pair[0].incr("hits", -30) == 70
    assert [await each.get("hits") for each in pair] == [70, 70]
    assert await pair[1].set("hits", 5) is True
    assert await pair[0].incr("hits", 0) == 5


async def test_a_counter_ends_when_the_first_count_said(our_manager: CacheManager) -> None:
    """As a window of a rate limit does; later counts do not prolong it."""
    assert await our_manager.incr("window", expire=1000) == 1
    assert await our_manager.incr("window", expire=5) == 2
    left = await our_manager.ttl("window")
    assert left is not None
    assert 900 < left <= 1000


@pytest.mark.parametrize("value", ["text", 1.5, None, [1], {"a": 1}, True, "1"], ids=repr)
async def test_what_is_no_counter_stays(manager: CacheManager, value: Any) -> None:
    """It is an error that tells the key, and the value is still there."""
    await manager.set("key", value)
    with pytest.raises(ValueError, match=r"by=1 cannot be added to the entry at '.*:key'"):
        await manager.incr("key")
    assert await manager.get("key") == value


@pytest.mark.parametrize("by", [1.0, "1", None, True], ids=repr)
async def test_a_step_is_a_whole_number(our_manager: CacheManager, by: Any) -> None:
    """Anything else is an error before anything is counted."""
    with pytest.raises(TypeError, match=r"by=.* must be a whole number"):
        await our_manager.incr("key", by)
    assert await our_manager.exists("key") is False


async def test_p5_a_count_is_never_made_twice(proxy: FaultProxy, redis_server: RedisServer) -> None:
    """Where a connection breaks after the request, nobody knows: `None`, and no second request."""
    manager = manager_behind(proxy, redis_server, **PATIENT)
    async with lent(manager):
        assert await manager.incr("hits") == 1
        proxy.inject(Fault("cut", command=b"EVAL", times=1))
        assert await manager.incr("hits") is None
        proxy.heal()
        await eventually(manager.health_check)
        assert await manager.get("hits") == 2

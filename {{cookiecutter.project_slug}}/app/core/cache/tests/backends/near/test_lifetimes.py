"""Nothing near outlives its entry or its tags (promise P3)."""

import time
from datetime import timedelta
from typing import Final

import pytest
from redis import Redis

from .... import (
    CacheManager,
    cache_response,
)
from ...faults import at_once, eventually, moments
from ...proxy.fault_proxy import Fault
from .scene import KEY, Source, Wire, brought_near, is_of, readers

SHORT: Final = timedelta(milliseconds=400)


@pytest.mark.parametrize("late", [False, True])
async def test_p3_nothing_outlives_its_entry(
    manager: CacheManager, wire: Wire, *, late: bool
) -> None:
    """Even if no message tells that it has expired, or the answer came late."""
    await manager.get("another")
    await manager.set(KEY, 1, SHORT)
    end = time.monotonic() + SHORT.total_seconds()
    wire.deaf = True
    if late:
        wire.inject(Fault("delay", seconds=0.1, command=b"GET", times=1))
    assert await brought_near(lambda: manager.get(KEY), wire) == 1
    last = 0.0
    async for asked in moments(end + 0.1):
        if await manager.get(KEY) == 1:
            last = asked
    assert end - 0.2 < last < end + 0.005  # Redis counts in whole milliseconds


async def test_p3_what_has_no_end_stays(
    manager: CacheManager, wire: Wire, redis_client: Redis
) -> None:
    """An entry that somebody made persistent is near until a message comes."""
    redis_client.set(f"{manager.key_prefix}:{KEY}", b"1")
    assert await brought_near(lambda: manager.get(KEY), wire) == 1
    assert at_once(manager.get(KEY)) == 1
    redis_client.unlink(f"{manager.key_prefix}:{KEY}")
    await eventually(lambda: has(manager, None))


async def has(manager: CacheManager, value: object) -> bool:
    """Whether this is what is read."""
    return bool(await manager.get(KEY) == value)


async def test_p3_what_is_due_is_computed_anew(
    manager: CacheManager, wire: Wire, source: Source
) -> None:
    """A stale entry is not served from here as if it were fresh: one caller refreshes it."""
    expire = timedelta(milliseconds=100)
    read = cache_response(manager, "ageing", expire, key="it", ignore=("item",), stale=60)(
        source.read
    )
    assert (await brought_near(read, wire))["version"] == 1
    source.version = 2
    await eventually(lambda: is_of(read, source))
    assert source.runs == 2


@pytest.mark.parametrize("end", ["unlink", "pexpire"])
@pytest.mark.parametrize("reader", ["tags", "derived tags", "get_or_set, tags"])
async def test_p3_a_tag_that_redis_lost_makes_a_miss(
    manager: CacheManager,
    wire: Wire,
    source: Source,
    redis_client: Redis,
    reader: str,
    end: str,
) -> None:
    """Its nonce was evicted or has expired: whoever asks gets another one."""
    read = readers(manager, source)[reader]
    tag = {"tags": "item:1", "derived tags": "others", "get_or_set, tags": "two"}[reader]
    await brought_near(read, wire)
    source.version = 2
    if end == "unlink":
        redis_client.unlink(f"{manager.key_prefix}:~tag:{tag}")
    else:
        redis_client.pexpire(f"{manager.key_prefix}:~tag:{tag}", 20)
    await eventually(lambda: is_of(read, source))
    assert source.runs == 2

"""What is invalidated, here or elsewhere, is not served from the near cache (promise P3)."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import pytest
from redis import Redis

from .... import (
    CacheManager,
    RedisBackend,
)
from ...faults import eventually
from ...proxy.fault_proxy import Fault
from .scene import (
    KEY,
    Own,
    Source,
    Wire,
    backend_of,
    brought_near,
    is_of,
    readers,
)


def have_been(wire: Wire, delays: int) -> bool:
    """Whether so many replies were held up, or are."""
    return wire.done["delay"] == delays


WAYS: Final = tuple(Own(CacheManager(RedisBackend()), Source()).ways())


READ_FIRST: Final = {
    *("a pattern", "clear", "f.invalidate_all", "f.refresh", "invalidate_cache by pattern")
}
"""What asks, before it changes anything, on the connection on which the reply is held up."""


@pytest.mark.parametrize("first", ["the reader", "the reply"])
@pytest.mark.parametrize("way", WAYS)
async def test_p3_what_this_process_invalidates_is_gone_at_once(
    manager: CacheManager, wire: Wire, source: Source, way: str, first: str
) -> None:
    """Without any message, and a reply that is on its way at that moment is not kept."""
    own = Own(manager, source)
    full, tag = f"{manager.key_prefix}:{KEY}", f"{manager.key_prefix}:~tag:item:1"
    for trial in range(20):
        wire.deaf = False
        assert await brought_near(own.version, wire) == source.version
        wire.deaf = True
        # What this asks is what a reader asks.
        wire.inject(Fault("delay", seconds=0.1, command=b"GET", times=1))
        late, delays = asyncio.create_task(backend_of(manager).look(full, [tag])), trial + 1
        await eventually(partial(have_been, wire, delays))
        source.version += 1
        await own.ways()[way]()
        was_late = not late.done() or way in READ_FIRST
        if first == "the reply":
            await late
        assert await own.version() == source.version
        await late
        assert await own.version() == source.version
        if was_late:
            return
    pytest.fail("the invalidation always came after the reply")


async def test_p3_what_was_invalidated_late_is_not_near_when_that_is_done(
    manager: CacheManager, wire: Wire, source: Source
) -> None:
    """An invalidation that did not reach Redis at first takes what was read meanwhile with it."""
    read = readers(manager, source)["get_or_set, tags"]
    assert (await brought_near(read, wire))["version"] == 1
    wire.inject(Fault("garbage", junk=b"-NOPERM not now\r\n", command=b"SET"))
    source.version = 2
    assert await manager.invalidate_tags("two") is False
    assert not await manager.exists("two")
    tag = f"{manager.key_prefix}:~tag:two"
    assert await manager.backend.get_many_bytes([tag]) != (None,)  # the nonce that is near then
    wire.heal()
    assert (await read())["version"] == 2
    wire.deaf = True
    await eventually(lambda: not len(manager.invalidations.pending))
    assert (await read())["version"] == 2


async def test_p3_what_is_held_back_makes_nothing_near(
    manager: CacheManager, wire: Wire, source: Source
) -> None:
    """As long as an invalidation is to be delivered, every read asks Redis or the source."""
    own = Own(manager, source)
    assert await brought_near(own.version, wire) == 1
    wire.inject(Fault("garbage", junk=b"-NOPERM not now\r\n", command=b"UNLINK"))
    assert not await manager.invalidate("something else")
    for _ in range(2):
        before = wire.asked.total()
        assert await own.version() == 1
        assert wire.asked.total() > before
    wire.heal()
    await eventually(lambda: not len(manager.invalidations.pending))
    assert await brought_near(own.version, wire) == 1


@pytest.mark.parametrize("way", ["delete", "set", "a pattern", "clear", "a tag"])
@pytest.mark.parametrize("reader", ["a function", "tags", "derived tags", "get_or_set, tags"])
async def test_p3_another_process_is_heard(
    manager: CacheManager, other: CacheManager, wire: Wire, source: Source, reader: str, way: str
) -> None:
    """Whatever it does to an entry or its tags, the next value is the new one."""
    read, others = readers(manager, source)[reader], readers(other, source)[reader]
    key = {"a function": "plain", "tags": "tags", "derived tags": "derived"}.get(reader)
    key = f"{key}:item:1" if key else "two"
    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "delete": lambda: other.delete(key),
        "set": lambda: other.set(key, {"version": source.version}),
        "a pattern": lambda: other.invalidate(f"{key[:-1]}*"),
        "clear": other.clear,
        "a tag": lambda: other.invalidate_tags("items"),
    }
    for _ in range(3):
        await brought_near(read, wire)
        source.version += 1
        await ways[way]()
        if way == "a tag" and reader == "a function":
            await others()
            assert (await read())["version"] == source.version - 1
            source.version -= 1
            continue
        await eventually(lambda: is_of(read, source))


async def test_p3_a_message_in_the_middle_of_a_reply_counts(
    manager: CacheManager, wire: Wire, redis_client: Redis
) -> None:
    """What is changed after its value was read, but before its time was, is not kept."""
    full = f"{manager.key_prefix}:{KEY}"
    await manager.set(KEY, 1)
    await manager.get("another")
    wire.inject(Fault("delay", seconds=0.2, command=b"PTTL", to="request", times=1))
    reading = asyncio.create_task(manager.get(KEY))
    await eventually(lambda: wire.done["delay"])
    redis_client.set(full, b"2")
    assert await reading == 1
    wire.deaf = True
    assert await manager.get(KEY) == 2

"""The near cache of several threads and event loops (promise P3)."""

import asyncio
import threading
import time
from functools import partial
from typing import Any

import pytest

from .... import (
    CacheManager,
    cache_response,
)
from ...faults import at_once, eventually
from .scene import (
    KEY,
    Elsewhere,
    Own,
    Source,
    Wire,
    brought_near,
    is_of,
    near_of,
    readers,
)


@pytest.mark.parametrize("inner_reader", ["a function", "get_or_set", "get", "get_many"])
async def test_p3_nothing_is_stored_that_is_made_of_what_was_near(
    manager: CacheManager,
    other: CacheManager,
    elsewhere: Elsewhere,
    source: Source,
    wire: Wire,
    inner_reader: str,
) -> None:
    """A function that is cached itself reads what is newest: what it makes of that lasts for long."""
    ways = readers(manager, source)
    assert await manager.set("five", await source.read())
    for fill in ("get_or_set", "get_or_set, tags", "get_or_set_many"):
        await ways[fill]()
    inner = ways[inner_reader]

    @cache_response(manager, "outer")
    async def outer() -> Any:
        return await inner()

    # The messages about what the other thread has read come while it does not listen.
    await elsewhere.run(brought_near(inner, wire))
    async with elsewhere.held_up():
        source.version = 2
        await other.clear()
        await other.set("five", await source.read())
        assert "'version': 1" in repr(at_once(inner()))
        assert "'version': 1" not in repr(await outer())
    assert "'version': 1" not in repr(await outer())


async def test_p3_what_one_thread_invalidates_is_gone_in_the_other(
    manager: CacheManager, elsewhere: Elsewhere, source: Source
) -> None:
    """At once: whoever begins to read after that, in whatever loop, has the new value."""
    own = Own(manager, source)
    stale, reads, over = 0, 0, threading.Event()
    returned = 0

    async def keep_reading() -> None:
        nonlocal stale, reads
        while not over.is_set():
            least = returned
            stale += await own.version() < least
            reads += 1
            await asyncio.sleep(0)

    async def keep_writing() -> None:
        nonlocal returned
        for _ in range(100):
            source.version += 1
            version = source.version
            await own.ways()["delete" if version % 2 else "a tag"]()
            returned = version
            await asyncio.sleep(0)
            await own.version()

    readers = [asyncio.create_task(elsewhere.run(keep_reading())) for _ in range(3)]
    readers.append(asyncio.create_task(keep_reading()))
    await keep_writing()
    await eventually(lambda: reads > 1000)
    over.set()
    await asyncio.gather(*readers)
    assert stale == 0


async def test_p3_what_another_loop_has_read_is_trusted_for_as_long_as_that_hears(
    manager: CacheManager, elsewhere: Elsewhere, wire: Wire, source: Source
) -> None:
    """If it stands still, the entry is here for a second at most, and then this one reads it."""
    own = Own(manager, source)
    assert await elsewhere.run(brought_near(own.version, wire)) == 1
    (read_over,) = {each.source for each in near_of(manager)._entries.values()}
    async with elsewhere.held_up():
        assert at_once(own.version()) == 1
        await eventually(lambda: time.monotonic() > read_over.trusted_until)
        before = wire.asked[b"GET"]
        assert await own.version() == 1
        assert wire.asked[b"GET"] > before
        assert await brought_near(own.version, wire) == 1
    assert source.runs == 1


async def test_a_closed_manager_can_be_used_again(
    manager: CacheManager, other: CacheManager, wire: Wire, source: Source
) -> None:
    """It has nothing near then, and hears what changes as before."""
    own = Own(manager, source)
    for _ in range(3):
        assert await brought_near(own.version, wire) == source.version
        await manager.close()
        assert len(near_of(manager)) == 0
        source.version += 1
        await other.delete(KEY)
        assert await own.version() == source.version
    assert await brought_near(own.version, wire) == source.version
    source.version += 1
    await other.delete(KEY)
    await eventually(lambda: is_of(partial(own.read, 1), source))

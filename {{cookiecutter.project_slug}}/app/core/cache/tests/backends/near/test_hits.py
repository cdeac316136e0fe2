"""A near hit asks nothing of Redis, and what is not there is asked for (promise P3)."""

from typing import Any

import pytest

from .... import (
    CacheManager,
)
from ...faults import at_once
from .scene import (
    KEY,
    READERS,
    Source,
    Wire,
    brought_near,
    readers,
)


@pytest.mark.parametrize("reader", READERS)
async def test_p3_a_near_hit_asks_nothing_of_redis(
    manager: CacheManager, wire: Wire, source: Source, reader: str
) -> None:
    """It does not even wait, and what it returns is equal and its caller's own."""
    ways = readers(manager, source)
    assert await manager.set("five", await source.read())
    for fill in ("get_or_set", "get_or_set, tags", "get_or_set_many"):
        await ways[fill]()
    read = ways[reader]
    found = await brought_near(read, wire)
    asked, runs, wanted = wire.asked.total(), source.runs, repr(found)
    for _ in range(3):
        spoil(found)
        found = at_once(read())
        assert repr(found) == wanted
    assert (wire.asked.total(), source.runs) == (asked, runs)


def spoil(value: Any) -> None:
    """Change what a caller was given, all of it."""
    if isinstance(value, dict):
        for each in value.values():
            spoil(each)
        value.clear()
    elif isinstance(value, list):
        value.append("spoilt")


async def test_p3_what_is_not_there_is_asked_for_each_time(
    manager: CacheManager, other: CacheManager
) -> None:
    """That a key is missing is not kept: it may come into being without a message."""
    for _ in range(3):
        assert await manager.get(KEY) is None
    await other.set(KEY, 1)
    assert await manager.get(KEY) == 1

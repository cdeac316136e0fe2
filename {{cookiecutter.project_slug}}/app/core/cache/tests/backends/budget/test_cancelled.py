"""Who is cancelled goes at once, whatever he waits for (promise P5)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .... import CacheManager
from ...faults import (
    WITHIN,
    Make,
    eventually,
    soon,
)
from ...proxy.fault_proxy import FaultProxy
from .calls import CALLS, FOREVER, waiting, writing


async def connecting(manager: CacheManager, proxy: FaultProxy) -> None:
    """Let no connection be opened."""
    await manager.close()
    proxy.ignore()


async def asking(manager: CacheManager, proxy: FaultProxy) -> None:
    """Let no answer come."""
    await manager.exists("key")
    proxy.silence()


@pytest.mark.parametrize("stage", [connecting, asking])
async def test_p5_who_is_cancelled_goes_at_once(
    make: Make,
    proxy: FaultProxy,
    stage: Callable[[CacheManager, FaultProxy], Awaitable[None]],
) -> None:
    """Whatever he has called, and whatever he waits for."""
    manager = make(max_connections=100, operation_timeout=FOREVER, timeout=FOREVER)
    await stage(manager, proxy)
    callers = [
        asyncio.ensure_future(do(manager))
        for call, (do, _) in CALLS.items()
        if call != "invalidate_cache"
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    for caller in callers:
        await gone(caller)


async def gone(caller: asyncio.Future[Any]) -> None:
    """Cancel a caller, and see him go at once."""
    assert not caller.done()
    caller.cancel()
    await asyncio.wait([caller], timeout=WITHIN)
    assert caller.cancelled()


async def test_p5_who_is_cancelled_in_line_goes_at_once(make: Make, proxy: FaultProxy) -> None:
    """While the only connection is somebody else's."""
    manager = make(max_connections=1, operation_timeout=FOREVER, timeout=FOREVER)
    await asking(manager, proxy)
    callers = [asyncio.create_task(manager.get(f"key:{number}")) for number in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    for caller in reversed(callers):
        await gone(caller)


async def test_p5_who_is_cancelled_while_he_computes_goes_at_once(
    manager: CacheManager, other: CacheManager, proxy: FaultProxy
) -> None:
    """And so does who waits for him in this process or in another, or stores what he has."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> int:
        begun.set()
        await go_on.wait()
        proxy.silence()
        return 1

    leader = asyncio.create_task(manager.get_or_set("shared", slow))
    await soon(begun.wait())
    follower = asyncio.create_task(manager.get_or_set("shared", slow))
    await eventually(lambda: manager.fence.flights.followers() == 1)
    waits = waiting(other)
    elsewhere = asyncio.create_task(other.get_or_set("shared", slow))
    await soon(waits.wait())
    await gone(follower)
    await gone(elsewhere)
    await gone(leader)
    begun.clear()
    leader = asyncio.create_task(manager.get_or_set("another", slow))
    await soon(begun.wait())
    go_on.set()
    await asyncio.sleep(0)
    await gone(leader)


async def test_p6_who_is_cancelled_while_he_invalidates_goes_when_that_is_kept(
    manager: CacheManager, proxy: FaultProxy
) -> None:
    """At the latest after the budget: what he changed is invalidated, or will be."""
    await asking(manager, proxy)
    caller = asyncio.ensure_future(writing(manager)("1"))
    for _ in range(5):
        await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller], timeout=WITHIN)
    assert caller.cancelled()
    for key in ("a1", "b1", "c:1", "d:1", "e"):
        assert manager.invalidations.pending.covers(f"{manager.key_prefix}:{key}")
    assert not manager.invalidations.pending.covers(f"{manager.key_prefix}:f")

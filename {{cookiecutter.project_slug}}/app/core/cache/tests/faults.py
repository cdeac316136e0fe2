"""What the tests of faults share: ways to be without Redis, and waiting for what comes of it."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, Final, Literal, TypeVar

from .. import CacheManager
from ..testing.redis_server import RedisServer
from .conftest import redis_backend
from .proxy.fault_proxy import FaultProxy

T = TypeVar("T")

WITHIN: Final = 10.0
"""Seconds within which what is waited for has to come."""

BUDGET: Final = 0.25
"""The default budget of an operation, in seconds."""
PATIENT: Final = {"operation_timeout": 3 * WITHIN, "timeout": 3 * WITHIN}
"""For managers that must not run out of time because the machine is busy."""

Make = Callable[..., CacheManager]

How = Literal["refused", "hung", "stopped", "blackholed"]
WAYS: Final[tuple[How, ...]] = ("refused", "hung", "stopped", "blackholed")
"""Nobody listens; nothing passes; the process has a SIGSTOP; a `connect` does not come to an end."""


@contextmanager
def without_redis(how: How, proxy: FaultProxy, server: RedisServer) -> Iterator[None]:
    """Keep Redis from whoever goes through the proxy; its data stay, and it is back afterwards."""
    try:
        if how == "hung":
            proxy.silence()
        elif how == "stopped":
            server.pause()
        else:
            proxy.refuse() if how == "refused" else proxy.ignore()
            proxy.drop()
        yield
    finally:
        if how == "stopped":
            server.resume()
        proxy.heal()


def manager_behind(proxy: FaultProxy, server: RedisServer, **changes: Any) -> CacheManager:
    """Make a manager that goes through the proxy, with the budget that a service has by default."""
    behind = replace(server, host=proxy.host, port=proxy.port)
    return CacheManager(redis_backend(behind, **{"operation_timeout": BUDGET, **changes}))


async def moments(end: float) -> AsyncIterator[float]:
    """Yield the time again and again until `end`: for what has to hold all the while."""
    while (now := time.monotonic()) < end:
        yield now
        await asyncio.sleep(0.005)


async def soon(awaitable: Awaitable[T]) -> T:
    """Await something that has to come."""
    async with asyncio.timeout(WITHIN):
        return await awaitable


async def eventually(condition: Callable[[], object | Awaitable[object]]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + WITHIN
    while True:
        holds = condition()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


def at_once(call: Coroutine[Any, Any, Any]) -> Any:
    """Return what a call returns that waits for nothing, be there an event loop or not."""
    try:
        call.send(None)
    except StopIteration as end:
        return end.value
    finally:
        call.close()
    raise AssertionError("it waits for something")


@asynccontextmanager
async def making(server: RedisServer, new: Make) -> AsyncIterator[Make]:
    """Lend what makes managers by `new`; nothing of them is left afterwards."""
    made: list[CacheManager] = []

    def make(**changes: Any) -> CacheManager:
        made.append(new(**changes))
        return made[-1]

    yield make
    await swept(server, made)


async def swept(server: RedisServer, managers: Iterable[CacheManager]) -> None:
    """Close managers, and remove what they have stored, by the straight way to the server."""
    for manager in managers:
        await manager.close()
        sweeper = CacheManager(redis_backend(server, key_prefix=manager.key_prefix, **PATIENT))
        assert await sweeper.clear() is True
        await sweeper.close()


def hold_up(seconds: float) -> None:
    """Keep the event loop from running."""
    time.sleep(seconds)

"""How a work is measured: its stage has what measures a contender once, for a part of a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from .contenders import Contender

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Effort:
    """How many rounds, and how many seconds each contender has in a round."""

    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A contender that is ready: what measures it, and the single call that is measured."""

    measure: Callable[[], Awaitable[float]]
    call: Call | None = None


Open = Callable[[Contender, Effort], AbstractAsyncContextManager[Stage]]


@dataclass(frozen=True, slots=True)
class Work:
    """Something to measure. The first of its contenders is what the others are measured against."""

    name: str
    title: str
    unit: str
    open: Open
    contenders: tuple[type[Contender], ...]
    effort: Effort
    quick: Effort
    more_is_better: bool = False
    one_caller: bool = True
    """Whether a client and Redis take turns."""
    hits: bool = True
    """Whether the function has no need to run while it is measured."""
    note: str = ""


async def per_call(call: Call, effort: Effort) -> Stage:
    """Measure how many microseconds a call takes, one after the other."""
    count, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < effort.seconds or count == 0:
        await call()
        count += 1
    count = max(1, round(effort.seconds / took * count))

    async def measure() -> float:
        began = time.perf_counter()
        for _ in range(count):
            await call()
        return (time.perf_counter() - began) / count * 1e6

    return Stage(measure, call)


async def per_second(call: Call, effort: Effort) -> Stage:
    """Measure how many calls there are in a second, one after the other."""
    stage = await per_call(call, effort)

    async def measure() -> float:
        return 1e6 / await stage.measure()

    return Stage(measure, call)


async def per_plain_call(call: Callable[[], object], effort: Effort) -> Stage:
    """Measure how many microseconds a call takes that awaits nothing."""
    count = 1000

    async def measure() -> float:
        nonlocal count
        began = time.perf_counter()
        for _ in range(count):
            call()
        each = (time.perf_counter() - began) / count
        count = max(1, round(effort.seconds / each))
        return each * 1e6

    return Stage(measure)


async def at_once(calls: list[Call]) -> None:
    """Make calls at once and wait for all. The first that fails ends the others."""
    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(_awaited(call))


async def _awaited(call: Call) -> None:
    await call()

"""`ping` and `bench`: whether the backend works, and how fast."""

import asyncio
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ...errors import UnavailableError
from ...manager import CacheManager
from .session import DONE, NOT_DONE, Session

_PINGS = 5
_PROBE_MS = 2000
_MOST_SECONDS = 10.0  # of each measurement
_LIFE = 120  # seconds: what a run leaves that was killed expires

Step = Callable[[int], Awaitable[Any]]


async def ping(session: Session) -> int:
    """Tell whether the backend reads and stores, and how long an answer takes."""
    manager, took = session.manager, list[float]()
    for _ in range(_PINGS):
        began = time.perf_counter()
        await session.insist_on_server()
        took.append(time.perf_counter() - began)
    ms = statistics.median(took) * 1000
    probe, token = f"{manager.key_prefix}:~probe:{secrets.token_hex(8)}", secrets.token_bytes(8)
    why = "" if await manager.health_check() else "not every server answers"
    try:
        await manager.fence.looks.ask(manager.backend.acquire(probe, token, _PROBE_MS))
        await manager.fence.looks.ask(manager.backend.release(probe, token))
    except UnavailableError as error:
        why = str(error)
    session.out.line(f"{session.where}: ", (f"answers in {ms:.2f} ms", "green"))
    if why:
        session.out.line(("but not all is well: ", "red"), why)
    session.out.json(
        is_healthy=not why,
        backend=repr(manager.backend),
        key_prefix=manager.key_prefix,
        answers_in_ms=round(ms, 3),
        why_not=why or None,
    )
    return NOT_DONE if why else DONE


async def bench(session: Session, *, number: int, size: int, at_once: int) -> int:
    """Measure the operations of a cache, below a key prefix that is removed in the end."""
    await session.insist_on_server()
    prefix = f"{session.manager.key_prefix}:~bench-{secrets.token_hex(4)}"
    manager = CacheManager(session.manager.backend, key_prefix=prefix, max_entry_bytes=size + 1000)
    text = "x" * size
    steps: dict[str, Step] = {
        "set": lambda at: manager.set(f"key:{at}", text, _LIFE),
        "get, a hit": lambda at: manager.get(f"key:{at}"),
        "get, a miss": lambda at: manager.get(f"none:{at}"),
        "get_or_set, a miss": lambda at: manager.get_or_set(f"new:{at}", _made(text), _LIFE),
        "get_or_set, a hit": lambda at: manager.get_or_set(f"new:{at}", _made(text), _LIFE),
        "delete": lambda at: manager.delete(f"key:{at}"),
    }
    session.out.line(f"{session.where}; {size} bytes, {at_once} at once")
    session.out.line((f"{'':20}{'a second':>10}{'median':>12}{'99 %':>12}", "dim"))
    try:
        for name, step in steps.items():
            with session.out.progress(f"measuring {name}"):
                await session.insist_on_server()
                took, seconds = await _measured(step, number, at_once)
            _tell(session, name, took, seconds)
    finally:
        await manager.clear()
    return DONE


def _made(text: str) -> Callable[[], Awaitable[str]]:
    async def make() -> str:
        return text

    return make


async def _measured(step: Step, number: int, at_once: int) -> tuple[list[float], float]:
    """Return how long each of `number` calls took, and all of them; fewer if time is up."""
    places, took, began = iter(range(number)), list[float](), time.perf_counter()

    async def work() -> None:
        for place in places:
            start = time.perf_counter()
            await step(place)
            took.append(time.perf_counter() - start)
            if time.perf_counter() - began > _MOST_SECONDS:
                return

    await asyncio.gather(*[work() for _ in range(at_once)])
    return took, time.perf_counter() - began


def _tell(session: Session, name: str, took: list[float], seconds: float) -> None:
    in_order = sorted(took)
    median, last = (in_order[min(len(took) - 1, int(len(took) * part))] for part in (0.5, 0.99))
    each = len(took) / seconds
    session.out.line(f"{name:20}{each:10,.0f}{median * 1000:9.3f} ms{last * 1000:9.3f} ms")
    session.out.json(
        operation=name,
        calls=len(took),
        per_second=round(each, 1),
        median_ms=round(median * 1000, 4),
        p99_ms=round(last * 1000, 4),
    )

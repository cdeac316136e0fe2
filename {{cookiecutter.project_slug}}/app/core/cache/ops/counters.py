"""Counters of what a cache does: those of this process, and what other processes publish of theirs.

    counters_of(manager)                    # counts from now on
    async with publishing(manager):         # tells the other processes, while it runs
        for process in await published(manager): ...

Each process that publishes takes one of `PLACES` keys below the cache's own prefix, `app:~page:7`, and
stores its counters there every few seconds; they expire when it ends. So reading them needs no walk
over the keys of the database. What is read is JSON that anybody may have put there: it is checked.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import UnavailableError
from .counting import CacheCounters
from .counts import MOST_BYTES, PrefixCounters, ProcessCounters, read_counters, written
from .standing import is_redis, replies_of

if TYPE_CHECKING:
    from ..manager import CacheManager

__all__ = [
    "CacheCounters",
    "PrefixCounters",
    "ProcessCounters",
    "counters_of",
    "publish",
    "published",
    "publishing",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

PLACES = 128
"""How many processes can publish at a time."""
PUBLISHED_SECONDS = 20
"""How long published counters stay."""
_PATIENCE_SECONDS = 2.0
_TRIES = 4
_AT_ONCE = 16
"""Places that are read in one request, so that none takes long, whatever stands there."""


def counters_of(manager: "CacheManager") -> CacheCounters:
    """Return the counters of a cache in this process; the first call attaches them."""
    for listener in manager.events.listeners:
        owner = getattr(listener, "__self__", None)
        if isinstance(owner, CacheCounters):
            return owner
    return CacheCounters(manager)


async def publish(manager: "CacheManager") -> bool:
    """Store this process's counters for the others for 20 seconds; return whether they are stored.

    Nothing is stored if the backend is of this process only, if it is away, or if all places are
    taken. Nothing is raised for these.
    """
    if not manager.backend.connects:
        return False
    return await _patiently(_store(manager, counters_of(manager)), False)


async def _store(manager: "CacheManager", counters: CacheCounters) -> bool:
    """Store the counters at the place of this process; find one if it has none, or lost it."""
    looks, backend, now = manager.fence.looks, manager.backend, counters.now()
    data, start = written(now), _start_of(now.id)
    if data is None:
        return False
    if counters.place:
        (there,) = await _read(manager, [counters.place], len(start))
        if there is not None and there.startswith(start):
            return await looks.ask(backend.set_bytes(counters.place, data, PUBLISHED_SECONDS))
    places = _places(manager.key_prefix)
    found = await _read(manager, places, 1)
    free = [key for key, there in zip(places, found, strict=True) if there is None]
    random.shuffle(free)
    for key in free[:_TRIES]:
        if await looks.ask(backend.acquire(key, data, PUBLISHED_SECONDS * 1000)) is None:
            counters.place = key
            return True
    return False


@asynccontextmanager
async def publishing(manager: "CacheManager", *, every: float = 5.0) -> AsyncIterator[None]:
    """Publish this process's counters each `every` seconds, in a task, while the context lasts.

    Raises `ValueError` if `every` is not more than 0, or so long that they would expire meanwhile.
    """
    if not 0 < every < PUBLISHED_SECONDS:
        raise ValueError(f"{every=} must be more than 0 and less than {PUBLISHED_SECONDS} seconds")
    counters = counters_of(manager)
    task = asyncio.create_task(_publish_each(manager, every))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if counters.place:
            start = _start_of(counters.now().id)
            releasing = manager.backend.release(counters.place, start)
            await _patiently(manager.fence.looks.ask(releasing), False)
            counters.place = ""


async def _publish_each(manager: "CacheManager", every: float) -> None:
    while True:
        try:
            await publish(manager)
        except Exception:
            logger.exception("the counters of this process cannot be published")
            return
        await asyncio.sleep(every)


async def published(manager: "CacheManager") -> list[ProcessCounters]:
    """Return the counters of this process as they are now, then those that others have published.

    What is not the counters of a process is left out. If the backend is away, or is of this process
    only, there are those of this process.
    """
    own = counters_of(manager).now()
    if not manager.backend.connects:
        return [own]
    reading = _read(manager, _places(manager.key_prefix), MOST_BYTES + 1)
    read = {}
    for data in await _patiently(reading, []):
        if data is not None:
            await asyncio.sleep(0)  # others are served between two of them
            each = read_counters(data)
            if each is not None and each.id != own.id:
                read[each.id] = each
    return [own, *sorted(read.values(), key=lambda each: (each.host, each.pid, each.started))]


async def _read(manager: "CacheManager", keys: list[str], most: int) -> list[bytes | None]:
    """Return the bytes at keys, and no more than `most` of each from Redis: anybody may have put them."""
    if not is_redis(manager):
        return [*await manager.fence.looks.ask(manager.backend.get_many_bytes(keys))]
    from ..backends.commands import encoded  # noqa: PLC0415 - memory needs no redis-py

    found = list[bytes | None]()
    for first in range(0, len(keys), _AT_ONCE):
        some = [("GETRANGE", encoded(key), 0, most - 1) for key in keys[first : first + _AT_ONCE]]
        found += map(_found, await manager.fence.looks.ask(replies_of(manager, *some)))
    return found


def _found(reply: Any) -> bytes | None:
    """Return the bytes in a reply; `None` for none, and some that are no counters for another type."""
    if isinstance(reply, Exception):
        return b"?"
    return reply or None


async def _patiently(step: Awaitable[T], failed: T) -> T:
    """Return the result of a step of the backend; `failed` if it is away, or takes too long."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await step
    except (UnavailableError, TimeoutError):
        return failed


def _start_of(process: str) -> bytes:
    """Return the bytes with which the counters of a process begin."""
    return f'["{process}",'.encode()


def _places(key_prefix: str) -> list[str]:
    return [f"{key_prefix}:~page:{number}" for number in range(PLACES)]

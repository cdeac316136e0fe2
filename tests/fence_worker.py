"""A process of its own for the tests of the fence. It runs in an installed project.

What a job keeps in Redis besides the cache lies outside the prefix of the cache's keys, and may lie
in another Redis.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib import import_module
from random import Random
from typing import Any, Final
from zlib import crc32

from app.core.cache import (  # type: ignore[import-not-found] # of the project that it runs in
    CacheManager,
    RedisBackend,
    cache_response,
    invalidate_cache,
)
from jobs import say, serve  # type: ignore[import-not-found] # of this folder
from redis.asyncio import Redis

FENCE: Final = import_module("app.core.cache.coherence.leases")
TIMES: Final = {name: getattr(FENCE, name) for name in ("LEASE_MS", "LEASE_RENEWAL_SECONDS")}
"""How long the fence waits for what. A job may have others."""

AT_ONCE: Final = 50
"""Calls under way at once where it does not matter how many they are."""
LONGEST_JOB: Final = 45.0  # seconds


@dataclass(frozen=True, slots=True)
class Stage:
    """What one job plays on: a cache with a prefix of its own, and keys beside it."""

    manager: Any
    client: Any
    prefix: str

    def beside(self, name: str) -> str:
        """Return a key that is none of the cache's."""
        return f"beside-{self.prefix}:{name}"


@dataclass(frozen=True, slots=True)
class Work:
    """What the function does, and what it returns."""

    value: int = 0
    seconds: float = 0
    gate: str = ""
    """A list beside the cache; the function waits until something is pushed to it."""
    fails: bool = False
    announced: bool = False


async def compute(item: int, stage: Stage, work: Work) -> int:
    """Count the run, work, and return the value, or fail."""
    await stage.client.incr(stage.beside(f"runs:{item}"))
    if work.announced:
        say(event="computing")
    if work.gate:
        await stage.client.blpop(stage.beside(work.gate))
    await asyncio.sleep(work.seconds)
    if work.fails:
        raise ValueError(f"no value for {item}")
    return work.value


async def call(
    stage: Stage, *, item: int, callers: int, work: dict[str, Any], since: float
) -> dict[str, Any]:
    """Call for one item, many times at once; `since` is when the test began."""
    cached = cache_response(stage.manager, "family", key="item:{item}", ignore=("stage", "work"))(
        compute
    )
    calls = [cached(item, stage, Work(**work)) for _ in range(callers)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    seconds = time.monotonic() - since
    return {
        "values": [result for result in results if isinstance(result, int)],
        "errors": [repr(result) for result in results if isinstance(result, BaseException)],
        "seconds": seconds,
    }


async def fill(stage: Stage, *, first: int, last: int, tag: str) -> None:
    """Call once for each item from the first to before the last."""
    cached = cache_response(
        stage.manager, "family", key="item:{item}", ignore=("stage", "work"), tags=[tag]
    )(compute)
    for start in range(first, last, AT_ONCE):
        items = range(start, min(start + AT_ONCE, last))
        await asyncio.gather(*[cached(item, stage, Work()) for item in items])


async def version(item: int, stage: Stage, random: Random) -> int:
    """Read the source's version, and return it after a while, so that some are overtaken."""
    del item
    found = await stage.client.get(stage.beside("source"))
    await stage.client.incr(stage.beside("fills"))
    if random.random() < 0.5:
        await asyncio.sleep(random.uniform(0, 0.006))
    return int(found)


async def update(item: int, stage: Stage) -> int:
    """Change the source and return its version."""
    del item
    return int(await stage.client.incr(stage.beside("source")))


SHORT: Final = timedelta(milliseconds=3)
"""How long a value that was set is there, so that it has to be computed again."""
INVALIDATIONS: Final[dict[str, Callable[[Any, int], Awaitable[bool]]]] = {
    "delete": lambda manager, _: manager.delete("family:item:1"),
    "set": lambda manager, version: manager.set("family:item:1", version, SHORT),
    "exact key": lambda manager, _: manager.invalidate("family:item:1"),
    "pattern": lambda manager, _: manager.invalidate("family:*"),
    "tag": lambda manager, _: manager.invalidate_tags("number:1"),
    "clear": lambda manager, _: manager.clear(),
}
DECORATIONS: Final[dict[str, dict[str, list[str]]]] = {
    "decorator": {"keys": ["family:item:{item}"]},
    "decorator with a tag": {"tags": ["number:{item}"]},
}


async def invalidate(stage: Stage, *, way: str, often: int) -> float:
    """Invalidate so often; return how many milliseconds one took."""
    began = time.monotonic()
    for _ in range(often):
        assert await INVALIDATIONS[way](stage.manager, 0)
    return (time.monotonic() - began) * 1000 / often


def write_by(way: str, stage: Stage) -> Callable[[], Awaitable[int]]:
    """Return what changes the source and then invalidates, in this way."""
    if way in DECORATIONS:
        decorated = invalidate_cache(stage.manager, **DECORATIONS[way])(update)
        return lambda: decorated(1, stage)

    async def write() -> int:
        number = await update(1, stage)
        done = await INVALIDATIONS[way](stage.manager, number)
        assert done or way == "delete"  # which had nothing to delete
        return number

    return write


def reading(
    stage: Stage, reader: str, *, tags: list[str], refreshed: bool, random: Random
) -> Callable[[], Awaitable[int]]:
    """Return what reads the version through the cache, in this way.

    With `refreshed`, entries expire at once and are served stale, so that most fills are refreshes.
    """
    manager, source = stage.manager, partial(version, 1, stage, random)
    ageing: dict[str, Any] = {"expire": timedelta(milliseconds=2), "stale": 60} if refreshed else {}

    async def load(keys: list[str]) -> dict[str, int]:
        found = await source()
        return dict.fromkeys(keys, found)

    async def many() -> int:
        found = await manager.get_or_set_many(["family:item:1", "family:item:2"], load)
        return int(found["family:item:1"])

    cached = cache_response(
        manager, "family", key="item:{item}", ignore=("stage", "random"), tags=tags, **ageing
    )(version)
    ways: dict[str, Callable[[], Awaitable[int]]] = {
        "a function": partial(cached, 1, stage, random),
        "get_or_set": partial(manager.get_or_set, "family:item:1", source, tags=tags, **ageing),
        "get_or_set_many": many,
    }
    return ways[reader]


async def read_and_write(  # noqa: PLR0913 - the details of a job
    stage: Stage,
    *,
    way: str,
    reader: str,
    fenced: bool,
    refreshed: bool,
    seed: str,
    readers: int,
    writes: int,
    reads: int,
) -> dict[str, int]:
    """Let some tasks read, and one write if `writes` is not 0; count the stale values.

    The writer goes on until there were so many writes here and so many reads in all.
    """
    if not fenced:
        take_down_the_fence(stage)
    random = Random(seed)  # noqa: S311 - no secret
    tags = ["number:1"] if "tag" in way else []
    cached = reading(stage, reader, tags=tags, refreshed=refreshed, random=random)
    count = {"reads": 0, "stale": 0, "writes": 0}

    async def read() -> None:
        while True:
            # At another moment than the others, so that some begin while a fill is under way.
            await asyncio.sleep(random.uniform(0, 0.008))
            async with stage.client.pipeline(transaction=False) as pipe:
                pipe.incr(stage.beside("reads"))
                pipe.mget(stage.beside("returned"), stage.beside("over"))
                _, (returned, over) = await pipe.execute()
            if over:
                return
            value = await cached()
            count["reads"] += 1
            count["stale"] += value < int(returned)

    async def write() -> None:
        step = write_by(way, stage)
        while (
            count["writes"] < writes or int(await stage.client.get(stage.beside("reads"))) < reads
        ):
            await stage.client.set(stage.beside("returned"), await step())
            count["writes"] += 1
            await asyncio.sleep(random.uniform(0, 0.008))
        await stage.client.set(stage.beside("over"), 1)

    async with asyncio.TaskGroup() as group:
        for _ in range(readers):
            group.create_task(read())
        if writes:
            group.create_task(write())
    return count


def take_down_the_fence(stage: Stage) -> None:
    """Store every fill, whatever stands there, and under the nonces of now."""
    backend = stage.manager.backend
    tag = f"{stage.prefix}:~tag:number:1"

    async def acquire(_key: str, _data: bytes, _ms: int) -> None:
        return None

    async def replace(key: str, _over: bytes, data: bytes, ms: int) -> bool:
        (nonce,) = await backend.nonces([tag], ms)
        data = with_nonce(data, nonce)
        return bool(await backend.set_bytes(key, data, timedelta(milliseconds=ms)))

    backend.acquire, backend.replace = acquire, replace


def with_nonce(data: bytes, nonce: bytes) -> bytes:
    """Return a record with another nonce of its one tag, if it has one, and with its sum."""
    head, _, payload = data.partition(b"\n")
    start, _, rest = head.rsplit(b" ", 2)
    rest = re.sub(rb'("tags":\{"[^"]+":)"\w+"', rb'\1"%b"' % nonce, rest)
    return b"%b %08x %b\n%b" % (start, crc32(payload, crc32(rest)), rest, payload)


JOBS: Final[dict[str, Callable[..., Awaitable[Any]]]] = {
    "call": call,
    "fill": fill,
    "invalidate": invalidate,
    "read_and_write": read_and_write,
}


async def do(
    *,
    job: str,
    cache: dict[str, Any],
    beside: dict[str, Any],
    prefix: str,
    times: dict[str, float] | None = None,
    **details: object,
) -> object:
    """Do a job, with new connections, and all that it left for later."""
    vars(FENCE).update(TIMES | (times or {}))
    manager = CacheManager(RedisBackend(**cache, key_prefix=prefix))
    client = Redis(**beside, socket_timeout=None)
    try:
        async with asyncio.timeout(LONGEST_JOB):
            answer = await JOBS[job](Stage(manager, client, prefix), **details)
            await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
            return answer
    finally:
        await manager.close()
        await client.aclose()


if __name__ == "__main__":
    asyncio.run(serve(do))

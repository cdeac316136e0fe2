"""A process of its own for the tests of topologies. It runs in an installed project.

A job is told an environment, and nothing else decides how its cache is made.
"""

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

from app.core.cache import (  # type: ignore[import-not-found] # of the project that it runs in
    CacheFactory,
    CacheManager,
    cache_response,
    invalidate_cache,
)
from jobs import say, serve  # type: ignore[import-not-found] # of this folder

LONGEST_JOB: Final = 45.0  # seconds


class Log(logging.Handler):
    """Keeps what is logged as a warning, or worse."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        self.lines.append(self.format(record))


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until a condition holds."""
    try:
        async with asyncio.timeout(10):
            while True:
                if await condition():
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited 10 seconds for {what}") from None


class Source:
    """What functions read: a version, and how often they have run."""

    def __init__(self) -> None:
        self.version = 1
        self.runs = 0
        self.reading = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self) -> int:
        """Return the version that there was before the gate opened."""
        self.runs += 1
        version = self.version
        self.reading.set()
        await self.gate.wait()
        return version


# --- what is promised everywhere ---------------------------------------------------------------


async def values(manager: CacheManager) -> None:
    """Store, read and remove values at keys of many slots."""
    wanted: dict[str, Any] = {f"values:{number}": {"n": number} for number in range(100)}
    names = list(wanted)
    assert await manager.health_check()
    assert await manager.get_many(names) == {}
    assert await manager.set_many(wanted, expire=60)
    assert await manager.get_many([*names, "values:none"]) == wanted
    assert await asyncio.gather(*map(manager.get, names)) == list(wanted.values())
    assert all(await asyncio.gather(*map(manager.exists, names)))
    assert await manager.set(names[0], [1, "two"]), names[0]
    assert await manager.get(names[0]) == [1, "two"]
    assert await manager.delete(names[0])
    assert not await manager.delete(names[0])
    assert not await manager.exists(names[0])
    assert await manager.get(names[0], "nothing") == "nothing"
    assert await manager.delete_many(names) == 99
    assert await manager.get_many(names) == {}


async def computed(manager: CacheManager) -> None:
    """Let code compute values, one and many, and invalidate them."""
    source = Source()
    one = partial(manager.get_or_set, "computed:one", source.read, tags=["one", "all"])
    assert await asyncio.gather(*(one() for _ in range(20))) == [1] * 20
    assert (await one(), source.runs) == (1, 1)
    source.version = 2
    assert await manager.invalidate_tags("all")
    assert (await one(), await one(), source.runs) == (2, 2, 2)

    asked: list[str] = []

    async def load(keys: list[str]) -> dict[str, int]:
        asked.extend(keys)
        return {key: await source.read() for key in keys}

    names = [f"computed:{number}" for number in range(50)]
    for _ in range(2):
        assert await manager.get_or_set_many(names, load) == dict.fromkeys(names, 2)
    assert sorted(asked) == sorted(names)
    source.version = 3
    assert await manager.delete_many(names[:10]) == 10
    found = await manager.get_or_set_many(names, load)
    assert found == dict.fromkeys(names, 2) | dict.fromkeys(names[:10], 3)


async def decorated(manager: CacheManager) -> None:
    """Let a decorated function have tags, some of its result, and invalidate by each."""
    source = Source()

    @cache_response(  # type: ignore[untyped-decorator]
        manager,
        "decorated",
        key="item:{item}",
        tags=["item:{item}", "items", lambda found: [f"version:{found}"]],
        shared=True,
    )
    async def read(item: int) -> int:
        del item
        return await source.read()

    @invalidate_cache(  # type: ignore[untyped-decorator]
        manager, ["decorated:item:{item}"], tags=["none"]
    )
    async def write(item: int) -> None:
        del item

    async def runs() -> int:
        before = source.runs
        for _ in range(2):
            assert await asyncio.gather(*map(read, range(10))) == [source.version] * 10
        return source.runs - before

    assert await runs() == 10
    for way, expected in (
        (lambda: manager.invalidate_tags("items"), 10),
        (lambda: manager.invalidate_tags("item:1", "item:2"), 2),
        (lambda: manager.invalidate_tags("version:0"), 0),
        (lambda: manager.invalidate_tags("version:1"), 10),
        (lambda: write(3), 1),
        (lambda: read.invalidate(4), 1),
        (read.invalidate_all, 10),
        (lambda: manager.invalidate("decorated:*"), 10),
        (manager.clear, 10),
    ):
        await way()
        assert await runs() == expected


async def old(manager: CacheManager) -> None:
    """Let an entry grow old: it is served while one caller computes it anew, unless it is gone."""
    source = Source()

    @cache_response(  # type: ignore[untyped-decorator]
        manager,
        "old",
        timedelta(milliseconds=20),
        key="{item}",
        stale=60,
        tags=["old"],
        shared=True,
    )
    async def read(item: int) -> int:
        del item
        return await source.read()

    async def is_due() -> bool:
        calls.append(asyncio.create_task(read(1)))
        await asyncio.wait(
            [calls[-1], asyncio.create_task(source.reading.wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        return source.reading.is_set()

    assert await read(1) == 1
    source.version = 2
    source.reading.clear()
    source.gate.clear()
    calls: list[asyncio.Task[int]] = []
    await until(is_due, "the entry to be due")
    assert await read(1) == 1
    source.gate.set()
    *before, refreshing = await asyncio.gather(*calls)
    assert ({*before} <= {1}, refreshing) == (True, 2)
    assert await read(1) == 2
    source.version = 3
    assert await manager.invalidate_tags("old")
    assert await read(1) == 3


def _reading(
    manager: CacheManager, reader: str, family: str, source: Source
) -> Callable[[], Coroutine[Any, Any, int]]:
    key = f"{family}:it"

    async def load(keys: list[str]) -> dict[str, int]:
        return dict.fromkeys(keys, await source.read())

    async def many() -> int:
        return int((await manager.get_or_set_many([key, f"{key}:too"], load))[key])

    async def read() -> int:
        return await source.read()

    ways: dict[str, Callable[[], Coroutine[Any, Any, int]]] = {
        "a function": cache_response(manager, family, key="it", tags=["fills"], shared=True)(read),
        "get_or_set": partial(manager.get_or_set, key, source.read, tags=["fills"]),
        "get_or_set_many": many,
    }
    return ways[reader]


def _invalidations(manager: CacheManager, key: str) -> dict[str, Callable[[], Awaitable[object]]]:
    async def write() -> None:
        pass

    return {
        "delete": partial(manager.delete, key),
        "set": partial(manager.set, key, 2),
        "exact key": partial(manager.invalidate, key),
        "pattern": partial(manager.invalidate, "fill:*"),
        "clear": manager.clear,
        "decorator": invalidate_cache(manager, key)(write),
        "tag": partial(manager.invalidate_tags, "fills"),
        "decorator with a tag": invalidate_cache(manager, tags=["fills"])(write),
    }


async def overtaken(manager: CacheManager, *, reader: str, way: str) -> None:
    """Invalidate, through another manager, what is being computed."""
    family, source, other = f"fill:{reader}:{way}", Source(), CacheFactory.create_cache_manager()
    read = _reading(manager, reader, family, source)
    source.gate.clear()
    first = asyncio.create_task(read())
    await source.reading.wait()
    source.version = 2
    await _invalidations(other, f"{family}:it")[way]()
    source.gate.set()
    assert (await first, await read()) == (1, 2)
    await other.close()


async def fill(manager: CacheManager, *, names: list[str]) -> None:
    """Store something at these keys."""
    assert await manager.set_many(dict.fromkeys(names, 1), expire=60)


async def invalidate(manager: CacheManager, *, pattern: str) -> None:
    """Remove what a pattern covers."""
    assert await manager.invalidate(pattern)


async def clear(manager: CacheManager) -> None:
    """Remove everything."""
    assert await manager.clear()


async def hold(manager: CacheManager) -> None:
    """Read and write at once, and keep the connections until there is a key `over`."""
    names = [f"hold:{number}" for number in range(100)]
    assert all(await asyncio.gather(*(manager.set(name, 1) for name in names)))
    assert await asyncio.gather(*map(manager.get, names)) == [1] * 100
    say(event="holding")
    await until(partial(manager.exists, "over"), "the end")


async def use(manager: CacheManager) -> dict[str, Any]:
    """Use a cache that may be away; return what its callers had."""
    source = Source()

    async def load(keys: list[str]) -> dict[str, int]:
        return dict.fromkeys(keys, 1)

    return {
        "get": await manager.get("none", "the default"),
        "set": await manager.set("key", 1),
        "get_or_set": [await manager.get_or_set("key", source.read) for _ in range(2)],
        "get_or_set_many": await manager.get_or_set_many(["key"], load),
        "clear": await manager.clear(),
        "health_check": await manager.health_check(),
    }


JOBS: Final[dict[str, Callable[..., Awaitable[object]]]] = {
    job.__name__: job
    for job in (values, computed, decorated, old, overtaken, fill, invalidate, clear, hold, use)
}


@dataclass(slots=True)
class Left:
    """What a cache has left behind once it is closed."""

    log: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)


@asynccontextmanager
async def cache_of(settings: dict[str, str]) -> AsyncIterator[tuple[CacheManager, Left]]:
    """Lend a cache that these settings make."""
    for name in list(os.environ):
        if name.startswith(("CACHE_", "REDIS_")):
            del os.environ[name]
    os.environ.update(settings)
    left = Left()
    log = Log(left.log)
    logging.getLogger().addHandler(log)
    before = asyncio.all_tasks()
    manager = CacheFactory.create_cache_manager()
    try:
        yield manager, left
    finally:
        await manager.close()
        gc.collect()  # a task whose exception nobody has seen would say so
        logging.getLogger().removeHandler(log)
        left.tasks = [repr(task) for task in asyncio.all_tasks() - before]


async def do(*, settings: dict[str, str], job: str, **details: object) -> dict[str, object]:
    """Do a job with a cache that these settings make."""
    async with asyncio.timeout(LONGEST_JOB), cache_of(settings) as (manager, left):
        answer = await JOBS[job](manager, **details)
    return {"answer": answer, "log": left.log, "left": left.tasks}


if __name__ == "__main__":
    asyncio.run(serve(do))

"""A process of its own for the tests of failovers: twenty readers and three writers of one cache.

It runs in an installed project. Its jobs are to `begin`; to `mark` that something is about to
happen, and to `recover` from it; to `rest`, and to `go` on; to `look` at what was counted so far;
and to `end`. Meanwhile the readers and the writers go on, unless they rest.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from random import Random
from typing import Any, Final, TypeVar

from app.core.cache import (  # type: ignore[import-not-found] # of the project that it runs in
    CacheManager,
    InvalidationEvent,
    cache_response,
    invalidate_cache,
)
from jobs import serve  # type: ignore[import-not-found] # of this folder
from topology_worker import cache_of, until  # type: ignore[import-not-found] # of this folder

READERS: Final = 20
WRITTEN: Final = 20
"""How many entries of each family change."""
KEPT: Final = 10
"""And how many do not: no journal covers them, so they are hits whenever the servers are well."""
PAUSE_SECONDS: Final = 0.04
"""Between two calls of one caller, at most."""

Values = dict[str, list[Any]]
"""By key; each is the key itself and a version."""
Way = Callable[[str], Awaitable[object]]
T = TypeVar("T")


@dataclass
class Counts:
    """What has happened so far."""

    reads: int = 0
    writes: Counter[str] = field(default_factory=Counter)
    put_off: Counter[str] = field(default_factory=Counter)
    """Invalidations that could not be delivered at once, by what became of them."""
    stale: list[str] = field(default_factory=list)
    """What was older than an invalidation that had returned before the read began."""
    errors: list[str] = field(default_factory=list)
    """What callers would have seen: exceptions, and values of other keys."""


@dataclass(frozen=True, slots=True)
class Family:
    """Entries that are cached in one manner: how some are read, and the ways to invalidate one."""

    name: str
    read: Callable[[list[str]], Awaitable[Values]]
    ways: dict[str, Way]
    at_once: int = 1
    """How many are read by one call."""

    @property
    def keys(self) -> list[str]:
        """The keys of all entries."""
        return [*self.written, *self.kept]

    @property
    def written(self) -> list[str]:
        """The keys of those that change."""
        return [f"{self.name}:written-{number}" for number in range(WRITTEN)]

    @property
    def kept(self) -> list[str]:
        """The keys of those that do not."""
        return [f"{self.name}:kept-{number}" for number in range(KEPT)]


class Traffic:
    """The readers and the writers, and what they read and write."""

    def __init__(self, manager: CacheManager, seed: str) -> None:
        self._manager = manager
        manager.on_event = self._hear
        self._random = Random(seed)  # noqa: S311 - no secret
        self._families = [self._function(), self._plain(), self._entry(), self._many()]
        self._turns = {family.name: cycle(family.keys) for family in self._families}
        self._versions, self._returned = Counter[str](), Counter[str]()
        self._loads = Counter[str]()
        self._loaded_at = dict.fromkeys(self.keys, 0.0)
        self._hit_at = {key: 0.0 for family in self._families for key in family.kept}
        self.over = False
        self.busy = asyncio.Event()
        self.busy.set()
        self._calls = 0
        self.counts = Counts()
        self.took: list[float] = []
        """How many seconds each call has taken."""

    @property
    def keys(self) -> list[str]:
        """The keys of all entries."""
        return [key for family in self._families for key in family.keys]

    async def run(self) -> None:
        """Read and write until it is over."""
        async with asyncio.TaskGroup() as group:
            for _ in range(READERS):
                group.create_task(self._again_and_again(self._read))
            for family in self._families:
                group.create_task(self._again_and_again(partial(self._write, family)))

    async def rest(self) -> None:
        """Have all wait before their next calls, and wait for those under way."""
        self.busy.clear()

        async def are_idle() -> bool:
            return not self._calls

        await until(are_idle, "calls to end")

    async def all_hit(self) -> None:
        """Wait until every entry that does not change was a hit, from now on."""
        since = time.monotonic()

        async def are_hits() -> bool:
            return min(self._hit_at.values()) > since

        await until(are_hits, "hits")

    async def _again_and_again(self, call: Callable[[], Awaitable[None]]) -> None:
        while not self.over:
            await self.busy.wait()
            self._calls += 1
            try:
                await call()
            except Exception as error:  # noqa: BLE001 - which no caller may see
                self.counts.errors.append(repr(error))
            self._calls -= 1
            await asyncio.sleep(self._random.uniform(0, PAUSE_SECONDS))

    # --- what is cached ------------------------------------------------------------------------

    async def _load(self, key: str) -> list[Any]:
        """Take a value from the source, which may take a while."""
        self._loads[key] += 1
        try:
            version = self._versions[key]
            if self._random.random() < 0.5:
                await asyncio.sleep(self._random.uniform(0, 0.006))
            return [key, version]
        finally:
            self._loads[key] -= 1
            self._loaded_at[key] = time.monotonic()

    def _function(self) -> Family:
        @cache_response(  # type: ignore[untyped-decorator] # of the project that it runs in
            self._manager, "function", key="{name}", tags=["function:{name}"], shared=True
        )
        async def cached(name: str) -> list[Any]:
            return await self._load(f"function:{name}")

        async def read(keys: list[str]) -> Values:
            return {keys[0]: await cached(name_of(keys[0]))}

        return Family("function", read, self._by_key("function") | self._by_tag())

    def _plain(self) -> Family:
        @cache_response(self._manager, "plain", key="{name}", shared=True)  # type: ignore[untyped-decorator] # of the project that it runs in
        async def cached(name: str) -> list[Any]:
            return await self._load(f"plain:{name}")

        async def read(keys: list[str]) -> Values:
            return {keys[0]: await cached(name_of(keys[0]))}

        return Family("plain", read, self._by_key("plain"))

    def _entry(self) -> Family:
        async def read(keys: list[str]) -> Values:
            load = partial(self._load, keys[0])
            return {keys[0]: await self._manager.get_or_set(keys[0], load, tags=[keys[0]])}

        return Family("entry", read, self._by_key("entry") | self._by_tag())

    def _many(self) -> Family:
        async def load(keys: list[str]) -> Values:
            return {key: await self._load(key) for key in keys}

        async def read(keys: list[str]) -> Values:
            found: Values = await self._manager.get_or_set_many(keys, load)
            return found

        return Family("many", read, self._by_key("many") | self._by_value(), at_once=3)

    def _by_key(self, family: str) -> dict[str, Way]:
        @invalidate_cache(self._manager, f"{family}:{{name}}")  # type: ignore[untyped-decorator] # of the project that it runs in
        async def decorated(name: str) -> None:
            del name

        return {
            "key": self._manager.delete,
            "keys": lambda key: self._manager.delete_many([key]),
            "pattern": lambda _: self._manager.invalidate(f"{family}:written-*"),
            "decorator": lambda key: decorated(name_of(key)),
        }

    def _by_tag(self) -> dict[str, Way]:
        return {"tag": self._manager.invalidate_tags}

    def _by_value(self) -> dict[str, Way]:
        return {"value": lambda key: self._manager.set(key, [key, self._versions[key]])}

    # --- what callers do -----------------------------------------------------------------------

    async def _read(self) -> None:
        family = self._random.choice(self._families)
        keys = list(islice(self._turns[family.name], family.at_once))
        returned, began = Counter(self._returned), time.monotonic()
        values = await self._timed(family.read(keys))
        self._check(values, returned)
        for key in values:
            if key in self._hit_at and not self._loads[key] and self._loaded_at[key] < began:
                self._hit_at[key] = began

    async def _write(self, family: Family) -> None:
        """Change the source of an entry, or of many, and invalidate what is stored of that."""
        way, invalidate = self._random.choice(list(family.ways.items()))
        key = self._random.choice(family.written)
        covered = family.written if way == "pattern" else [key]
        self._versions.update(covered)
        await self._timed(invalidate(key))
        self._returned.update(covered)
        self.counts.writes[way] += 1
        self._check(await self._manager.get_many(covered), self._returned)

    async def _timed(self, call: Awaitable[T]) -> T:
        began = time.monotonic()
        result = await call
        self.took.append(time.monotonic() - began)
        return result

    def _hear(self, event: InvalidationEvent) -> None:
        self.counts.put_off[event.kind] += event.count

    def _check(self, values: Values, returned: Counter[str]) -> None:
        for key, (of, version) in values.items():
            self.counts.reads += 1
            if of != key:
                self.counts.errors.append(f"{of} is not {key}")
            elif version < returned[key]:
                self.counts.stale.append(f"{key} in version {version} after {returned[key]}")


def name_of(key: str) -> str:
    """Return what tells a key from the others of its family."""
    return key.partition(":")[2]


class Jobs:
    """What the process is told to do."""

    traffic: Traffic

    def __init__(self) -> None:
        self._cache = AsyncExitStack()

    async def do(self, *, job: str, **details: Any) -> object:  # noqa: ANN401
        """Do a job, and answer with what it has found."""
        match job:
            case "begin":
                return await self._begin(**details)
            case "rest":
                await self.traffic.rest()
            case "go":
                self.traffic.busy.set()
            case "mark":
                self.traffic.took.clear()
            case "recover":
                took, over = list(self.traffic.took), time.monotonic()
                await self.traffic.all_hit()
                return {
                    "while_it_lasted": took,
                    "until_hits": self.traffic.took,
                    "seconds": time.monotonic() - over,
                }
            case "end":
                return await self._end()
        return vars(self.traffic.counts)

    async def _begin(self, *, settings: dict[str, str], seed: str) -> list[str]:
        manager, self._left = await self._cache.enter_async_context(cache_of(settings))
        self.traffic = Traffic(manager, seed)
        self._running = asyncio.create_task(self.traffic.run())
        await self.traffic.all_hit()
        return [f"{manager.key_prefix}:{key}" for key in self.traffic.keys]

    async def _end(self) -> dict[str, object]:
        self.traffic.over = True
        await self._running
        await self._cache.aclose()
        return vars(self.traffic.counts) | {"log": self._left.log, "left": self._left.tasks}


if __name__ == "__main__":
    asyncio.run(serve(Jobs().do))

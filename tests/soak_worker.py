"""A process of its own for the soak: callers of a cache whose server is harmed all the while.

It runs in an installed project. Its jobs are to `begin`, to `go` and to `rest`: then it closes its
cache, which it uses again later, and answers with what it has counted so far.
"""

import asyncio
import gc
import json
import logging
import mmap
import os
import resource
import stat
import sys
import time
import warnings
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import _lru_cache_wrapper
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, Final

from app.core.cache import (  # type: ignore[import-not-found] # of the project that it runs in
    CacheFactory,
    cache_response,
    invalidate_cache,
)
from app.core.cache.backends.wire.tracking import TRUST_SECONDS  # type: ignore[import-not-found] # of the project that it runs in
from jobs import serve  # type: ignore[import-not-found] # of this folder

CALLERS: Final = 12
PAUSE_SECONDS: Final = 0.03
"""Between two calls of one caller, at most."""
LONGEST_CALL: Final = 20.0
"""Seconds after which a call counts as one that does not end."""
TICK_SECONDS: Final = 0.02
EACH: Final = 12
"""How many values each family has. A third of them is written by each of three processes."""
EXAMPLES: Final = 5

Value = dict[str, Any]
Reader = Callable[[list[int]], Awaitable[dict[int, Value]]]
Way = Callable[[int], Awaitable[object]]

BRIEFLY: Final = {"expire": timedelta(milliseconds=100), "stale": 60, "early_refresh": 1.0}
DECORATED: Final[dict[str, dict[str, Any]]] = {
    "plain": {"expire": 2},
    "inline": {**BRIEFLY, "refresh": "inline"},
    "background": {**BRIEFLY, "refresh": "background"},
    "tagged": {"tags": ["tagged:{number}"]},
    "derived": {"tags": [lambda value: [value["of"]]]},
    "nested": {"tags": ["nested:{number}"]},
}


class NoValueError(Exception):
    """What a cached function raises now and then; its callers expect that."""


class Truth:
    """The file that the processes share. It has three versions of each value, by its number.

    `source` is the newest. `returned` is the newest whose invalidation has returned to its caller,
    and `delivered` the newest whose invalidation has reached the server, too. Each value has one
    process that writes it.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            numbers = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
        third = len(numbers) // 3
        self.source, self.returned, self.delivered = (
            numbers[start : start + third] for start in range(0, 3 * third, third)
        )


@dataclass(frozen=True, slots=True)
class Family:
    """Values that are cached in one manner: how some are read, and the ways to invalidate one."""

    name: str
    read: Reader
    ways: list[Way]
    tagged: bool = False


class Tally(logging.Handler):
    """Counts, and keeps the first few examples of each thing that gives one.

    It takes the log as well: the cache's own lines are counted, and what asyncio or the interpreter
    has to say is a complaint.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.highest: dict[str, float] = {}
        self.examples: dict[str, list[str]] = {}

    def note(self, what: str, example: object = None) -> None:
        """Count something."""
        self.counts[what] += 1
        examples = self.examples.setdefault(what, [])
        if example is not None and len(examples) < EXAMPLES:
            examples.append(str(example)[:1000])

    def measure(self, what: str, number: float) -> None:
        """Keep the highest of these numbers."""
        self.highest[what] = max(self.highest.get(what, 0), number)

    def emit(self, record: logging.LogRecord) -> None:
        """Count a line of the log."""
        is_ours = record.name.startswith("app.")
        self.note("log lines" if is_ours else "complaints", record.getMessage())


class Soaker:
    """The callers of one process, and their cache."""

    def __init__(self, *, truth: str, number: int, processes: int, seed: str) -> None:
        self._number, self._processes = number, processes
        self._random = Random(seed)  # noqa: S311 - no secret
        self._truth, self._tally = Truth(Path(truth)), Tally()
        self.cache = CacheFactory.create_cache_manager()
        self._families = [
            *(self._decorated(name, options) for name, options in DECORATED.items()),
            *self._others(),
        ]
        self._locks = [asyncio.Lock() for _ in range(self.values)]
        self._deeds: dict[Callable[[], Awaitable[None]], float] = {
            self._read: 85,
            self._write: 12,
            self._ask: 2,
            self._litter: 0.5,
            self._clear: 0.2,
        }
        self._tasks: list[asyncio.Task[None]] = []
        self._resting = True
        self._cut_off_at = 0.0
        self._history = deque([(0.0, [0] * len(self._truth.delivered))])
        """What was delivered at a time, of the last second and a little more."""
        self._sockets = sockets()
        self._watch()

    @property
    def values(self) -> int:
        """How many values there are."""
        return len(self._families) * EACH

    # --- what is cached ------------------------------------------------------------------------

    def _decorated(self, name: str, options: dict[str, Any]) -> Family:
        compute = self._compute
        if name == "nested":

            @cache_response(self.cache, "inner", key="{number}", shared=True, **options)  # type: ignore[untyped-decorator] # of the project that it runs in
            async def compute(number: int) -> Value:
                return await self._compute(number)

        @cache_response(self.cache, name, key="{number}", shared=True, **options)  # type: ignore[untyped-decorator] # of the project that it runs in
        async def cached(number: int) -> Value:
            return await compute(number)

        async def read(numbers: list[int]) -> dict[int, Value]:
            call = cached.refresh if self._random.random() < 0.02 else cached
            return {numbers[0]: await call(numbers[0])}

        if "tags" in options:
            return Family(name, read, self._by_tag(name), tagged=True)
        ways = [*self._by_key(name), cached.invalidate, lambda _: cached.invalidate_all()]
        return Family(name, read, ways)

    def _others(self) -> Iterator[Family]:
        cache = self.cache

        async def by_hand(numbers: list[int]) -> dict[int, Value]:
            if self._random.random() < 0.5:
                found = await cache.get(f"hand:{numbers[0]}")
                return {} if found is None else {numbers[0]: found}
            return by_number(await cache.get_many([f"hand:{number}" for number in numbers]))

        async def or_set(numbers: list[int]) -> dict[int, Value]:
            number = numbers[0]
            found = await cache.get_or_set(f"or_set:{number}", lambda: self._compute(number))
            return {number: found}

        async def many(numbers: list[int]) -> dict[int, Value]:
            keys = [f"many:{number}" for number in numbers]
            return by_number(await cache.get_or_set_many(keys, load, 2))

        async def load(keys: list[str]) -> dict[str, Value]:
            return {key: await self._compute(int(key.split(":")[1])) for key in keys}

        def by_number(found: dict[str, Value]) -> dict[int, Value]:
            return {int(key.split(":")[1]): value for key, value in found.items()}

        for read, name in ((by_hand, "hand"), (or_set, "or_set"), (many, "many")):
            yield Family(name, read, [*self._by_setting(name) * 2, *self._by_key(name)])

    def _by_setting(self, name: str) -> list[Way]:
        return [
            lambda number: self.cache.set(f"{name}:{number}", self._value(number)),
            lambda number: self.cache.set_many({f"{name}:{number}": self._value(number)}, 5),
        ]

    def _by_key(self, name: str) -> list[Way]:
        @invalidate_cache(self.cache, keys=f"{name}:{{number}}")  # type: ignore[untyped-decorator] # of the project that it runs in
        async def decorated(number: int) -> None:
            """Change nothing: that has been done."""

        return [
            decorated,
            lambda number: self.cache.delete(f"{name}:{number}"),
            lambda number: self.cache.delete_many([f"{name}:{number}"]),
            lambda number: self.cache.invalidate(f"{name}:{number}"),
            lambda _: self.cache.invalidate(f"{name}:*"),
        ]

    def _by_tag(self, name: str) -> list[Way]:
        @invalidate_cache(self.cache, tags=[f"{name}:{{number}}"])  # type: ignore[untyped-decorator] # of the project that it runs in
        async def decorated(number: int) -> None:
            """Change nothing: that has been done."""

        return [decorated, lambda number: self.cache.invalidate_tags(f"{name}:{number}")]

    def _name(self, number: int) -> str:
        return f"{self._families[number // EACH].name}:{number}"

    def _value(self, number: int, version: int | None = None) -> Value:
        name = self._name(number)
        version = self._truth.source[number] if version is None else version
        times = 1000 if number % EACH == 0 else 10
        return {"of": name, "version": version, "text": f"{name} {version} " * times}

    async def _compute(self, number: int) -> Value:
        """Take a value from the source. That takes a while, now and then a long one, or fails."""
        version = self._truth.source[number]
        chance = self._random.random()
        if chance < 0.5:
            await asyncio.sleep(self._random.uniform(0, 0.4 if chance < 0.02 else 0.01))
        if chance > 0.99:
            raise NoValueError
        return self._value(number, version)

    # --- what callers do -----------------------------------------------------------------------

    async def _caller(self) -> None:
        while not self._resting:
            await asyncio.sleep(self._random.uniform(0, PAUSE_SECONDS))
            if self._random.random() < 0.04:
                await self._cancelled_call()
            else:
                await self._call()

    async def _call(self) -> None:
        (deed,) = self._random.choices(list(self._deeds), list(self._deeds.values()))
        try:
            await deed()
        except NoValueError:
            self._tally.note("exceptions of its own")
        except Exception as error:  # noqa: BLE001 - that is what is counted
            self._tally.note("errors", f"{error!r} at {places(error)}")

    async def _cancelled_call(self) -> None:
        call = asyncio.create_task(self._call())
        await asyncio.wait([call], timeout=self._random.choice((0, 0.001, 0.01, 0.3)))
        if call.cancel():
            await asyncio.wait([call])
            self._tally.note("cancelled calls")
            if not call.cancelled():
                self._tally.note("swallowed cancellations")

    async def _read(self) -> None:
        place = self._random.randrange(len(self._families))
        numbers = self._random.sample(range(place * EACH, (place + 1) * EACH), 3)
        returned = {number: self._truth.returned[number] for number in numbers}
        began = time.monotonic()
        delivered = self._delivered(began)
        values = await self._families[place].read(numbers)
        cut_off = self._cut_off_at >= began
        self._tally.note("reads cut off" if cut_off else "reads")
        for number, value in values.items():
            self._check(number, value, returned[number], 0 if cut_off else delivered[number])

    def _delivered(self, now: float) -> Sequence[int]:
        """Return which versions have been delivered so long ago that all have to know of them."""
        if self.cache.backend.near is None:
            return list(self._truth.delivered)
        while len(self._history) > 1 and self._history[1][0] <= now - TRUST_SECONDS:
            self._history.popleft()
        return self._history[0][1]

    def _check(self, number: int, value: Value, returned: int, delivered: int) -> None:
        self._tally.note("values")
        version = value.get("version") if isinstance(value, dict) else None
        found = f"{self._name(number)} in version {version}"
        if (
            not isinstance(version, int)
            or version > self._truth.source[number]
            or value != self._value(number, version)
        ):
            self._tally.note("wrong values", f"{value!r:.200} for {found}")
        elif self._is_mine(number) and version < returned:
            self._tally.note("stale within a process", f"{found} after {returned}")
        elif version < delivered:
            self._tally.note("stale between processes", f"{found} after {delivered}")

    def _is_mine(self, number: int) -> bool:
        return number % self._processes == self._number

    async def _write(self) -> None:
        number = self._random.choice(list(filter(self._is_mine, range(self.values))))
        way = self._random.choice(self._families[number // EACH].ways)
        async with self._locks[number]:
            version = self._truth.source[number] = self._truth.source[number] + 1
            await way(number)
            self._truth.returned[number] = version
            held_back = self._is_held_back(number)
            self._tally.note("writes held back" if held_back else "writes delivered")
            if not held_back:
                self._truth.delivered[number] = version

    def _is_held_back(self, number: int) -> bool:
        prefix, name = self.cache.key_prefix, self._name(number)
        tagged = self._families[number // EACH].tagged
        tags = (f"{prefix}:~tag:{name}",) if tagged else ()
        return bool(self.cache.invalidations.pending.covers(f"{prefix}:{name}", *tags))

    def _hear(self, event: Any) -> None:  # noqa: ANN401 - the cache's types are those of another project
        self._tally.note(f"journals {event.kind}")
        for number in filter(self._is_mine, range(self.values)):
            if not self._is_held_back(number):
                self._truth.delivered[number] = self._truth.returned[number]

    async def _ask(self) -> None:
        await self.cache.exists(self._name(self._random.randrange(self.values)))
        await self.cache.health_check()

    async def _litter(self) -> None:
        """Invalidate a lot of what never was: a journal has an end."""
        await self.cache.delete_many([f"litter:{self._random.random()}" for _ in range(100)])
        await self.cache.invalidate(f"litter:{self._random.random()}:*")

    async def _clear(self) -> None:
        await self.cache.clear()

    # --- what is watched -----------------------------------------------------------------------

    def _watch(self) -> None:
        """Note what goes wrong behind the callers' backs, and when the process is cut off."""
        logging.captureWarnings(capture=True)
        logging.getLogger().addHandler(self._tally)
        sys.unraisablehook = lambda what: self._tally.note("complaints", what.exc_value)
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self._tally.note("complaints", context)
        )
        self.cache.on_event = self._hear
        backend, fence = self.cache.backend, self.cache.fence
        pending = self.cache.invalidations.pending
        look, get_many_bytes = backend.look, backend.get_many_bytes
        covers, run, read_nowait = pending.covers, fence.run, backend.read_nowait

        async def asked(answer: Awaitable[Any]) -> Any:  # noqa: ANN401 - the cache's types are those of another project
            try:
                return await answer
            except Exception:
                self._cut_off_at = time.monotonic()
                raise

        def covered(*arguments: Any) -> bool:  # noqa: ANN401 - the cache's types are those of another project
            found = bool(covers(*arguments))
            if found:
                self._cut_off_at = time.monotonic()
            return found

        async def counted(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the cache's types are those of another project
            result = await run(*arguments, **options)
            self._tally.note(f"served: {result.outcome.name.lower()}")
            return result

        def soon(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the cache's types are those of another project
            answer = read_nowait(*arguments, **options)
            if answer is not None:
                self._tally.note("asked at once")
            return answer

        backend.look = lambda *arguments: asked(look(*arguments))
        backend.get_many_bytes = lambda *arguments: asked(get_many_bytes(*arguments))
        pending.covers, fence.run, backend.read_nowait = covered, counted, soon
        if backend.near is not None:
            self._count_hits_of(backend.near)

    def _count_hits_of(self, near: Any) -> None:  # noqa: ANN401 - the cache's types are those of another project
        get = near.get

        def found(key: str) -> Any:  # noqa: ANN401 - the cache's types are those of another project
            entry = get(key)
            if entry is not None:
                self._tally.note("served: near")
            return entry

        near.get = found

    async def _tick(self) -> None:
        """Look how long the event loop stands still, and how much is connected and logged."""
        allowed = int(os.environ["REDIS_MAX_CONNECTIONS"])
        counts, ticks = self._tally.counts, 0
        lines = counts["log lines"]
        while not self._resting:
            before = time.monotonic()
            if self.cache.backend.near is not None:
                self._history.append((before, list(self._truth.delivered)))
            await asyncio.sleep(TICK_SECONDS)
            self._tally.measure("seconds of a stall", time.monotonic() - before - TICK_SECONDS)
            more = await self._connections_beyond(allowed)
            if more:
                self._tally.note("connections beyond the limit", f"{more} more than {allowed}")
            ticks += 1
            if ticks % round(1 / TICK_SECONDS) == 0:
                self._tally.measure("log lines in a second", counts["log lines"] - lines)
                lines = counts["log lines"]

    async def _connections_beyond(self, limit: int) -> int:
        """Return how many there are, but for those that close in the next turns of the loop."""
        for _ in range(3):
            more = sockets() - self._sockets - limit
            if more <= 0:
                return 0
            await asyncio.sleep(0)
        return more

    # --- what it is told -----------------------------------------------------------------------

    def go(self) -> None:
        """Let the callers begin."""
        self._resting = False
        callers = [self._caller() for _ in range(CALLERS)]
        self._tasks = [asyncio.create_task(each) for each in (*callers, self._tick())]

    async def rest(self) -> dict[str, Any]:
        """Let the callers end, close the cache, and return what was counted, and what is left."""
        self._resting = True
        _, endless = await asyncio.wait(self._tasks, timeout=LONGEST_CALL)
        for task in endless:
            self._tally.note("endless calls", task.get_stack())
            task.cancel()
        self._tasks = []
        await self.cache.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()} - endless:
            self._tally.note("tasks left", task)
        for _ in range(await self._connections_beyond(0)):
            self._tally.note("connections left")
        empty_bounded_caches()
        gc.collect()
        return {
            "counts": self._tally.counts,
            "highest": self._tally.highest,
            "examples": self._tally.examples,
            "blocks": sys.getallocatedblocks(),
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }


def sockets() -> int:
    """Return how many sockets this process has."""
    found = 0
    for file in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the listing's own is closed by now
            found += stat.S_ISSOCK(file.stat().st_mode)
    return found


def places(error: BaseException) -> str:
    """Return where an exception came from, the innermost place last."""
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return ", ".join(found)


def fill_the_cache_of_strings() -> None:
    """Let Pydantic have the 16,384 strings that it keeps of JSON: else they look like a leak."""
    texts = json.dumps([str(number) for number in range(200_000)])
    import_module("pydantic_core").from_json(texts)


def empty_bounded_caches() -> None:
    """Empty what remembers a fixed number of results: until it is full it looks like a leak."""
    for each in gc.get_objects():
        is_ours = type(each) is _lru_cache_wrapper and each.__module__.startswith("app.")
        if is_ours and each.cache_parameters()["maxsize"] is not None:
            each.cache_clear()


class Jobs:
    """What the process is told to do."""

    soaker: Soaker

    async def do(self, *, job: str, **details: Any) -> dict[str, Any]:  # noqa: ANN401 - the cache's types are those of another project
        """Do a job, and answer with what was counted if it is to rest."""
        match job:
            case "begin":
                self._begin(**details)
            case "go":
                self.soaker.go()
            case "rest":
                return await self.soaker.rest()
        return {}

    def _begin(self, *, settings: dict[str, str], bugs: list[str], **details: Any) -> None:  # noqa: ANN401 - the cache's types are those of another project
        os.environ.update(settings)
        fill_the_cache_of_strings()
        self.soaker = Soaker(**details)
        for bug in bugs:
            getattr(import_module("soak_bugs"), bug)(self.soaker.cache)


if __name__ == "__main__":
    warnings.simplefilter("always")
    asyncio.run(serve(Jobs().do))

"""How reads are seen leaves profilers, tools, tasks and the interpreter as they are."""

import asyncio
import cProfile
import functools
import gc
import itertools
import operator
import os
import subprocess
import sys
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import HTTPException

from ... import CacheManager, cache_response
from ..package import ROOT, program
from .asking import as_users, service, who


async def test_a_profiler_goes_on_and_so_does_a_task_factory(manager: CacheManager) -> None:
    """What somebody else has set in the interpreter or the loop is left alone, and restored."""
    loop = asyncio.get_running_loop()

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        return asyncio.Task(work, loop=loop, **options)

    async def read() -> str:
        return await asyncio.create_task(service().awaited())

    cached = cache_response(manager, "read", ignore=(who,))(read)
    loop.set_task_factory(factory)
    try:
        assert await cached() == "nobody"
        assert loop.get_task_factory() is factory
    finally:
        loop.set_task_factory(None)
    await cached.invalidate()
    assert await cached() == "nobody"
    assert (sys.getprofile(), loop.get_task_factory()) == (None, None)
    await cached.invalidate()
    with cProfile.Profile() as profiler:
        assert await cached() == "nobody"
    profiler.create_stats()
    assert any(name == "awaited" for _, _, name in profiler.stats)
    assert sys.getprofile() is None


class Profiler:
    """A profiler that is an object, as some are."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __call__(self, frame: Any, event: str, argument: object) -> None:
        """Note what is called."""
        self.names.add(frame.f_code.co_name)


async def test_a_profiler_that_a_function_starts_goes_on(manager: CacheManager) -> None:
    """Until it is ended, be it by somebody else."""
    profiler = Profiler()

    async def read() -> str:
        sys.setprofile(profiler)
        return await service().awaited()

    try:
        assert await cache_response(manager, "read", ignore=(who,))(read)() == "nobody"
        assert id(sys.getprofile()) == id(profiler)
        service().answered()
    finally:
        sys.setprofile(None)
    assert {"awaited", "answered"} <= profiler.names


async def test_p5_who_is_cancelled_leaves_nothing_behind(manager: CacheManager) -> None:
    """No hook, no task, and no coroutine that was never awaited."""
    began, before = asyncio.Event(), asyncio.all_tasks()

    async def forever() -> None:
        began.set()
        await asyncio.Event().wait()

    @cache_response(manager, "read")
    async def read() -> str:
        never = asyncio.create_task(forever())
        never.cancel()  # before it begins
        await asyncio.gather(forever(), forever())
        return "never"

    task = asyncio.create_task(read())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    gc.collect()
    assert sys.getprofile() is None
    assert asyncio.get_running_loop().get_task_factory() is None
    assert asyncio.all_tasks() == before


async def test_p5_what_calls_much_is_not_held_up(manager: CacheManager) -> None:
    """What a function raises and returns comes through, however much it calls."""

    def few() -> int:
        return 1

    @cache_response(manager, "busy")
    async def busy(fails: bool) -> int:
        total = sum(few() for _ in range(200_000))
        if fails:
            raise HTTPException(418)
        return total

    assert [await busy(False), await busy(False)] == [200_000] * 2
    with pytest.raises(HTTPException):
        await busy(True)
    assert sys.getprofile() is None


sources: dict[str, Any] = {}


class Sources:
    """Finds values in one place, now by a function, now in a dict, now in a variable."""

    def __init__(self) -> None:
        self.source: Any = {}

    def find(self) -> str:
        """Look the value up in what stands there."""
        return str(
            self.source.get("who", "nobody") if type(self.source) is dict else self.source.get()
        )


class OfAFunction:
    """Has a `get` of its own."""

    def get(self) -> str:
        """Say nobody."""
        return "nobody"


async def test_p8_a_place_in_the_code_may_call_something_else_each_time(
    manager: CacheManager,
) -> None:
    """A dict at first, an object of one's own, and then a variable."""
    sources["it"] = Sources()

    async def read(item: int) -> str:
        return str(globals()["sour" + "ces"]["it"].find())

    cached = cache_response(manager, "read")(read)
    for number, source in enumerate([{}, OfAFunction(), {"who": "nobody"}]):
        sources["it"].source = source
        assert await as_users(lambda: cached(number)) == ["nobody"] * 4  # noqa: B023 - at once
    sources["it"].source = who
    assert await as_users(lambda: cached(9)) == ["alice", "bob"] * 2


def version() -> str:
    """Say what is the same for everybody."""
    return "1.0"


def called(read: Callable[[], str]) -> str:
    """Call what it is given."""
    return read()


class Lazy:
    """Calls what it was given: as an object, as a descriptor, as a cached property."""

    def __init__(self, read: Callable[[], str]) -> None:
        self.read = read

    def __call__(self) -> str:
        return self.read()

    def __get__(self, _: object, __: object) -> str:
        return self.read()


class Fields:
    """Has both as fields."""

    first, second = Lazy(version), Lazy(who.get)

    @functools.cached_property
    def both(self) -> list[str]:
        """Ask both."""
        return [read() for read in READS.values()]


READS: dict[str, Callable[[], str]] = {"version": version, "who": who.get}
BUILTINS: dict[str, Callable[[], Any]] = {"version": str, "who": who.get}
LATER: dict[str, Callable[[], Any]] = {"version": version, "who": lambda: who.get()}  # noqa: PLW0108
LAZY = [Lazy(version), Lazy(who.get)]
PARTIAL: Any = {"version": functools.partial(version), "who": functools.partial(who.get)}
OF_ANY: Any = {"who": functools.partial(ContextVar.get, who), "get": who.get}
VARIABLES = [who]
CALLER: Any = {"who": operator.methodcaller("get")}

PLACES: dict[str, Callable[[], Any]] = {
    "a comprehension": lambda: {name: read() for name, read in READS.items()},
    "a builtin first": lambda: [read() for read in BUILTINS.values()],
    "a function that asks": lambda: [read() for read in LATER.values()],
    "a helper": lambda: [called(version), called(READS["who"])],
    "a map of a helper": lambda: list(map(called, READS.values())),
    "a map of a lambda": lambda: [*map(lambda read: read(), READS.values())],  # noqa: C417
    "a reduction": lambda: functools.reduce(lambda _, read: read(), READS.values(), ""),
    "the key of an order": lambda: (
        sorted(READS.values(), key=lambda read: read()) and called(who.get)
    ),
    "objects that are called": lambda: [each() for each in LAZY],
    "objects with an attribute": lambda: [each.read() for each in LAZY],
    "descriptors": lambda: [Fields().first, Fields().second],
    "a cached property": lambda: Fields().both,
    "a generator": lambda: ",".join(read() for read in READS.values()),
}
OF_BUILTINS: dict[str, Callable[[], Any]] = {
    "a partial": lambda: [read() for read in PARTIAL.values()],
    "a partial of the method": lambda: OF_ANY["who"](),  # noqa: PLW0108
    "a map of a partial": lambda: [*itertools.starmap(PARTIAL["who"], [()])],
    "a map of the method": lambda: [*map(ContextVar.get, VARIABLES)],
    "a method caller": lambda: CALLER["who"](VARIABLES[0]),
    "its own call": lambda: OF_ANY["get"].__call__(),  # noqa: PLW0108
}
"""Of these Python 3.11 does not tell."""
if sys.version_info >= (3, 12):
    PLACES |= OF_BUILTINS


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("way", PLACES)
async def test_p8_a_place_that_has_called_something_else_is_watched_on(
    manager: CacheManager, way: str, warm: bool
) -> None:
    """In the same run or before it, watched or not."""
    places = {"it": PLACES[way]}

    async def read() -> str:
        return str(globals()["run_place"](places))

    if warm:
        await read()
    answers = await as_users(cache_response(manager, "read")(read))
    assert ["alice" in each for each in answers] == [True, False] * 2
    assert ["bob" in each for each in answers] == [False, True] * 2


def run_place(places: dict[str, Callable[[], Any]]) -> Any:
    """Ask by what stands there."""
    return places["it"]()


async def test_p1_what_waits_in_ordinary_ways_is_stored(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """What libraries give the event loop to call reads nothing of the application's."""

    @cache_response(manager, "read")
    async def read() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue()
        waiting = asyncio.create_task(queue.get())
        # A timer of the event loop is what is tested here, not a wait for anything.
        await asyncio.gather(asyncio.sleep(0.001), asyncio.wait_for(queue.put(1), 10))
        async with asyncio.timeout(10), asyncio.TaskGroup() as group, asyncio.Lock():
            group.create_task(asyncio.sleep(0))
        async with anyio.create_task_group() as other:
            other.start_soon(asyncio.sleep, 0)
        with anyio.move_on_after(10):
            return [await asyncio.shield(waiting)]
        return []

    assert await read() == [1]
    assert "is not stored" not in caplog.text


async def test_tasks_are_made_as_ever(manager: CacheManager) -> None:
    """What is no coroutine is refused at once; a factory that somebody wraps is not ours later."""
    loop = asyncio.get_running_loop()
    kept: list[Any] = []

    async def read() -> str:
        with pytest.raises(TypeError):
            kept.append(asyncio.create_task(asyncio.sleep))  # type: ignore[arg-type]
        kept.append(loop.get_task_factory())
        kept.append(asyncio.create_task(asyncio.sleep(0), name="a name"))
        return str(kept[1].get_name())

    assert await cache_response(manager, "read")(read)() == "a name"
    coroutine = service().awaited()
    task = kept[0](loop, coroutine) if kept[0] else asyncio.create_task(coroutine)
    assert task.get_coro() is coroutine
    assert await task == "nobody"


async def test_p8_what_others_do_with_the_interpreters_tools_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In a process of its own: all are taken, and given back; then our events are cleared.

    Nobody sees what is read while all are taken. So it may have been any variable.
    """
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program(OTHERS)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the context variable 'who'" in done.stderr


OTHERS = """
import asyncio, sys
from contextvars import ContextVar
from {package} import CacheManager, MemoryBackend, cache_response

who = ContextVar("who")
manager, monitoring = CacheManager(MemoryBackend()), getattr(sys, "monitoring", None)
tools = (3, 4, 5) if monitoring else ()

@cache_response(manager, "read")
async def read(item: int) -> str:
    return sys.modules["__main__"].__dict__["w" + "ho"].get()

async def main():
    answers = []
    for tool in tools:
        monitoring.use_tool_id(tool, "another")
    for item in range(3):
        if item == 1:
            for tool in tools:
                monitoring.free_tool_id(tool)
        if item == 2:
            for tool in tools:
                if monitoring.get_tool(tool):
                    monitoring.set_events(tool, 0)
        for name in ("alice", "bob"):
            who.set(name)
            answers.append(await read(item))
    assert answers == ["alice", "bob"] * 3, answers

asyncio.run(main())
"""


@pytest.mark.parametrize("folder", ["lib/site-packages", "usr/lib/python3/dist-packages"])
async def test_p8_an_application_that_is_installed_is_its_own(tmp_path: Path, folder: str) -> None:
    """As a package among libraries; what stands beside it is a library still."""
    root = tmp_path / folder
    for name in ("star", "starlight"):
        (root / name).mkdir(parents=True)
        (root / name / "__init__.py").write_text(INSTALLED.replace("NAME", name))
    (tmp_path / "main.py").write_text(program(MAIN))
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(tmp_path / "main.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["alice", "bob", "alice", "alice"]


INSTALLED = """
from contextvars import ContextVar
who = ContextVar("who of NAME")

class Service:
    def answered(self):
        return who.get()

services = {"service": Service()}

async def read() -> str:
    return services["serv" + "ice"].answered()

async def read_other() -> str:
    import starlight
    return starlight.services["serv" + "ice"].answered()
"""


MAIN = """
import asyncio, star, starlight
from {package} import CacheManager, MemoryBackend, cache_response

manager = CacheManager(MemoryBackend())
own = cache_response(manager, "own")(star.read)
other = cache_response(manager, "other")(star.read_other)

async def main():
    for call in (own, other):
        for name in ("alice", "bob"):
            star.who.set(name), starlight.who.set(name)
            print(await call())

asyncio.run(main())
"""

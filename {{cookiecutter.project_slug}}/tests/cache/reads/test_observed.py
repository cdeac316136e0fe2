"""What a function reads of context variables is seen while it runs, wherever the code stands (P8)."""
# ruff: noqa: PLC3002, PLW0108 - it is the code of the lambdas that runs

import asyncio
import contextlib
import cProfile
import decimal
import functools
import gc
import json
import logging
import operator
import os
import string
import subprocess
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Annotated, Any, Self

import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, computed_field, field_serializer
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.cache import CachedRoute, CacheManager, MemoryBackend, cache_response
from tests.cache.endpoints import get
from tests.cache.faults import eventually

who: ContextVar[str] = ContextVar("who", default="nobody")
number: ContextVar[str] = ContextVar("number", default="none")
"""The number of a request, which decides about nothing but lines of the log."""


class Service:
    """Says who asks, below names that are nobody else's."""

    def answered(self) -> str:
        """Say who asks."""
        return who.get()

    @property
    def asked(self) -> "Service":
        """Itself."""
        return self

    async def awaited(self) -> str:
        """Say who asks, later."""
        await asyncio.sleep(0)
        return who.get()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Derived(Service):
    """Asks its base."""

    def answered(self) -> str:
        """Say who asks."""
        return super().answered()


@functools.lru_cache
def service() -> Service:
    """Make one, once."""
    return Derived()


class Audit(BaseModel):
    """Is filled in by whoever asks."""

    by: str = Field(default_factory=lambda: who.get())


class Encoder(json.JSONEncoder):
    """Asks while it encodes."""

    def default(self, o: object) -> str:
        """Say who asks."""
        return service().answered()


class Formatter(string.Formatter):
    """Asks while it formats."""

    def get_value(self, key: object, args: object, kwargs: object) -> str:
        """Say who asks."""
        return service().answered()


async def many(*works: Awaitable[str]) -> str:
    """Await several at once."""
    return (await asyncio.gather(*works))[0]


async def in_a_group() -> str:
    """Ask in a task of its own."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(service().awaited())
    return task.result()


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Service]:
    """Lend one."""
    yield service()


async def lent() -> str:
    """Ask one that was lent."""
    async with opened() as found:
        return found.answered()


async def with_statement() -> str:
    """Ask one in a `with`."""
    with service() as found:
        return found.answered()


async def in_a_thread() -> str:
    """Ask in another thread."""
    return await asyncio.to_thread(who.get)


async def in_an_executor() -> str:
    """Ask in a thread of one's own."""
    with ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, who.get)


def plain() -> str:
    """Ask from a plain function, which runs in a thread."""
    return service().answered()


def awaiting(work: Callable[[], str]) -> Callable[[], Awaitable[str]]:
    """Return a coroutine function of a plain one."""

    async def run() -> str:
        return work()

    return run


registry: Any = OrderedDict(service=Derived())
WAYS: dict[str, Callable[[], Any]] = {
    "a plain function": plain,
    "what a function returns": awaiting(lambda: service().answered()),
    "a coroutine of that": lambda: service().awaited(),
    "a chain": awaiting(lambda: service().asked.asked.answered()),
    "a name that is computed": awaiting(lambda: getattr(service(), "ans" + "wered")()),
    "a method caller": awaiting(lambda: operator.methodcaller("answered")(service())),
    "a registry": awaiting(lambda: registry["service"].answered()),
    "the module": awaiting(lambda: sys.modules[__name__].__dict__["who"].get()),
    "globals": awaiting(lambda: globals()["who"].get()),
    "a bound get": awaiting(lambda: (lambda read: read())(who.get)),
    "a with statement": with_statement,
    "an async with statement": lent,
    "a factory of a model": awaiting(lambda: Audit().by),
    "an encoder": awaiting(lambda: str(json.loads(json.dumps({1, 2}, cls=Encoder)))),
    "a formatter": awaiting(lambda: Formatter().format("{x}")),
    "a callback of a builtin": awaiting(lambda: min(["x"], key=lambda _: plain()) and plain()),
    "tasks at once": lambda: many(service().awaited(), service().awaited()),
    "a group of tasks": in_a_group,
    "a wait with a limit": lambda: asyncio.wait_for(service().awaited(), 10),
    "a shield": lambda: asyncio.shield(service().awaited()),
    "another thread": in_a_thread,
    "an executor": in_an_executor,
    "a copy of the context": awaiting(lambda: copy_context().run(plain)),
}


@pytest.fixture
def manager() -> CacheManager:
    """Make a cache in memory."""
    return CacheManager(MemoryBackend())


def function(way: str) -> Any:
    """Return a function that asks in this way."""
    work = WAYS[way]
    if work is plain:
        return plain

    async def read() -> str:
        return str(await work())

    return read


async def as_requests(app: FastAPI, names: str) -> list[Any]:
    """Return what these users get of an application."""
    return [(await get(app, "/it", headers={"x-who": name})).json() for name in names]


async def as_users(call: Callable[[], Awaitable[str]]) -> list[str]:
    """Return what two users get, one after the other, twice."""
    answers = []
    for name in ("alice", "bob") * 2:
        token = who.set(name)
        try:
            answers.append(await call())
        finally:
            who.reset(token)
    return answers


@pytest.mark.parametrize("way", WAYS)
async def test_p8_what_is_read_while_a_function_runs_is_not_shared(
    manager: CacheManager, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However the code comes to the variable; the log names it."""
    cached = cache_response(manager, "read")(function(way))
    assert await as_users(cached) == ["alice", "bob"] * 2
    assert "the context variable 'who'" in caplog.text


def others() -> tuple[ContextVar[Any], ...]:
    """Return the other variables of the tests: who copies the context may have read them all."""
    names = [vars(each) for name, each in sys.modules.items() if name.startswith("tests.")]
    found = {each for held in names for each in held.values() if type(each) is ContextVar}
    return tuple(found - {who})


@pytest.mark.parametrize("way", WAYS)
async def test_p8_what_is_read_and_in_the_key_is_stored(
    manager: CacheManager, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Named in `vary=`, as a variable or by a function, each value has an entry."""
    for varied in (who, who.get, lambda: {"who": who.get()}):
        runs = []
        read = function(way)

        async def counted() -> str:
            runs.append(1)  # noqa: B023 - it is called in this round
            found = read()  # noqa: B023 - the same
            return str(await found if asyncio.iscoroutine(found) else found)

        options: Any = {"vary": (varied,), "ignore": others()}
        cached = cache_response(manager, f"read{id(varied)}", **options)(counted)
        assert await as_users(cached) == ["alice", "bob"] * 2
        assert len(runs) == 2
    assert "is not stored" not in caplog.text


async def test_p8_what_comes_after_the_first_call_is_seen(manager: CacheManager) -> None:
    """A callback that was registered later."""
    callbacks: list[Callable[[], str]] = [lambda: "nobody"]

    async def read() -> str:
        return callbacks[-1]()

    cached = cache_response(manager, "read", shared=False)(read)
    assert await as_users(cached) == ["nobody"] * 4
    await cached.invalidate()
    callbacks.append(plain)
    assert await as_users(cached) == ["alice", "bob"] * 2


async def test_p8_an_exception_of_who_was_asked_is_nobody_elses(manager: CacheManager) -> None:
    """Two users at once: each gets his own."""
    both, runs = asyncio.Barrier(2), list[int]()

    @cache_response(manager, "failing")
    async def read() -> str:
        runs.append(1)
        if len(runs) == 1:  # until the other one waits for this run
            await eventually(lambda: manager.fence.flights.followers() == 1)
        raise LookupError(service().answered())

    async def ask(name: str) -> str:
        who.set(name)
        await both.wait()
        with pytest.raises(LookupError) as raised:
            await read()
        return str(raised.value.args[0])

    tasks = [asyncio.create_task(ask(name)) for name in ("alice", "bob")]
    assert [await task for task in tasks] == ["alice", "bob"]


async def test_p8_who_calls_a_cached_function_depends_on_what_that_reads(
    manager: CacheManager,
) -> None:
    """Also on a hit of the inner one, whose key alone reads the variable."""
    asked = cache_response(manager, "inner", vary=(who,))(service().awaited)
    inners = {"inner": asked}

    @cache_response(manager, "outer")
    async def outer() -> str:
        return str(await inners["in" + "ner"]())

    assert await as_users(asked) == ["alice", "bob"] * 2
    assert await as_users(outer) == ["alice", "bob"] * 2


class Numbering(logging.Filter):
    """Writes the number of the request into each line, as many applications do."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add it."""
        record.number = number.get()
        return True


def told(text: str) -> str:
    """Write a line of the log with the number of the request in it."""
    return f"{number.get()}: {text}"


async def test_a_line_of_the_log_keeps_nothing_from_the_cache(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Filters of `logging` may read what they like; other readers are named in `ignore=`."""
    caplog.set_level(logging.INFO)
    logger = logging.getLogger("tests.numbered")
    logger.addFilter(Numbering())
    tellers, runs = {"told": told}, []

    @cache_response(manager, "read", ignore=("unused", number))
    async def read(item: int, unused: object = None) -> int:
        logger.info("reading")
        tellers["to" + "ld"]("read")
        runs.append(item)
        return item

    @cache_response(manager, "filtered")
    async def filtered(item: int) -> int:
        logger.info("reading")
        runs.append(item)
        return item

    for _ in range(2):
        number.set(str(len(runs)))
        assert (await read(1), await filtered(2)) == (1, 2)
    assert runs == [1, 2]
    assert "not stored" not in caplog.text


async def test_what_libraries_read_keeps_nothing_from_the_cache(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The standard library has variables of its own, and so have others."""
    runs = []

    @cache_response(manager, "read")
    async def read() -> str:
        runs.append(1)
        with decimal.localcontext() as context:
            context.prec = 5
            await asyncio.wait_for(asyncio.sleep(0), 1)
            return str(decimal.Decimal(1) / 3)

    assert [await read(), await read()] == ["0.33333", "0.33333"]
    assert runs == [1]
    assert "not stored" not in caplog.text


class Rendered(BaseModel):
    """Asks while it is rendered."""

    item: int

    @computed_field  # type: ignore[prop-decorator] # as Pydantic's documentation has it
    @property
    def by(self) -> str:
        """Who asks."""
        return who.get()


class Serialized(BaseModel):
    """Asks while a field is rendered."""

    by: str

    @field_serializer("by")
    def serialize(self, value: str) -> str:
        """Say who asks."""
        return who.get()


class Asking(JSONResponse):
    """Asks while it renders."""

    def render(self, content: Any) -> bytes:
        """Say who asks."""
        return super().render({"by": who.get()})


class Named:
    """A middleware that says who asks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take him from the header."""
        token = who.set(dict(scope["headers"]).get(b"x-who", b"nobody").decode())
        try:
            await self._app(scope, receive, send)
        finally:
            who.reset(token)


@pytest.mark.parametrize("how", ["computed", "serialized", "response class"])
@pytest.mark.parametrize("route_class", ["plain", "cached"])
async def test_p8_what_is_read_while_a_response_is_rendered_is_not_repeated(
    manager: CacheManager, how: str, route_class: str
) -> None:
    """On a `CachedRoute`, where a hit renders nothing; elsewhere each hit renders anew."""
    app = FastAPI()
    app.add_middleware(Named)
    if route_class == "cached":
        app.router.route_class = CachedRoute
    if how == "response class":

        @app.get("/it", response_class=Asking)
        @cache_response(manager, "it")
        async def of_class() -> dict[str, str]:
            return {}
    elif how == "computed":

        @app.get("/it")
        @cache_response(manager, "it")
        async def computed() -> Rendered:
            return Rendered(item=1)
    else:

        @app.get("/it", response_model=Serialized)
        @cache_response(manager, "it")
        async def serialized() -> dict[str, str]:
            return {"by": "nobody"}

    answers = await as_requests(app, "abab")
    assert [answer["by"] for answer in answers] == ["a", "b", "a", "b"]


def database() -> str:
    """Choose the database of who asks."""
    return f"database of {who.get()}"


async def test_p8_a_dependency_that_asks_is_not_ignored(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Its value is in no key, and nothing was taken from the request."""
    app = FastAPI()
    app.add_middleware(Named)

    @app.get("/it")
    @cache_response(manager, "it", ignore=("found",))
    async def endpoint(found: Annotated[str, Depends(database)]) -> str:
        return found

    assert await as_requests(app, "ab") == ["database of a", "database of b"]
    assert "the context variable 'who'" in caplog.text


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


@pytest.mark.parametrize("options", [{"ignore": (who,)}, {"shared": True}])
async def test_what_an_inner_function_ignores_is_nothing_to_the_outer_one(
    manager: CacheManager, options: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """On its misses as on its hits."""
    inner = cache_response(manager, "inner", **options)(service().awaited)
    inners, runs = {"inner": inner}, []

    @cache_response(manager, "outer")
    async def outer() -> str:
        runs.append(1)
        return str(await inners["in" + "ner"]())

    assert [await outer(), await outer()] == ["nobody"] * 2
    assert runs == [1]
    assert "not stored" not in caplog.text


async def test_p8_what_get_or_set_computes_is_seen_as_well(manager: CacheManager) -> None:
    """In a function that calls it: a plain factory runs in a thread."""
    numbers = iter(range(100))

    @cache_response(manager, "outer")
    async def outer() -> str:
        return str(await manager.get_or_set(f"inner:{next(numbers)}", plain))

    assert await as_users(outer) == ["alice", "bob"] * 2


async def test_p10_each_variable_is_named_once(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """With advice that is of use: `vary=` has no place beside `key=`."""
    variables = [ContextVar[str](f"variable_{number}", default="") for number in range(3)]
    sources["variables"] = variables

    @cache_response(manager, "read", key="{item}")
    async def read(item: int) -> str:
        return str(globals()["sour" + "ces"]["variables"][item].get())

    for item in (0, 1, 2) * 2:
        await read(item)
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(told) == 3
    for item, text in enumerate(told):
        assert f"'variable_{item}'" in text
        assert "let key= hold its value" in text
        assert "vary=" not in text


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
        subprocess.run, [sys.executable, "-c", OTHERS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "the context variable 'who'" in done.stderr


OTHERS = """
import asyncio, sys
from contextvars import ContextVar
from app.core.cache import CacheManager, MemoryBackend, cache_response

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
    (tmp_path / "main.py").write_text(MAIN)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(tmp_path / "main.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(Path.cwd())])},
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
from app.core.cache import CacheManager, MemoryBackend, cache_response

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


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Have the variables as they were."""
    yield
    assert who.get() == "nobody"
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

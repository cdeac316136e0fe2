"""Ways in which a function may come to who asks, who stands in a context variable."""
# ruff: noqa: PLC3002, PLW0108 - it is the code of the lambdas that runs

import asyncio
import contextlib
import cProfile
import functools
import json
import operator
import string
import sys
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any, Self

from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

who: ContextVar[str] = ContextVar("who", default="nobody")


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


async def in_a_raw_thread() -> str:
    """Ask in a thread that nobody pools."""
    answers: list[str] = []
    work = copy_context().run
    thread = threading.Thread(target=lambda: answers.append(work(service().answered)))
    thread.start()
    await asyncio.to_thread(thread.join)
    return answers[0]


def in_the_context() -> str:
    """Look into the context."""
    return str(copy_context().get(who))


def in_all_of_the_context() -> str:
    """Look into the context, with a name that is computed."""
    return str(next(value for each, value in copy_context().items() if each.name == "w" + "ho"))


def plain() -> str:
    """Ask from a plain function, which runs in a thread."""
    return service().answered()


def awaiting(work: Callable[[], str]) -> Callable[[], Awaitable[str]]:
    """Return a coroutine function of a plain one."""

    async def run() -> str:
        return work()

    return run


async def called_back(schedule: Callable[[Callable[..., object]], object]) -> str:
    """Ask in what the event loop calls."""
    found = asyncio.get_running_loop().create_future()
    schedule(lambda *_: found.set_result(service().answered()))
    return str(await found)


def by_the_loop(name: str, *before: Any) -> Callable[[], Awaitable[str]]:
    """Return what asks in a callback that is given to a method of the event loop."""
    return lambda: called_back(
        lambda read: getattr(asyncio.get_running_loop(), name)(*before, read)
    )


def with_a_profiler() -> str:
    """Ask while a profiler runs that is ended again."""
    profiler = cProfile.Profile()
    profiler.enable()
    answer = service().answered()
    profiler.disable()
    return answer


def with_no_profile_function() -> str:
    """Ask when nobody profiles any more."""
    sys.setprofile(None)
    return service().answered()


def with_one_that_pauses() -> str:
    """Ask while nobody profiles for a moment."""
    before = sys.getprofile()
    sys.setprofile(None)
    answer = service().answered()
    sys.setprofile(before)
    return answer


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
    "a service in another thread": lambda: asyncio.to_thread(service().answered),
    "a service in the threadpool": lambda: run_in_threadpool(service().answered),
    "a thread of one's own": in_a_raw_thread,
    "a partial": awaiting(lambda: functools.partial(who.get)()),
    "a method caller of the variable": awaiting(lambda: operator.methodcaller("get")(who)),
    "the context": awaiting(in_the_context),
    "all of the context": awaiting(in_all_of_the_context),
    "a task that is made by hand": lambda: asyncio.Task(service().awaited()),
    "a callback": by_the_loop("call_soon"),
    "a callback at a time": by_the_loop("call_later", 0),
    "a callback from a thread": by_the_loop("call_soon_threadsafe"),
    "a callback in a partial": lambda: called_back(
        lambda read: asyncio.get_running_loop().call_soon(functools.partial(read))
    ),
    "a callback with an argument": by_the_loop("call_soon", lambda read: read()),
    "a callback of a task": lambda: called_back(
        asyncio.ensure_future(asyncio.sleep(0)).add_done_callback
    ),
    "a profiler": awaiting(with_a_profiler),
    "no profile function": awaiting(with_no_profile_function),
    "a profile function that pauses": awaiting(with_one_that_pauses),
    "a copy of the context": awaiting(lambda: copy_context().run(plain)),
}


async def as_users(
    call: Callable[[], Awaitable[str]], variable: ContextVar[str] = who
) -> list[str]:
    """Return what two users get, of whom a variable tells, one after the other, twice."""
    answers = []
    for name in ("alice", "bob") * 2:
        token = variable.set(name)
        try:
            answers.append(await call())
        finally:
            variable.reset(token)
    return answers

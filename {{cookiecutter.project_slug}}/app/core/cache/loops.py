"""The running event loop, and a separate one for synchronous code."""

import asyncio
import inspect
import threading
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextvars import ContextVar, Token
from typing import Any, TypeVar

from .errors import NotAsyncioError

T = TypeVar("T")


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop; raises `NotAsyncioError` if asyncio runs none."""
    try:
        return get_running_loop()
    except RuntimeError:
        raise NotAsyncioError from None


def runs_loop() -> bool:
    """Whether an event loop is running."""
    return asyncio._get_running_loop() is not None


def reset(variable: ContextVar[T], token: Token[T]) -> None:
    """Reset a variable. Do nothing in another context, which an abandoned coroutine may have."""
    try:  # noqa: SIM105 - `suppress` takes half a microsecond, and this is on the path of hits
        variable.reset(token)
    except ValueError:
        pass


def later(seconds: float) -> float:
    """Return the event loop's time in so many seconds."""
    return running_loop().time() + seconds


async def before(until: float, waiting: Awaitable[T]) -> T | None:
    """Return the awaited result, or `None` if it has not come by `until`."""
    try:
        async with asyncio.timeout_at(until):
            return await waiting
    except TimeoutError:
        return None


def insist_on_asyncio(work: object = None) -> None:
    """Raise `NotAsyncioError` if asyncio runs no event loop; a coroutine `work` is closed then."""
    try:
        get_running_loop()
    except RuntimeError:
        if isinstance(work, Coroutine):
            work.close()
        raise NotAsyncioError from None


def returns_at_once(function: object) -> bool:
    """Whether something can be called, and neither it nor its own `__call__` is asynchronous."""
    call = type(function).__call__ if callable(function) else None
    return call is not None and not any(map(inspect.iscoroutinefunction, (function, call)))


def to_its_end(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work` in a new event loop, in a new thread; return its result, or raise what it raises.

    It blocks the caller, and does not touch the event loop of the caller's thread. `asyncio.run` in
    that thread would raise if a loop is running, and would else unset the thread's loop.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(asyncio.run(work()))
        except BaseException as error:
            result.set_exception(error)

    thread = threading.Thread(target=run, name="cache")
    thread.start()
    thread.join()
    return result.result()

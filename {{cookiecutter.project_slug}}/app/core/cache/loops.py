"""The event loop: the one that runs, and one of its own for synchronous code."""

import asyncio
import threading
from asyncio import get_running_loop
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import ContextVar, Token
from typing import Any, TypeVar

from .errors import NotAsyncioError

T = TypeVar("T")


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop; raises `NotAsyncioError` where there is none of asyncio."""
    try:
        return get_running_loop()
    except RuntimeError:
        raise NotAsyncioError from None


def runs_loop() -> bool:
    """Whether an event loop is running."""
    return asyncio._get_running_loop() is not None


def reset(variable: ContextVar[T], token: Token[T]) -> None:
    """Set a variable back; do nothing in another context: that of a coroutine that was given up."""
    try:  # noqa: SIM105 - `suppress` takes half a microsecond, and this is on the path of hits
        variable.reset(token)
    except ValueError:
        pass


def insist_on_asyncio(work: object = None) -> None:
    """Raise `NotAsyncioError` where no event loop of asyncio is running; `work` is given up then."""
    try:
        get_running_loop()
    except RuntimeError:
        if isinstance(work, Coroutine):
            work.close()
        raise NotAsyncioError from None


def to_its_end(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work` in a new event loop, in a new thread; return its result, or raise what it raises.

    The caller is blocked until then, and has the event loop that it had, or none, as before:
    `asyncio.run` raises where a loop runs, and leaves none where there was one.
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

"""How a decorated function is run: awaited if it is asynchronous, otherwise in a thread."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from starlette.concurrency import run_in_threadpool

from ..reads import in_thread


def as_coroutine_function(func: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Return a function that runs `func` and returns its value.

    A plain wrapper around a coroutine function, as tracing decorators make it, is called in the event
    loop, and its result is awaited, as FastAPI does it. Any other plain function runs in a thread;
    if it returns an awaitable, that is awaited in the event loop.

    Raises `TypeError` if `func` is no function or is a generator.
    """
    if not callable(func) or not hasattr(func, "__qualname__"):
        raise TypeError(f"{func!r} is no function; decorate the function itself")
    if inspect.isasyncgenfunction(func) or inspect.isgeneratorfunction(func):
        raise TypeError(f"{func.__qualname__} is a generator: a stream cannot be cached or awaited")
    if inspect.iscoroutinefunction(func):
        return func

    async def run_here(*args: Any, **kwargs: Any) -> Any:
        value = func(*args, **kwargs)
        return await value if inspect.isawaitable(value) else value

    async def run_in_thread(*args: Any, **kwargs: Any) -> Any:
        return await in_a_thread(functools.partial(func, *args, **kwargs))

    return run_here if inspect.iscoroutinefunction(inspect.unwrap(func)) else run_in_thread


async def in_a_thread(call: Callable[[], Any]) -> Any:
    """Call a plain function in a thread; await what it returns, if that is an awaitable."""
    made = _Made(call)
    try:
        await run_in_threadpool(made.run)
    except BaseException:  # if this is a cancellation, the thread may go on
        made.give_up()
        raise
    value = made.values.pop()
    return await value if inspect.isawaitable(value) else value


class _Made:
    """The result of a call in a thread. A coroutine that nobody awaits any more is closed."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call, self._is_given_up = call, False
        self.values: list[Any] = []

    def run(self) -> None:
        """Call the function."""
        self.values.append(in_thread(self._call))
        if self._is_given_up:
            self._close()

    def give_up(self) -> None:
        """Close a coroutine that the call has returned, or will return."""
        self._is_given_up = True
        self._close()

    def _close(self) -> None:
        while self.values:
            with suppress(IndexError):  # the other thread was first
                value = self.values.pop()
                if inspect.iscoroutine(value):
                    value.close()

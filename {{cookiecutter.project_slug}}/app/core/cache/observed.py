"""Context variables that a function reads, seen while it runs.

A variable that a middleware or a dependency sets may say who asks, and no argument tells that it was
read. So each run of a function, on a miss, is watched for calls of `ContextVar.get` by the
application's own code. What a library reads for itself, a tracer or a session, is not noted, nor what
is read for a line of the log.

From Python 3.12 on the interpreter tells of calls, in all tasks and threads of the run, and of a place in
the code that calls something else only once: https://docs.python.org/3/library/sys.monitoring.html. Before,
a profile function is set for each step of it: https://docs.python.org/3/library/sys.html#sys.setprofile. It
sees what is called in the function's own thread and tasks, and no more than `_MOST_CALLS` calls of a step;
`variables` looks into the code for the rest.
"""

import asyncio
import os
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar, Token
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, TypeVar

from .here import FOLDER, LIBRARIES
from .uses import function_of

T = TypeVar("T")
Variable = ContextVar[Any]

HAS_MONITORING = sys.version_info >= (3, 12)
_MOST_CALLS = 100_000
"""What is watched of one step on Python 3.11: more would take longer than an operation may."""
_TOOLS = (4, 3)
"""The numbers that `sys.monitoring` leaves to whoever comes."""
_homes: tuple[str, ...] = ()
"""Where among the libraries the application itself is installed, if it is."""


class Reads:
    """The context variables that were read, by the functions that it was told to watch."""

    __slots__ = ("_before", "_outer", "_token", "found")

    def __init__(self) -> None:
        self.found: set[Variable] = set()
        self._outer = _reads.get()

    def note(self, variable: Variable) -> None:
        """Note a variable, for whoever called the function as well."""
        reads: Reads | None = self
        while reads is not None:
            reads.found.add(variable)
            reads = reads._outer

    def begin(self) -> None:
        """Watch what runs in this task or thread from now on, until `end`."""
        self._token: Token[Reads | None] = _reads.set(self)
        self._before = _set_hook()

    def end(self) -> None:
        """Watch no longer."""
        _take_hook_away(self._before)
        with suppress(ValueError):  # in another context: a coroutine that was given up
            _reads.reset(self._token)

    def during(self, call: Callable[[], T]) -> T:
        """Call something and watch it."""
        self.begin()
        try:
            return call()
        finally:
            self.end()

    async def of(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call something, await what it returns, and watch both."""
        token = _reads.set(self)
        try:
            if HAS_MONITORING:
                _start_monitoring()
                return await call()
            result: T = await _Steps(_awaited(call))
            return result
        finally:
            with suppress(ValueError):  # as in `end`
                _reads.reset(token)


_reads: ContextVar[Reads | None] = ContextVar("reads", default=None)
"""Where to note what is read in this context."""


def note(variable: Variable) -> None:
    """Note that a variable was read, if somebody wants to know."""
    reads = _reads.get()
    if reads is not None:
        reads.note(variable)


def in_thread(call: Callable[[], T]) -> T:
    """Call something in another thread, to which the context came along, and watch it."""
    if _reads.get() is None:
        return call()
    before = _set_hook()
    try:
        return call()
    finally:
        _take_hook_away(before)


def follow(function: Any) -> None:
    """Take the code beside a function for the application's own, though it may be installed."""
    global _homes  # noqa: PLW0603 - one for the process, as the hooks are
    file = getattr(getattr(function_of(function), "__code__", None), "co_filename", "")
    for folder in LIBRARIES:
        if file.startswith(folder):
            home = folder + file[len(folder) :].partition(os.sep)[0]
            if home not in _homes:
                _homes = (*_homes, home)
                _is_own.cache_clear()
                _begin_anew()


async def _awaited(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


@lru_cache(maxsize=4096)
def _is_own(file: str) -> bool:
    """Whether code of a file is the application's own."""
    if file.startswith((FOLDER, "<frozen ")):
        return False
    return not file.startswith(LIBRARIES) or file.startswith(_homes)


def _seen(variable: Variable, frame: FrameType | None) -> None:
    """Note a variable that was read in a frame, unless that is for a line of the log."""
    reads = _reads.get()
    if reads is None or variable in reads.found:
        return
    while frame is not None and not frame.f_code.co_filename.startswith(FOLDER):
        if frame.f_globals.get("__name__") == "logging":
            return
        frame = frame.f_back
    reads.note(variable)


# --- Python 3.11 -------------------------------------------------------------------------------

_Before = tuple[Any, asyncio.AbstractEventLoop | None]
"""The profile function that was set, and the event loop that makes its tasks in a way of ours."""


class _Steps(Coroutine[Any, Any, T]):
    """A coroutine of which each step is watched."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any, /) -> Any:
        before = _set_hook()
        try:
            return self._coroutine.send(value)
        finally:
            _take_hook_away(before)

    def throw(self, *error: Any) -> Any:
        before = _set_hook()
        try:
            return self._coroutine.throw(*error)
        finally:
            _take_hook_away(before)

    def close(self) -> None:
        self._coroutine.close()


def _task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Make a task that is watched: one that a function starts while it is."""
    return asyncio.Task(_Steps(coroutine), loop=loop, **options)


def _profile() -> Callable[[FrameType, str, Any], object]:
    """Return a profile function, for one step."""
    left = _MOST_CALLS

    def hook(frame: FrameType, event: str, called: Any) -> None:
        nonlocal left
        if event == "c_call":
            variable = called.__self__
            is_read = type(variable) is ContextVar and called.__name__ == "get"
            if is_read and _is_own(frame.f_code.co_filename):
                _seen(variable, frame)
        elif event == "call":
            left -= 1
            if left < 0:
                sys.setprofile(None)

    return hook


def _set_hook() -> _Before | None:
    """Watch what runs in this thread from now on, unless a profiler does."""
    if HAS_MONITORING:
        _start_monitoring()
        return None
    before = sys.getprofile()
    if before is not None and getattr(before, "__module__", "") != __name__:
        return None
    loop = asyncio._get_running_loop()
    if loop is not None and loop.get_task_factory() is None:
        loop.set_task_factory(_task)
    else:
        loop = None
    sys.setprofile(_profile())
    return before, loop


def _take_hook_away(before: _Before | None) -> None:
    if before is None:
        return
    hook, loop = before
    if getattr(sys.getprofile(), "__module__", __name__) == __name__:
        sys.setprofile(hook)
    if loop is not None and loop.get_task_factory() is _task:
        loop.set_task_factory(None)


# --- Python 3.12 and newer ---------------------------------------------------------------------

_tool: int | None = None
_is_started = False


def _start_monitoring() -> None:
    """Ask the interpreter to tell of calls, once."""
    global _tool, _is_started  # noqa: PLW0603 - one for the process, as the interpreter is
    if _is_started:
        return
    _is_started = True
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    for tool in _TOOLS:
        try:
            monitoring.use_tool_id(tool, __name__)
        except ValueError:  # somebody else has it
            continue
        monitoring.register_callback(tool, monitoring.events.CALL, _called)
        monitoring.set_events(tool, monitoring.events.CALL)
        _tool = tool
        return


def _begin_anew() -> None:
    """Be told again of places in the code that were of no interest."""
    if _tool is not None:
        sys.monitoring.restart_events()  # type: ignore[attr-defined]


def _called(code: CodeType, _: int, called: Any, first: Any) -> Any:
    """Note a call of `ContextVar.get`; ask to be told no more of a place that calls others."""
    is_bound = type(called) is types.BuiltinMethodType
    is_get = (is_bound or type(called) is types.MethodDescriptorType) and called.__name__ == "get"
    if not is_get or not _is_own(code.co_filename):
        return sys.monitoring.DISABLE  # type: ignore[attr-defined]
    variable = called.__self__ if is_bound else first
    if type(variable) is ContextVar:
        _seen(variable, sys._getframe(1))
    return None  # at this place the next object may be a variable

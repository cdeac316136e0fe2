"""Watches calls of `ContextVar.get` while a function runs.

From Python 3.12 on it uses `sys.monitoring`, which reports calls in all tasks and threads. Places
in the code that call something else are reported only once. Monitoring is on only while a run is
watched. See https://docs.python.org/3/library/sys.monitoring.html.

On Python 3.11 it sets a profile function for each step of the run, and of its tasks, which a task
factory makes: https://docs.python.org/3/library/sys.html#sys.setprofile. It does not replace a
running profiler, ends after `_MOST_CALLS` calls of a step, and does not see other threads.

A run that cannot be watched counts as having read every context variable of the application.
"""

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, Token, copy_context
from functools import partial
from types import BuiltinMethodType, CodeType, FrameType
from typing import Any, TypeVar

from ..here import FOLDER, is_own
from ..here import follow as follow_home
from ..loops import reset
from .observed import Reads, current, is_watched, seen
from .uses import function_of
from .variables import note_all

T = TypeVar("T")

_monitoring: Any = getattr(sys, "monitoring", None)
_MOST_CALLS = 1_000_000
"""The most calls that are watched in one step on Python 3.11; more would take too long."""
_READERS = frozenset({"get", "set", copy_context.__name__})
_TOOLS = (4, 3, 5)
"""Tool ids of `sys.monitoring` that nothing in the standard library uses."""


class Watching:
    """Watches a task or thread between `begin` and `end`. A run may have several such parts."""

    __slots__ = ("_hook", "_reads", "_token")

    def __init__(self, reads: Reads) -> None:
        self._reads, self._hook = reads, _Hook()

    def begin(self) -> None:
        """Watch from now on."""
        self._reads.is_over = False
        self._token: Token[Reads | None] = current.set(self._reads)
        self._hook.begin()

    def end(self) -> None:
        """Watch no longer."""
        self._hook.end()
        self._reads.is_over = True
        reset(current, self._token)


def during(reads: Reads, call: Callable[[], T]) -> T:
    """Call `call` and watch it; note only certain reads, never all variables."""
    reads.takes_doubts = False
    watching = Watching(reads)
    watching.begin()
    try:
        return call()
    finally:
        watching.end()


async def run_watched(reads: Reads, call: Callable[[], Awaitable[T]]) -> T:
    """Call `call`, await the result, and watch both."""
    token = current.set(reads)
    reads.is_over = False
    hook = None if _monitoring is None else _Monitor()
    try:
        if hook is None:
            return await (call() if reads.is_blind else _Steps(_awaited(call)))
        hook.begin()
        return await call()
    finally:
        if hook is not None:
            hook.end()
        reads.is_over = True
        reset(current, token)


def in_thread(call: Callable[[], T]) -> T:
    """Call `call` and watch it: in a thread with a copy of the context, or a step of a task."""
    hook = _Hook()
    hook.begin()
    try:
        return call()
    finally:
        hook.end()


def follow(function: Any) -> None:
    """Count the package of a function as part of the application, even if it is installed."""
    if follow_home(function_of(function)) and _monitoring is not None:
        _monitoring.restart_events()  # places in its code were disabled before


def _reads(reader: str, code: CodeType) -> bool:
    """Whether a call of one of `_READERS` in this code is a read by the application.

    `set` is one if the code uses `old_value` of a token, which is the value before.
    """
    return is_own(code.co_filename) and (reader != "set" or "old_value" in code.co_names)


# --- Python 3.11 -------------------------------------------------------------------------------


class _Profile:
    """From `begin` to `end`, a profile function of this thread and a factory of watched tasks."""

    __slots__ = ("_before", "_factory", "_is_on", "_loop")

    def begin(self) -> None:
        self._before, self._loop = sys.getprofile(), asyncio._get_running_loop()
        self._is_on = is_watched()
        if not self._is_on:
            return
        if not (self._before is None or _is_ours(self._before)):
            self._is_on = False
            note_all()
            return
        if self._loop is not None:
            self._factory = self._loop.get_task_factory()
            if not _is_ours(self._factory):
                self._loop.set_task_factory(_factory(self._factory))
        sys.setprofile(_profile())

    def end(self) -> None:
        if not self._is_on:
            return
        now = sys.getprofile()
        if now is None or _is_ours(now):
            sys.setprofile(self._before)
        else:  # the function has started a profiler
            note_all()
        if self._loop is not None and _is_ours(self._loop.get_task_factory()):
            self._loop.set_task_factory(self._factory)


class _Steps(Coroutine[Any, Any, T]):
    """A coroutine whose steps are all watched."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)

    def __await__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any, /) -> Any:
        return in_thread(partial(self._coroutine.send, value))

    def throw(self, *error: Any) -> Any:
        return in_thread(partial(self._coroutine.throw, *error))

    def close(self) -> None:
        self._coroutine.close()


async def _awaited(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


def _factory(before: Any) -> Any:
    """Return a task factory that makes watched tasks by the factory `before`."""

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        if asyncio.iscoroutine(work) and is_watched():
            work = _Steps(work)
        if before is None:
            return asyncio.Task(work, loop=loop, **options)
        return before(loop, work, **options)

    return make


def _profile() -> Callable[[FrameType, str, Any], object]:
    """Return a profile function for one step."""
    left = _MOST_CALLS

    def hook(frame: FrameType, event: str, called: Any) -> None:
        nonlocal left
        if event == "c_call":
            variable = called.__self__
            if type(variable) is ContextVar:
                if called.__name__ in _READERS and _reads(called.__name__, frame.f_code):
                    seen(variable, frame)
            elif called is copy_context and _is_for_a_thread(frame):
                note_all()
        elif event != "call":
            return
        left -= 1
        if left < 0:
            sys.setprofile(None)
            note_all()

    return hook


def _is_for_a_thread(frame: FrameType | None) -> bool:
    """Whether the application, or a library for it, copies a context, perhaps for a thread."""
    if frame is not None and frame.f_code is asyncio.Handle.__init__.__code__:
        return False  # the event loop copies it for a callback
    while frame is not None and not frame.f_code.co_filename.startswith(FOLDER):
        if is_own(frame.f_code.co_filename):
            return True
        frame = frame.f_back
    return False


def _is_ours(hook: object) -> bool:
    return getattr(hook, "__module__", "") == __name__


# --- Python 3.12 and newer ---------------------------------------------------------------------


class _Monitor:
    """Turns monitoring on from `begin` to `end`; it stays on while other runs are watched.

    Monitoring also reports the calls in these methods, so they make few.
    """

    __slots__ = ("_is_on",)
    lock, watched = threading.Lock(), 0
    tool: int | None = None

    def begin(self) -> None:
        self._is_on = is_watched()
        if not self._is_on:
            return
        with _Monitor.lock:
            _Monitor.watched += 1
            if _Monitor.tool is None:
                _Monitor.tool = next(filter(_take, _TOOLS), None)
            if _Monitor.tool is None:
                note_all()
            elif _Monitor.watched == 1:
                _monitoring.set_events(_Monitor.tool, _monitoring.events.CALL)

    def end(self) -> None:
        if self._is_on:
            with _Monitor.lock:
                _Monitor.watched -= 1
                if not _Monitor.watched and _Monitor.tool is not None:
                    _monitoring.set_events(_Monitor.tool, 0)


def _take(tool: int) -> bool:
    """Take a tool id of `sys.monitoring`; return whether it was free."""
    try:
        _monitoring.use_tool_id(tool, __name__)
    except ValueError:
        return False
    _monitoring.register_callback(tool, _monitoring.events.CALL, _called)
    return True


def _called(code: CodeType, _: int, called: Any, first: Any) -> Any:
    """Note a call of `ContextVar.get`. Disable reports for places that call something else."""
    name = getattr(called, "__name__", "")
    if name not in _READERS or not _reads(name, code):
        return _monitoring.DISABLE
    if called is copy_context:
        note_all()
    variable = called.__self__ if type(called) is BuiltinMethodType else first
    if type(variable) is ContextVar:
        seen(variable, sys._getframe(1))
    return None  # the next call at this place may read another variable


_Hook: Any = _Profile if _monitoring is None else _Monitor

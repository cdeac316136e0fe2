"""How calls of `ContextVar.get` are seen while a function runs.

From Python 3.12 on the interpreter tells of calls, in all tasks and threads of the run, and of a place in
the code that calls something else only once: https://docs.python.org/3/library/sys.monitoring.html. It is
asked while something is watched, and no longer.

Before, a profile function is set for each step of the run, and for those of its tasks, which a task factory
makes: https://docs.python.org/3/library/sys.html#sys.setprofile. It gives way to a profiler, and ends after
`_MOST_CALLS` calls of a step; `variables` looks into the code for what is not seen.
"""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, Token
from types import BuiltinMethodType, CodeType, FrameType
from typing import Any, NamedTuple, TypeVar

from ..here import follow as follow_home
from ..here import is_own
from ..loops import reset
from .observed import Reads, current, is_watched, seen
from .uses import function_of

T = TypeVar("T")

_monitoring: Any = getattr(sys, "monitoring", None)
HAS_MONITORING = _monitoring is not None
_MOST_CALLS = 100_000
"""What is watched of one step on Python 3.11: more would take longer than an operation may."""
_TOOLS = (4, 3, 5)
"""The numbers of `sys.monitoring` that nothing in the standard library takes."""

logger = logging.getLogger(__name__)


class Watching:
    """Watches what runs in a task or thread between `begin` and `end`; a run may come in parts."""

    __slots__ = ("_before", "_reads", "_token")

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    def begin(self) -> None:
        """Watch from now on."""
        self._reads.is_over = False
        self._token: Token[Reads | None] = current.set(self._reads)
        self._before = _set_hook()

    def end(self) -> None:
        """Watch no longer."""
        _take_hook_away(self._before)
        self._reads.is_over = True
        reset(current, self._token)


def during(reads: Reads, call: Callable[[], T]) -> T:
    """Call something and watch it."""
    watching = Watching(reads)
    watching.begin()
    try:
        return call()
    finally:
        watching.end()


async def run_watched(reads: Reads, call: Callable[[], Awaitable[T]]) -> T:
    """Call something, await what it returns, and watch both."""
    token = current.set(reads)
    reads.is_over = False
    try:
        if reads.is_blind:
            return await call()
        if HAS_MONITORING:
            _monitor.begin()
            try:
                return await call()
            finally:
                _monitor.end()
        result: T = await _Steps(_awaited(call))
        return result
    finally:
        reads.is_over = True
        reset(current, token)


def in_thread(call: Callable[[], T]) -> T:
    """Call something in another thread, to which the context came along, and watch it."""
    before = _set_hook()
    try:
        return call()
    finally:
        _take_hook_away(before)


def follow(function: Any) -> None:
    """Take the package of a function for the application's own, though it may be installed."""
    if follow_home(function_of(function)) and HAS_MONITORING:
        _monitor.restart()


async def _awaited(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


# --- Python 3.11 -------------------------------------------------------------------------------


class _Before(NamedTuple):
    """The profile function that was set, and the event loop that makes its tasks in our way."""

    hook: Any = None
    loop: asyncio.AbstractEventLoop | None = None


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
    is_ours = asyncio.iscoroutine(coroutine) and is_watched()
    return asyncio.Task(_Steps(coroutine) if is_ours else coroutine, loop=loop, **options)


def _profile() -> Callable[[FrameType, str, Any], object]:
    """Return a profile function, for one step."""
    left = _MOST_CALLS

    def hook(frame: FrameType, event: str, called: Any) -> None:
        nonlocal left
        if event == "c_call":
            variable = called.__self__
            is_read = type(variable) is ContextVar and called.__name__ == "get"
            if is_read and is_own(frame.f_code.co_filename):
                seen(variable, frame)
        elif event != "call":
            return
        left -= 1
        if left < 0:
            sys.setprofile(None)

    return hook


def _is_ours(hook: object) -> bool:
    return getattr(hook, "__module__", "") == __name__


def _set_hook() -> _Before | None:
    """Watch what runs in this thread from now on, unless a profiler does, or nobody wants to know."""
    if not is_watched():
        return None
    if HAS_MONITORING:
        _monitor.begin()
        return _Before()
    hook = sys.getprofile()
    if threading.getprofile() is not None or not (hook is None or _is_ours(hook)):
        return None
    loop = asyncio._get_running_loop()
    if loop is not None and loop.get_task_factory() is None:
        loop.set_task_factory(_task)
    else:
        loop = None
    sys.setprofile(_profile())
    return _Before(hook, loop)


def _take_hook_away(before: _Before | None) -> None:
    if before is None:
        return
    if HAS_MONITORING:
        _monitor.end()
        return
    now = sys.getprofile()
    if now is None or _is_ours(now):
        sys.setprofile(before.hook)
    if before.loop is not None and before.loop.get_task_factory() is _task:
        before.loop.set_task_factory(None)


def _forget() -> None:
    """Watch nothing in the child of a fork that somebody made while he was watched."""
    if _is_ours(sys.getprofile()):
        sys.setprofile(None)


if not HAS_MONITORING and hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


# --- Python 3.12 and newer ---------------------------------------------------------------------


class _Monitor:
    """Asks the interpreter to tell of calls while something is watched."""

    def __init__(self) -> None:
        self._lock, self._watched = threading.Lock(), 0
        self._tool: int | None = None
        self._is_told = False

    def begin(self) -> None:
        """Watch one more."""
        with self._lock:
            self._watched += 1
            if self._watched == 1:
                self._ask()

    def end(self) -> None:
        """Watch one less."""
        with self._lock:
            self._watched -= 1
            if not self._watched and self._tool is not None:
                _monitoring.set_events(self._tool, 0)

    def restart(self) -> None:
        """Be told again of places in the code that were of no interest."""
        if self._tool is not None:
            _monitoring.restart_events()

    def _ask(self) -> None:
        if self._tool is None:
            self._take_tool()
        if self._tool is not None:
            _monitoring.set_events(self._tool, _monitoring.events.CALL)

    def _take_tool(self) -> None:
        for tool in _TOOLS:
            try:
                _monitoring.use_tool_id(tool, __name__)
            except ValueError:  # somebody else has it
                continue
            _monitoring.register_callback(tool, _monitoring.events.CALL, _called)
            self._tool = tool
            return
        if not self._is_told:
            self._is_told = True
            logger.warning(
                "reads of context variables are not seen while others have the tools %s of "
                "sys.monitoring: name in vary= what decides about results",
                ", ".join(map(str, sorted(_TOOLS))),
            )


_monitor = _Monitor()


def _called(code: CodeType, _: int, called: Any, first: Any) -> Any:
    """Note a call of `ContextVar.get`; ask to be told no more of a place that calls others."""
    if getattr(called, "__name__", "") != "get" or not is_own(code.co_filename):
        return _monitoring.DISABLE
    variable = called.__self__ if type(called) is BuiltinMethodType else first
    if type(variable) is ContextVar:
        seen(variable, sys._getframe(1))
    return None  # at this place the next object may be a variable

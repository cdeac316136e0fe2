"""What a profile function is not told of, on Python 3.11: what runs later, or in other threads."""

import asyncio
import sys
from contextvars import copy_context
from types import FrameType
from typing import Any

from ..here import is_of_cache, is_own
from .uses import function_of

_IN_OWN_CODE = frozenset({"add_done_callback", "enable", sys.setprofile.__name__})
"""Builtins that have the event loop call something, or that put a profiler in our place."""
_BY_ANYBODY = asyncio.Handle.__init__.__code__
"""What is called for everything that the event loop is to call."""


def hides_reads(called: Any, frame: FrameType) -> bool:
    """Whether what a call of a builtin has run is not watched."""
    if called is copy_context:
        return _is_for_a_thread(frame)
    return called.__name__ in _IN_OWN_CODE and is_own(frame.f_code.co_filename)


def is_for_later(frame: FrameType, watched: type) -> bool:
    """Whether the event loop is to call own code, or a task of what is not `watched`."""
    if frame.f_code is not _BY_ANYBODY:
        return False
    callback = frame.f_locals["callback"]
    if type(callback).__name__ == "TaskStepMethWrapper":  # a task begins
        return not isinstance(callback.__self__.get_coro(), watched)
    given = filter(callable, (callback, *frame.f_locals["args"]))
    codes = [getattr(function_of(each), "__code__", None) for each in given]
    return any(code is not None and is_own(code.co_filename) for code in codes)


def _is_for_a_thread(frame: FrameType | None) -> bool:
    """Whether the application, or a library for it, copies a context, perhaps for a thread."""
    if frame is not None and frame.f_code is asyncio.Handle.__init__.__code__:
        return False  # the event loop copies it for a callback
    while frame is not None and not is_of_cache(frame.f_code.co_filename):
        if is_own(frame.f_code.co_filename):
            return True
        frame = frame.f_back
    return False

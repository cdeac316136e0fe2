"""The context variables that a function reads, and where they are noted.

A middleware or a dependency may store the current user in a context variable, and the arguments do
not show that the function reads it. So on a miss the run of the function is watched for calls of
`ContextVar.get` by the application's own code (see `watching`). Reads by libraries, such as a
tracer or a session, are not noted, nor are reads for a log line.
"""

from collections.abc import Collection
from contextvars import ContextVar
from types import FrameType
from typing import Any

from ..here import is_of_cache

Variable = ContextVar[Any]


class Reads:
    """The context variables that one run has read, without `ignored`; `None` ignores all.

    A note also counts for the outer run, because its result depends on this one.
    """

    __slots__ = ("_ignored", "_outer", "found", "is_over", "takes_doubts")

    def __init__(self, ignored: Collection[Variable] | None = ()) -> None:
        self.found: set[Variable] = set()
        self.is_over = False
        """Whether the run is over: later reads by its tasks do not matter."""
        self.takes_doubts = True
        """Whether `note_all` still has to note all variables if something cannot be watched."""
        self._ignored = ignored
        outer = current.get()
        while outer is not None and outer.is_over:
            outer = outer._outer
        self._outer: Reads | None = outer

    @property
    def is_blind(self) -> bool:
        """Whether nothing is noted."""
        return self._ignored is None

    def note(self, variable: Variable) -> None:
        """Note that `variable` was read, here and for the outer runs."""
        reads: Reads | None = self
        while reads is not None and reads._ignored is not None:
            if variable in reads._ignored:
                return
            reads.found.add(variable)
            reads = reads._outer


current: ContextVar[Reads | None] = ContextVar("reads", default=None)
"""The notes of the current run."""


def is_watched() -> bool:
    """Whether reads in this context are to be noted."""
    reads = current.get()
    return reads is not None and not reads.is_over and not reads.is_blind


def note(variable: Variable) -> None:
    """Note that a variable was read, if a run is current."""
    reads = current.get()
    if reads is not None:
        reads.note(variable)


def seen(variable: Variable, frame: FrameType | None) -> None:
    """Note a variable that a frame has read, unless `logging` called it for a log line."""
    reads = current.get()
    if reads is None or variable in reads.found:
        return
    while frame is not None and not is_of_cache(frame.f_code.co_filename):
        if frame.f_globals.get("__name__") == "logging":
            return
        frame = frame.f_back
    reads.note(variable)

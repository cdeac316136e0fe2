"""Context variables that a function read, and where to note them.

A variable that a middleware or a dependency sets may say who asks, and no argument tells that it was
read. So each run of a function, on a miss, is watched, see `watching`, for calls of `ContextVar.get` by
the application's own code. What a library reads for itself, a tracer or a session, is not noted, nor
what is read for a line of the log.
"""

from collections.abc import Collection
from contextvars import ContextVar
from types import FrameType
from typing import Any

from ..here import FOLDER

Variable = ContextVar[Any]


class Reads:
    """The context variables that were read in one run, but those `ignored`; with `None`, all are.

    What is noted here is noted for the run around it as well: that depends on it, too.
    """

    __slots__ = ("_ignored", "_outer", "found", "is_over", "takes_doubts")

    def __init__(self, ignored: Collection[Variable] | None = ()) -> None:
        self.found: set[Variable] = set()
        self.is_over = False
        """Whether the run is over: what its tasks read afterwards is of no interest."""
        self.takes_doubts = True
        """Whether what may have been read unseen is to be noted, and has not been yet."""
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
        """Note a variable."""
        reads: Reads | None = self
        while reads is not None and reads._ignored is not None:
            if variable in reads._ignored:
                return
            reads.found.add(variable)
            reads = reads._outer


current: ContextVar[Reads | None] = ContextVar("reads", default=None)
"""Where to note what is read in this context."""


def is_watched() -> bool:
    """Whether somebody wants to know what is read in this context."""
    reads = current.get()
    return reads is not None and not reads.is_over and not reads.is_blind


def note(variable: Variable) -> None:
    """Note that a variable was read, if somebody wants to know."""
    reads = current.get()
    if reads is not None:
        reads.note(variable)


def seen(variable: Variable, frame: FrameType | None) -> None:
    """Note a variable that was read in a frame, unless that is for a line of the log."""
    reads = current.get()
    if reads is None or variable in reads.found:
        return
    while frame is not None and not frame.f_code.co_filename.startswith(FOLDER):
        if frame.f_globals.get("__name__") == "logging":
            return
        frame = frame.f_back
    reads.note(variable)

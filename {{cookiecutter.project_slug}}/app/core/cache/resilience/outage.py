"""One log line when something begins to fail, one when it works again, none in between.

A traceback for each failed call costs more than the failure itself, and hides everything else.
"""

import logging
import re
import time
import traceback
from collections import Counter
from types import TracebackType

from ..events import CacheEvent, Events, Kind
from ..loops import insist_on_asyncio
from ..stored import Shown

_MISTAKES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    TypeError,
)
"""Errors that no server and no network causes: our code, or that of a backend, is wrong."""
_TRANSPORTS = ("asyncio", "ssl", "uvloop")
"""These modules may raise such errors, too, when a connection closes at the wrong moment."""
_MOST_MISTAKES = 20

_ARGUMENTS = re.compile(r",? with args beginning with:.*", re.DOTALL)


class Outage:
    """Counts failures, and logs when an outage begins and when it ends.

    The lines name the type of the error and its message, never keys or values. `worked` ends an
    outage only if the last failure is at least `quiet` seconds ago.
    """

    def __init__(
        self, what: str, logger: logging.Logger, *, quiet: float = 0.0, events: Events | None = None
    ) -> None:
        self._what = what
        self._logger = logger
        self._quiet, self._events = quiet, events
        self.since: float | None = None
        """When it began, by `time.monotonic`; `None` while all is well."""
        self._last = 0.0
        self._dropped: Counter[str] = Counter()
        self._mistakes: set[tuple[str, int]] = set()

    def failed(self, error: BaseException, what: str = "operations") -> None:
        """Note that one of `what` failed; the first failure of an outage is logged.

        A bug in the code is logged with its traceback instead, once for each line of code.
        Raises `NotAsyncioError` for a `RuntimeError` while no event loop of asyncio runs.
        """
        if isinstance(error, RuntimeError):
            insist_on_asyncio()
        self.tell("failed")
        place = _place_of_mistake(error)
        self._dropped[what] += 1
        self._last = time.monotonic()
        is_first = self.since is None
        if is_first:
            self.since = self._last
        if place is not None:
            self._tell_of_mistake(error, place)
        elif is_first:
            self._logger.warning("%s fails, going on without it: %s", self._what, reason(error))

    def tell(self, kind: Kind) -> None:
        """Tell of an event of this server."""
        if self._events is not None:
            self._events.tell(CacheEvent(kind=kind, reason=self._what))

    def _tell_of_mistake(self, error: BaseException, place: tuple[str, int]) -> None:
        if place in self._mistakes or len(self._mistakes) >= _MOST_MISTAKES:
            return
        self._mistakes.add(place)
        self._logger.error(
            "an error in the code of the cache itself, or of its backend, not of the server; going "
            "on without %s: %s\n%s",
            self._what,
            reason(error),
            "".join(traceback.format_tb(error.__traceback__)).rstrip(),
        )

    def skipped(self, what: str) -> None:
        """Note that one of `what` was not even tried."""
        self._dropped[what] += 1

    def worked(self) -> None:
        """Note an operation that worked; it may end an outage, which is logged."""
        if self.since is not None and time.monotonic() - self._last >= self._quiet:
            self.ended()

    def ended(self) -> None:
        """Note that the outage is over, if there is one; it is logged."""
        since, self.since = self.since, None  # another thread may end the same outage meanwhile
        if since is None:
            return
        dropped, self._dropped = self._dropped, Counter()
        self._logger.warning(
            "%s works again after %.1f s; without it meanwhile: %s",
            self._what,
            time.monotonic() - since,
            ", ".join(f"{count} {what}" for what, count in dropped.items()),
        )


def _place_of_mistake(error: BaseException) -> tuple[str, int] | None:
    """Return the file and the line of a bug in the code; `None` if the error is no bug."""
    if not isinstance(error, _MISTAKES):
        return None
    last: TracebackType | None = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return "", 0
    module = str(last.tb_frame.f_globals.get("__name__", ""))
    if module.partition(".")[0] in _TRANSPORTS:
        return None
    return last.tb_frame.f_code.co_filename, last.tb_lineno


def reason(error: BaseException) -> str:
    """Return the type of an error and its message, without the arguments of a command.

    The log gets this text: a handler that keeps log records would keep an error's traceback too.
    """
    return str(Shown(_ARGUMENTS.sub("", f"{type(error).__name__}: {error}".rstrip(": ")), 300))

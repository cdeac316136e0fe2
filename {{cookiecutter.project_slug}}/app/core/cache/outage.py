"""One log line when something begins to fail, one when it works again, none in between.

A traceback for each failed call costs more than the failure itself, and hides everything else.
"""

import logging
import re
import time
from collections import Counter

from .shown import Shown

_ARGUMENTS = re.compile(r",? with args beginning with:.*", re.DOTALL)


class Outage:
    """Notes failures and successes and logs where one turns into the other.

    The lines name the kind of error and its message, never keys or values. Where failures and
    successes come by turns, an outage ends only when `quiet` seconds have passed without a failure.
    """

    def __init__(self, what: str, logger: logging.Logger, *, quiet: float = 0.0) -> None:
        self._what = what
        self._logger = logger
        self._quiet = quiet
        self.since: float | None = None
        """When it began, by `time.monotonic`; `None` while all is well."""
        self._last = 0.0
        self._dropped: Counter[str] = Counter()

    def failed(self, error: BaseException, what: str = "operations") -> None:
        """Note that one of `what` failed; the first of an outage is logged."""
        self._dropped[what] += 1
        self._last = time.monotonic()
        if self.since is None:
            self.since = self._last
            self._logger.warning("%s fails, going on without it: %s", self._what, reason(error))

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


def reason(error: BaseException) -> str:
    """Return the kind of an error and its message, without what it may quote of a command.

    A text, not the error itself: a handler that keeps records would keep its traceback too.
    """
    return str(Shown(_ARGUMENTS.sub("", f"{type(error).__name__}: {error}".rstrip(": ")), 300))

"""One log line when a backend begins to fail, one when it works again, none in between.

A traceback for each failed call costs more than the failure itself, and hides everything else.
"""

import logging
import time


class Outage:
    """Notes failures and successes of one backend and logs where one turns into the other.

    The lines name the kind of error and its message, never keys or values.
    """

    def __init__(self, what: str, logger: logging.Logger) -> None:
        self._what = what
        self._logger = logger
        self._since: float | None = None
        self._failures = 0

    def failed(self, error: BaseException) -> None:
        """Note one failed operation; the first of an outage is logged."""
        self._failures += 1
        if self._since is None:
            self._since = time.monotonic()
            # Its text, not itself: a handler that keeps records would keep its traceback too.
            what = f"{type(error).__name__}: {error}"
            self._logger.warning("%s fails, going on without it: %s", self._what, what)

    def worked(self) -> None:
        """Note one operation that worked; the first after an outage is logged."""
        since = self._since  # another thread may end the same outage meanwhile
        if since is None:
            return
        seconds, failures = time.monotonic() - since, self._failures
        self._since, self._failures = None, 0
        self._logger.warning(
            "%s works again after %.1f s, %d operations failed", self._what, seconds, failures
        )

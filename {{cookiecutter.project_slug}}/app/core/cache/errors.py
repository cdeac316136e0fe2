"""The exceptions that several rooms use, and how messages and the log show values.

ValueError
 └ CacheConfigError     the cache cannot work as it is set up
RuntimeError
 └ NotAsyncioError      no event loop of asyncio runs here
Exception
 ├ UnavailableError     a backend is not available now
 └ UnansweredError      a read got no answer, and may be tried again
"""

import re

_HARMLESS = re.compile(r"(tcp://)?(?!.*(//|--))([\w.,+/\\~*\[\] -]|:(?=[\d:\]]|\Z)){0,120}\Z")
"""Texts without a password: no URL, no `name:secret` or `name=secret`, no key of a certificate."""
_MOST = 100  # characters


class CacheConfigError(ValueError):
    """A setting of the cache has a value that cannot be right, or a package has a wrong version."""


class NotAsyncioError(RuntimeError):
    """The cache was used outside an event loop of asyncio: under trio, or under none at all."""

    def __init__(self) -> None:
        super().__init__(
            "the cache runs on asyncio only, and no event loop of asyncio is running here: run the "
            "server, or the test, on asyncio; from synchronous code, use clear_sync() to clear it"
        )


class UnavailableError(Exception):
    """A backend is not available now; the cause has been logged."""


class UnansweredError(Exception):
    """A read got no answer, and there is time to try again: see `CacheBackend.look`."""

    def __init__(self, why: str, deadline: float) -> None:
        super().__init__(why)
        self.deadline = deadline
        """When the operation must have ended, in the event loop's time."""


def shown(value: object) -> str:
    """Return a setting's value for a message. A value that may hold a password is not shown."""
    if _HARMLESS.match(str(value)):
        return repr(value)
    return "(not shown: it may hold a password)"


class Shown:
    """A key, or other text that a user may have sent, as the log shows it: in one line, cut if it is long.

    Line breaks, terminal escape sequences and lone surrogates are escaped. That is done only if the log
    line is really written.
    """

    __slots__ = ("_most", "_text")

    def __init__(self, text: object, most: int = _MOST) -> None:
        self._text, self._most = text, most

    def __str__(self) -> str:
        text = str(self._text)[: self._most + 1]
        shown = "".join([each if each.isprintable() else ascii(each)[1:-1] for each in text])
        return shown if len(shown) <= self._most else f"{shown[: self._most - 3]}..."

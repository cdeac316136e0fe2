"""Errors that say that the cache cannot work as it is set up, and how they show values."""

import re

_HARMLESS = re.compile(r"(tcp://)?(?!.*(//|--))([\w.,+/\\~*\[\] -]|:(?=[\d:\]]|\Z)){0,120}\Z")
"""Texts without a password: no URL, no `name:secret` or `name=secret`, no key of a certificate."""


class CacheConfigError(ValueError):
    """A setting of the cache has a value that cannot be right, or a package has a wrong version."""


class NotAsyncioError(RuntimeError):
    """The cache was used outside an event loop of asyncio: under trio, or under none at all."""

    def __init__(self) -> None:
        super().__init__(
            "the cache runs on asyncio only, and no event loop of asyncio is running here: run the "
            "server, or the test, on asyncio; from synchronous code, use clear_sync() to clear it"
        )


def shown(value: object) -> str:
    """Return the value of a setting as messages show it: not at all if it may hold a password."""
    if _HARMLESS.match(str(value)):
        return repr(value)
    return "(not shown: it may hold a password)"

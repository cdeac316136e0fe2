"""Requests of the assertions, and what the answers say of the cache."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')


def insist(holds: object, message: str) -> None:
    """Fail with `message` if something does not hold."""
    __tracebackhide__ = True
    if not holds:
        raise AssertionError(message)


def asked(client: Any, path: str, options: Mapping[str, Any]) -> Any:
    """Send a request and return the response."""
    return client.request(**{"method": "GET", "url": path, **options})


def told(response: Any) -> tuple[int, str]:
    """Return what a user learns."""
    return response.status_code, response.text


class Status(NamedTuple):
    """What the header `Cache-Status` says (RFC 9211)."""

    text: str
    parts: frozenset[str]

    @property
    def is_hit(self) -> bool:
        """Whether a cache has answered."""
        return "hit" in self.parts

    @property
    def is_shared(self) -> bool:
        """Whether it is the result of another request."""
        return "collapsed" in self.parts

    @property
    def ran(self) -> bool:
        """Whether the function ran for this request."""
        return not (self.is_hit or self.is_shared)


def status_of(response: Any, request: str) -> Status:
    """Return what a response says of the cache; fail if it says nothing."""
    __tracebackhide__ = True
    text = response.headers.get("cache-status", "")
    insist(
        text,
        f"the answer to {request}, status {response.status_code}, has no Cache-Status, so nobody can "
        f"tell a hit from a miss: put cache_response below the decorator of its route, if it is not "
        f"cached, and add CacheMiddleware or CacheStatusMiddleware to the application of the test",
    )
    members = _QUOTED.sub("", text).split(",")
    parts = [part.strip() for each in members for part in each.split(";")[1:]]
    return Status(text, frozenset(parts))


def shown(response: Any) -> str:
    """Return a response for a message, not all of a long one."""
    status, text = told(response)
    return f"{status} {text[:200]!r}{'…' if len(text) > 200 else ''}"

"""What an endpoint has sent, so that a hit sends it again and renders nothing.

FastAPI renders what an endpoint returns with the response class of the route, and adds what
dependencies and the endpoint set on the injected response. That differs from request to request,
and dependencies run on a hit as well. So what is stored is what the response class made: status,
header lines and body; and on a hit the rest is added as FastAPI does it.

The head of a response, its status and its lines, is one text: most responses have the same few, and
a head that was read once is not read again.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from fastapi.utils import is_body_allowed_for_status_code
from starlette.responses import Response

from . import headers

_HEAD = "head"
_LENGTH = b"content-length"
_FOR_ONE = frozenset({b"set-cookie", b"connection", b"transfer-encoding"})
"""Headers that belong to one client or one connection."""

Lines = tuple[tuple[bytes, bytes], ...]


class Sent(NamedTuple):
    """What a response class has made of a value."""

    status: int
    lines: Lines
    body: bytes

    def response(self) -> Response:
        """Return a response that sends this."""
        # Not by the constructor: it would add headers of its own.
        response = object.__new__(Response)
        response.status_code, response.body, response.background = self.status, self.body, None
        response.raw_headers = [*self.lines]
        return response


def taken_from(response: Response, injected: Response, status: int) -> Sent | None:
    """Return what the response class made, or `None` where that cannot be told or sent again.

    `status` is the one that the response has without the injected one.
    """
    if type(response).__call__ is not Response.__call__:
        return None  # a stream, or a class that sends in a way of its own
    added = injected.raw_headers
    own = len(response.raw_headers) - len(added)
    if own < 0 or response.raw_headers[own:] != added:
        return None
    sent = Sent(status, tuple(response.raw_headers[:own]), bytes(response.body))
    fits = is_body_allowed_for_status_code(response.status_code) and _length(sent) == len(sent.body)
    return sent if fits else None


def describe(sent: Sent) -> dict[str, Any]:
    """Return all of it but the body."""
    lines = [b"%b: %b" % line for line in sent.lines]
    return {_HEAD: b"\n".join([b"%d" % sent.status, *lines]).decode("latin-1")}


def restore(about: Mapping[str, Any], body: bytes) -> Sent:
    """Return what `describe` described; raises an exception for a description that is none."""
    status, lines, length = _head(about[_HEAD])
    if length != len(body):
        raise ValueError("a stored response has another length than it says")
    return Sent(status, lines, body)


def response_of(sent: Sent, injected: Response) -> Response:
    """Return the response that FastAPI would make now."""
    response = sent.response()
    if injected.status_code:  # which FastAPI hands out as `None`
        response.status_code = injected.status_code
        if not is_body_allowed_for_status_code(injected.status_code):
            response.body = b""
            del response.headers["content-length"]
    response.raw_headers += injected.raw_headers
    return response


@lru_cache(maxsize=1024)
def _head(text: str) -> tuple[int, Lines, int]:
    """Read a head: the status, the lines, and the length that they tell."""
    first, *rest = text.split("\n")
    status = headers.checked_status(int(first))
    lines = tuple([headers.line(*each.split(": ", 1)) for each in rest])
    if not is_body_allowed_for_status_code(status):
        raise ValueError("a stored response has a status without a body")
    if not _FOR_ONE.isdisjoint([name.lower() for name, _ in lines]):
        raise ValueError("a stored response was for one client")
    return status, lines, _length(Sent(status, lines, b""))


def _length(sent: Sent) -> int:
    """Return the length that the lines tell, or -1 where they do not."""
    lengths = [value for name, value in sent.lines if name.lower() == _LENGTH]
    return int(lengths[0]) if len(lengths) == 1 and lengths[0].isdigit() else -1

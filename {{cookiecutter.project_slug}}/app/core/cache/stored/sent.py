"""Rendered responses, so that a hit sends stored bytes and renders nothing.

FastAPI renders the result of an endpoint with the response class of the route. Then it adds the
headers and the status that dependencies and the endpoint set on the injected response. These differ
between requests, and dependencies also run on a hit. So only the output of the response class is
stored: status, header lines and body. On a hit the rest is added as FastAPI does it.

The head of a response, its status and header lines, is one text. Most responses have one of a few
heads, so parsed heads are cached.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from fastapi.utils import is_body_allowed_for_status_code
from starlette.responses import Response

from . import headers
from .headers import Lines

_HEAD, _FACTS = "head", "facts"
_WHOLE = " whole"
_STATUS = re.compile(r"[2-5][0-9][0-9]", re.ASCII)
_SHORT = 2048
_TAG_BYTES = 12
_TAG = re.compile(rf'("[0-9a-f]{{{2 * _TAG_BYTES}}}")?')


class RenderedResponse(NamedTuple):
    """The output of a response class: status, header lines and body."""

    status: int
    lines: tuple[tuple[bytes, bytes], ...]
    body: bytes
    is_whole: bool = False
    """Whether the endpoint returned it as a `Response`, so that FastAPI adds nothing to it."""
    etag: str = ""
    """An entity tag of these bytes, the same in every process; empty if it has one of its own."""
    made: int = 0
    """When it was made, in milliseconds since 1970; 0 if that is not known."""
    until: int = 0
    """Until when it is fresh, in milliseconds since 1970."""

    def response(self, cls: type[Response] = Response) -> Response:
        """Return a response that sends this."""
        # The constructor is not called: it would render the body again and add headers.
        response = object.__new__(cls)
        response.status_code, response.body, response.background = self.status, self.body, None
        response.raw_headers = [*self.lines]
        return response


def taken_from(response: Response, injected: Response, status: int) -> RenderedResponse | None:
    """Return the output of the response class, or `None` if it is not known or cannot be repeated.

    `status` is the status of the response before the injected one is applied.
    """
    added = injected.raw_headers
    own = len(response.raw_headers) - len(added)
    if own < 0 or response.raw_headers[own:] != added:
        return None
    return _sent(response, status, response.raw_headers[:own])


def returned(response: Response) -> RenderedResponse | None:
    """Return the output of a response that the endpoint itself returned.

    `None` if it is not known: it is a stream, or its class has its own way to send.
    """
    return _sent(response, response.status_code, response.raw_headers, is_whole=True)


def _sent(
    response: Response, status: int, lines: Lines, *, is_whole: bool = False
) -> RenderedResponse | None:
    body = getattr(response, "body", None)
    if not _sends_what_it_shows(response) or not isinstance(body, bytes | memoryview):
        return None
    sent = RenderedResponse(status, tuple(headers.end_to_end(lines)), bytes(body), is_whole)
    is_told = headers.told_length(sent.lines) is not None
    return sent if is_told and fits(response.status_code, sent.lines, sent.body) else None


def fits(status: int, lines: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
    """Whether `body` fits this status and the Content-Length in these lines."""
    length = headers.told_length(lines)
    return length in (None, len(body)) and (is_body_allowed_for_status_code(status) or not body)


def _sends_what_it_shows(response: Response) -> bool:
    """Whether a response sends its status, its header lines and its body, and nothing else.

    Any class is allowed if its `__call__` is that of Starlette's `Response`, or that of its
    template response, which also passes the template to a test client.
    """
    templating = sys.modules.get("starlette.templating")  # an import needs Jinja
    known = (Response, getattr(templating, "_TemplateResponse", Response))
    return any(type(response).__call__ is each.__call__ for each in known)


def stamped(sent: RenderedResponse, made: int, until: int) -> RenderedResponse:
    """Return it with its entity tag, the time when it was made, and until when it is fresh."""
    own = any(name.lower() == b"etag" for name, _ in sent.lines)
    etag = "" if own else entity_tag(sent.lines, sent.body)
    return sent._replace(etag=etag, made=made, until=until)


def entity_tag(lines: Iterable[tuple[bytes, bytes]], body: bytes) -> str:
    """Return a strong entity tag: RFC 9110, section 8.8.3. Equal bodies of one type have equal tags."""
    digest = blake2b(body, digest_size=_TAG_BYTES)
    for name, value in lines:
        if name.lower() in (b"content-type", b"content-encoding"):
            digest.update(b"\n%b" % value)
    return f'"{digest.hexdigest()}"'


def describe(sent: RenderedResponse) -> dict[str, Any]:
    """Return all of it except the body, as JSON data."""
    lines = "".join([f"\n{name}: {value}" for name, value in headers.as_text(sent.lines)])
    head = {_HEAD: f"{sent.status}{_WHOLE if sent.is_whole else ''}{lines}"}
    return head | ({_FACTS: [sent.etag, sent.made, sent.until]} if sent.made else {})


def restore(
    about: Mapping[str, Any], body: bytes, *, tells_length: bool = True
) -> RenderedResponse:
    """Return what `describe` described; raises an exception for an invalid description."""
    text = about[_HEAD]
    read = _head if len(text) <= _SHORT else _head.__wrapped__
    status, lines, length, is_whole = read(text)
    if length != len(body) and (tells_length or length is not None):
        raise ValueError("a stored response does not fit its body")
    facts = about.get(_FACTS)
    if facts is None:
        return RenderedResponse(status, lines, body, is_whole)
    etag, made, until = facts
    if not (_TAG.fullmatch(etag) and type(made) is type(until) is int and 0 < made <= until):
        raise ValueError("what a stored response says of itself cannot be")
    return RenderedResponse(status, lines, body, is_whole, etag, made, until)


def response_of(sent: RenderedResponse, injected: Response) -> Response:
    """Return the response that FastAPI would make for this request."""
    response = sent.response()
    if sent.is_whole:
        return response
    if injected.status_code:  # it is `None` until somebody sets it
        response.status_code = injected.status_code
        if not is_body_allowed_for_status_code(injected.status_code):
            response.body = b""
            del response.headers["content-length"]
    response.raw_headers += injected.raw_headers
    return response


@lru_cache(maxsize=1024)
def _head(text: str) -> tuple[int, tuple[tuple[bytes, bytes], ...], int | None, bool]:
    """Parse a head: status, lines, length of the body (`None`: any), and `is_whole`."""
    first, *rest = text.split("\n", headers.MOST_LINES + 1)
    status = first.removesuffix(_WHOLE)
    if not _STATUS.fullmatch(status):
        raise ValueError("a stored status is none")
    lines = tuple(headers.checked([each.split(": ", 1) for each in rest]))
    length = headers.told_length(lines)
    if not is_body_allowed_for_status_code(int(status)):
        length = -1 if length else 0
    return int(status), lines, length, first.endswith(_WHOLE)

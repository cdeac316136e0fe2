"""Responses as records: the body's own bytes behind a line that holds all the rest."""

import json
from typing import Any

from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)

_CLASSES: dict[str, type[Response]] = {
    cls.__name__: cls
    for cls in (HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response)
}


def why_not_stored(response: Response) -> str | None:
    """Return the reason why `response` must not be stored, or `None` if it may.

    The reasons that lie in what the response says are the first three, see RFC 9111, section 3:
    it is not successful, it sets a cookie, or its `Cache-Control` says `no-store` or `private`.
    """
    if not 200 <= response.status_code < 300:
        return f"its status is {response.status_code}"
    if "set-cookie" in response.headers:
        return "it sets a cookie"
    for line in response.headers.getlist("cache-control"):
        directives = {part.partition("=")[0].strip().lower() for part in line.split(",")}
        if directives & {"no-store", "private"}:
            return f"its Cache-Control is {line!r}"
    if response.background is not None:
        return "it has a background task"
    return None


def is_rebuildable(response: Response) -> bool:
    """Whether `restore` can build a response equal to this one: its class is one that we know.

    Streaming and file responses are not among them, and neither are subclasses of one's own.
    """
    return type(response) is _CLASSES.get(type(response).__name__)


def dump(response: Response) -> bytes:
    """Return `response` as bytes; it must be rebuildable."""
    about = [
        type(response).__name__,
        response.status_code,
        response.media_type,
        [[name.decode("latin-1"), value.decode("latin-1")] for name, value in response.raw_headers],
    ]
    return json.dumps(about, separators=(",", ":")).encode() + b"\n" + bytes(response.body)


def restore(payload: bytes) -> Response:
    """Return the response that `dump` made `payload` of: same class, status, headers and body.

    Raises `ValueError`, `KeyError` or `TypeError` for bytes that are anything else.
    """
    line, newline, body = payload.partition(b"\n")
    if not newline:
        raise ValueError("a stored response has no body")
    name, status, media_type, headers = json.loads(line)
    # Not by the constructor: it would render the body once more and add headers of its own.
    cls = _CLASSES[name]
    response: Response = object.__new__(cls)
    response.status_code = status
    if media_type != cls.media_type:
        response.media_type = media_type
    response.background = None
    response.body = body
    response.raw_headers = [(_latin(name), _latin(value)) for name, value in headers]
    return response


def _latin(text: Any) -> bytes:
    return str.encode(text, "latin-1")

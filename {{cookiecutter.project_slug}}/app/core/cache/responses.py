"""Responses as they are stored: the body's own bytes, and what else there is to say as JSON."""

from collections.abc import Collection, Mapping
from typing import Any

from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from . import headers
from .classes import KnownClasses

_CLASSES: dict[str, type[Response]] = {
    cls.__name__: cls
    for cls in (HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response)
}
_STATE = {"status_code", "media_type", "background", "body", "raw_headers", "_headers"}


def why_not_stored(response: Response, statuses: Collection[int] = ()) -> str | None:
    """Return the reason why `response` must not be stored, or `None` if it may.

    It may if it is successful, or has one of `statuses`, and does neither set a cookie nor say
    `no-store` or `private` (RFC 9111, section 3), and has no task to run after it. A status of
    `None`, as FastAPI hands it out, means that the route decides.
    """
    status: int | None = response.status_code
    if status is not None and not 200 <= status < 300 and status not in statuses:
        return f"its status is {status}"
    if "set-cookie" in response.headers:
        return "it sets a cookie"
    for line in response.headers.getlist("cache-control"):
        directives = {part.partition("=")[0].strip().lower() for part in line.split(",")}
        if directives & {"no-store", "private"}:
            return f"its Cache-Control is {line!r}"
    if response.background is not None:
        return "it has a background task"
    return None


def why_not_rebuilt(response: Response, classes: KnownClasses) -> str | None:
    """Return the reason why `restore` could not build a response equal to this one, or `None`.

    Its class must be one of Starlette's, or be named in the return annotation of the function, and
    it must have no attributes but those of every response.
    """
    cls = type(response)
    if _CLASSES.get(cls.__name__) is not cls and classes.name_of(cls) is None:
        return f"a {cls.__qualname__} is rebuilt only if the return annotation names the class"
    more = vars(response).keys() - _STATE
    if more:
        return f"this {cls.__qualname__} has attributes of its own, {sorted(more)}"
    return None


def is_stream(response: Response) -> bool:
    """Whether the response has no body yet, which is its nature and no mistake."""
    return isinstance(response, (StreamingResponse, FileResponse))


def describe(response: Response, classes: KnownClasses) -> dict[str, Any]:
    """Return all of `response` but its body; there must be no reason against storing it."""
    cls = type(response)
    return {
        "class": classes.name_of(cls) or cls.__name__,
        "status": response.status_code,
        "media_type": response.media_type,
        "headers": headers.to_json(response.raw_headers),
    }


def restore(about: Mapping[str, Any], body: bytes, classes: KnownClasses) -> Response:
    """Return the response that `describe` described: same class, status, headers, and this body.

    Raises `KeyError`, `TypeError` or `ValueError` for a description that is anything else.
    """
    name, status = about["class"], headers.checked_status(about["status"])
    cls: type[Response] = _CLASSES.get(name) or classes.named(name, _is_response)
    # Not by the constructor: it would render the body once more and add headers of its own.
    response: Response = object.__new__(cls)
    response.status_code = status
    if about["media_type"] != cls.media_type:
        response.media_type = about["media_type"]
    response.background = None
    response.body = body
    response.raw_headers = headers.from_json(about["headers"])
    return response


def _is_response(cls: type) -> bool:
    return issubclass(cls, Response)

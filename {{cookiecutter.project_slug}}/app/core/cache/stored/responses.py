"""Stored responses: the bytes of the body, and the rest as JSON."""

from collections.abc import Awaitable, Callable, Collection, Mapping
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

from ..values import RETURN, KnownClasses, hints_of, kinds_of
from . import headers, sent
from .sent import RenderedResponse
from .stated import why_not_shared

_CLASSES: dict[str, type[Response]] = {
    cls.__name__: cls
    for cls in (HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response)
}
RESPONSE, VALUE = b"response", b"value"
"""The kinds of records that a function's results have."""
_IN_PART = frozenset({206, 304})
"""Statuses of incomplete responses: RFC 9111, section 3.3."""
_STATE = {"status_code", "media_type", "background", "body", "raw_headers", "_headers"}


def why_not_stored(
    response: Response, statuses: Collection[int] = (), varied: Collection[str] = ()
) -> str | None:
    """Return the reason why `response` must not be stored, or `None` if it may be stored.

    It may be stored if its status is 2xx or in `statuses`, and it is complete, for everybody (RFC
    9111, section 3: see `stated`), and without a background task. `varied` are the request headers,
    in lower case, that the key holds. In FastAPI's own response a status of `None` means that the
    route decides. Never raises.
    """
    status: int | None = response.status_code
    if status is not None and (not is_listed(status, statuses)):
        return f"its status is {status}"
    names = headers.by_name(response.raw_headers).keys()
    if "set-cookie" in names:
        return "it sets a cookie"
    for_one = sorted(names & (headers.FOR_ONE | {"content-range"}))
    if for_one:
        return f"it has {', '.join(for_one)}, which is for one client"
    named = headers.needed_by_all(names & headers.named_by_connection(response.raw_headers))
    if named:
        return f"its Connection names {', '.join(named)}"
    if response.background is not None:
        return "it has a background task"
    return why_not_shared(response, varied) or _why_not_written(response)


def why_not_rebuilt(response: Response, classes: KnownClasses) -> str | None:
    """Return the reason why `restore` could not build an equal response, or `None` if it could.

    The class must be one of Starlette's, or be named in the return annotation of the function. The
    response must have no attributes except those of every response.
    """
    cls = type(response)
    if _CLASSES.get(cls.__name__) is not cls and classes.name_of(cls) is None:
        return (
            f"a {cls.__qualname__} is rebuilt only if the return annotation names the class; a "
            f"CachedRoute sends it as it was sent"
        )
    more = vars(response).keys() - _STATE
    if more:
        return f"this {cls.__qualname__} has attributes of its own, {sorted(more)}"
    if not sent.fits(response.status_code, response.raw_headers, bytes(response.body)):
        return "its status or its Content-Length does not fit its body"
    return None


def is_stream(response: Response) -> bool:
    """Whether the response is a stream or a file, which has no body in memory."""
    return isinstance(response, (StreamingResponse, FileResponse))


def describe(response: Response, classes: KnownClasses) -> dict[str, Any]:
    """Return all of `response` except its body. Check `why_not_stored` and the like before."""
    cls = type(response)
    lines = tuple(headers.end_to_end(response.raw_headers))
    return {
        **sent.describe(RenderedResponse(response.status_code, lines, b"")),
        "class": classes.name_of(cls) or cls.__name__,
        "media_type": response.media_type,
    }


def restore(
    about: Mapping[str, Any], body: bytes, classes: KnownClasses, returned: tuple[type, ...]
) -> Response:
    """Return the response that `describe` described: same class, status, headers, and this body.

    Raises an exception for any other description, and if the class is not one of `returned`, the
    classes that the function returns, or a subclass of one.
    """
    name, media_type = about["class"], about["media_type"]
    cls: type[Response] = _CLASSES.get(name) or classes.stored_as(name, _is_response).cls
    if not issubclass(cls, returned) or not isinstance(media_type, str | None):
        raise TypeError(f"the function returns no {name}, or none of this type")
    response = sent.restore(about, body, tells_length=False).response(cls)
    if media_type != cls.media_type:
        response.media_type = media_type
    return response


def kinds_returned_by(func: Callable[..., object]) -> tuple[set[bytes], tuple[type, ...]]:
    """Return the kinds of records and the classes of responses that a function's results may have.

    They are read from the return annotation; without one, all are allowed. A record of another kind
    or class is forged, or the function does not return what its annotation says.
    """
    found: set[type] = set()
    for cls in kinds_of(hints_of(func).get(RETURN, object)):
        if cls in Response.__mro__[1:] or _may_be_any(cls):
            found |= {Response, object}
        else:
            found.add(cls if issubclass(cls, Response) else object)
    kinds = {RESPONSE if issubclass(cls, Response) else VALUE for cls in found}
    return kinds, tuple(cls for cls in found if issubclass(cls, Response))


def _may_be_any(cls: type) -> bool:
    """Whether an annotation with `cls` allows instances of any class: a protocol, `Awaitable`."""
    is_protocol: bool = getattr(cls, "_is_protocol", False)
    return is_protocol or Any in cls.__mro__ or issubclass(cls, Awaitable)


def is_listed(status: int, statuses: Collection[int]) -> bool:
    """Whether a response with this status is stored: 2xx, or one of `statuses`.

    Statuses of incomplete responses never are, even if `statuses` has them.
    """
    return status not in _IN_PART and (200 <= status < 300 or status in statuses)


def _why_not_written(response: Response) -> str | None:
    try:
        headers.checked(headers.as_text(headers.end_to_end(response.raw_headers)))
    except (TypeError, ValueError) as error:
        return f"it has headers that cannot be stored: {error}"
    return None


def _is_response(cls: type) -> bool:
    return issubclass(cls, Response)

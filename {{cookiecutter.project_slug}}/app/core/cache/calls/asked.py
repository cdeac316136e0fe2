"""The request that a call answers, and what a hit does to its response."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response

from ..stored import Raised, RenderedResponse
from .reading import Hit
from .response_capture import ResponseCapture


@dataclass(slots=True, eq=False, repr=False)
class Asked:
    """The request that a call answers, and the response that FastAPI builds for it."""

    connection: HTTPConnection | None = None
    injected: Response | None = None
    headers: frozenset[str] = frozenset()
    """Names of headers, in lower case, from which arguments in the key are made."""


BY_HAND = Asked()


def handed_out(
    hit: Hit,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    sending: ResponseCapture | None,
    asked: Asked,
) -> Any:
    """Make the changes of a hit to the response, and return its value, or raise its exception."""
    value, changes = hit
    if changes is not None:
        given = (*args, *kwargs.values())
        found = next((each for each in given if isinstance(each, Response)), None)
        response = asked.injected or found
        if response is not None:
            changes.apply(response)
    if type(value) is RenderedResponse and sending is not None:
        return sending.response(value)
    if type(value) is Raised:
        raise value.taken()
    return value

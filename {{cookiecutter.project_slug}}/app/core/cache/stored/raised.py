"""Exceptions as results: an `HTTPException` that a function raised, and that a hit raises again.

It is stored if it can be built again as it was: its class is FastAPI's or Starlette's own, and it
holds a status, a detail and headers, and nothing else. Its traceback, its cause and its context
tell how it came about. They are no part of the answer, and are not stored.
"""

from collections.abc import Collection, Mapping
from operator import index
from typing import Any

from fastapi import exceptions as fastapi
from starlette import exceptions as starlette
from starlette.responses import Response

from . import codec, headers
from .responses import is_listed
from .unstorable import UnstorableError

_CLASSES = {"fastapi": fastapi.HTTPException, "starlette": starlette.HTTPException}
_STATE = ("status_code", "detail", "headers")
"""The parameters of both classes, and the attributes of their objects."""
_CLASS, _ARGS = "class", "args"


class Raised(Response):
    """An exception in the place of a result: who hands out the result raises it instead.

    It has the status and the headers of the exception, and is judged as a response that has them.
    `body` and `about` are what is stored.
    """

    def __init__(
        self, error: starlette.HTTPException, about: Mapping[str, Any], body: bytes
    ) -> None:
        self.error, self.about, self.body = error, about, body
        self.status_code, self.background = headers.checked_status(error.status_code), None
        self.raw_headers = []
        if error.headers is not None:
            self.raw_headers = headers.checked(list(error.headers.items()))
        if headers.told_length(self.raw_headers) is not None:
            raise ValueError("an exception cannot say how long its response is")

    def taken(self) -> starlette.HTTPException:
        """Return the exception, and let go of it: its traceback will hold what holds this."""
        error: starlette.HTTPException = vars(self).pop("error")
        return error


def as_result(error: Exception, statuses: Collection[int]) -> Raised | None:
    """Return an exception as a result; `None` if it is no `HTTPException` with one of `statuses`.

    Raises `UnstorableError`, `TypeError` or `ValueError` if it would not come back equal.
    """
    if not statuses or not isinstance(error, starlette.HTTPException):
        return None
    if error.status_code not in statuses:
        return None
    name = next((name for name, cls in _CLASSES.items() if cls is type(error)), None)
    if name is None:
        raise UnstorableError(
            f"a {type(error).__qualname__} may hold more than is known; raise an HTTPException "
            f"itself"
        )
    count, state = len(error.args), [getattr(error, name) for name in _STATE]
    given = [*error.args, *state[count:]]
    given[0] = index(given[0])  # an `HTTPStatus` comes back as a plain number
    result = restore({_CLASS: name, _ARGS: count}, codec.encode_checked(given), statuses)
    if vars(result.error) != vars(error):
        raise UnstorableError("it holds more than a status, a detail and headers")
    result.error = error
    return result


def restore(about: Mapping[str, Any], body: bytes, statuses: Collection[int]) -> Raised:
    """Return the exception that a record holds, as a result.

    Raises an exception for any other data, and for a status that is not in `statuses`.
    """
    name, count, given = about[_CLASS], about[_ARGS], codec.decode(body)
    by_name = dict(zip(_STATE[count:], given[count:], strict=True))
    error = _CLASSES[name](*given[:count], **by_name)
    if error.status_code not in statuses or not is_listed(error.status_code, statuses):
        raise ValueError(f"no exception with the status {error.status_code!r} was stored")
    return Raised(error, {_CLASS: name, _ARGS: count}, body)

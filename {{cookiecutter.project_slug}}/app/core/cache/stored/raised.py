"""Exceptions as results: what a function raised, and a hit raises again.

An `HTTPException` is stored if it can be built again as it was: its class is FastAPI's or
Starlette's own, and it holds a status, a detail and headers, and nothing else. An exception of
another class is stored if the decorator lists that very class, and its state is data: its `args` and
its attributes. It is built again without running any code of its class. The traceback, the cause and
the context tell how it came about. They are no part of the answer, and are not stored.
"""

from collections.abc import Collection, Mapping
from hashlib import blake2b
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
_DIGEST_BYTES = 4
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a `class` statement, or by an extension


class Raised(Response):
    """An exception in the place of a result: who hands out the result raises it instead.

    It has the status and the headers of an `HTTPException`, and is judged as a response that has
    them. `body` and `about` are what is stored.
    """

    def __init__(self, error: Exception, about: Mapping[str, Any], body: bytes) -> None:
        self.error, self.about, self.body = error, about, body
        self.status_code, self.background = 200, None
        self.raw_headers = []
        if not isinstance(error, starlette.HTTPException):
            return
        self.status_code = headers.checked_status(error.status_code)
        if error.headers is not None:
            self.raw_headers = headers.checked(list(error.headers.items()))
        if headers.told_length(self.raw_headers) is not None:
            raise ValueError("an exception cannot say how long its response is")

    def taken(self) -> Exception:
        """Return the exception, and let go of it: its traceback will hold what holds this."""
        error: Exception = vars(self).pop("error")
        return error


def class_name(cls: type) -> str:
    """Return the name that a record gives a class of exceptions.

    It has a digest of how objects are made: those of an older version of the class are not its own.
    """
    making = blake2b(digest_size=_DIGEST_BYTES)
    for each in cls.__mro__:
        for name in ("__new__", "__init__", "__str__"):
            code = getattr(vars(each).get(name), "__code__", None)
            if code is not None:
                making.update(code.co_code)
                making.update(repr((code.co_names, code.co_varnames)).encode())
    return f"{cls.__module__}:{cls.__qualname__}:{making.hexdigest()}"


def as_result(
    error: Exception, statuses: Collection[int], classes: Mapping[str, type[Exception]]
) -> Raised | None:
    """Return an exception as a result; `None` if it is none of those to store.

    These are each `HTTPException` with one of `statuses`, and the objects of `classes`. Raises
    `UnstorableError`, `TypeError` or `ValueError` if it would not come back equal.
    """
    listed = next((name for name, cls in classes.items() if cls is type(error)), None)
    if listed is not None:
        return _plain_result(listed, error, classes)
    if not statuses or not isinstance(error, starlette.HTTPException):
        return None
    if error.status_code not in statuses:
        return None
    name = next((name for name, cls in _CLASSES.items() if cls is type(error)), "")
    if not name:
        raise UnstorableError(
            f"a {type(error).__qualname__} may hold more than is known; raise an HTTPException "
            f"itself"
        )
    count, state = len(error.args), [getattr(error, name) for name in _STATE]
    given = [*error.args, *state[count:]]
    given[0] = index(given[0])  # an `HTTPStatus` comes back as a plain number
    result = restore({_CLASS: name, _ARGS: count}, codec.encode_checked(given), statuses, {})
    if vars(result.error) != vars(error):
        raise UnstorableError("it holds more than a status, a detail and headers")
    result.error = error
    return result


def restore(
    about: Mapping[str, Any],
    body: bytes,
    statuses: Collection[int],
    classes: Mapping[str, type[Exception]],
) -> Raised:
    """Return the exception that a record holds, as a result.

    Raises an exception for any other data, for a status that is not in `statuses`, and for a class
    that is not in `classes`.
    """
    name, count, given = about[_CLASS], about[_ARGS], codec.decode(body)
    if name not in _CLASSES:
        return Raised(_plain(classes[name], *given), {_CLASS: name, _ARGS: count}, body)
    by_name = dict(zip(_STATE[count:], given[count:], strict=True))
    error = _CLASSES[name](*given[:count], **by_name)
    if error.status_code not in statuses or not is_listed(error.status_code, statuses):
        raise ValueError(f"no exception with the status {error.status_code!r} was stored")
    return Raised(error, {_CLASS: name, _ARGS: count}, body)


def _plain_result(name: str, error: Exception, classes: Mapping[str, type[Exception]]) -> Raised:
    args, state = list(error.args), dict(vars(error))
    body = codec.encode_checked([args, state])
    result = restore({_CLASS: name, _ARGS: len(args)}, body, (), classes)
    again = result.error
    if (list(again.args), vars(again), str(again)) != (args, state, str(error)):
        raise UnstorableError(f"a {type(error).__qualname__} would not come back as it is")
    result.error = error
    return result


def _plain(cls: type[Exception], args: list[Any], state: dict[str, Any]) -> Exception:
    """Build an exception of a listed class without running its code."""
    base: Any = next(each for each in cls.__mro__ if not each.__flags__ & _HEAP_TYPE)
    error: Exception = base.__new__(cls, *args)
    base.__init__(error, *args)
    vars(error).update(state)
    return error

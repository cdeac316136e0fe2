"""What a key takes from the world around a call: headers of the request, and context variables.

    vary=(tenant, "accept-language")

A middleware or a dependency may put into a `ContextVar` who asks. Such a variable, or a function
without arguments that returns what decides about the result, is named in `vary=` beside headers.
"""

import inspect
from collections.abc import Callable, Collection
from contextvars import ContextVar
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from ..reads import HOST, SCHEME, context_variables, header, note
from ..stored import is_name
from ..values import UnkeyableError, canonical_text

Variable = ContextVar[Any] | Callable[[], Any]
Varying = Collection[str | Variable]
_MISSING = object()


class Vary:
    """What `vary=` names.

    Raises `TypeError` for what is neither header, variable nor function, and `ValueError` for a text
    that can be no header.
    """

    def __init__(self, given: Varying = ()) -> None:
        if isinstance(given, str):
            raise TypeError(f"vary={given!r} is a string; give a tuple: vary=({given!r},)")
        self.headers = tuple(sorted([each.lower() for each in given if isinstance(each, str)]))
        self.variables = tuple([_variable(each) for each in given if not isinstance(each, str)])
        for name in self.headers:
            if not is_name(name):
                raise ValueError(
                    f"vary= has {name!r}, which is no name of a header; give one such as "
                    f"'accept-language', and each as a text of its own"
                )
        self.names = [*self.headers, *map(name_of, self.variables)]
        """What tells these from others, the same in every process."""

    def __bool__(self) -> bool:
        return bool(self.names)

    @property
    def read(self) -> set[ContextVar[Any]]:
        """The context variables whose values it holds, or that a function of it reads."""
        return {found for each in self.variables for found in context_variables(each)}

    @property
    def words(self) -> set[str]:
        """What it holds of a request, in the words in which it is noted there."""
        words = set(map(header, self.headers))
        return words | {SCHEME} if HOST in words else words

    def write(self, connection: HTTPConnection | None) -> str:
        """Return what a key has of all that; raises `UnkeyableError` where that cannot be had."""
        written = ""
        if self.headers:
            if connection is None:
                raise UnkeyableError(
                    f"vary= names the header {self.headers[0]!r}, and this call has no request"
                )
            found = Headers(raw=list(connection.scope["headers"]))
            written = canonical_text([found.getlist(name) for name in self.headers])
            if "host" in self.headers:
                written += canonical_text([connection.scope.get("scheme")])
        for each in self.variables:
            try:
                written += canonical_text([_value(each)])
            except UnkeyableError as error:
                raise UnkeyableError(f"{name_of(each)} in vary=: {error}") from None
        return written


def name_of(variable: Variable) -> str:
    """Return how a variable or function is called."""
    if isinstance(variable, ContextVar):
        return f"the context variable {variable.name!r}"
    module, name = getattr(variable, "__module__", ""), getattr(variable, "__qualname__", "")
    return f"the function {module}.{name or type(variable).__qualname__}"


def _variable(given: Variable) -> Variable:
    """Return a variable, or a function that can be called without arguments."""
    owner = getattr(given, "__self__", None)
    if isinstance(owner, ContextVar):  # its `get`
        return owner
    if not isinstance(given, ContextVar) and not callable(given):
        raise TypeError(
            f"vary= has {given!r}, which is neither the name of a header, nor a ContextVar, nor a "
            f"function without arguments"
        )
    if inspect.iscoroutinefunction(given):
        raise TypeError(f"vary= has {given!r}, which is asynchronous; a key is made at once")
    return given


def _value(variable: Variable) -> tuple[Any, ...]:
    """Return a tuple of the value; an empty one for a context variable that has none."""
    if not isinstance(variable, ContextVar):
        return (variable(),)
    note(variable)
    value = variable.get(_MISSING)
    return () if value is _MISSING else (value,)

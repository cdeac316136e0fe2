"""What a key holds besides the arguments: headers of the request, and context variables.

    vary=(tenant, "accept-language")

A middleware or a dependency may store the current user in a `ContextVar`. `vary=` names such
variables, functions without arguments whose result matters, and headers.
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
    """The headers, context variables and functions that `vary=` names.

    Raises `TypeError` for any other object and for a single string, and `ValueError` for a text
    that cannot be the name of a header.
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
        """Their names, which are the same in every process."""

    def __bool__(self) -> bool:
        return bool(self.names)

    @property
    def read(self) -> set[ContextVar[Any]]:
        """The context variables that it names, and those that its functions name."""
        return {found for each in self.variables for found in context_variables(each)}

    @property
    def words(self) -> set[str]:
        """The parts of a request that it holds, in the words of `reads.requests`."""
        words = set(map(header, self.headers))
        return words | {SCHEME} if HOST in words else words

    def write(self, connection: HTTPConnection | None) -> str:
        """Return the text for the key; raises `UnkeyableError` if a value cannot be part of it."""
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
    """Return the name of a variable or function, for keys and messages."""
    if isinstance(variable, ContextVar):
        return f"the context variable {variable.name!r}"
    module, name = getattr(variable, "__module__", ""), getattr(variable, "__qualname__", "")
    return f"the function {module}.{name or type(variable).__qualname__}"


def _variable(given: Variable) -> Variable:
    """Return a checked variable or function; raises `TypeError` for anything else."""
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
    """Return the value in a tuple; an empty tuple for a context variable without a value."""
    if not isinstance(variable, ContextVar):
        return (variable(),)
    note(variable)
    value = variable.get(_MISSING)
    return () if value is _MISSING else (value,)

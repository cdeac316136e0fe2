"""Parameters that only FastAPI sees: by them a cached function learns which request it answers.

FastAPI fills in parameters of the types `HTTPConnection` and `Response`. When it asks for the signature
of a cached function, it is told of one of each, under names that nobody else uses; everybody else sees
the function's own. They are taken away before the function itself is called.
"""

import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, Self

from starlette.requests import HTTPConnection
from starlette.responses import Response

CONNECTION, RESPONSE = "_connection_of_cache", "_response_of_cache"
_KINDS = {CONNECTION: HTTPConnection, RESPONSE: Response}
_ASKER = "fastapi.dependencies.utils"


class SignatureForFastAPI(inspect.Signature):
    """A function's signature, in which FastAPI finds the parameters `hidden` as well.

    What is derived from it by `replace`, as a class-based view does, is one, too.
    """

    function: Callable[..., Any] | None = None
    hidden: Collection[str] = ()
    unseen: list[object]
    """Decorators through which FastAPI calls the function, and which hand on nothing but what they
    know: such calls cannot be told from those by hand."""

    @classmethod
    def of(
        cls, function: Callable[..., Any], signature: inspect.Signature, hidden: Collection[str]
    ) -> Self:
        """Return the signature that `function` is to have."""
        made = cls(
            list(signature.parameters.values()), return_annotation=signature.return_annotation
        )
        made.function, made.hidden, made.unseen = function, hidden, []
        return made

    @property
    def parameters(self) -> Any:
        """The parameters that whoever asks may see: told by the module that asks."""
        own: Mapping[str, inspect.Parameter] = super().parameters
        asker = sys._getframe(1)
        if asker.f_globals.get("__name__") != _ASKER:
            return own
        call = asker.f_locals.get("call", self.function)
        if _hands_on(call, self.function):
            return self._extended(own)
        self.unseen.append(call)
        return own

    def replace(self, **changes: Any) -> Self:
        """Return a signature with other parameters or annotation, and the same hidden ones."""
        made = super().replace(**changes)
        made.function, made.hidden, made.unseen = self.function, self.hidden, self.unseen
        return made

    def _extended(self, own: Mapping[str, inspect.Parameter]) -> dict[str, inspect.Parameter]:
        kind = inspect.Parameter.KEYWORD_ONLY
        hidden = {
            name: inspect.Parameter(name, kind, default=None, annotation=_KINDS[name])
            for name in self.hidden
        }
        return {**own, **hidden}


def steps(call: Any) -> Iterator[Any]:
    """Yield a call, what it is bound to an object, made partial, or decorated of, and so on."""
    while call is not None:
        yield call
        if isinstance(call, partial):
            call = call.func
        else:
            call = getattr(call, "__func__", None) or getattr(call, "__wrapped__", None)


def _hands_on(call: object, function: object) -> bool:
    """Whether a call is a function, or leads to it through decorators that take any argument."""
    for each in steps(call):
        if each is function:
            return True
        code = getattr(each, "__code__", None)
        if code is not None and not code.co_flags & inspect.CO_VARKEYWORDS:
            return False
    return False


def without_hidden(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return arguments without these."""
    return {name: each for name, each in kwargs.items() if name not in _KINDS}


def taken(kwargs: dict[str, Any]) -> tuple[HTTPConnection | None, Response | None]:
    """Take these arguments away, and return them."""
    connection, response = kwargs.pop(CONNECTION, None), kwargs.pop(RESPONSE, None)
    return (
        connection if isinstance(connection, HTTPConnection) else None,
        response if isinstance(response, Response) else None,
    )

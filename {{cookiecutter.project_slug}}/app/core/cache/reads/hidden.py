"""Hidden parameters, which only FastAPI sees. They tell a cached function its request.

FastAPI fills in parameters of the types `HTTPConnection` and `Response`. If it reads the signature
of a cached function, it finds one of each type, with names that nobody else uses. All others see
the function's own signature. The arguments are removed before the function itself is called.
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
    """A function's signature, in which FastAPI also finds the parameters `hidden`.

    `replace`, which class-based views call, returns such a signature, too.
    """

    function: Callable[..., Any] | None = None
    hidden: Collection[str] = ()
    unseen: list[object]
    """Decorators through which FastAPI calls the function, and that do not take `**kwargs`: the
    hidden arguments are lost there, so such calls look like direct calls."""

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
        """The parameters; with the hidden ones if the calling module is FastAPI's."""
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
    """Yield `call`, then what it wraps as a partial, method or decorator, and so on."""
    while call is not None:
        yield call
        if isinstance(call, partial):
            call = call.func
        else:
            call = getattr(call, "__func__", None) or getattr(call, "__wrapped__", None)


def _hands_on(call: object, function: object) -> bool:
    """Whether `call` is `function`, or wraps it in decorators that all take `**kwargs`."""
    for each in steps(call):
        if each is function:
            return True
        code = getattr(each, "__code__", None)
        if code is not None and not code.co_flags & inspect.CO_VARKEYWORDS:
            return False
    return False


def without_hidden(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments without the hidden ones."""
    return {name: each for name, each in kwargs.items() if name not in _KINDS}


def taken(kwargs: dict[str, Any]) -> tuple[HTTPConnection | None, Response | None]:
    """Remove the hidden arguments from `kwargs`, and return them."""
    connection, response = kwargs.pop(CONNECTION, None), kwargs.pop(RESPONSE, None)
    return (
        connection if isinstance(connection, HTTPConnection) else None,
        response if isinstance(response, Response) else None,
    )

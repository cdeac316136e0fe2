"""The request that a call answers, and what a hit does to its response."""

from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response

from ..keys import Vary
from ..stored import Raised, RenderedResponse
from .exchange import Exchange
from .reading import Hit


class Asked:
    """The request that a call answers, and the response that FastAPI builds for it."""

    __slots__ = ("connection", "exchange", "headers", "injected", "is_told")

    def __init__(
        self,
        connection: HTTPConnection | None = None,
        injected: Response | None = None,
        headers: frozenset[str] = frozenset(),
        exchange: Exchange | None = None,
        is_told: bool = False,
    ) -> None:
        self.connection = connection
        self.injected = injected
        self.headers = headers
        """Names of headers, in lower case, from which arguments in the key are made."""
        self.exchange = exchange
        """Those around the endpoint, if it is one, and if they take part."""
        self.is_told = is_told
        """Whether somebody is told how the call ends, and the cache is not switched off."""

    @property
    def form(self) -> str | None:
        """How the response is rendered, if it is to be stored like that."""
        return None if self.exchange is None else self.exchange.form

    def refuse(self, why: str) -> None:
        """Note, in one word, why the result is not stored."""
        if self.exchange is not None:
            self.exchange.refused(why)

    def varied(self, vary: Vary) -> frozenset[str]:
        """Return the names of the request's headers, in lower case, that the key holds."""
        return self.headers.union(vary.headers)


BY_HAND = Asked()


def handed_out(hit: Hit, args: tuple[Any, ...], kwargs: dict[str, Any], asked: Asked) -> Any:
    """Make the changes of a hit to the response, and return its value, or raise its exception."""
    value, changes = hit
    if changes is not None:
        given = (*args, *kwargs.values())
        found = next((each for each in given if isinstance(each, Response)), None)
        response = asked.injected or found
        if response is not None:
            changes.apply(response)
    if type(value) is RenderedResponse and asked.exchange is not None:
        return asked.exchange.response(value)
    if type(value) is Raised:
        raise value.taken()
    return value

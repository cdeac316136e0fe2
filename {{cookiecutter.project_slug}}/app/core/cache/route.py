"""Routes whose hits are sent as they were sent before.

    router = APIRouter(route_class=CachedRoute)     # and app.router.route_class = CachedRoute

FastAPI validates and encodes whatever an endpoint returns. On a route of this class that happens
once: what is stored is the body as it was rendered, and a hit hands it out, with the headers and
the status that dependencies set for this request. This is FastAPI's documented way to a route of
one's own (`get_route_handler`), inside all middlewares.

An endpoint is one that `cache_response` has decorated, with nothing above it but the route. Then
FastAPI calls an adapter in its place, of the same signature and with one parameter more, the
injected response. On a miss the adapter returns the function's value; FastAPI renders it, and the
handler, around all that, stores what was rendered before it leaves.

Where FastAPI renders what cannot be stored as it is, or where one function has two routes that
render differently, the value is stored, as without this class.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

from fastapi import routing
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from .calls import CachedCalls
from .forms import form_of
from .hints import signature_of
from .sending import Sending

_HIDDEN = "response_of_cached_route"

_sending: ContextVar[tuple["_Endpoint", Sending] | None] = ContextVar("sending", default=None)
"""The request on its way to an endpoint, which runs in the same task."""

_contexts: Callable[[Any], Any] = getattr(routing, "iter_route_contexts", iter)
"""Lists routes as they are where they are included; once, each inclusion was a route of its own."""


class CachedRoute(APIRoute):
    """A route that sends again what it has sent for a call of a cached endpoint."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.cached = _endpoint_of(endpoint)
        super().__init__(path, endpoint if self.cached is None else self.cached.adapter, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, with what is stored around it."""
        handle, endpoint, status = super().get_route_handler(), self.cached, self.status_code
        if endpoint is None:
            return handle
        is_known = False

        async def handle_cached(request: Request) -> Response:
            nonlocal is_known
            if not is_known:  # FastAPI makes the routes of an included router when it needs them
                endpoint.learn(request.app)
                is_known = True
            form = endpoint.form
            if form is None:
                return await handle(request)
            sending = Sending(form, status)
            token = _sending.set((endpoint, sending))
            try:
                response = await handle(request)
            except BaseException as error:
                sending.abandon(error)
                raise
            finally:
                _sending.reset(token)
            await sending.finish(response)
            return response

        return handle_cached


class _Endpoint:
    """A cached function as an endpoint, and the forms in which its routes render its results."""

    def __init__(self, calls: CachedCalls, function: Callable[..., Any]) -> None:
        self._calls, self.function = calls, function
        self.form: str | None = None
        """The one form that all of its routes have, as far as they are known."""
        self._forms: set[str | None] = set()
        self.adapter = self._adapted(function, calls.parameters.response)

    def learn(self, app: Any) -> None:
        """Look at all routes of an application that have this endpoint."""
        for context in _contexts(app.routes):
            route = getattr(context, "original_route", context)
            if isinstance(route, CachedRoute) and route.cached is self:
                self._forms.add(form_of(context))
        self.form = next(iter(self._forms)) if len(self._forms) == 1 else None

    def _adapted(self, function: Callable[..., Any], own: str | None) -> Callable[..., Any]:
        """Return what FastAPI calls: it takes the injected response, and so may be hit."""

        @functools.wraps(function)
        async def adapter(*args: Any, **kwargs: Any) -> Any:
            injected = kwargs.pop(_HIDDEN, None) if own is None else kwargs.get(own)
            under_way = _sending.get()
            if under_way is None or under_way[0] is not self or not isinstance(injected, Response):
                return await self._calls.call(args, kwargs)
            _sending.set(None)  # what the function calls is no endpoint of this request
            under_way[1].injected = injected
            return await self._calls.call(args, kwargs, sending=under_way[1])

        if own is None:
            signature = signature_of(function)
            kind = inspect.Parameter.KEYWORD_ONLY
            hidden = inspect.Parameter(_HIDDEN, kind, default=None, annotation=Response)
            parameters = list(signature.parameters.values())
            last = len(parameters)
            if parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
                last -= 1
            parameters.insert(last, hidden)
            adapter.__dict__["__signature__"] = signature.replace(parameters=parameters)
        return adapter


def _endpoint_of(function: Callable[..., Any]) -> _Endpoint | None:
    """Return what a cached function is as an endpoint; `None` for any other function."""
    calls = getattr(function, "calls", None)
    if not isinstance(calls, CachedCalls):
        return None
    if calls.endpoint is None and function is calls.decorated and _can_be_adapted(calls, function):
        calls.endpoint = _Endpoint(calls, function)
    # Not `calls.endpoint` alone: a decorator above has the attributes of what it wraps.
    known: _Endpoint | None = calls.endpoint
    return known if known and function in (known.function, known.adapter) else None


def _can_be_adapted(calls: CachedCalls, function: Callable[..., Any]) -> bool:
    """Whether a response that the function takes is known, and is no dependency's."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:  # a name that exists for type checkers only fails in many ways
        return False
    name = calls.parameters.response
    if name is None:
        return True
    default = signature_of(function).parameters[name].default
    given = (default, *typing.get_args(hints[name]))
    return not any(isinstance(each, Depends) for each in given)

"""What a function reads of the request, and does to the response, while it runs."""

from collections.abc import Collection
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from . import requests, responses
from .injected import Changes, snapshot
from .keys import Parameters


class Watch:
    """What happens, during one run of a function, to what FastAPI handed it.

    `injected` is FastAPI's response where the function has no parameter for it: it may get hold of
    it all the same, from a dependency.
    """

    def __init__(
        self,
        parameters: Parameters,
        vary: Collection[str],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        injected: Response | None = None,
    ) -> None:
        self.args, self.kwargs, self._vary = args, kwargs, vary
        self.noted: set[str] = set()
        self._response = injected
        self._before = None if injected is None else snapshot(injected)
        self._is_given = False
        self._background: Any = None
        self._tasks = 0
        if parameters.request is parameters.response is parameters.background is None:
            return
        given = parameters.signature.bind(*args, **kwargs)
        request = given.arguments.get(parameters.request or "")
        if isinstance(request, Request):
            given.arguments[parameters.request or ""], self.noted = requests.noting(request, vary)
            self.args, self.kwargs = given.args, given.kwargs
        response = given.arguments.get(parameters.response or "")
        if isinstance(response, Response):
            self._response, self._before = response, snapshot(response)
            self._is_given = True
        self._background = given.arguments.get(parameters.background or "")
        self._tasks = len(getattr(self._background, "tasks", ()))

    def changes(self) -> Changes | None:
        """Return what the function did to the injected response, if there is one."""
        if self._response is None or self._before is None:
            return None
        return Changes.between(self._before, self._response)

    def why_not_stored(self, statuses: Collection[int]) -> str | None:
        """Return why the injected response or background tasks forbid to store, or `None`."""
        if len(getattr(self._background, "tasks", ())) > self._tasks:
            return "it scheduled a background task"
        if self._response is None or not (self._is_given or self.changes()):
            return None
        return responses.why_not_stored(self._response, statuses, self._vary)

"""What a function reads besides its arguments, and changes in responses, while it runs."""

from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection
from starlette.responses import Response

from ..coherence import TELLING, is_of_the_server
from ..reads import Reads, Variable, handed, requests
from ..stored import Changes, responses, snapshot

_WATCHED = (HTTPConnection, *handed.KINDS)

InKey = tuple[AbstractSet[str], AbstractSet[Variable]]
"""What a key holds: parts of the request, by the words that note them, and context variables."""


class SideEffects:
    """What one run of a function reads, and what it changes in its arguments.

    Requests, responses and background tasks are recognised by their class, not by annotations. In
    `args` and `kwargs` there are doubles of them, which note what is read. `injected` is FastAPI's
    response if the function has no parameter for it: a dependency may still pass it on. With
    `is_shared` the answer is the same for everybody, whatever is read.
    """

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        injected: Response | None = None,
        *,
        is_shared: bool = False,
        ignored: Collection[Variable] = (),
        handed_on: Collection[Variable] = (),
    ) -> None:
        self._noted: set[str] = set()
        self.reads = Reads(None if is_shared else ignored)
        """Context variables that it reads, except `ignored`; those `handed_on` count as read."""
        for each in handed_on:
            self.reads.note(each)
        self._has_request = False
        self.args, self.kwargs = args, dict(kwargs)
        given = (*args, *kwargs.values())
        if not is_shared and any(isinstance(each, _WATCHED) for each in given):
            self.args = tuple([self._double(each) for each in args])
            self.kwargs = {name: self._double(each) for name, each in kwargs.items()}
        own = [handed.original(each) for each in given]  # a caller may have been given doubles
        found = [each for each in own if isinstance(each, Response)]
        self.injected = found[0] if injected is None and found else handed.original(injected)
        self._before = {
            id(each): (each, snapshot(each)) for each in (self.injected, *found) if each is not None
        }
        self._tasks = [(each, len(each.tasks)) for each in own if isinstance(each, BackgroundTasks)]

    def _double(self, value: Any) -> Any:
        if not isinstance(value, _WATCHED):
            return value
        is_request = isinstance(value, HTTPConnection)
        self._has_request = self._has_request or is_request
        try:
            return (requests if is_request else handed).watched(value, self._noted)  # pyright: ignore[reportArgumentType]
        except Exception:  # a class that cannot be subclassed
            self._noted.add(requests.WHOLE)
            return value

    def unkeyed(self, in_key: Callable[[], InKey]) -> list[str | Variable]:
        """Return what was read, of the request and of context variables, and is not in the key."""
        if not self._noted and not self.reads.found:
            return []
        words, variables = in_key()
        untold = sorted(self.reads.found - variables, key=lambda each: each.name)
        return [*sorted(self._noted - words), *untold]

    def changes(self) -> Changes | None:
        """Return the function's changes to the injected response, if there is one."""
        if self.injected is None:
            return None
        return Changes.between(self._before[id(self.injected)][1], self.injected)

    def why_not_stored(
        self, value: object, statuses: Collection[int], varied: Collection[str]
    ) -> str | None:
        """Return why the injected response or background tasks forbid to store, or `None`.

        `varied` are the headers of the request, in lower case, that the key holds.
        """
        if any(len(tasks.tasks) > before for tasks, before in self._tasks):
            return "it scheduled a background task"
        for response, before in self._before.values():
            changes = Changes.between(before, response)
            if handed.original(value) is response:
                return "it is a response that the function was given"
            if response is not self.injected and changes:
                return "it changed a response that a dependency made"
            if changes.mixed:
                return f"it replaced what a dependency had set: {', '.join(changes.mixed)}"
        if self.injected is None:
            return None
        # Cookies that dependencies set are sent, and not stored.
        own = _without_cookies_of(self._before[id(self.injected)][1], self.injected)
        return responses.why_not_stored(own, statuses, varied)

    def has_failed(self) -> bool:
        """Whether the function has set a status of 500 or more on the injected response."""
        status: int | None = None if self.injected is None else self.injected.status_code
        return status is not None and is_of_the_server(status)

    def undo(self) -> None:
        """Give responses the status and the headers that they had before."""
        for response, before in self._before.values():
            response.status_code = before.status_code
            response.raw_headers[:] = before.raw_headers

    def is_private(self, in_key: Callable[[], InKey]) -> bool:
        """Whether the exception of the function may be for this caller only.

        It is, if the function was given a request: the exception may hold it, and a handler may
        read it. `exceptions` judges whatever else an exception may hold.
        """
        try:
            changes = [Changes.between(before, each) for each, before in self._before.values()]
            has_told = not all(each.names.isdisjoint(TELLING) for each in changes)
            return self._has_request or has_told or bool(self.unkeyed(in_key))
        except Exception:  # a response that does not behave like one
            return True


def _without_cookies_of(before: Response, response: Response) -> Response:
    """Return a response without the cookies that were set before."""
    copy = snapshot(response)
    old = [line for line in before.raw_headers if line[0].lower() == b"set-cookie"]
    for line in old:
        if line in copy.raw_headers:
            copy.raw_headers.remove(line)
    return copy

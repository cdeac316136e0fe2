"""What a function reads of its surroundings, and does to the response, while it runs."""

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
"""What a key holds of a request, in the words in which it is noted, and which context variables."""


class SideEffects:
    """What happens, during one run of a function, to what it was given.

    Requests, responses and background tasks are known by what they are, not by annotations. The
    function is given doubles of them, `args` and `kwargs`, that note what is read. `injected` is
    FastAPI's response where the function has no parameter for it: a dependency may hand it over all
    the same. With `is_shared` the answer is the same for everybody, whatever is read.
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
        """The context variables that it reads, but those `ignored`; those `handed_on` count as read."""
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
            return (requests if is_request else handed).watched(value, self._noted)
        except Exception:  # of a class that does not let itself be derived from
            self._noted.add(requests.WHOLE)
            return value

    def unkeyed(self, in_key: Callable[[], InKey]) -> list[str | Variable]:
        """Return what of the request, and which context variables, were read and are not in the key."""
        if not self._noted and not self.reads.found:
            return []
        words, variables = in_key()
        untold = sorted(self.reads.found - variables, key=lambda each: each.name)
        return [*sorted(self._noted - words), *untold]

    def changes(self) -> Changes | None:
        """Return what the function did to the injected response, if there is one."""
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
        # What dependencies set is sent, but never repeated.
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
        """Whether what the function raised may be for this caller only.

        An exception may hold the request, and its handler read that: so where the function was given
        one, it is. What else an exception may hold, `exceptions` knows.
        """
        try:
            changes = [Changes.between(before, each) for each, before in self._before.values()]
            has_told = not all(each.names.isdisjoint(TELLING) for each in changes)
            return self._has_request or has_told or bool(self.unkeyed(in_key))
        except Exception:  # of a response that is none
            return True


def _without_cookies_of(before: Response, response: Response) -> Response:
    """Return a response without the cookies that were set before."""
    copy = snapshot(response)
    old = [line for line in before.raw_headers if line[0].lower() == b"set-cookie"]
    for line in old:
        if line in copy.raw_headers:
            copy.raw_headers.remove(line)
    return copy

"""One request to an endpoint whose response is stored as it was sent.

The route opens a `ResponseCapture` before FastAPI solves the request, and ends it before the
response leaves. The endpoint runs in between, in the same task: it finds it, and leaves its fill.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Self

from starlette.responses import Response

from ..coherence import Fill, Outcome, is_failure
from ..loops import reset
from ..reads import Watching
from ..stored import RenderedResponse, sent
from .side_effects import SideEffects

_sending: ContextVar["ResponseCapture | None"] = ContextVar("sending", default=None)
"""The request on its way to an endpoint, which runs in the same task."""


class ResponseCapture:
    """A request on its way to the endpoint that `calls` belong to.

    `form` says how the route renders, and `status` is the status that the route sets.
    """

    __slots__ = (
        "_calls",
        "_fill",
        "_note",
        "_record",
        "_token",
        "_watching",
        "form",
        "injected",
        "status",
    )

    injected: Response
    """Dependencies set headers and a status on it; FastAPI adds them to what it renders."""

    def __init__(self, calls: object, form: str, status: int | None) -> None:
        self._calls, self.form, self.status = calls, form, status
        self._fill: Fill | None = None
        self._watching: Watching | None = None

    def __enter__(self) -> Self:
        self._token = _sending.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        reset(_sending, self._token)

    def is_for(self, calls: object) -> bool:
        """Whether these are the calls of the endpoint."""
        return self._calls is calls

    def response(self, stored: RenderedResponse) -> Response:
        """Return the response to send for a stored one."""
        return sent.response_of(stored, self.injected)

    def wait(
        self,
        fill: Fill,
        record: Callable[[Response], bytes | None],
        note: Callable[[Outcome], None],
        watch: SideEffects | None,
    ) -> None:
        """Keep a fill until the response is there: `record` makes its record, `note` the outcome.

        Reads while it is rendered are added to those in `watch`.
        """
        self._fill, self._record, self._note = fill, record, note
        if watch is not None:
            self._watching = Watching(watch.reads)
            self._watching.begin()

    async def finish(self, response: Response) -> None:
        """Store the response, if a fill waits for it."""
        if self._fill is not None:
            self._end()
            failed = is_failure(response)
            self._note(await self._fill.finish(self._record(response), failed=failed))

    def abandon(self, error: BaseException) -> None:
        """End the fill without a response."""
        if self._fill is not None:
            self._end()
            self._fill.abandon(error)

    def _end(self) -> None:
        if self._watching is not None:
            self._watching.end()

    def taken_from(self, response: Response, *, has_status: bool) -> RenderedResponse | None:
        """Return what the response class rendered, or `None` if that cannot be known.

        `has_status` says that the endpoint set the status; then a hit sets it, too.
        """
        by_dependency = self.injected.status_code and not has_status
        status = self.status if by_dependency else response.status_code
        return None if status is None else sent.taken_from(response, self.injected, status)


def sending_to(calls: object, injected: Response) -> ResponseCapture | None:
    """Return the request on its way to the endpoint that `calls` belong to, if it has a route.

    It is found once: functions that the endpoint calls are no endpoints of this request.
    """
    sending = _sending.get()
    if sending is None or not sending.is_for(calls):
        return None
    _sending.set(None)
    sending.injected = injected
    return sending

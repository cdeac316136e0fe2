"""One request to an endpoint whose response is stored as it was sent.

The route opens it before FastAPI solves the request, and ends it before the response leaves. In
between the endpoint runs, in the same task: it finds it there and leaves what is still to be done.
"""

from collections.abc import Callable

from starlette.responses import Response

from . import sent
from .fence import Fill, How
from .freshness import is_failure
from .sent import Sent


class Sending:
    """A request on its way. `form` says how the route renders, `status` is the one that it sets."""

    __slots__ = ("_fill", "_note", "_record", "form", "injected", "status")

    injected: Response
    """What dependencies set headers and status on; FastAPI adds them to what it renders."""

    def __init__(self, form: str, status: int | None) -> None:
        self.form, self.status = form, status
        self._fill: Fill | None = None

    def response(self, stored: Sent) -> Response:
        """Return the response to send where it was sent before."""
        return sent.response_of(stored, self.injected)

    def wait(
        self,
        fill: Fill,
        record: Callable[[Response], bytes | None],
        note: Callable[[How], None],
    ) -> None:
        """Note what to do when the response is there: make a record of it, and tell what became."""
        self._fill, self._record, self._note = fill, record, note

    async def finish(self, response: Response) -> None:
        """Store the response if it was rendered for that."""
        if self._fill is not None:
            failed = is_failure(response)
            self._note(await self._fill.finish(self._record(response), failed=failed))

    def abandon(self, error: BaseException) -> None:
        """Give up: there is no response."""
        if self._fill is not None:
            self._fill.abandon(error)

    def taken_from(self, response: Response, *, has_status: bool) -> Sent | None:
        """Return what the response class made, or `None` where that cannot be told.

        `has_status` says that the endpoint set the status, as it will do for a hit.
        """
        by_dependency = self.injected.status_code and not has_status
        status = self.status if by_dependency else response.status_code
        return None if status is None else sent.taken_from(response, self.injected, status)

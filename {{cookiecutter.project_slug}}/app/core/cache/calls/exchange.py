"""One request to a cached endpoint: what the endpoint and those around it tell each other.

A middleware, or the route, puts an `Exchange` into the scope of the request. The endpoint finds it
there, and notes what the cache did. If the response is to be stored as it is rendered, the endpoint
leaves its fill there, which ends when the response is known.
"""

from collections.abc import Callable, MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import Response

from ..coherence import Cached, Fill, Look, Outcome, is_failure
from ..reads import Watching
from ..stored import RenderedResponse, sent
from .dependencies import Standing
from .side_effects import SideEffects
from .wishes import Wish

if TYPE_CHECKING:
    from .cached_calls import CachedCalls

Scope = MutableMapping[str, Any]

EXCHANGE = "cache.exchange"
"""The key in an ASGI scope."""


class Rendering(NamedTuple):
    """How a route renders: a fingerprint, and the status that the route sets."""

    form: str
    status: int | None


@lru_cache(maxsize=4096)  # the near cache knows tags by the object
def joined(tags: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys of all these tags."""
    return (*more, *tags)


class Exchange:
    """One request, and the answer of a cached endpoint to it."""

    injected: Response
    """Dependencies set headers and a status on it; FastAPI adds them to what it renders."""
    standing: Standing
    """What the endpoint is in its route."""
    # Defaults are here, because a request to a route that is not cached must cost nothing.
    rendering: "Callable[[CachedCalls, Standing, Scope], Rendering | None] | None" = None
    """Says how the route of a scope renders; `None` if no response is stored as it is rendered."""
    calls: "CachedCalls | None" = None
    """The calls of the endpoint; `None` if it is not cached."""
    key = ""
    tags: tuple[str, ...] = ()
    outcome: Outcome | None = None
    has_run = False
    """Whether the function has run for this request."""
    may_be_changed = False
    """Whether others may change the response, or refuse who asks."""
    look: "tuple[str, tuple[str, ...], Look] | None" = None
    """A key, its tags, and what the backend has just said of them."""
    is_near = False
    """Whether the near cache had the entry."""
    was_due = False
    """Whether there was an entry that was due to be computed again."""
    wish: Wish | None = None
    """What the request wants of the cache; `None` if nothing, or if it has no say in that."""
    more_tags: tuple[str, ...] = ()
    """The keys of tags that the entry gets because of the request."""
    is_refused = False
    """Whether the request would not have the entry that there was."""
    why = ""
    """One word that says why the result was not stored."""
    form: str | None = None
    """How the route renders, if the response is to be stored like that."""
    rendered: RenderedResponse | None = None
    """The entry that answers, if it is a rendered response."""
    _fill: Fill | None = None
    _watching: Watching | None = None

    def begin(
        self, calls: "CachedCalls", standing: Standing, scope: Scope, injected: object
    ) -> bool:
        """Note whose request it is; return whether that was not known.

        It is found once: functions that the endpoint calls are no endpoints of this request.
        """
        if self.calls is not None:
            return False
        self.calls, self.standing = calls, standing
        if isinstance(injected, Response) and self.rendering is not None:
            self.injected = injected
            found = self.rendering(calls, standing, scope)
            if found is not None:
                self.form, self._status = found
        return True

    def seen(self, found: Cached) -> Cached | None:
        """Note an entry; return it, or `None` if the request will not have it."""
        if self.wish is not None and self.wish.refuses(found.value[0], again=self.is_refused):
            self.is_refused = True
            return None
        self.was_due = self.was_due or found.due
        return found

    def response(self, stored: RenderedResponse) -> Response:
        """Return the response to send for a stored one."""
        self.rendered = stored
        return sent.response_of(stored, self.injected)

    def looked(self, key: str, tags: tuple[str, ...]) -> Look | None:
        """Return what the backend has just said of a key, if it was asked."""
        look = self.look
        return look[2] if look is not None and look[:2] == (key, tags) else None

    def refused(self, why: str) -> None:
        """Note why the result is not stored; the first word counts."""
        self.why = self.why or why

    def wait(
        self,
        fill: Fill,
        record: Callable[[Response | None], bytes | None],
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

    async def finish(self, response: Response | None) -> None:
        """Store the response, if a fill waits for it; the value, if the response is not known."""
        fill = self._end()
        if fill is not None:
            failed = is_failure(response)
            self._note(await fill.finish(self._record(response), failed=failed))

    def abandon(self, error: BaseException) -> None:
        """End the fill without a response."""
        fill = self._end()
        if fill is not None:
            self.refused("raised")
            self._note(Outcome.NOT_STORED)
            fill.abandon(error)

    def _end(self) -> Fill | None:
        fill, self._fill = self._fill, None
        if fill is not None and self._watching is not None:
            self._watching.end()
        return fill

    @property
    def is_waiting(self) -> bool:
        """Whether a fill waits for the response."""
        return self._fill is not None

    def taken_from(self, response: Response, *, has_status: bool) -> RenderedResponse | None:
        """Return what the response class rendered, or `None` if that cannot be known.

        `has_status` says that the endpoint set the status; then a hit sets it, too.
        """
        by_dependency = self.injected.status_code and not has_status
        status = self._status if by_dependency else response.status_code
        return None if status is None else sent.taken_from(response, self.injected, status)

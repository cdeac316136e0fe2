"""A call that is no hit: it runs the function, and its result may become an entry.

What the function reads of the request and changes in the response is recorded. This decides whether
the result may be stored for everybody who makes the same call.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from ..base import Nonces
from ..coherence import (
    Cached,
    Computed,
    Freshness,
    Outcome,
    Result,
    holds_only_data,
    is_answer,
    is_failure,
)
from ..keys import all_tags_key
from ..reads import Reads, during, handed, run_watched
from ..stored import Raised, Shown, owner_of, raised, responses, stated
from .asked import Asked, handed_out
from .reading import INJECTED
from .recording import Recorder
from .side_effects import InKey, SideEffects
from .tag_nonces import TAGS, tags_of_record
from .told import tell_of_run
from .warn import called, why_unkeyed

if TYPE_CHECKING:
    from .cached_calls import CachedCalls

_READ = "it read "
_MEANT = (_READ, "its status is ", "its Cache-Control is ", "its Pragma is ", "it says that ")
"""Reasons that need no warning: the function meant them, or they were warned of before."""


class OneCall:
    """One call, as the fence knows it. Its values are pairs: a result, and changes for a hit."""

    def __init__(  # noqa: PLR0917 - a call for itself: by position takes less time
        self,
        calls: "CachedCalls",
        key: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tags: tuple[str, ...],
        asked: Asked,
    ) -> None:
        self._calls, self._key, self._args, self._kwargs = calls, key, args, kwargs
        self._tags, self._asked, self._exchange = tags, asked, asked.exchange
        self._form = asked.form
        self.owner: object = calls
        self.seconds, self._is_noted = 0.0, False
        """How long the function ran, and whether somebody was told how that ended."""
        self.is_private = False
        """Whether the exception of the function is for this caller only."""
        self.has_refused = False
        """Whether its request would not have the entry that is there."""
        self.watch: SideEffects | None = None
        """What the function read and changed, if it ran."""
        self.in_background = calls.in_background
        self.record: Callable[[Response | None], bytes | None] | None = None
        """Makes a record of the response, if the response is to be stored and not the result."""

    def read(self, data: bytes, nonces: Nonces) -> Cached | None:
        """Return what a record holds, or `None` if it is of no use."""
        calls, key = self._calls, self._key
        found = calls.reader.read(key, data, self._tags, nonces, calls.freshness, form=self._form)
        if found is not None and self._exchange is not None:
            found = self._exchange.seen(found)
            self.has_refused = self._exchange.is_refused
        owner = owner_of(key, data) if found is None else b""
        if owner and owner != calls.owner_digest and owner in calls.store.readers:
            calls.warnings.once("hits never", self._why_taken_away(owner))
        return found

    def _why_taken_away(self, owner: bytes) -> str:
        calls = self._calls
        another, remedy = "another function has", "give each a key_prefix= of its own"
        if calls.store.readers[owner].owner.startswith(
            calls.identity.who
        ):  # its name, and its data
            another = "a function of the same name, which captured another object, has"
            remedy = "make the object an argument, or give each a key_prefix= of its own"
        return (
            f"{another} the same keys, such as {Shown(self._key)}, and each takes the other's "
            f"entries away; {remedy}"
        )

    def is_answer(self, error: BaseException) -> bool:
        """Whether an exception is an answer: one below 500, or one of those to store."""
        return is_answer(error) or type(error) in self._calls.keeping.exceptions.values()

    def failed(self, value: Any) -> bool:
        """Whether a result is a failure, or the function has set the status of one."""
        return is_failure(value[0]) or (self.watch is not None and self.watch.has_failed())

    def _in_key(self) -> InKey:
        """Return which parts of the request, and which context variables, the key holds.

        A variable that is read while the key is made counts as in it, and so does an ignored one.
        """
        calls, args, kwargs, reads = self._calls, self._args, self._kwargs, Reads()
        try:
            if self.watch is None or self.watch.reads.found:  # else nobody needs them
                during(reads, lambda: calls.keys.built(args, kwargs, self._asked.connection))
            return calls.keys.reads(args, kwargs), reads.found | calls.ignored
        except Exception:  # a `key=` that fails the second time: the key holds nothing
            return set(), calls.ignored

    def finished(self, result: Result) -> Any:
        """Return what the caller gets; if its response is to be stored, the exchange does that."""
        exchange = self._exchange
        if exchange is not None:
            exchange.key, exchange.tags = self._key, self._tags
        if result.outcome is Outcome.STALE and self.watch is not None:
            self.watch.undo()  # the changes of a refresh that failed
            if not self._is_noted:  # by what it returned
                self.note(Outcome.NOT_STORED, "response")
        if exchange is not None and result.fill is not None and self.record is not None:
            exchange.wait(result.fill, self.record, self._note, self.watch)
            return result.value[0]
        self._note(result.outcome)
        return handed_out(result.value, self._args, self._kwargs, self._asked)

    def _note(self, outcome: Outcome) -> None:
        if self._exchange is not None:
            self._exchange.outcome = outcome
        self.note(outcome)
        self._calls.warnings.logger.debug("%s %s", outcome.value, Shown(self._key))

    def note(self, outcome: Outcome | None, why: str = "") -> None:
        """Tell how the run of the function has ended, if it ran; `None` if it raised."""
        if self.watch is None or (outcome is Outcome.STALE and self._is_noted):
            return  # it has not run, or that has been told
        if outcome is Outcome.STALE:  # it ran in the background, and returned a failure
            outcome, why = Outcome.NOT_STORED, "response"
        self._is_noted = True
        why = why or ("" if self._exchange is None else self._exchange.why)
        tell_of_run(self._calls, outcome, self._key, self.seconds, why)

    async def compute(self, nonces: Nonces) -> Computed:
        """Run the function; make a record of its result, or of what it raised, if all may have it."""
        made = await self._compute(nonces)
        if made.data is None and isinstance(made.value[0], Raised):
            self.note(None)
            raise made.value[0].taken()
        return made

    async def _compute(self, nonces: Nonces) -> Computed:
        calls = self._calls
        calls.warnings.logger.debug("miss %s", Shown(self._key))
        if self._exchange is not None:
            self._exchange.has_run = True
        self.watch = watch = SideEffects(
            self._args,
            self._kwargs,
            self._asked.injected,
            is_shared=calls.is_shared,
            ignored=calls.ignored,
            handed_on=calls.handed_on,
        )
        value = await self._run(watch)
        value = handed.original(value)
        freshness, keep = self._kept(value)
        about, ms = freshness.stamp(self.seconds)
        if self._tags and nonces:
            about[TAGS] = tags_of_record(self._tags, nonces)
        if calls.derives:
            keep = await self._derive(value, nonces, about) and keep
        if freshness.expire == 0:
            self._asked.refuse("stale")
        if freshness.expire == 0 or not self._may_be_stored(value, watch, about):
            return Computed((value, None), None, ms, keep)
        for said in (value, watch.injected):
            if isinstance(said, Response):
                ms = freshness.limited(about, ms, stated(said))
        if ms <= 0:
            self._asked.refuse("stale")
            return Computed((value, None), None, ms, keep)
        unkeyed = partial(watch.unkeyed, self._in_key)
        recorder = Recorder(calls, self._key, self._asked, freshness, about, ms, unkeyed)
        if self._form is None or isinstance(value, Response):
            return Computed((value, None), recorder.of_result(value), ms, keep)
        self.record = partial(recorder.of_response, value)
        return Computed((value, None), None, ms, keep, later=partial(recorder.of_result, value))

    async def _run(self, watch: SideEffects) -> Any:
        """Run the function; return its result, or its exception as one that may be stored."""
        calls, began = self._calls, time.monotonic()
        value = None
        try:
            value = await run_watched(watch.reads, partial(calls.run, *watch.args, **watch.kwargs))
        except BaseException as error:
            self.seconds = time.monotonic() - began
            if isinstance(error, Exception):  # else it was cancelled
                self.is_private = watch.is_private(self._in_key)
                value = self._raised(error)
            if value is None:
                self.note(None)
                raise
        self.seconds = time.monotonic() - began
        return value

    def _raised(self, error: Exception) -> Raised | None:
        """Return an exception as a result if it may be stored; no tags are derived from one."""
        classes, why = self._calls.keeping.exceptions, "it holds what may be for one client"
        try:
            if self._calls.derives:
                return None
            if type(error) not in classes.values() or holds_only_data(error):
                return raised.as_result(error, self._calls.statuses, classes)
        except Exception as failed:
            why = str(failed)
        self._calls.warnings.once("is not stored", f"it cannot be raised again: {why}")
        return None

    def _kept(self, value: object) -> tuple[Freshness, bool]:
        """Return how a result ages, and whether it is to be stored: if not, it may be shared."""
        keeping, freshness, is_wanted = self._calls.keeping, self._calls.freshness, False
        if keeping.is_plain and not isinstance(value, Raised):
            return freshness, True
        try:
            freshness = keeping.freshness(value, self._args, self._kwargs)
            is_wanted = keeping.wants(value)
        except Exception as error:
            why = f"its store_if= or expire= failed: {type(error).__name__}: {error}"
            self._calls.warnings.once("is not stored", why)
        if not is_wanted:
            self._asked.refuse("store_if")
        return freshness, is_wanted

    async def _derive(self, value: Any, nonces: Nonces, about: dict[str, Any]) -> bool:
        """Note the tags that are derived from a result; return whether it may be stored.

        First their nonces are read, then the nonce of all tags. That one changes before any other
        nonce: if it is the same as before the function ran, none of the tags was invalidated since.
        """
        if not nonces:  # the backend is away
            return False
        store, calls = self._calls.store, self._calls
        try:
            tags = calls.tags.derived(value)
        except Exception as error:
            calls.warnings.once("is not stored", f"its tags cannot be derived: {error!r}")
            self._asked.refuse("tags")
            return False
        made = await store.fence.looks.nonces_made(tags)
        if made is None:
            return False
        now = await store.fence.looks.nonces_now((all_tags_key(store.key_prefix),))
        if now is None or now != nonces[-1:]:
            return False
        about[TAGS] = {**about.get(TAGS, {}), **tags_of_record(tags, made)}
        return True

    def _may_be_stored(self, value: object, watch: SideEffects, about: dict[str, Any]) -> bool:
        """Return whether a result is for everybody; note its changes of the injected response."""
        warnings = self._calls.warnings
        try:
            reason = self._why_not_stored(value, watch)
            changes = watch.changes()
        except Exception as error:  # a response that does not behave like one
            warnings.once("is not stored", f"it cannot be examined: {error!r}")
            self._asked.refuse("response")
            return False
        if reason is not None:
            self._asked.refuse("unkeyed" if reason.startswith(_READ) else "response")
            warnings.not_stored(reason)
            if not reason.startswith(_MEANT):
                warnings.once("is not stored", reason)
            return False
        if changes:
            about[INJECTED] = changes.to_json()
        return True

    def _why_not_stored(self, value: object, watch: SideEffects) -> str | None:
        """Return why this result is for this caller only, or `None`; warn once of a mistake."""
        statuses, varied = self._calls.statuses, self._asked.varied(self._calls.vary)
        if isinstance(value, Response):
            if responses.is_stream(value):
                return "it is a stream"
            reason = responses.why_not_stored(value, statuses, varied)
            if reason is not None:
                return reason
        unkeyed = watch.unkeyed(self._in_key)
        if unkeyed:
            why = why_unkeyed(unkeyed, has_own_key=self._calls.keys.has_own)
            self._calls.warnings.once("is not stored", why, unkeyed)
            return f"{_READ}{', '.join(map(called, unkeyed))}"
        return watch.why_not_stored(value, statuses, varied)

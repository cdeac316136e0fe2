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
from ..coherence import Cached, Computed, Outcome, Result, is_failure
from ..keys import all_tags_key
from ..reads import Reads, during, handed, run_watched
from ..stored import Record, Shown, codec, owner_of, responses, sent, stated
from .asked import Asked, handed_out
from .reading import FORM, INJECTED, RESPONSE, SENT, TAGS, VALUE, tags_of_record
from .response_capture import ResponseCapture
from .side_effects import InKey, SideEffects
from .storing import stored_bytes
from .warn import called, why_unkeyed

if TYPE_CHECKING:
    from .cached_calls import CachedCalls

_MEANT = ("it read ", "its status is ", "its Cache-Control is ", "its Pragma is ", "it says that ")
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
        sending: ResponseCapture | None,
        asked: Asked,
    ) -> None:
        self._calls, self._key, self._args, self._kwargs = calls, key, args, kwargs
        self._tags, self._sending, self._asked = tags, sending, asked
        self.owner: object = calls
        self.is_private = False
        """Whether the exception of the function is for this caller only."""
        self.watch: SideEffects | None = None
        """What the function read and changed, if it ran."""
        self.in_background = calls.in_background
        self.record: Callable[[Response], bytes | None] | None = None
        """Makes a record of the response, if the response is to be stored and not the result."""

    def read(self, data: bytes, nonces: Nonces) -> Cached | None:
        """Return what a record holds, or `None` if it is of no use."""
        calls, key = self._calls, self._key
        form = None if self._sending is None else self._sending.form
        found = calls.reader.read(key, data, self._tags, nonces, calls.freshness, form=form)
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

    def finished(self, result: Result, note: Callable[[Outcome], None]) -> Any:
        """Return what the caller gets; if the response is to be stored, its route does that."""
        if result.outcome is Outcome.STALE and self.watch is not None:
            self.watch.undo()  # the changes of a refresh that failed
        if self._sending is not None and result.fill is not None and self.record is not None:
            self._sending.wait(result.fill, self.record, note, self.watch)
            return result.value[0]
        note(result.outcome)
        return handed_out(result.value, self._args, self._kwargs, self._sending, self._asked)

    async def compute(self, nonces: Nonces) -> Computed:
        """Run the function; make a record of its result if everybody may have it."""
        calls, sending = self._calls, self._sending
        calls.warnings.logger.debug("miss %s", Shown(self._key))
        self.watch = watch = SideEffects(
            self._args,
            self._kwargs,
            self._asked.injected,
            is_shared=calls.is_shared,
            ignored=calls.ignored,
            handed_on=calls.handed_on,
        )
        began = time.monotonic()
        try:
            value = await run_watched(watch.reads, partial(calls.run, *watch.args, **watch.kwargs))
        except Exception:
            self.is_private = watch.is_private(self._in_key)
            raise
        value = handed.original(value)
        about, ms = calls.freshness.stamp(time.monotonic() - began)
        if self._tags and nonces:
            about[TAGS] = tags_of_record(self._tags, nonces)
        keep = not calls.derives or await self._derive(value, nonces, about)
        if calls.freshness.expire == 0 or not self._may_be_stored(value, watch, about):
            return Computed((value, None), None, ms, keep)
        for said in (value, watch.injected):
            if isinstance(said, Response):
                ms = calls.freshness.limited(about, ms, stated(said))
        if ms <= 0:
            return Computed((value, None), None, ms, keep)
        record = partial(self._record, value, about)
        if sending is None or isinstance(value, Response):
            return Computed((value, None), self._data(record), ms, keep)
        self.record = partial(self._data_sent, sending, record, about, ms)
        return Computed((value, None), None, ms, keep, later=partial(self._data, record))

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
            return False
        if reason is not None:
            warnings.not_stored(reason)
            if not reason.startswith(_MEANT):
                warnings.once("is not stored", reason)
            return False
        if changes:
            about[INJECTED] = changes.to_json()
        return True

    def _why_not_stored(self, value: object, watch: SideEffects) -> str | None:
        """Return why this result is for this caller only, or `None`; warn once of a mistake."""
        statuses, varied = self._calls.statuses, self._varied()
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
            return f"it read {', '.join(map(called, unkeyed))}"
        return watch.why_not_stored(value, statuses, varied)

    def _varied(self) -> frozenset[str]:
        """Return the names of the request's headers, in lower case, that the key holds."""
        return self._asked.headers.union(self._calls.vary.headers)

    # --- records -------------------------------------------------------------------------------

    def _data(self, make: Callable[[], Record | None]) -> bytes | None:
        """Return a record as it is stored, or `None`; warn once of a result without one."""
        calls = self._calls
        if self._key in calls.store.fence.too_large:
            return None
        try:
            record = make()
            if record is None:
                return None
            calls.reader.kinds.add(record.kind)  # annotations may be wrong
            return stored_bytes(calls.store, self._key, calls.reader.owner, record)
        except codec.UnstorableError as error:
            calls.warnings.once("is not stored", str(error))
        except Exception as error:  # a result that cannot be stored must still reach its caller
            calls.warnings.once("is not stored", f"it cannot be encoded: {error!r}")
        return None

    def _record(self, value: object, about: dict[str, Any]) -> Record:
        """Return the record of a result; raises `UnstorableError` if it cannot have one."""
        reader = self._calls.reader
        if not isinstance(value, Response):
            return Record(VALUE, codec.encode_checked(value, reader.classes), about)
        reason = responses.why_not_rebuilt(value, reader.classes)
        if reason is None:
            if not isinstance(value, reader.returned):  # annotations may be wrong
                reader.returned += (type(value),)
            described = responses.describe(value, reader.classes)
            return Record(RESPONSE, bytes(value.body), {**about, **described})
        if self._sending is None:
            raise codec.UnstorableError(reason)
        taken = sent.returned(value)
        if taken is None:
            raise codec.UnstorableError(
                f"a {type(value).__qualname__} sends in a way of its own, which cannot be repeated"
            )
        more = {FORM: self._sending.form, **sent.describe(taken)}
        return Record(SENT, taken.body, {**about, **more})

    def _data_sent(
        self,
        sending: ResponseCapture,
        of_value: Callable[[], Record],
        about: dict[str, Any],
        ms: int,
        response: Response,
    ) -> bytes | None:
        """Return the record of a response, or of the value if the response cannot be one."""
        return self._data(partial(self._record_sent, sending, of_value, about, ms, response))

    def _record_sent(
        self,
        sending: ResponseCapture,
        of_value: Callable[[], Record],
        about: dict[str, Any],
        ms: int,
        response: Response,
    ) -> Record | None:
        calls = self._calls
        unkeyed = [] if self.watch is None else self.watch.unkeyed(self._in_key)
        if unkeyed:
            why = why_unkeyed(unkeyed, has_own_key=calls.keys.has_own)
            calls.warnings.once("is not stored", f"while rendered, {why}", unkeyed)
            return None
        status = about.get(INJECTED, (None,))[0]
        taken = sending.taken_from(response, has_status=status is not None)
        if taken is None:
            return of_value()
        made = taken.response()
        reason = responses.why_not_stored(made, calls.statuses, self._varied())
        if reason is None and calls.freshness.limited({}, ms, stated(made)) < ms:
            reason = "its class says that it lives shorter than the entry"
        if reason is not None:
            calls.warnings.not_stored(reason)
            return None
        more = {FORM: sending.form, **sent.describe(taken)}
        return Record(SENT, taken.body, {**about, **more})

"""The records of a result: what is stored of a value, a response, or an exception."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from ..coherence import Freshness
from ..keys import MOST_TAGS
from ..reads import Variable
from ..stored import Raised, Record, RenderedResponse, codec, responses, sent, stated
from ..values import BY_HAND
from .asked import Asked
from .reading import FORM, INJECTED, OWNER, RAISED, RESPONSE, SENT, VALUE
from .types import Store
from .warn import why_unkeyed

if TYPE_CHECKING:
    from .cached_calls import CachedCalls


class Recorder:
    """Makes the record of one call's result, which may be stored for everybody.

    `about` is what the record says besides, `ms` its time to live in milliseconds. `unkeyed` returns
    what was read and is not in the key: rendering a response may read more.
    """

    def __init__(  # noqa: PLR0917 - one for each call: by position takes less time
        self,
        calls: "CachedCalls",
        key: str,
        asked: Asked,
        freshness: Freshness,
        about: dict[str, Any],
        ms: int,
        unkeyed: Callable[[], list[str | Variable]],
    ) -> None:
        self._calls, self._key, self._asked = calls, key, asked
        self._about, self._ms, self._unkeyed = about, ms, unkeyed
        self._form, self._freshness = asked.form, freshness
        self._times = freshness.times(about, ms)

    def of_result(self, value: object) -> bytes | None:
        """Return the record of a result as it is stored, or `None`; warn once if it has none."""
        return self._data(partial(self._record, value))

    def of_response(self, value: object, response: Response | None) -> bytes | None:
        """Return the record of the rendered response, or of its value if there cannot be one."""
        return self._data(partial(self._record_rendered, value, response))

    def _data(self, make: Callable[[], Record | None]) -> bytes | None:
        calls, too_large = self._calls, self._calls.store.fence.too_large
        if self._key in too_large:
            self._asked.refuse("size")
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
        self._asked.refuse("size" if self._key in too_large else "unstorable")
        return None

    def _record(self, value: object) -> Record:
        """Return the record of a result; raises `UnstorableError` if it cannot have one."""
        reader, about = self._calls.reader, self._about
        if isinstance(value, Raised):
            return Record(RAISED, bytes(value.body), {**about, **value.about})
        if not isinstance(value, Response):
            return Record(VALUE, codec.encode_checked(value, reader.classes), about)
        taken = None if self._form is None else sent.returned(value)
        if taken is not None:
            about = {**about, **self._rendered(taken)}
        reason = responses.why_not_rebuilt(value, reader.classes)
        if reason is None:
            if not isinstance(value, reader.returned):  # annotations may be wrong
                reader.returned += (type(value),)
            described = responses.describe(value, reader.classes)
            return Record(RESPONSE, bytes(value.body), {**about, **described})
        if self._form is None:
            raise codec.UnstorableError(reason)
        if taken is None:
            raise codec.UnstorableError(
                f"a {type(value).__qualname__} sends in a way of its own, which cannot be repeated"
            )
        return Record(SENT, taken.body, about)

    def _record_rendered(self, value: object, response: Response | None) -> Record | None:
        calls, exchange, about = self._calls, self._asked.exchange, self._about
        unkeyed = self._unkeyed()
        if unkeyed:
            why = why_unkeyed(unkeyed, has_own_key=calls.keys.has_own)
            calls.warnings.once("is not stored", f"while rendered, {why}", unkeyed)
            self._asked.refuse("unkeyed")
            return None
        status, taken = about.get(INJECTED, (None,))[0], None
        if exchange is not None and response is not None:
            taken = exchange.taken_from(response, has_status=status is not None)
        if taken is None:
            return self._record(value)
        made = taken.response()
        reason = responses.why_not_stored(made, calls.statuses, self._asked.varied(calls.vary))
        if reason is None and self._freshness.limited({}, self._ms, stated(made)) < self._ms:
            reason = "its class says that it lives shorter than the entry"
        if reason is not None:
            calls.warnings.not_stored(reason)
            self._asked.refuse("response")
            return None
        return Record(SENT, taken.body, {**about, **self._rendered(taken)})

    def _rendered(self, taken: RenderedResponse) -> dict[str, Any]:
        """Return what a record says of a rendered response; those around the endpoint get it."""
        stamped = sent.stamped(taken, *self._times)
        if self._asked.exchange is not None:
            self._asked.exchange.rendered = stamped
        return {FORM: self._form, **sent.describe(stamped)}


def stored_bytes(store: Store, key: str, owner: bytes, record: Record) -> bytes:
    """Return the bytes of a record; raises `UnstorableError` for one that is too large."""
    refuse_large(store, record.payload, key)  # even if compression would make it small enough
    data = record.to_bytes(key, owner, compress_over=store.compress_over)
    refuse_large(store, data, key)
    return data


def refuse_large(store: Store, data: bytes, key: str | None = None) -> None:
    """Raise `UnstorableError` if `data` is too large to be stored; note its key for a while."""
    if len(data) > store.max_entry_bytes:
        if key is not None:
            store.fence.too_large.add(key)
        raise codec.UnstorableError(
            f"it has {len(data)} bytes, more than the {store.max_entry_bytes} of "
            f"CACHE_MAX_ENTRY_BYTES"
        )


def recorded(
    store: Store, key: str, value: Any, tags: tuple[str, ...], about: dict[str, Any]
) -> bytes:
    """Return the record of a value that no function has made; raises `UnstorableError`."""
    if len(tags) > MOST_TAGS:
        raise codec.UnstorableError(f"it has {len(tags)} tags, more than {MOST_TAGS}")
    record = Record(VALUE, codec.encode_checked(value, BY_HAND), about)
    return stored_bytes(store, key, OWNER, record)

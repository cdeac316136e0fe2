"""How an entry is read: one way for cached functions, `get_or_set`, `get` and `get_many`.

Besides its payload, a record has JSON: its tags and the nonces that they had before the function
ran, the times of its freshness, and for a response its status and headers.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..base import Nonces
from ..coherence import Cached, Freshness, Look
from ..keys import checked_tag_keys
from ..stored import (
    Changes,
    Record,
    RenderedResponse,
    codec,
    names_its_key,
    owner_of,
    plain_payload,
    raised,
    responses,
    sent,
)
from ..values import KnownClasses
from .tag_nonces import TAGS, are_current, rest_of_tags
from .types import Store

if TYPE_CHECKING:
    from ..near import NearCache, NearEntry

VALUE, RESPONSE, SENT, RAISED = b"value", b"response", b"sent", b"raised"
INJECTED, FORM = "injected", "form"
_ONLY_A_VALUE = frozenset({"until", "cost", "zlib", TAGS})
"""What the JSON of a record may hold if the record is only a value."""
_NO_TAGS: Mapping[str, str] = {}
_PLAIN = {SENT: 3, RESPONSE: 5}
"""How many parts the JSON of a rendered response has, if it says no more than has to be."""

OWNER = b"get_or_set"
"""The owner of records that no cached function has made."""

Hit = tuple[Any, Changes | None]
"""A value, and changes of the response that FastAPI passed: not `None` with an exception (`Raised`)."""


class Reader:
    """Reads the entries of one function, or of `get_or_set`.

    Its records name `owner`. `kinds` are the kinds of its records, `returned` the classes of its
    responses, `statuses` those that are stored besides 2xx, `exceptions` the classes of stored
    exceptions by name. With `by_hand`, its keys may hold
    values that were set by hand.
    """

    def __init__(
        self,
        store: Store,
        owner: bytes,
        classes: KnownClasses,
        *,
        kinds: set[bytes] | None = None,
        returned: tuple[type, ...] = (),
        statuses: Collection[int] = (),
        exceptions: Mapping[str, type[Exception]] = MappingProxyType({}),
        by_hand: bool = False,
    ) -> None:
        self._by_hand = by_hand
        self._store, self.owner, self.classes = store, owner, classes
        self.kinds = {RAISED, *({VALUE} if kinds is None else kinds)}
        self.returned, self._statuses, self._exceptions = returned, statuses, exceptions

    def hit(
        self,
        key: str,
        look: Look,
        tags: tuple[str, ...],
        freshness: Freshness,
        form: str | None = None,
    ) -> Hit | None:
        """Return the hit in a look at a key, or `None`: then the fence decides.

        `tags` are the tags of that look. `form` says how a response is rendered.
        """
        data, nonces, _ = look
        if type(data) is not bytes or len(data) > self._store.max_entry_bytes:
            return None
        try:
            if form is None and VALUE in self.kinds:
                rest = rest_of_tags(tags, nonces) if tags else b"{}"
                plain = plain_payload(key, data, self.owner, VALUE, rest)
                if plain is not None:
                    return codec.decode(plain, self.classes), None
            record = self._record(key, data)
            found = None if record is None else self._read(record, tags, nonces, freshness, form)
        except Exception:  # damaged: the fence replaces it
            return None
        return found.value if found is not None and self._is_hit(found) else None

    def near_hit(
        self,
        key: str,
        near: "NearCache",
        tags: tuple[str, ...],
        freshness: Freshness,
        form: str | None = None,
    ) -> Hit | None:
        """Return the hit in the near cache, or `None`; a record is decoded once for all calls."""
        kept = near.get(key)
        if kept is None:
            return None
        nonces = near.nonces(tags) if tags else ()
        if nonces is None:
            return None
        try:
            memo = kept.memo
            if memo is None:
                *memo, size = self._memo(key, kept, tags, nonces, form)
                near.remember(key, kept, memo, size)
            elif not (memo[0] is self and memo[1] is form and memo[2] is tags) or (
                memo[3] != nonces
            ):
                memo = self._memo(key, kept, tags, nonces, form)  # another reader has decoded it
            if memo[4] is not None:
                return memo[4](), None
            record = memo[5]
            found = record and self._read(record, tags, nonces, freshness, form)
        except Exception:  # damaged: the backend is asked
            return None
        return found.value if found and self._is_hit(found) else None

    def _memo(
        self,
        key: str,
        kept: "NearEntry",
        tags: tuple[str, ...],
        nonces: Nonces,
        form: str | None,
    ) -> tuple[Any, ...]:
        """Return for whom an entry is decoded, what makes its value, its record, and a size."""
        plain = None
        if VALUE in self.kinds and len(kept.data) <= self._store.max_entry_bytes:
            rest = rest_of_tags(tags, nonces) if tags else b"{}"
            plain = plain_payload(key, kept.data, self.owner, VALUE, rest)
            if self._by_hand and not names_its_key(kept.data):
                plain = kept.data
        make: Callable[[], Any] | None = None
        if plain is not None:
            make, size = codec.decoder(plain, self.classes)
            return self, form, tags, nonces, make, None, size
        record = self._record(key, kept.data)
        size = 0 if record is None else len(record.payload)
        if record is not None and form and len(record.about) == _PLAIN.get(record.kind):
            found = self._read(record, tags, nonces, None, form)
            make = None if found is None else partial(_first, found.value)
            return self, form, tags, nonces, make, record, size
        return self, form, tags, nonces, None, record, size

    def _is_hit(self, found: Cached) -> bool:
        """Whether a record is a hit: not due, and further tags only if the near cache has them."""
        if found.due or not found.tags:
            return not found.due
        near = self._store.fence.near
        return near is not None and near.nonces(found.tags) == found.nonces

    def read(
        self,
        key: str,
        data: bytes,
        tags: tuple[str, ...],
        nonces: Nonces,
        freshness: Freshness,
        *,
        form: str | None = None,
    ) -> Cached | None:
        """Return what a record holds; `None` if it is of another key, or has other nonces."""
        try:
            record = self._record(key, data)
            return None if record is None else self._read(record, tags, nonces, freshness, form)
        except Exception:  # bytes from outside, damaged in a way of their own
            return None

    def only_value(self, key: str, data: bytes) -> Cached | None:
        """Return the value of a record that is only a value, with all its tags; else `None`."""
        record = self._record(key, data)
        if record is None or record.kind != VALUE or not _ONLY_A_VALUE.issuperset(record.about):
            return None
        return self._read(record, (), (), None, None)

    def tags_in(self, key: str, data: bytes) -> tuple[tuple[str, ...], Nonces] | None:
        """Return the tags of a record, and the nonces that they must have; `None` if it is damaged."""
        try:
            record = self._record(key, data)
            if record is None:
                return None
            told = record.about.get(TAGS, _NO_TAGS)
            tags = checked_tag_keys([*told], self._store.key_prefix)
            return tags, tuple([told[tag].encode("latin-1") for tag in tags])
        except Exception:  # as in `read`
            return None

    def _record(self, key: str, data: bytes) -> Record | None:
        return Record.from_bytes(key, data, self.owner, largest=self._store.max_entry_bytes)

    def _read(
        self,
        record: Record,
        tags: tuple[str, ...],
        nonces: Nonces,
        freshness: Freshness | None,
        form: str | None,
    ) -> Cached | None:
        about = record.about
        told = about.get(TAGS, _NO_TAGS)
        if tags and not are_current(told, tags, nonces):
            return None
        if record.kind == SENT and (form is None or about.get(FORM) != form):
            return None  # another route renders it otherwise
        is_rendered = form is not None and FORM in about
        value = self._rendered(record) if is_rendered else self._value(record)
        if not about or (is_rendered and len(about) == _PLAIN[record.kind]):  # most are like this
            return Cached((value, None))
        changes = about.get(INJECTED)
        injected = None if changes is None else Changes.from_json(changes)
        if injected is None and record.kind == RAISED:
            injected = Changes(None, {})
        if injected is not None and injected.status is not None:
            self._refuse_status(injected.status)
        further = [tag for tag in told if tag not in tags]
        return Cached(
            (value, injected),
            freshness is not None and freshness.is_due(about),
            checked_tag_keys(further, self._store.key_prefix),
            tuple([told[tag].encode("latin-1") for tag in further]),
        )

    def _value(self, record: Record) -> Any:
        if record.kind not in self.kinds:
            raise ValueError("the function returns no such thing")
        if record.kind == VALUE:
            return codec.decode(record.payload, self.classes)
        if record.kind == RAISED:
            return raised.restore(record.about, record.payload, self._statuses, self._exceptions)
        response = responses.restore(record.about, record.payload, self.classes, self.returned)
        self._refuse_status(response.status_code)
        return response

    def _rendered(self, record: Record) -> RenderedResponse:
        is_whole = record.kind == RESPONSE
        if record.kind != SENT and not (is_whole and RESPONSE in self.kinds):
            raise ValueError("the function returns no such thing")
        stored = sent.restore(record.about, record.payload, tells_length=not is_whole)
        if stored.status != 200:  # most have 200
            self._refuse_status(stored.status)
        return stored._replace(is_whole=True) if is_whole else stored

    def _refuse_status(self, status: int) -> None:
        if not responses.is_listed(status, self._statuses):
            raise ValueError(f"no response with the status {status} was stored")


def _first(hit: Hit) -> Any:
    return hit[0]


def value_at(store: Store, key: str, data: bytes | None) -> Cached | None:
    """Return the value at a key: one that was set by hand, or one of `get_or_set` or a function.

    `None` for all else: nothing, a lease, damaged bytes, an entry of a function that this process
    does not know, and an entry that is more than a value.
    """
    if data is None or len(data) > store.max_entry_bytes:
        return None
    try:
        if not names_its_key(data):
            return Cached(codec.decode(data))
        reader = store.readers.get(owner_of(key, data))
        found = None if reader is None else reader.only_value(key, data)
    except Exception:  # bytes from outside, damaged in a way of their own
        return None
    return None if found is None else Cached(found.value[0], False, found.tags, found.nonces)

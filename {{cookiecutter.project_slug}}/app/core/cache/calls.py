"""The cached calls of one function: their keys, how an entry is read, and what is stored.

All that can be known when the function is decorated is worked out then. At the call, a hit is a
key, a read and a decoding; a miss watches what the function reads of the request and does to the
response, and decides whether its result may be stored for everybody who makes the same call.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any, Protocol

from starlette.responses import Response

from . import codec, responses, sent
from .base import Nonces, UnansweredError
from .canonical import UnkeyableError, text
from .classes import KnownClasses
from .fence import Fence, Found, How, Made
from .freshness import Freshness, is_failure
from .identity import identity, is_same
from .injected import Changes
from .keys import KeyBuilder, KeyFunction, Parameters, check_key_prefix
from .leases import AWAY
from .near import Kept
from .patterns import KeyPattern
from .record import Record, is_plausible, plain_payload
from .sending import Sending
from .sent import Sent
from .status import Outcome, current_slot, note
from .tags import Tag, all_tags_key, derivations_of, tag_key, templates_of
from .templates import Template
from .watch import Watch

_VALUE, _RESPONSE, _SENT = b"value", b"response", b"sent"
_INJECTED, _NONCES, _DERIVED, _FORM = "injected", "nonces", "derived", "form"
_PLAIN = 2  # what a response that was sent says of itself: its form and its head
_IN_LOG = {
    Outcome.HIT: "hit",
    Outcome.SHARED: "shared",
    Outcome.STORED: "stored",
    Outcome.NOT_STORED: "not stored",
}


class Store(Protocol):
    """What the calls need of a manager."""

    key_prefix: str
    compress_over: int
    functions: dict[bytes, Callable[..., Any]]

    fence: Fence

    def refuse_large(self, data: bytes, key: str | None = None) -> None:
        """Raise `UnstorableError` if `data` is too large to be stored; note its key for a while."""


class CachedCalls:
    """The entries of one decorated function. The arguments are those of `cache_response`."""

    def __init__(
        self,
        store: Store,
        func: Callable[..., Any],
        run: Callable[..., Awaitable[Any]],
        *,
        key_prefix: str,
        ignore: Collection[str],
        key: str | KeyFunction | None,
        vary: Collection[str],
        statuses: Collection[int],
        tags: Collection[Tag],
        freshness: Freshness,
        in_background: bool,
        logger: logging.Logger,
    ) -> None:
        check_key_prefix(key_prefix)
        self._store, self._run, self._logger = store, run, logger
        self._is_logged = logger.isEnabledFor
        self._freshness, self.in_background = freshness, in_background
        self.decorated: Callable[..., Any] | None = None
        """What the decorator has made of the function."""
        self.endpoint: Any = None
        """What a `CachedRoute` makes of that."""
        self._name = f"{func.__module__}.{func.__qualname__}"
        self.parameters = Parameters.of(func, ignore)
        self._vary = _checked_vary(vary, self.parameters)
        self._statuses = _checked_statuses(statuses)
        self._classes = KnownClasses.returned_by(func)
        if vary and key is not None:
            raise ValueError(f"vary={tuple(vary)!r} has no place in a key of one's own, {key!r}")
        own = Template(key, self.parameters.signature.parameters) if isinstance(key, str) else key
        self._owner = identity(func, self._classes)
        start = f"{store.key_prefix}:{key_prefix}"
        self._keys = KeyBuilder(
            func, self.parameters, start=start, identity=self._owner, vary=self._vary, own=own
        )
        self._has_own_key = own is not None
        self.family = KeyPattern((self._keys.start, ""))
        """The pattern of all keys of this function."""
        self._tags = templates_of(tags, self.parameters)
        self._derivations = derivations_of(tags)
        self._is_tagged = bool(self._tags or self._derivations)
        self._warned: set[str] = set()
        _claim(store, func, text(start) + (text(key) if isinstance(key, str) else self._owner))

    async def call(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        sending: Sending | None = None,
    ) -> Any:
        """Return what the function returned for this call before, or run it and store that.

        With `sending`, it may be a response that was sent before.
        """
        key = self.key(args, kwargs)
        if key is None:
            return await self._uncached(args, kwargs)
        tags = self._tags_of(args, kwargs) if self._is_tagged else ()
        fence, seen = self._store.fence, None
        hit = None if fence.near is None else self._found_near(key, tags, sending)
        if hit is None and not tags and (soon := fence.look_soon(key)) is not None:
            try:
                data = await soon
            except UnansweredError as error:
                seen = await fence.leases.look_again(key, error.deadline)
            except Exception:  # of which the backend has told
                seen = AWAY
            else:
                hit = self._found_soon(key, data, sending)
                if hit is None and is_plausible(key, data):
                    seen = data, (), True
        if hit is not None:
            if (slot := current_slot()) is not None:
                slot.outcome = Outcome.HIT
            if self._is_logged(logging.DEBUG):
                self._logger.debug("%s %s", _IN_LOG[Outcome.HIT], key)
            if sending is None and hit[1] is None:
                return hit[0]
            return self._handed_out(hit, args, kwargs, sending)
        call = _OneCall(self, key, args, kwargs, sending)
        served = await fence.run(key, tags, call, seen=seen)
        if sending is not None and served.fill is not None and call.record is not None:
            sending.wait(served.fill, call.record, partial(self._note, key))
            return served.value[0]
        self._note(key, served.how)
        return self._handed_out(served.value, args, kwargs, sending)

    async def renew(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the function, whatever stands there, and store what it returns."""
        key = self.key(args, kwargs)
        if key is None:
            return await self._uncached(args, kwargs)
        tags = self._tags_of(args, kwargs) if self._is_tagged else ()
        call = _OneCall(self, key, args, kwargs, None)
        served = await self._store.fence.renew_now(key, tags, call)
        self._note(key, served.how)
        return self._handed_out(served.value, args, kwargs, None)

    async def _uncached(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        note(Outcome.BYPASS)
        return await self._run(*args, **kwargs)

    def _handed_out(
        self,
        result: tuple[Any, Changes | None],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        sending: Sending | None,
    ) -> Any:
        """Do what the function did besides, and return its result."""
        value, changes = result
        if changes is not None:
            self._inject(args, kwargs, changes, sending)
        return sending.response(value) if type(value) is Sent and sending is not None else value

    def _note(self, key: str, how: How) -> None:
        outcome = how.outcome
        note(outcome)
        self._logger.debug("%s %s", _IN_LOG[outcome], key)

    def _tags_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the keys of the tags that are known before the function runs.

        Where others are derived from its result, the last of them is that of all tags.
        """
        prefix, keys = self._store.key_prefix, []
        if self._tags:
            arguments = self.parameters.arguments(args, kwargs)
            keys = [tag_key(prefix, tag.render(arguments)) for tag in self._tags]
        if self._derivations:
            keys.append(all_tags_key(prefix))
        return tuple(keys)

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """Return the key of a call, or `None` where it has none and goes past the cache."""
        try:
            if self._is_tagged:
                self._tags_of(args, kwargs)
            return self._keys.key(args, kwargs)
        except UnkeyableError as error:
            self._warn_once("runs uncached", str(error))
        except TypeError:
            pass  # the arguments do not fit: the function itself says so best
        except Exception as error:  # of a `__cache_key__`, of `key=`, of an attribute in a template
            self._warn_once("runs uncached", f"its key cannot be built: {error!r}")
        return None

    def load(
        self, key: str, data: bytes, nonces: Nonces, sending: Sending | None = None
    ) -> Found | None:
        """Return what a record holds, or `None` if it is none of this key, or has other nonces.

        What was sent is of use where it is to be sent again, by a route that renders likewise.
        """
        try:
            record = Record.from_bytes(key, data, self._owner)
            return None if record is None else self._read(record, nonces, sending)
        except Exception as error:  # bytes from outside, damaged in a way of their own
            self._logger.debug("unreadable %s: %s", key, error)
        return None

    def _found_near(
        self, key: str, tags: tuple[str, ...], sending: Sending | None
    ) -> tuple[Any, Changes | None] | None:
        """Return what the near cache has, if that is a hit; a record is read once."""
        found = self._store.fence.nearby(key, tags)
        if found is None:
            return None
        kept, nonces = found
        try:
            if kept.memo is None or kept.memo[0] is not self:
                self._remember(key, kept, tags)
            _, make, record = kept.memo
            if make is not None:
                return make(), None
            return None if record is None else self._hit(record, nonces, sending)
        except Exception:  # damaged: the backend is looked at
            return None

    def _remember(self, key: str, kept: Kept, tags: tuple[str, ...]) -> None:
        """Read a record that is near for all who come: what makes its value, or else its parts."""
        make, record, size = None, None, 0
        plain = None if tags else plain_payload(key, kept.data, self._owner, _VALUE)
        if plain is not None:
            make, size = codec.decoder(plain, self._classes)
        else:
            record = Record.from_bytes(key, kept.data, self._owner)
            size = 0 if record is None else len(record.payload)
        near = self._store.fence.near
        if near is not None:
            near.remember(key, kept, (self, make, record), size)

    def _found_soon(
        self, key: str, data: bytes | None, sending: Sending | None
    ) -> tuple[Any, Changes | None] | None:
        """Return what stands at a key, if that is a hit; else the fence does what is to be done."""
        if type(data) is not bytes:
            return None
        try:
            if sending is None:
                plain = plain_payload(key, data, self._owner, _VALUE)
                if plain is not None:
                    return codec.decode(plain, self._classes), None
            record = Record.from_bytes(key, data, self._owner)
            return None if record is None else self._hit(record, (), sending)
        except Exception:  # damaged: the fence notes that
            return None

    def _hit(
        self, record: Record, nonces: Nonces, sending: Sending | None
    ) -> tuple[Any, Changes | None] | None:
        """Return what a record holds, if it can be had without asking for more."""
        about = record.about
        if sending is not None and record.kind == _SENT and len(about) == _PLAIN and not nonces:
            is_alike = about.get(_FORM) == sending.form
            return (sent.restore(about, record.payload), None) if is_alike else None
        found = self._read(record, nonces, sending)
        return found.value if found is not None and self._store.fence.is_hit(found) else None

    def _read(self, record: Record, nonces: Nonces, sending: Sending | None) -> Found | None:
        known = _as_text(nonces[: len(self._tags)]) if self._tags else []
        if (record.about.get(_NONCES, []) if record.about else []) != known:
            return None
        value: Any
        if record.kind == _SENT:
            if sending is None or record.about.get(_FORM) != sending.form:
                return None
            value = sent.restore(record.about, record.payload)
        elif record.kind == _VALUE:
            value = codec.decode(record.payload, self._classes)
        elif record.kind == _RESPONSE:
            value = responses.restore(record.about, record.payload, self._classes)
        else:
            return None
        if not record.about:
            return Found((value, None))
        changes = record.about.get(_INJECTED)
        injected = None if changes is None else Changes.from_json(changes)
        tags, derived = record.about.get(_DERIVED, ((), ()))
        if not all(tag.startswith(tag_key(self._store.key_prefix, "")) for tag in tags):
            return None
        return Found(
            (value, injected),
            due=self._freshness.is_due(record.about),
            tags=tuple(tags),
            nonces=tuple([nonce.encode() for nonce in derived]),
        )

    async def compute(self, call: "_OneCall", nonces: Nonces) -> Made:
        """Run the function; make a record of its result if everybody may have it."""
        key, sending = call.key, call.sending
        self._logger.debug("miss %s", key)
        injected = None if sending is None else sending.injected
        watch = Watch(self.parameters, self._vary, call.args, call.kwargs, injected)
        began = time.monotonic()
        value = await self._run(*watch.args, **watch.kwargs)
        about, ms = self._freshness.stamp(time.monotonic() - began)
        if self._tags and nonces:
            about[_NONCES] = _as_text(nonces[: len(self._tags)])
        keep = not self._derivations or await self._derive(value, nonces, about)
        if self._freshness.expire == 0 or not self._may_be_stored(value, watch, about):
            return Made((value, None), None, ms, keep)
        record = partial(self._record, value, about)
        if sending is None or isinstance(value, Response):
            return Made((value, None), self._data(key, record), ms, keep)
        call.record = partial(self._data_sent, key, record, about, sending)
        return Made((value, None), None, ms, keep, later=partial(self._data, key, record))

    async def _derive(self, value: Any, nonces: Nonces, about: dict[str, Any]) -> bool:
        """Note the tags that are derived from a result; return whether it may be stored.

        First their nonces are read, then that of all tags, which changes before any of them does:
        if it is what it was before the function ran, none of them was invalidated since.
        """
        if not nonces:  # the backend is away
            return False
        prefix = self._store.key_prefix
        try:
            derived = [tag for derive in self._derivations for tag in derive(value)]
            keys = tuple([tag_key(prefix, tag) for tag in derived])
        except Exception as error:
            self._warn_once("is not stored", f"its tags cannot be derived: {error!r}")
            return False
        made = await self._store.fence.leases.nonces_made(keys)
        if made is None:
            return False
        now = await self._store.fence.leases.nonces_now((all_tags_key(prefix),))
        if now is None or now != nonces[len(self._tags) :]:
            return False
        about[_DERIVED] = [list(keys), _as_text(made)]
        return True

    def _may_be_stored(self, value: object, watch: Watch, about: dict[str, Any]) -> bool:
        """Return whether a result is for everybody; note what the function did besides."""
        try:
            reason = self._why_not_stored(value, watch)
            changes = watch.changes()
        except Exception as error:  # of a response that is none
            self._warn_once("is not stored", f"it cannot be examined: {error!r}")
            return False
        if reason is not None:
            self._logger.debug("a result of %s is not stored: %s", self._name, reason)
            return False
        if changes:
            about[_INJECTED] = changes.to_json()
        return True

    def _data(self, key: str, make: Callable[[], Record | None]) -> bytes | None:
        """Return a record as it is stored, or `None`; a result that has none is warned of once."""
        if key in self._store.fence.too_large:
            return None
        try:
            record = make()
            if record is None:
                return None
            data = record.to_bytes(key, self._owner, compress_over=self._store.compress_over)
            self._store.refuse_large(data, key)
        except codec.UnstorableError as error:
            self._warn_once("is not stored", str(error))
            return None
        except Exception as error:  # the caller has a result, and no use for a failure to keep it
            self._warn_once("is not stored", f"it cannot be encoded: {error!r}")
            return None
        return data

    def _record(self, value: object, about: dict[str, Any]) -> Record:
        if not isinstance(value, Response):
            return Record(_VALUE, codec.encode_checked(value, self._classes), about)
        reason = responses.why_not_rebuilt(value, self._classes)
        if reason is not None:
            raise codec.UnstorableError(reason)
        about.update(responses.describe(value, self._classes))
        return Record(_RESPONSE, bytes(value.body), about)

    def _data_sent(
        self,
        key: str,
        of_value: Callable[[], Record],
        about: dict[str, Any],
        sending: Sending,
        response: Response,
    ) -> bytes | None:
        """Return the record of a response, or that of the value where it says more."""

        def record() -> Record | None:
            status, _ = about.get(_INJECTED, (None, None))
            taken = sending.taken_from(response, has_status=status is not None)
            if taken is None:
                return of_value()
            reason = responses.why_not_stored(taken.response(), self._statuses)
            if reason is not None:
                self._logger.debug("a response of %s is not stored: %s", self._name, reason)
                return None
            more = {_FORM: sending.form, **sent.describe(taken)}
            return Record(_SENT, taken.body, {**about, **more})

        return self._data(key, record)

    def _why_not_stored(self, value: object, watch: Watch) -> str | None:
        """Return why this result is nobody else's, or `None`; a mistake is warned of once."""
        if isinstance(value, Response):
            if responses.is_stream(value):
                return "it is a stream"
            reason = responses.why_not_stored(value, self._statuses)
            if reason is not None:
                return reason
        if watch.noted and not self._has_own_key:
            read = ", ".join(sorted(watch.noted))
            self._warn_once(
                "is not stored",
                f"it read {read} of the request, which is no part of the key; name headers in "
                f"vary=, or give key=",
            )
            return f"it read {read}"
        return watch.why_not_stored(self._statuses)

    def _inject(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        changes: Changes,
        sending: Sending | None,
    ) -> None:
        if self.parameters.response is not None:
            response = self.parameters.arguments(args, kwargs).get(self.parameters.response)
        else:
            response = None if sending is None else sending.injected
        if isinstance(response, Response):
            changes.apply(response)

    def _warn_once(self, what: str, why: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self._logger.warning("%s %s: %s", self._name, what, why)


class _OneCall:
    """One call, as the fence knows it. Its values are results, with changes to do for a hit."""

    def __init__(
        self,
        calls: CachedCalls,
        key: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        sending: Sending | None,
    ) -> None:
        self._calls, self.key, self.args, self.kwargs = calls, key, args, kwargs
        self.sending = sending
        self.in_background = calls.in_background
        self.record: Callable[[Response], bytes | None] | None = None
        """What makes a record of the response, if it is to be made of that."""

    def read(self, data: bytes, nonces: Nonces) -> Found | None:
        """Return what a record holds, or `None` if it is of no use."""
        return self._calls.load(self.key, data, nonces, self.sending)

    def failed(self, value: Any) -> bool:
        """Whether a result tells of a failure, so that an old one is better."""
        return is_failure(value[0])

    async def compute(self, nonces: Nonces) -> Made:
        """Run the function with this call's own arguments."""
        return await self._calls.compute(self, nonces)


def _as_text(nonces: Nonces) -> list[str]:
    return [(nonce or b"").decode() for nonce in nonces]


def _claim(store: Store, func: Callable[..., Any], place: bytes) -> None:
    """Take a place among the keys for `func`; refuse one that a different function has."""
    other = store.functions.setdefault(place, func)
    if not is_same(func, other):
        raise ValueError(
            f"{func.__module__}.{func.__qualname__} would share its entries with another function: "
            f"one of the same name, whose captured values cannot be told apart, or of the same "
            f"key=; give each its own key_prefix= or key="
        )


def _checked_vary(vary: Collection[str], parameters: Parameters) -> tuple[str, ...]:
    if isinstance(vary, str):
        raise TypeError(f"vary={vary!r} is a string; give a tuple: vary=({vary!r},)")
    if vary and parameters.request is None:
        raise ValueError(f"vary={tuple(vary)!r} needs a parameter of type Request to read from")
    return tuple(name.lower() for name in vary)


def _checked_statuses(statuses: Collection[int]) -> frozenset[int]:
    for status in statuses:
        if not isinstance(status, int) or not 100 <= status <= 599:
            raise ValueError(f"cache_status has {status!r}, which is no HTTP status of 100 to 599")
    return frozenset(statuses)

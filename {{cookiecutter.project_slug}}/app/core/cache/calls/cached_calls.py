"""The cached calls of one function: their keys, how an entry is read, and what is stored.

All that can be known when the function is decorated is worked out then. At the call, a hit is a
key, a read and a decoding; a miss watches what the function reads of the request and does to the
response, and decides whether its result may be stored for everybody who makes the same call.
"""

import logging
import operator
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from starlette.requests import HTTPConnection
from starlette.responses import Response

from ..base import Nonces, UnansweredError
from ..coherence import (
    AWAY,
    Fence,
    Found,
    Freshness,
    How,
    Made,
    Outcome,
    current_slot,
    is_failure,
    note,
)
from ..keys import (
    MOST_OF_A_NAME,
    Begun,
    KeyBuilder,
    KeyFunction,
    KeyPattern,
    OfFunctions,
    Parameters,
    Tag,
    Template,
    Vary,
    Varying,
    advice,
    all_tags_key,
    begin,
    check_key_prefix,
    checked_tag_keys,
    compared,
    connection_among,
    derivations_of,
    identity,
    is_same,
    listed,
    name_of,
    owner,
    tag_key,
    tag_start,
    templates_of,
)
from ..near import NearEntry
from ..reads import Reads, Variable, context_variables, during, follow, handed, run_watched
from ..stored import (
    Changes,
    Record,
    RenderedResponse,
    Shown,
    codec,
    is_plausible,
    owner_digest,
    owner_of,
    plain_payload,
    responses,
    sent,
    stated,
)
from ..values import Captures, KnownClasses, UnkeyableError, kind_of, text
from .dependencies import Standing, overrides_of, reaches, standing, unseen
from .response_capture import ResponseCapture, sending_to
from .watch import InKey, Watch

_VALUE, _RESPONSE, _SENT = b"value", b"response", b"sent"
_INJECTED, _NONCES, _DERIVED, _FORM = "injected", "nonces", "derived", "form"
_MOST_ROUTES = 1000
_MOST_SHOWN = 2000  # characters of a warning
_MEANT = ("it read ", "its status is ", "its Cache-Control is ", "its Pragma is ", "it says that ")
"""Reasons not to store which the function has given itself, or which were warned of before."""
_MOST_KINDS = 32  # of reasons that are warned of, for each function
_SHARES_NOT = "shares no entries with other processes"
_DECORATE_ONCE = (
    "if the function around it runs for each request, decorate this one once, outside, and pass as "
    "arguments what it captured"
)
_MADE_AGAIN = (
    f"more than {MOST_OF_A_NAME} functions of this name have captured different values, and the first "
    f"of them are forgotten; {_DECORATE_ONCE}"
)
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
    max_entry_bytes: int
    functions: OfFunctions[Callable[..., Any]]
    readers: OfFunctions[tuple[bytes, KnownClasses]]

    fence: Fence

    def refuse_large(self, data: bytes, key: str | None = None) -> None:
        """Raise `UnstorableError` if `data` is too large to be stored; note its key for a while."""


@dataclass(slots=True)
class Asked:
    """The request that a call answers, and the response that FastAPI builds for it."""

    connection: HTTPConnection | None = None
    injected: Response | None = None
    headers: frozenset[str] = frozenset()
    """Names of headers, in lower case, of which arguments in the key are made."""


BY_HAND = Asked()


class CachedCalls:
    """The entries of one decorated function. The arguments are those of `cache_response`."""

    _begun: Begun
    """What its records bear, since it was called first."""

    def __init__(
        self,
        store: Store,
        func: Callable[..., Any],
        run: Callable[..., Awaitable[Any]],
        *,
        key_prefix: str,
        ignore: Collection[str | Variable],
        key: str | KeyFunction | None,
        vary: Varying,
        statuses: Collection[int],
        tags: Collection[Tag],
        freshness: Freshness,
        in_background: bool,
        method: str,
        shared: bool,
        logger: logging.Logger,
    ) -> None:
        check_key_prefix(key_prefix)
        self._store, self._run, self._logger = store, run, logger
        self._func, self._own_key = func, key if callable(key) else None
        self._is_logged = logger.isEnabledFor
        self._freshness, self.in_background = freshness, in_background
        self.decorated: Callable[..., Any] | None = None
        """What the decorator has made of the function."""
        self.unseen: list[Any] = []
        """Trees of dependencies in which it is called unseen: see `hidden`."""
        self.forms: set[str | None] = set()
        """The forms in which the routes of class `CachedRoute` render it, as far as they are known."""
        self.form: str | None = None
        """The one form that all of them have, if they do."""
        self._name = f"{func.__module__}.{func.__qualname__}"
        self._ignored = frozenset(each for each in ignore if isinstance(each, ContextVar))
        names = [each for each in ignore if not isinstance(each, ContextVar)]
        self.parameters = Parameters.of(func, ignore if isinstance(ignore, str) else names)
        self._may_have_request = _may_have_request(self.parameters)
        self._vary = Vary(vary)
        self._is_shared, self._method = shared, _checked_method(method)
        self._standings: dict[tuple[int, ...], tuple[tuple[object, ...], Standing]] = {}
        """What it is to the routes that have called it, in applications and their overrides."""
        self._last_standing: tuple[object, object, Standing] | None = None
        self._untold: tuple[Variable, ...] | None = None
        """Context variables that the code names, and the key does not hold; `None` at first."""
        self._is_open = False
        """Whether no call by hand has to be looked at before its key is."""
        self._statuses = _checked_statuses(statuses)
        self._classes = KnownClasses.returned_by(func)
        self._kinds, self._returned = responses.kinds_returned_by(func)
        if self._vary and key is not None:
            raise ValueError(
                f"vary= has no place in a key of one's own, {key!r}: let that hold what "
                f"{', '.join(self._vary.names)} says"
            )
        own = Template(key, self.parameters.signature.parameters) if isinstance(key, str) else key
        follow(func)
        who = identity(func, self._classes)
        self._owner = owner(func, who, shared=shared)
        self._captured = None if shared else Captures.of(func)
        """What it captured, until it is called first."""
        start = f"{store.key_prefix}:{key_prefix}"
        self._keys = KeyBuilder(
            func, self.parameters, start=start, identity=who, vary=self._vary, own=own
        )
        self.family = KeyPattern((self._keys.start, ""))
        """The pattern of all keys of this function."""
        self._tags = templates_of(tags, self.parameters)
        self._derivations = derivations_of(tags)
        self._is_tagged = bool(self._tags or self._derivations)
        self._tag_start = tag_start(store.key_prefix)
        self._warned: set[str] = set()
        self._take(text(start) + (text(key) if isinstance(key, str) else who))

    def _take(self, place: bytes) -> None:
        """Take a place among the keys; tell what was captured that has no identity."""
        if _claim(self._store, self._func, place, shared=self._is_shared):
            self._warn_once("is made again and again", _MADE_AGAIN)
        self._read_own()
        if self._captured is not None and self._captured.unknown:
            self._warn_once(_SHARES_NOT, advice(self._captured.unknown))

    async def requested(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        connection: HTTPConnection | None,
        injected: Response | None,
    ) -> Any:
        """Answer a call of FastAPI's: for the request of `connection`, to which `injected` belongs."""
        if self.parameters.connection is not None:
            connection = connection_among((), kwargs)
        if connection is None:
            return await self.call(args, kwargs)
        known = self._standing(connection.scope)
        if not self._is_shared and (known.reason is not None or known.silent):
            private = known.why_private(kwargs)
            if private is not None:
                self._warn_once("runs uncached", private)
                return await self._uncached(args, kwargs)
        if known.is_endpoint and not self._answers(connection.scope):
            return await self._uncached(args, kwargs)
        if self.parameters.response is not None:
            injected = kwargs.get(self.parameters.response)
        sending = None
        if known.is_endpoint and isinstance(injected, Response):
            sending = sending_to(self, injected)
        asked = Asked(connection, injected, known.headers)
        return await self.call(args, kwargs, sending=sending, asked=asked)

    def _standing(self, scope: Mapping[str, Any]) -> Standing:
        """Return what the function is to the route of a request; that is found out once."""
        app, endpoint = scope.get("app"), scope.get("route") or scope.get("endpoint")
        overrides = overrides_of(app)
        if not overrides:
            last = self._last_standing
            if last is not None and last[0] is endpoint and last[1] is app:
                return last[2]
        route = endpoint, app, *overrides, *overrides.values()
        place = tuple([id(each) for each in route])
        known = self._standings.get(place)
        if known is None or any(map(operator.is_not, known[0], route)):
            if len(self._standings) >= _MOST_ROUTES:
                self._standings.clear()
            known = route, standing(scope, self._is_this, self._keys.names, self._vary)
            self._standings[place] = known
        if not overrides:
            self._last_standing = endpoint, app, known[1]
        return known[1]

    def _is_for_all(self, asked: "Asked", args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call may have an entry: it depends on nothing else, as far as can be seen."""
        private = None
        if asked is BY_HAND and self._is_write(args, kwargs):
            return False
        if self._untold is None:  # the first call: all that the code names is there by now
            self._untold = () if self._is_shared else self._find_untold()
            self._is_open = not (self._untold or self._may_have_request)
            self._see_captured()
        if self._untold:
            private = f"it depends on {', '.join(map(name_of, self._untold))}, {self._lacking()}"
        elif asked is BY_HAND:  # it may be a call of FastAPI's that cannot be told from others
            private = unseen(self.unseen, self._keys.names, self._vary)
        if private is None or self._is_shared:
            return True
        self._warn_once("runs uncached", private)
        return False

    def leads_to(self) -> list[Any]:
        """Return where to look for context variables that a call depends on."""
        is_told = (
            self._is_shared or self._ignored
        )  # it says itself that it reads what decides nothing
        return [*self._vary.variables, *([] if is_told else [self._func])]

    def _find_untold(self) -> tuple[Variable, ...]:
        """Return what context variables the function's code names that its key does not hold."""
        try:
            told = self._vary.read | (context_variables(self._own_key) if self._own_key else set())
            untold = context_variables(self._func) - told - self._ignored
        except Exception:  # of code that is no ordinary one; what it reads is seen when it runs
            return ()
        return tuple(sorted(untold, key=lambda each: each.name))

    def _see_captured(self) -> None:
        """See once whether what was captured is what it was when the function was decorated."""
        then, self._captured = self._captured, None
        if then is not None:
            self._begun = begin(self._func, self._owner, then)
            self._owner = self._begun.owner
            self._read_own()
            if self._begun.told and self._begun.func is self._func:
                self._warn_once(_SHARES_NOT, self._begun.told)

    def _read_own(self) -> None:
        """Let `get` read the entries of this function."""
        reader = self._owner, self._classes
        self._store.readers.keep(self._func, owner_digest(self._owner), reader)

    def _is_this(self, call: object) -> bool:
        return reaches(call, self.decorated)

    def _answers(self, scope: Mapping[str, Any]) -> bool:
        """Whether requests of this method have entries; others have the function run each time."""
        method = scope.get("method")
        if method == self._method or (method == "HEAD" and self._method == "GET"):
            return True
        if method not in ("HEAD", "OPTIONS"):
            self._warn_once(
                "runs uncached",
                f"a {method} runs each time; if its answers may be kept, say method={method!r}",
            )
        return False

    async def call(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        sending: ResponseCapture | None = None,
        asked: Asked = BY_HAND,
    ) -> Any:
        """Return what the function returned for this call before, or run it and store that.

        With `sending`, it may be a response that was sent before.
        """
        # Nothing is called here that can be said at once: this is on the path of every hit.
        if (not self._is_open or self.unseen) and not self._is_for_all(asked, args, kwargs):
            return await self._uncached(args, kwargs)
        try:
            key = self._keys.key(args, kwargs, asked.connection)
            tags = self._tags_of(args, kwargs) if self._is_tagged else ()
        except Exception as error:  # of a `__cache_key__`, of `key=`, of an attribute in a template
            self._tell(error, args, kwargs)
            return await self._uncached(args, kwargs)
        fence, seen = self._store.fence, None
        hit = None if fence.near is None else self._found_near(key, tags, sending)
        if hit is None and not tags and (soon := fence.read_nowait(key)) is not None:
            try:
                data = await soon
            except Exception as error:
                seen = await self._seen_after(error, key)
            else:
                hit = self._found_soon(key, data, sending)
                seen = (data, (), True) if hit is None and is_plausible(key, data) else None
        if hit is not None:
            if (slot := current_slot()) is not None:
                slot.outcome = Outcome.HIT
            if self._is_logged(logging.DEBUG):
                self._logger.debug("%s %s", _IN_LOG[Outcome.HIT], Shown(key))
            if sending is None and hit[1] is None:
                return hit[0]
            return self._handed_out(hit, args, kwargs, sending, asked)
        call = _OneCall(self, key, args, kwargs, sending, asked)
        served = await fence.run(key, tags, call, seen=seen)
        if served.how is How.STALE and call.watch is not None:
            call.watch.undo()  # what a refresh has done that failed
        if sending is not None and served.fill is not None and call.record is not None:
            sending.wait(served.fill, call.record, partial(self._note, key), call.watch)
            return served.value[0]
        self._note(key, served.how)
        return self._handed_out(served.value, args, kwargs, sending, asked)

    async def _seen_after(self, error: Exception, key: str) -> Any:
        """Return what the fence is to know of a key that was not read."""
        if isinstance(error, UnansweredError):
            return await self._store.fence.leases.retry_read(key, error.deadline)
        return AWAY  # the backend has told

    def _is_write(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a route of Starlette calls its endpoint for a method that has no entries."""
        connection = connection_among(args, kwargs)
        if connection is None or not self._is_this(connection.scope.get("endpoint")):
            return False
        return not self._answers(connection.scope)

    async def renew(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the function, whatever stands there, and store what it returns."""
        self._see_captured()
        try:
            key, tags = self._keys.key(args, kwargs), self._tags_of(args, kwargs)
        except Exception as error:  # as in `call`
            self._tell(error, args, kwargs)
            return await self._uncached(args, kwargs)
        call = _OneCall(self, key, args, kwargs, None, BY_HAND)
        served = await self._store.fence.renew_now(key, tags, call)
        self._note(key, served.how)
        return self._handed_out(served.value, args, kwargs, None, BY_HAND)

    async def _uncached(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        note(Outcome.BYPASS)
        return await self._run(*args, **kwargs)

    def _handed_out(
        self,
        result: tuple[Any, Changes | None],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        sending: ResponseCapture | None,
        asked: Asked,
    ) -> Any:
        """Do what the function did besides, and return its result."""
        value, changes = result
        if changes is not None:
            given = (*args, *kwargs.values())
            found = next((each for each in given if isinstance(each, Response)), None)
            response = asked.injected or found
            if response is not None:
                changes.apply(response)
        return (
            sending.response(value)
            if type(value) is RenderedResponse and sending is not None
            else value
        )

    def _note(self, key: str, how: How) -> None:
        outcome = how.outcome
        note(outcome)
        self._logger.debug("%s %s", _IN_LOG[outcome], Shown(key))

    def _tags_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the keys of the tags that are known before the function runs.

        Where others are derived from its result, the last of them is that of all tags.
        """
        keys = []
        if self._tags:
            arguments = self.parameters.arguments(args, kwargs)
            keys = [tag_key(self._tag_start, tag.name(arguments)) for tag in self._tags]
        if self._derivations:
            keys.append(all_tags_key(self._store.key_prefix))
        return tuple(keys)

    def _tell(self, error: Exception, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Warn of a call that has no key, unless the function itself says best what does not fit."""
        if isinstance(error, UnkeyableError) or self._fits(args, kwargs):
            self._warn_once("runs uncached", _why_no_key(error))

    def in_key(self, call: "_OneCall") -> InKey:
        """Return what the key of a call holds: of the request, and of context variables.

        A variable that is read when the key is made counts as in it, and so does an ignored one.
        """
        args, kwargs, reads = call.args, call.kwargs, Reads()
        try:
            during(reads, lambda: self._keys.built(args, kwargs, call.asked.connection))
            return self._keys.reads(args, kwargs), reads.found | self._ignored
        except Exception:  # of a `key=` that is another one the second time: then nothing is
            return set(), self._ignored

    def key_or_raise(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return the key of a call; raise `TypeError` where it has none, or does not fit."""
        try:
            return self._keys.key(args, kwargs)
        except TypeError:
            raise
        except Exception as error:
            raise UnkeyableError(_why_no_key(error)) from error

    def _fits(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        try:
            self.parameters.signature.bind(*args, **kwargs)
        except TypeError:
            return False
        return True

    def load(
        self, key: str, data: bytes, nonces: Nonces, sending: ResponseCapture | None = None
    ) -> Found | None:
        """Return what a record holds, or `None` if it is none of this key, or has other nonces.

        What was sent is of use where it is to be sent again, by a route that renders likewise.
        """
        try:
            record = self._record_at(key, data)
            if record is not None:
                return self._read(record, nonces, sending)
            if owner_of(key, data) in self._store.readers:
                self._warn_once(
                    "hits never",
                    f"another function has the same keys, such as {Shown(key)}, and each takes the "
                    f"other's entries away; give each a key_prefix= of its own",
                )
        except Exception as error:  # bytes from outside, damaged in a way of their own
            self._logger.debug("unreadable %s: %s", Shown(key), type(error).__name__)
        return None

    def _record_at(self, key: str, data: bytes) -> Record | None:
        return Record.from_bytes(key, data, self._owner, largest=self._store.max_entry_bytes)

    def _found_near(
        self, key: str, tags: tuple[str, ...], sending: ResponseCapture | None
    ) -> tuple[Any, Changes | None] | None:
        """Return what the near cache has, if that is a hit; a record is read once."""
        found = self._store.fence.nearby(key, tags)
        if found is None:
            return None
        kept, nonces = found
        try:
            if kept.memo is None or kept.memo[0] is not self:
                self._remember(key, kept, tags)
            _, make, record, stored = kept.memo
            if make is not None:
                return make(), None
            if stored is not None and sending is not None and record.about[_FORM] == sending.form:
                return stored, None
            return None if record is None else self._hit(record, nonces, sending)
        except Exception:  # damaged: the backend is looked at
            return None

    def _remember(self, key: str, kept: NearEntry, tags: tuple[str, ...]) -> None:
        """Read a record that is near for all who come: what makes its value, or else its parts."""
        make, record, stored, size = None, None, None, 0
        plain = None
        is_small = len(kept.data) <= self._store.max_entry_bytes
        if not tags and is_small and _VALUE in self._kinds:
            plain = plain_payload(key, kept.data, self._owner, _VALUE)
        if plain is not None:
            make, size = codec.decoder(plain, self._classes)
        else:
            record = self._record_at(key, kept.data)
            size = 0 if record is None else len(record.payload)
            is_sent = record is not None and record.kind == _SENT and len(record.about) == _PLAIN
            if record is not None and is_sent and not tags:
                stored = self._restored(record)
        near = self._store.fence.near
        if near is not None:
            near.remember(key, kept, (self, make, record, stored), size)

    def _found_soon(
        self, key: str, data: bytes | None, sending: ResponseCapture | None
    ) -> tuple[Any, Changes | None] | None:
        """Return what stands at a key, if that is a hit; else the fence does what is to be done."""
        if type(data) is not bytes or len(data) > self._store.max_entry_bytes:
            return None
        try:
            if sending is None and _VALUE in self._kinds:
                plain = plain_payload(key, data, self._owner, _VALUE)
                if plain is not None:
                    return codec.decode(plain, self._classes), None
            record = self._record_at(key, data)
            return None if record is None else self._hit(record, (), sending)
        except Exception:  # damaged: the fence notes that
            return None

    def _hit(
        self, record: Record, nonces: Nonces, sending: ResponseCapture | None
    ) -> tuple[Any, Changes | None] | None:
        """Return what a record holds, if it can be had without asking for more."""
        about = record.about
        if sending is not None and record.kind == _SENT and len(about) == _PLAIN and not nonces:
            is_alike = about.get(_FORM) == sending.form
            return (self._restored(record), None) if is_alike else None
        found = self._read(record, nonces, sending)
        return found.value if found is not None and self._store.fence.is_hit(found) else None

    def _read(
        self, record: Record, nonces: Nonces, sending: ResponseCapture | None
    ) -> Found | None:
        known = _as_text(nonces[: len(self._tags)]) if self._tags else []
        if (record.about.get(_NONCES, []) if record.about else []) != known:
            return None
        value: Any
        if record.kind == _SENT:
            if sending is None or record.about.get(_FORM) != sending.form:
                return None
            value = self._restored(record)
        elif record.kind not in self._kinds:
            return None  # the function returns no such thing
        elif record.kind == _VALUE:
            value = codec.decode(record.payload, self._classes)
        else:
            value = responses.restore(record.about, record.payload, self._classes, self._returned)
            self._refuse_status(value.status_code)
        if not record.about:
            return Found((value, None))
        changes = record.about.get(_INJECTED)
        injected = None if changes is None else Changes.from_json(changes)
        if injected is not None and injected.status is not None:
            self._refuse_status(injected.status)
        tags, derived = record.about.get(_DERIVED, ([], []))
        return Found(
            (value, injected),
            due=self._freshness.is_due(record.about),
            tags=checked_tag_keys(tags, self._store.key_prefix),
            nonces=tuple([nonce.encode("latin-1") for nonce in derived]),
        )

    def _restored(self, record: Record) -> RenderedResponse:
        stored = sent.restore(record.about, record.payload)
        if stored.status != 200:  # as most have
            self._refuse_status(stored.status)
        return stored

    def _refuse_status(self, status: int) -> None:
        if not responses.is_listed(status, self._statuses):
            raise ValueError(f"no response with the status {status} was stored")

    async def compute(self, call: "_OneCall", nonces: Nonces) -> Made:
        """Run the function; make a record of its result if everybody may have it."""
        key, sending = call.key, call.sending
        self._logger.debug("miss %s", Shown(key))
        injected = call.asked.injected
        watch = Watch(
            call.args, call.kwargs, injected, is_shared=self._is_shared, ignored=self._ignored
        )
        call.watch = watch
        began = time.monotonic()
        try:
            run = partial(self._run, *watch.args, **watch.kwargs)
            value = await run_watched(watch.reads, run)
        except Exception:
            call.is_private = watch.is_private(call.in_key)
            raise
        value = handed.original(value)
        about, ms = self._freshness.stamp(time.monotonic() - began)
        if self._tags and nonces:
            about[_NONCES] = _as_text(nonces[: len(self._tags)])
        keep = not self._derivations or await self._derive(value, nonces, about)
        if self._freshness.expire == 0 or not self._may_be_stored(value, call, watch, about):
            return Made((value, None), None, ms, keep)
        for said in (value, watch.injected):
            if isinstance(said, Response):
                ms = self._freshness.limited(about, ms, stated(said))
        if ms <= 0:
            return Made((value, None), None, ms, keep)
        record = partial(self._record, value, about)
        if sending is None:
            return Made((value, None), self._data(key, record), ms, keep)
        if isinstance(value, Response):
            record = partial(self._record_returned, value, about, sending)
            return Made((value, None), self._data(key, record), ms, keep)
        call.record = partial(self._data_sent, call, record, about, ms)
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
            derived = [tag for derive in self._derivations for tag in listed(derive(value))]
            keys = checked_tag_keys([tag_key(self._tag_start, tag) for tag in derived], prefix)
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

    def _may_be_stored(
        self, value: object, call: "_OneCall", watch: Watch, about: dict[str, Any]
    ) -> bool:
        """Return whether a result is for everybody; note what the function did besides."""
        try:
            reason = self._why_not_stored(value, call, watch)
            changes = watch.changes()
        except Exception as error:  # of a response that is none
            self._warn_once("is not stored", f"it cannot be examined: {error!r}")
            return False
        if reason is not None:
            self._logger.debug("a result of %s is not stored: %s", self._name, reason)
            if not reason.startswith(_MEANT):
                self._warn_once("is not stored", reason)
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
            self._store.refuse_large(record.payload, key)
            self._kinds.add(record.kind)  # a function need not do what its annotation says
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
        if not isinstance(value, self._returned):  # it need not do what its annotation says
            self._returned += (type(value),)
        return Record(_RESPONSE, bytes(value.body), about)

    def _record_returned(
        self, value: Response, about: dict[str, Any], sending: ResponseCapture
    ) -> Record:
        """Return the record of a response that an endpoint returned: as it is, or as it is sent."""
        if responses.why_not_rebuilt(value, self._classes) is None:
            return self._record(value, about)
        taken = sent.returned(value)
        if taken is None:
            raise codec.UnstorableError(
                f"a {type(value).__qualname__} sends in a way of its own, which cannot be repeated"
            )
        return Record(_SENT, taken.body, {**about, _FORM: sending.form, **sent.describe(taken)})

    def _data_sent(
        self,
        call: "_OneCall",
        of_value: Callable[[], Record],
        about: dict[str, Any],
        ms: int,
        response: Response,
    ) -> bytes | None:
        """Return the record of a response, or that of the value where it says more."""
        sending = call.sending

        def record() -> Record | None:
            unkeyed = [] if call.watch is None else call.watch.unkeyed(call.in_key)
            if unkeyed:
                why = f"while rendered, {self._why_unkeyed(unkeyed)}"
                self._warn_once("is not stored", why, unkeyed)
                return None
            status = about.get(_INJECTED, (None,))[0]
            if sending is None:
                return of_value()
            taken = sending.taken_from(response, has_status=status is not None)
            if taken is None:
                return of_value()
            made = taken.response()
            reason = responses.why_not_stored(made, self._statuses, self._varied(call))
            if reason is None and self._freshness.limited({}, ms, stated(made)) < ms:
                reason = "its class says that it lives shorter than the entry"
            if reason is not None:
                self._logger.debug("a response of %s is not stored: %s", self._name, reason)
                return None
            more = {_FORM: sending.form, **sent.describe(taken)}
            return Record(_SENT, taken.body, {**about, **more})

        return self._data(call.key, record)

    def _why_not_stored(self, value: object, call: "_OneCall", watch: Watch) -> str | None:
        """Return why this result is nobody else's, or `None`; a mistake is warned of once."""
        varied = self._varied(call)
        if isinstance(value, Response):
            if responses.is_stream(value):
                return "it is a stream"
            reason = responses.why_not_stored(value, self._statuses, varied)
            if reason is not None:
                return reason
        unkeyed = watch.unkeyed(call.in_key)
        if unkeyed:
            self._warn_once("is not stored", self._why_unkeyed(unkeyed), unkeyed)
            return f"it read {', '.join(map(_called, unkeyed))}"
        return watch.why_not_stored(value, self._statuses, varied)

    def _varied(self, call: "_OneCall") -> frozenset[str]:
        """Return the headers of the request, in lower case, that the key holds."""
        return call.asked.headers.union(self._vary.headers)

    def _why_unkeyed(self, unkeyed: Collection[str | Variable]) -> str:
        """Return what to do about what was read and is not in the key."""
        words = [each for each in unkeyed if isinstance(each, str)]
        variables = [each for each in unkeyed if not isinstance(each, str)]
        reasons = []
        if variables:
            reasons.append(f"it read {', '.join(map(name_of, variables))}, {self._lacking()}")
        if words:
            reasons.append(_why_no_part(words))
        return "; and ".join(reasons)

    def _lacking(self) -> str:
        own = self._keys.has_own
        holds = "let key= hold its value" if own else "name the variable itself in vary="
        return (
            f"which its key lacks; {holds}, or pass its value as an argument; only if it never decides "
            f"about the result, as the number of a request in a log, name it in ignore="
        )

    def _warn_once(self, what: str, why: str, about: Collection[str | Variable] = ()) -> None:
        """Warn once for each kind of reason: of two messages that differ in values, the first.

        What they are `about` makes another kind.
        """
        variables = sorted(each.name for each in about if not isinstance(each, str))
        kind = f"{what}: {kind_of(why)}{variables or ''}"
        if kind not in self._warned and len(self._warned) < _MOST_KINDS:
            self._warned.add(kind)
            self._logger.warning("%s %s: %s", self._name, what, Shown(why, _MOST_SHOWN))


class _OneCall:
    """One call, as the fence knows it. Its values are results, with changes to do for a hit."""

    def __init__(  # noqa: PLR0917 - a call for itself: by position takes less time
        self,
        calls: CachedCalls,
        key: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        sending: ResponseCapture | None,
        asked: Asked,
    ) -> None:
        self._calls, self.key, self.args, self.kwargs = calls, key, args, kwargs
        self.sending, self.asked = sending, asked
        self.owner: object = calls
        self.is_private = False
        """Whether what the function raised is this caller's own."""
        self.watch: Watch | None = None
        """What the function did, if it ran."""
        self.in_background = calls.in_background
        self.record: Callable[[Response], bytes | None] | None = None
        """What makes a record of the response, if it is to be made of that."""

    def read(self, data: bytes, nonces: Nonces) -> Found | None:
        """Return what a record holds, or `None` if it is of no use."""
        return self._calls.load(self.key, data, nonces, self.sending)

    def failed(self, value: Any) -> bool:
        """Whether a result tells of a failure, so that an old one is better."""
        return is_failure(value[0]) or (self.watch is not None and self.watch.has_failed())

    def in_key(self) -> InKey:
        """Return what of the request and of context variables is in the key."""
        return self._calls.in_key(self)

    async def compute(self, nonces: Nonces) -> Made:
        """Run the function with this call's own arguments."""
        return await self._calls.compute(self, nonces)


def _why_no_part(words: list[str]) -> str:
    """Return what to do about what was read of the request or of the response."""
    read = ", ".join(words)
    if all(word.endswith(handed.WHERE) for word in words):
        return (
            f"it read {read}, which a dependency may have put there, and no key holds that; pass what "
            f"the dependency knows as a parameter; only if the answer is the same for everybody, "
            f"whoever asks, say shared=True"
        )
    return (
        f"it read {read} of the request, which is no part of the key; make it a parameter, as a "
        f"dependency that returns it does, name a header in vary=, or give a key= that holds a whole "
        f"header, path or query, as a part of a tuple; only if the answer is the same for everybody, "
        f"whoever asks, say shared=True"
    )


def _may_have_request(parameters: Parameters) -> bool:
    """Whether an argument may be a request, by what the annotations say."""
    return not all(
        isinstance(hint := parameters.hints.get(name), type)
        # An abstract class, or a protocol, may be that of anything.
        and type(hint).__module__ not in ("abc", "typing", "typing_extensions")
        and HTTPConnection not in hint.__mro__
        and hint not in HTTPConnection.__mro__
        for name in parameters.signature.parameters
    )


def _called(read: str | Variable) -> str:
    return read if isinstance(read, str) else name_of(read)


def _why_no_key(error: Exception) -> str:
    is_told = isinstance(error, UnkeyableError)
    return str(error) if is_told else f"its key cannot be built: {error!r}"


def _as_text(nonces: Nonces) -> list[str]:
    return [(nonce or b"").decode("latin-1") for nonce in nonces]


def _claim(store: Store, func: Callable[..., Any], place: bytes, *, shared: bool) -> bool:
    """Take a place among the keys for `func`; refuse one that a different function has.

    Return whether there are too many of its name, for the first time.
    """
    other = store.functions.get(place)
    if other is None:
        return store.functions.keep(func, place, func)
    if is_same(func, other, shared=shared):
        return False
    unknown = compared(func, other)
    is_made_again = getattr(func, "__code__", None) is getattr(other, "__code__", func)
    why = f"; {advice(unknown)}; {_DECORATE_ONCE}" if unknown else ""
    if not unknown and is_made_again:
        why = f"; what the first one captured has changed since; {_DECORATE_ONCE}"
    raise ValueError(
        f"{func.__module__}.{func.__qualname__} would share its entries with another function: "
        f"one of the same name, whose captured values cannot be told apart, or of the same "
        f"key=; give each its own key_prefix= or key={why}"
    )


def _checked_method(method: str) -> str:
    if not isinstance(method, str) or not method.isalpha() or not method.isupper():
        raise ValueError(f"method={method!r} must be a method of HTTP, such as 'POST'")
    return method


def _checked_statuses(statuses: Collection[int]) -> frozenset[int]:
    for status in statuses:
        if not isinstance(status, int) or not 100 <= status <= 599:
            raise ValueError(f"cache_status has {status!r}, which is no HTTP status of 100 to 599")
    return frozenset(statuses)

"""The cached calls of one function: their keys, how an entry is read, and what is stored.

All that can be known when the function is decorated is worked out then. At the call, a hit is a
key, a read and a decoding; a miss watches what the function reads of the request and does to the
response, and decides whether its result may be stored for everybody who makes the same call.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from . import codec, requests, responses
from .canonical import UnkeyableError, text
from .classes import KnownClasses
from .identity import identity, is_same
from .injected import Changes, snapshot
from .keys import KeyBuilder, KeyFunction, Parameters, check_key_prefix
from .record import Record
from .status import Outcome, note
from .templates import Template

_VALUE, _RESPONSE = b"value", b"response"
_INJECTED = "injected"


class Store(Protocol):
    """What the calls need of a manager."""

    key_prefix: str
    compress_over: int
    functions: dict[bytes, Callable[..., Any]]

    async def read(self, key: str) -> bytes | None:
        """Return the bytes at a full key, or `None`."""

    async def write(self, key: str, data: bytes, expire: int | timedelta | None) -> bool:
        """Store bytes at a full key; raises `UnstorableError` if they are too many."""


class CachedCalls:
    """The entries of one decorated function. The arguments are those of `cache_response`."""

    def __init__(
        self,
        store: Store,
        func: Callable[..., Any],
        run: Callable[..., Awaitable[Any]],
        *,
        key_prefix: str,
        expire: int | timedelta | None,
        ignore: Collection[str],
        key: str | KeyFunction | None,
        vary: Collection[str],
        statuses: Collection[int],
        logger: logging.Logger,
    ) -> None:
        check_key_prefix(key_prefix)
        self._store, self._run, self._expire, self._logger = store, run, expire, logger
        self._name = f"{func.__module__}.{func.__qualname__}"
        self._parameters = Parameters.of(func, ignore)
        self._vary = _checked_vary(vary, self._parameters)
        self._statuses = _checked_statuses(statuses)
        self._classes = KnownClasses.returned_by(func)
        if vary and key is not None:
            raise ValueError(f"vary={tuple(vary)!r} has no place in a key of one's own, {key!r}")
        own = Template(key, self._parameters.signature.parameters) if isinstance(key, str) else key
        self._owner = identity(func, self._classes)
        start = f"{store.key_prefix}:{key_prefix}"
        self._keys = KeyBuilder(
            func, self._parameters, start=start, identity=self._owner, vary=self._vary, own=own
        )
        self._has_own_key = own is not None
        self._warned: set[str] = set()
        _claim(store, func, text(start) + (text(key) if isinstance(key, str) else self._owner))

    async def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the function returned for this call before, or run it and store that."""
        key = self.key(args, kwargs)
        if key is None:
            note(Outcome.BYPASS)
            return await self._run(*args, **kwargs)
        found = await self._load(key)
        if found is not None:
            value, changes = found
            if changes is not None:
                self._injected(args, kwargs, changes)
            note(Outcome.HIT)
            return value
        watch = _Watch(self._parameters, self._vary, args, kwargs)
        value = await self._run(*watch.args, **watch.kwargs)
        stored = await self._save(key, value, watch)
        note(Outcome.STORED if stored else Outcome.NOT_STORED)
        return value

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """Return the key of a call, or `None` where it has none and goes past the cache."""
        try:
            return self._keys.key(args, kwargs)
        except UnkeyableError as error:
            self._warn_once("runs uncached", str(error))
        except TypeError:
            pass  # the arguments do not fit: the function itself says so best
        except Exception as error:  # of a `__cache_key__`, of `key=`, of an attribute in a template
            self._warn_once("runs uncached", f"its key cannot be built: {error!r}")
        return None

    async def _load(self, key: str) -> tuple[Any, Changes | None] | None:
        data = await self._store.read(key)
        found = None
        try:
            record = None if data is None else Record.from_bytes(key, data, self._owner)
            if record is not None:
                found = self._read(record)
        except Exception as error:  # bytes from outside, damaged in a way of their own
            self._logger.debug("unreadable %s: %s", key, error)
        self._logger.debug("%s %s", "miss" if found is None else "hit", key)
        return found

    def _read(self, record: Record) -> tuple[Any, Changes | None] | None:
        changes = record.about.get(_INJECTED)
        injected = None if changes is None else Changes.from_json(changes)
        if record.kind == _VALUE:
            return codec.decode(record.payload, self._classes), injected
        if record.kind == _RESPONSE:
            return responses.restore(record.about, record.payload, self._classes), injected
        return None

    async def _save(self, key: str, value: object, watch: "_Watch") -> bool:
        """Store `value` at `key` if everybody may have it; return whether it is stored."""
        try:
            record = self._record(value, watch)
            if record is None:
                return False
            data = record.to_bytes(key, self._owner, compress_over=self._store.compress_over)
            stored = await self._store.write(key, data, self._expire)
        except codec.UnstorableError as error:
            self._warn_once("is not stored", str(error))
            return False
        except Exception as error:  # the caller has a result, and no use for a failure to keep it
            self._warn_once("is not stored", f"it cannot be encoded: {error!r}")
            return False
        self._logger.debug("%s %s", "stored" if stored else "not stored", key)
        return stored

    def _record(self, value: object, watch: "_Watch") -> Record | None:
        reason = self._why_not_stored(value, watch)
        if reason is not None:
            self._logger.debug("a result of %s is not stored: %s", self._name, reason)
            return None
        about: dict[str, Any] = {}
        changes = watch.changes()
        if changes:
            about[_INJECTED] = changes.to_json()
        if not isinstance(value, Response):
            return Record(_VALUE, codec.encode_checked(value, self._classes), about)
        reason = responses.why_not_rebuilt(value, self._classes)
        if reason is not None:
            raise codec.UnstorableError(reason)
        about.update(responses.describe(value, self._classes))
        return Record(_RESPONSE, bytes(value.body), about)

    def _why_not_stored(self, value: object, watch: "_Watch") -> str | None:
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

    def _injected(self, args: tuple[Any, ...], kwargs: dict[str, Any], changes: Changes) -> None:
        response = self._parameters.arguments(args, kwargs).get(self._parameters.response or "")
        if isinstance(response, Response):
            changes.apply(response)

    def _warn_once(self, what: str, why: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self._logger.warning("%s %s: %s", self._name, what, why)


class _Watch:
    """What happens, during one run of the function, to what FastAPI handed it."""

    def __init__(
        self,
        parameters: Parameters,
        vary: Collection[str],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.args, self.kwargs = args, kwargs
        self.noted: set[str] = set()
        self._response: Response | None = None
        self._background: Any = None
        self._tasks = 0
        if parameters.request is parameters.response is parameters.background is None:
            return
        given = parameters.signature.bind(*args, **kwargs)
        request = given.arguments.get(parameters.request or "")
        if isinstance(request, Request):
            given.arguments[parameters.request or ""], self.noted = requests.noting(request, vary)
            self.args, self.kwargs = given.args, given.kwargs
        response = given.arguments.get(parameters.response or "")
        if isinstance(response, Response):
            self._response, self._before = response, snapshot(response)
        self._background = given.arguments.get(parameters.background or "")
        self._tasks = len(getattr(self._background, "tasks", ()))

    def changes(self) -> Changes | None:
        """Return what the function did to the injected response, if there is one."""
        return None if self._response is None else Changes.between(self._before, self._response)

    def why_not_stored(self, statuses: Collection[int]) -> str | None:
        """Return why the injected response or background tasks forbid to store, or `None`."""
        if len(getattr(self._background, "tasks", ())) > self._tasks:
            return "it scheduled a background task"
        if self._response is None:
            return None
        return responses.why_not_stored(self._response, statuses)


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

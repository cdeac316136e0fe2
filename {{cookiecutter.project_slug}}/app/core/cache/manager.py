"""The cache manager, and the decorators that cache a function's results and invalidate them.

A cached call reads downhill: decorator, key, manager, backend, codec. Whatever goes wrong below
the decorator, the function runs as if there were no cache.
"""

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from datetime import timedelta
from typing import Any, ParamSpec, Protocol, TypeVar, cast, overload

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from . import codec, responses
from .base import CacheBackend, milliseconds
from .classes import KnownClasses
from .keys import KeyBuilder, UnkeyableError
from .outage import Outage
from .patterns import KeyPattern
from .record import Record
from .status import Outcome, note

logger = logging.getLogger(__name__)

DEFAULT_TTL = 300

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_VALUE, _RESPONSE = b"value", b"response"


class CacheManager:
    """One cache: a backend, the prefix of its keys and the time to live of its entries.

    `key_prefix` stands in front of every key, with a colon between; by default it is the
    backend's. `default_ttl`, in seconds, holds where no `expire` is given.

    No method raises because the backend is away, slow or answers with an error: `get` then
    returns `None`, all others `False`. Wrong arguments raise `TypeError` or `ValueError`.
    """

    def __init__(
        self,
        backend: CacheBackend,
        *,
        key_prefix: str | None = None,
        default_ttl: int = DEFAULT_TTL,
    ) -> None:
        if not isinstance(backend, CacheBackend):
            raise TypeError(f"backend={backend!r} is no CacheBackend; subclass it")
        if isinstance(default_ttl, bool) or not isinstance(default_ttl, int) or default_ttl < 1:
            raise ValueError(f"default_ttl={default_ttl!r} must be whole seconds, 1 or more")
        self.backend = backend
        self.key_prefix = backend.key_prefix if key_prefix is None else key_prefix
        if not isinstance(self.key_prefix, str) or not self.key_prefix:
            raise ValueError(f"key_prefix={self.key_prefix!r} must be a string that is not empty")
        self.default_ttl = default_ttl
        self._outage = Outage(f"cache backend {type(backend).__name__}", logger)

    def __repr__(self) -> str:
        return f"CacheManager({self.backend!r}, key_prefix={self.key_prefix!r})"

    async def get(self, key: str) -> Any | None:
        """Return the value stored at `key`, or `None` if there is none."""
        full = self._full(key)
        value = await self._guarded(self.backend.get(full), None)
        logger.debug("%s %s", "miss" if value is None else "hit", full)
        return value

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        """Store `value` at `key` and return whether it is stored.

        `expire` is in seconds; zero or less means that the value is not stored, and what stood at
        the key is removed. The same happens to a value that would not come back equal, with a
        warning that says why.
        """
        full = self._full(key)
        expire = self.default_ttl if expire is None else expire
        milliseconds(expire)  # raises here, where it is not taken for a failure of the backend
        try:
            stored = await self._guarded(self.backend.set(full, value, expire), False)
        except codec.UnstorableError as error:
            logger.warning("not stored at %s: %s", full, error)
            await self._guarded(self.backend.delete(full), False)
            return False
        logger.debug("%s %s", "stored" if stored else "not stored", full)
        return stored

    async def delete(self, key: str) -> bool:
        """Remove `key`, which is no pattern; return whether there was something to remove."""
        full = self._full(key)
        deleted = await self._guarded(self.backend.delete(full), False)
        logger.debug("deleted %s: %s", full, deleted)
        return deleted

    async def exists(self, key: str) -> bool:
        """Return whether `key` holds something that has not expired."""
        return await self._guarded(self.backend.exists(self._full(key)), False)

    async def clear(self) -> bool:
        """Remove every entry below `key_prefix` and nothing else; return whether it was done."""
        return await self._delete_matching(KeyPattern((f"{self.key_prefix}:", "")))

    async def invalidate(self, pattern: str) -> bool:
        """Remove every entry whose key `pattern` covers; return whether it was done.

        `*` stands for any run of characters, every other character for itself. The pattern is
        taken below the prefix, as a key is.
        """
        full = self._full(pattern)
        return await self._delete_matching(
            KeyPattern.parse(pattern, prefix=full.removesuffix(pattern))
        )

    async def close(self) -> None:
        """Close the connections of the running event loop. A use after that opens them again."""
        await self._guarded(self.backend.close(), None)

    async def health_check(self) -> bool:
        """Return whether the backend answers."""
        return await self._guarded(self.backend.health_check(), False)

    async def _read(self, key: str) -> bytes | None:
        return await self._guarded(self.backend.get_bytes(key), None)

    async def _write(self, key: str, data: bytes, expire: int | timedelta | None) -> bool:
        expire = self.default_ttl if expire is None else expire
        return await self._guarded(self.backend.set_bytes(key, data, expire), False)

    async def _delete_matching(self, pattern: KeyPattern) -> bool:
        done = await self._guarded(self.backend.delete_matching(pattern), False)
        logger.debug("%s %s", "invalidated" if done else "could not invalidate", pattern)
        return done

    def _full(self, key: str) -> str:
        if not isinstance(key, str) or not key:
            raise TypeError(f"key={key!r} must be a string that is not empty")
        return f"{self.key_prefix}:{key}"

    async def _guarded(self, operation: Awaitable[T], failed: T) -> T:
        """Await `operation` and return `failed` where it raises; an outage is logged once.

        `UnstorableError` is the caller's affair: it tells of the value, not of the backend.
        """
        try:
            result = await operation
        except codec.UnstorableError:
            raise
        except Exception as error:
            self._outage.failed(error)
            return failed
        self._outage.worked()
        return result


class Decorator(Protocol):
    """Turns a function into a coroutine function of the same parameters, name and docstring."""

    @overload
    def __call__(
        self, func: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(self, func: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


def cache_response(
    cache_manager: CacheManager,
    key_prefix: str,
    expire: int | timedelta | None = None,
    *,
    ignore: Collection[str] = (),
) -> Decorator:
    """Cache what the function returns, under a key made of its name and its arguments.

    Put it between the route decorator of FastAPI and the function. `key_prefix` begins the key,
    so that `invalidate_cache(keys="{key_prefix}*")` covers every entry. `expire` is in seconds;
    without it the manager's `default_ttl` holds. Parameters named in `ignore`, a database session
    for one, are no part of the key.

    A hit returns what the call would have returned. What cannot come back equal is not stored,
    and neither are exceptions, responses that are not successful, that set a cookie, or that say
    `no-store` or `private`. A call with an argument that has no stable identity runs the function.
    A plain `def` function runs in a thread, and has to be awaited once it is decorated.

    Raises `TypeError` or `ValueError` when it is applied, for arguments that cannot be right.
    """
    if expire is not None:
        milliseconds(expire)

    def decorate(func: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
        run = _as_coroutine_function(func)
        calls = _CachedCalls(cache_manager, func, key_prefix=key_prefix, ignore=ignore)

        @functools.wraps(func)
        async def cached(*args: Any, **kwargs: Any) -> Any:
            key = calls.key(args, kwargs)
            if key is None:
                note(Outcome.BYPASS)
                return await run(*args, **kwargs)
            hit, value = await calls.load(key)
            if hit:
                note(Outcome.HIT)
                return value
            value = await run(*args, **kwargs)
            stored = await calls.store(key, value, expire)
            note(Outcome.STORED if stored else Outcome.NOT_STORED)
            return value

        return cached

    return cast("Decorator", decorate)


def invalidate_cache(cache_manager: CacheManager, keys: str | list[str]) -> Decorator:
    """Remove what `keys` cover after the function has run, before its result is handed on.

    Each of `keys` is a key or a pattern below the manager's prefix; `*` is the only wildcard.
    Commit inside the function: what is committed after it has returned can be read, and cached,
    in its old state.

    The entries are removed when the function raised or was cancelled, too: it may have written
    before that, and forgetting too much costs a miss, keeping too much a wrong answer.

    Raises `TypeError` or `ValueError` when it is applied, for keys that cannot be right.
    """
    patterns = [keys] if isinstance(keys, str) else list(keys)
    if not patterns or not all(isinstance(key, str) and key for key in patterns):
        raise ValueError(f"keys={keys!r} must be a key or a list of keys, none of them empty")

    def decorate(func: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
        run = _as_coroutine_function(func)

        @functools.wraps(func)
        async def invalidating(*args: Any, **kwargs: Any) -> Any:
            try:
                return await run(*args, **kwargs)
            finally:
                await _to_its_end(_invalidate_all(cache_manager, patterns))

        return invalidating

    return cast("Decorator", decorate)


async def _invalidate_all(manager: CacheManager, patterns: list[str]) -> None:
    for pattern in patterns:
        await manager.invalidate(pattern)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end even if the caller is cancelled meanwhile, and only then go.

    A scope of AnyIO cancels every await inside it, a task of asyncio the one that it is in.
    """
    task = asyncio.ensure_future(work)
    with anyio.CancelScope(shield=True):
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise


class _CachedCalls:
    """The entries of one decorated function: their keys, how they are read and how written."""

    def __init__(
        self,
        manager: CacheManager,
        func: Callable[..., object],
        *,
        key_prefix: str,
        ignore: Collection[str],
    ) -> None:
        self._manager = manager
        self._name = f"{func.__module__}.{func.__qualname__}"
        self._keys = KeyBuilder(
            func, prefix=manager.key_prefix, key_prefix=key_prefix, ignore=ignore
        )
        self._classes = KnownClasses.returned_by(func)
        self._warned: set[str] = set()

    def key(self, args: tuple[object, ...], kwargs: dict[str, object]) -> str | None:
        """Return the key of a call, or `None` where it has none and goes past the cache."""
        try:
            return self._keys.key(args, kwargs)
        except UnkeyableError as error:
            self._warn_once(
                "runs uncached",
                f"{error}; name it in ignore=, or give its class a __cache_key__ method",
            )
        except TypeError:
            pass  # the arguments do not fit: the function itself says so best
        return None

    async def load(self, key: str) -> tuple[bool, Any]:
        """Return whether there is an entry at `key`, and what it holds."""
        data = await self._manager._read(key)
        record = None if data is None else Record.from_bytes(key, data)
        try:
            if record is not None and record.kind == _VALUE:
                value = codec.decode(record.payload, self._classes)
            elif record is not None and record.kind == _RESPONSE:
                value = responses.restore(record.payload)
            else:
                logger.debug("miss %s", key)
                return False, None
        except Exception as error:  # bytes from outside, damaged in a way of their own
            logger.debug("miss %s: unreadable, %s", key, error)
            return False, None
        logger.debug("hit %s", key)
        return True, value

    async def store(self, key: str, value: object, expire: int | timedelta | None) -> bool:
        """Store `value` at `key` if it would come back equal; return whether it is stored."""
        record = self._response(value) if isinstance(value, Response) else self._value(value)
        if record is None:
            return False
        stored = await self._manager._write(key, record.to_bytes(key), expire)
        logger.debug("%s %s", "stored" if stored else "not stored", key)
        return stored

    def _response(self, response: Response) -> Record | None:
        if not responses.is_rebuildable(response):
            self._warn_once(
                "is not stored",
                f"a {type(response).__qualname__} cannot be rebuilt; return a JSONResponse, "
                f"HTMLResponse, PlainTextResponse or Response",
            )
            return None
        reason = responses.why_not_stored(response)
        if reason is not None:
            logger.debug("a response of %s is not stored: %s", self._name, reason)
            return None
        return Record(_RESPONSE, responses.dump(response))

    def _value(self, value: object) -> Record | None:
        try:
            return Record(_VALUE, codec.encode_checked(value, self._classes))
        except codec.UnstorableError as error:
            self._warn_once("is not stored", str(error))
            return None

    def _warn_once(self, what: str, why: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("%s %s: %s", self._name, what, why)


def _as_coroutine_function(func: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    if not callable(func) or not hasattr(func, "__qualname__"):
        raise TypeError(f"{func!r} is no function; decorate the function itself")
    if inspect.isasyncgenfunction(func) or inspect.isgeneratorfunction(func):
        raise TypeError(f"{func.__qualname__} is a generator: a stream cannot be cached or awaited")
    if inspect.iscoroutinefunction(func):
        return func
    return functools.partial(run_in_threadpool, func)

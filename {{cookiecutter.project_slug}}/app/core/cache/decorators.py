"""The decorators: `cache_response` caches what a function returns, `invalidate_cache` removes entries.

A cached call reads downhill: decorator, calls, key, manager, backend, codec. Whatever goes wrong
below the decorator, the function runs as if there were no cache.
"""

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    cast,
    overload,
)

import anyio
from starlette.concurrency import run_in_threadpool

from .calls import CachedCalls
from .canonical import UnkeyableError
from .exceptions import without_frames_of
from .keys import KeyFunction, Parameters
from .patterns import WILDCARD, KeyPattern
from .tags import Tag, templates_of
from .templates import Template

if TYPE_CHECKING:
    from .manager import CacheManager

logger = logging.getLogger(__name__)

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class CachedFunction(Protocol[P, R_co]):
    """A function that `cache_response` has decorated, and what can be done with its entries.

    Of a method, take these from its class and give them the object: `Class.method.refresh(self)`.
    """

    __name__: str
    __wrapped__: Callable[P, Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Return what the function returned for this call before, or run it."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...

    @overload
    def __get__(
        self: "CachedFunction[Concatenate[S, Q], R_co]", instance: S, owner: Any
    ) -> Callable[Q, Coroutine[Any, Any, R_co]]: ...

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """Return the whole key of a call, or `None` where it goes past the cache."""

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove the entry of this one call; return whether that was done.

        For a call that has no key, as one with an unkeyable argument, it is that of
        `invalidate_all`.
        """

    async def invalidate_all(self) -> bool:
        """Remove every entry of this function; return whether that was done.

        With a `key=` of one's own, these are all entries below its `key_prefix`.
        """

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the function and store its result, whatever is stored for this call now."""


class CacheDecorator(Protocol):
    """Turns a function into a cached one of the same parameters, name and docstring."""

    @overload
    def __call__(self, func: Callable[P, Coroutine[Any, Any, R]], /) -> CachedFunction[P, R]: ...

    @overload
    def __call__(self, func: Callable[P, R], /) -> CachedFunction[P, R]: ...


class Decorator(Protocol):
    """Turns a function into a coroutine function of the same parameters, name and docstring."""

    @overload
    def __call__(
        self, func: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(self, func: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


def cache_response(
    cache_manager: "CacheManager",
    key_prefix: str,
    expire: int | timedelta | None = None,
    *,
    ignore: Collection[str] = (),
    key: str | KeyFunction | None = None,
    vary: Collection[str] = (),
    cache_status: Collection[int] = (),
    tags: Collection[Tag] = (),
    stale: int | timedelta | None = None,
    refresh: Literal["inline", "background"] = "inline",
    early_refresh: float = 0.0,
) -> CacheDecorator:
    """Cache what the function returns, under a key made of its name and its arguments.

    Put it between the route decorator of FastAPI and the function. `key_prefix` begins the key,
    so that `invalidate_cache(keys="{key_prefix}*")` covers every entry. `expire` is in seconds;
    without it the manager's `default_ttl` holds.

    Parameters named in `ignore`, a database session for one, are no part of the key. Those of
    type `Response` or `BackgroundTasks` never are. Of a `Request`, method, path and query are, and
    the headers named in `vary`; a result for which something else of it was read is not stored.
    `key` replaces what stands behind `key_prefix`: a template such as `"user:{user_id}"`, whose
    values are escaped, or a function of the same arguments that returns a string, which is taken
    as it is, or a tuple, whose parts are escaped and joined by colons.

    `tags` name groups that can be invalidated together, with arguments as in `"user:{user_id}"`; a
    function among them derives tags from the result, at the cost of a round trip for each hit.

    For `stale` seconds after an entry has expired it is still served, at once, while one caller
    computes it anew, and also if that fails with a timeout, an exception or a status of 500 or more.
    That caller waits for the function, which runs in his request; `refresh="background"` runs it in
    a task of its own and is for functions that need nothing of the request: no session, no
    dependency that ends with it. With `early_refresh`, 1.0 for one, a hot entry is computed anew
    a little before it expires, by one of its callers. An invalidated entry is never served.

    A hit returns what the call would have returned. What cannot come back equal is not stored,
    and neither are exceptions, results of a call that scheduled a background task, and responses
    that set a cookie, say `no-store` or `private`, or whose status is neither 2xx nor in
    `cache_status`. A call with an argument that has no stable identity runs the function. A plain
    `def` function runs in a thread, and has to be awaited once it is decorated.

    Raises `TypeError` or `ValueError` when it is applied, for arguments that cannot be right, for
    a parameter whose type can have no identity, and for a second function that would share the
    entries of the first.
    """
    if refresh not in ("inline", "background"):
        raise ValueError(f"refresh={refresh!r} must be 'inline' or 'background'")
    freshness = cache_manager.freshness(expire, stale, early_refresh)

    def decorate(func: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
        calls = CachedCalls(
            cache_manager,
            func,
            _as_coroutine_function(func),
            key_prefix=key_prefix,
            ignore=ignore,
            key=key,
            vary=vary,
            statuses=cache_status,
            tags=tags,
            freshness=freshness,
            in_background=refresh == "background",
            logger=logger,
        )

        @functools.wraps(func)
        async def cached(*args: Any, **kwargs: Any) -> Any:
            try:
                return await calls.call(args, kwargs)
            except Exception as error:
                without_frames_of(__package__, error)
                raise

        def cache_key(*args: Any, **kwargs: Any) -> str | None:
            return calls.key(args, kwargs)

        async def invalidate_all() -> bool:
            return await cache_manager.delete_matching(calls.family)

        async def invalidate(*args: Any, **kwargs: Any) -> bool:
            key = calls.key(args, kwargs)
            pattern = calls.family if key is None else KeyPattern((key,))
            return await cache_manager.delete_matching(pattern)

        async def renew(*args: Any, **kwargs: Any) -> Any:
            return await calls.renew(args, kwargs)

        calls.decorated, function = cached, cast("Any", cached)
        function.calls = calls  # for `CachedRoute`
        function.cache_key, function.refresh = cache_key, renew
        function.invalidate, function.invalidate_all = invalidate, invalidate_all
        return cached

    return cast("CacheDecorator", decorate)


def invalidate_cache(
    cache_manager: "CacheManager",
    keys: str | list[str] | None = None,
    *,
    tags: Collection[str] = (),
) -> Decorator:
    """Remove what `keys` cover after the function has run, before its result is handed on.

    Each of `keys` is a key or a pattern below the manager's prefix; `*` is the only wildcard. It
    may name arguments of the function, as in `"user:{user_id}*"`; their values are escaped, so
    that a `*` in one is no wildcard. Commit inside the function: what is committed after it has
    returned can be read, and cached, in its old state.

    The entries are removed when the function raised or was cancelled, too: it may have written
    before that, and forgetting too much costs a miss, keeping too much a wrong answer. For the
    same reason an argument that has no text of its own stands for any.

    Raises `TypeError` or `ValueError` when it is applied, for keys that cannot be right.
    """
    patterns = [keys] if isinstance(keys, str) else list(keys or [])
    if not (patterns or tags) or not all(isinstance(key, str) and key for key in patterns):
        raise ValueError(f"keys={keys!r} must be a key or a list of keys, none of them empty")

    def decorate(func: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
        run = _as_coroutine_function(func)
        parameters = Parameters.of(func)
        templates = [Template(pattern, parameters.signature.parameters) for pattern in patterns]
        tagged = templates_of(tags, parameters)
        with_arguments = any(template.has_fields for template in [*templates, *tagged])

        @functools.wraps(func)
        async def invalidating(*args: Any, **kwargs: Any) -> Any:
            # Before the function runs: it may change what it was given.
            arguments = parameters.arguments(args, kwargs) if with_arguments else {}
            covered = [each.render(arguments, unknown=WILDCARD) for each in templates]
            named = _rendered(tagged, arguments, covered)
            try:
                return await run(*args, **kwargs)
            finally:
                await _to_its_end(_invalidate_all(cache_manager, covered, named))

        return invalidating

    return cast("Decorator", decorate)


def _rendered(
    tags: list[Template], arguments: Mapping[str, object], covered: list[str]
) -> list[str]:
    """Return the tags; for one whose argument has no text, let `covered` cover everything."""
    named = []
    for tag in tags:
        try:
            named.append(tag.render(arguments))
        except UnkeyableError as error:
            logger.warning("the tag %r stands for all, as %s", tag.text, error)
            covered.append(WILDCARD)
    return named


async def _invalidate_all(manager: "CacheManager", patterns: list[str], tags: list[str]) -> None:
    """Carry out invalidations; what follows one that was not delivered is not even tried."""
    delivered = not tags or await manager.invalidate_tags(*tags)
    for pattern in patterns:
        if delivered:
            delivered = await manager.invalidate(pattern)
        else:
            manager.defer(pattern)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end even if the caller is cancelled meanwhile, and only then go.

    A scope of AnyIO cancels every await inside it, a task of asyncio the one that it is in.
    """
    task = asyncio.ensure_future(work)
    with anyio.CancelScope(shield=True):
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


def _as_coroutine_function(func: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    if not callable(func) or not hasattr(func, "__qualname__"):
        raise TypeError(f"{func!r} is no function; decorate the function itself")
    if inspect.isasyncgenfunction(func) or inspect.isgeneratorfunction(func):
        raise TypeError(f"{func.__qualname__} is a generator: a stream cannot be cached or awaited")
    if inspect.iscoroutinefunction(func):
        return func
    return functools.partial(run_in_threadpool, func)

"""The decorators: `cache_response` caches what a function returns, `invalidate_cache` removes entries.

A cached call goes through these parts, in this order: decorator, calls, key, manager, backend,
codec. If one of them fails, the function runs as if there were no cache.
"""

import functools
import logging
from collections.abc import Callable, Collection
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, cast

from .calls import (
    CachedCalls,
    CacheDecorator,
    CachedMethod,
    Decorator,
    Exceptions,
    Handles,
    InvalidatingCalls,
    Lifetime,
    Made,
    as_coroutine_function,
    attach,
    check_background,
    check_choice,
    check_flags,
    check_key,
    check_manager,
    check_several,
    check_times,
    is_endpoint,
    note_made,
    unwrapped,
)
from .coherence import without_own_frames
from .defaults import CACHE_CONTROLS, CacheControl
from .expiry import Expire
from .keys import KeyFunction, Tag, Varying, check_key_prefix, expect_keys
from .reads import CONNECTION, SignatureForFastAPI, taken

if TYPE_CHECKING:
    from .manager import CacheManager

logger = logging.getLogger(__name__)

_MISSING: Any = None  # this default exists only for the message about missing parentheses


def cache_response(
    cache_manager: "CacheManager",
    key_prefix: str = _MISSING,
    expire: Expire | Lifetime | None = None,
    *,
    ignore: Collection[str | ContextVar[Any]] = (),
    key: str | KeyFunction | None = None,
    vary: Varying = (),
    cache_status: Collection[int] = (),
    tags: Collection[Tag] = (),
    stale: Expire | None = None,
    refresh: Literal["inline", "background"] = "inline",
    early_refresh: float = 0.0,
    method: str = "GET",
    shared: bool = False,
    cache_control: CacheControl | None = None,
    store_if: Callable[[Any], object] | None = None,
    exceptions: Exceptions = (),
) -> CacheDecorator:
    """Cache the result of the function. The key holds the function's name and its arguments.

    Put the decorator between FastAPI's route decorator and the function, and above `classmethod` and
    `staticmethod`. A plain `def` function runs in a thread; the decorated function must be awaited. Each
    object has its own entries of a method.

    Args:
        cache_manager: The cache.
        key_prefix: How every key begins: `keys="users:*"` of `invalidate_cache` removes those of "users".
        expire: The time to live: seconds, a `timedelta`, a text such as "10m" or "1h30m", or a function
            of the result, and of arguments by their names, `lambda user, user_id: 60 if user.is_new
            else "1h"`, where `None` stands for the default and 0 for "do not store". By default the
            manager's `default_ttl`.
        ignore: Parameters that the key leaves out, such as a database session, and context variables
            that do not count, such as a request ID.
        key: What replaces the part of the key after `key_prefix`: a template, `"user:{user_id}"`, whose
            values are escaped, or a function that accepts every call of the function and returns a
            string, in which `*` and `~` are escaped, or a tuple, whose parts are escaped and joined by
            colons. It names, or reads, every parameter that is neither ignored nor filled in by FastAPI.
        vary: What else the key holds: names of headers, context variables, functions without arguments.
        cache_status: Statuses to store besides 2xx, of a response or of a raised `HTTPException`.
        tags: Groups of entries that can be invalidated together. A tag may name arguments,
            `"user:{user_id}"`, or be a function that derives tags from the result; each hit then takes
            one more round trip.
        stale: For how long after expiry callers get the old value at once, while one computes the new
            one. If that fails (timeout, exception, status of 500 or more), the old value stays.
        refresh: "inline": that caller waits for the function, which runs in its request. "background":
            it runs in a task of its own; it must not need what ends with the request.
        early_refresh: A factor, such as 1.0, with which a hot entry is computed anew before it expires.
        method: The HTTP method of requests that an endpoint is cached for; "GET" includes "HEAD".
        shared: Whether everybody gets the same answer, whoever asks: then nothing that is read of the
            request keeps a result from being stored.
        cache_control: What `CacheMiddleware` tells clients and proxies, unless the endpoint says it:
            "max-age" lets them use the response while the entry is fresh, "immutable" also says that it
            does not change meanwhile, "no-cache" has them ask each time, "none" says nothing. By default
            it is the manager's.
        store_if: A predicate of the result: `store_if=bool` does not store what is empty. Calls that
            wait for this one get its result nevertheless.
        exceptions: Classes of exceptions to store, `(NotFound,)` for ten seconds, or with their times,
            `{NotFound: "1m"}`. Only objects of these very classes are stored, if they hold only data.

    The key also leaves out parameters of type `Response` or `BackgroundTasks`. Of a `Request` it holds
    method, path and query. If the function reads a context variable or a part of the request that is not
    in the key, the result is not stored, and an exception is not shared. An endpoint runs uncached if a
    dependency takes something from the request that is neither in an argument of the key nor in `vary`.
    An invalidated entry is never served.

    A hit returns what the call would have returned. Values that would not come back equal are not
    stored, nor are results of a call that scheduled a background task. A response is not stored if it
    sets a cookie, says `no-store` or `private`, or has another status. If an argument has no stable
    identity, the call runs uncached. A stored `HTTPException` is raised again with the same status,
    detail and headers; its class is FastAPI's or Starlette's own, no subclass. With a function in `tags`
    no exception is stored.

    Raises:
        TypeError, ValueError: When it is applied: for invalid arguments, for a parameter whose type can
            have no identity, for a background refresh of a function that needs something that ends with
            the request, and for a second function that would share the first one's entries.
    """
    check_manager(cache_manager, "cache_response", 'key_prefix="users", expire=60')
    lifetime, expire = (expire, None) if callable(expire) else (None, expire)
    several = {"vary": vary, "cache_status": cache_status, "tags": tags, "exceptions": exceptions}
    _check(key_prefix, key, refresh, cache_control, shared=shared, ignore=ignore, **several)
    check_times(expire, stale, early_refresh)
    options: dict[str, Any] = {
        "key_prefix": key_prefix,
        "ignore": ignore,
        "key": key,
        "vary": vary,
        "statuses": cache_status,
        "tags": tags,
        "freshness": cache_manager.freshness(expire, stale, early_refresh),
        "keep": {"lifetime": lifetime, "store_if": store_if, "exceptions": exceptions},
        "in_background": refresh == "background",
        "method": method,
        "shared": shared,
        "cache_control": cache_control,
        "logger": logger,
    }
    return cast("CacheDecorator", functools.partial(_cached, cache_manager, options))


def _check(
    key_prefix: str,
    key: object,
    refresh: str,
    cache_control: object,
    *,
    shared: bool,
    **several: Any,
) -> None:
    """Raise `TypeError` or `ValueError` for arguments of `cache_response` that cannot be right."""
    check_key_prefix(key_prefix)
    check_choice("refresh", refresh, ("inline", "background"))
    check_choice("cache_control", cache_control, (None, *CACHE_CONTROLS))
    check_several(**several)
    check_key(key)
    check_flags(shared=shared)


def _cached(manager: "CacheManager", options: dict[str, Any], func: Any, /) -> Any:
    """Return the function that caches what `func` returns."""
    _tell_of_a_route_below("cache_response", func)
    kind, func = unwrapped(func)
    run = as_coroutine_function(func)
    if options["in_background"]:
        check_background(func)
    calls = CachedCalls(manager, func, run, **options)  # pyright: ignore[reportArgumentType]
    connection = calls.parameters.connection or CONNECTION

    @functools.wraps(func)
    async def cached(*args: Any, **kwargs: Any) -> Any:
        try:
            if connection in kwargs:  # FastAPI calls, for a request
                return await calls.requested(args, kwargs, *taken(kwargs))
            return await calls.call(args, kwargs)
        except Exception as error:
            without_own_frames(error)
            raise

    is_method = kind is not None and kind != "static"
    handles = Handles(manager, calls, func.__qualname__, is_method=is_method)
    function: Any = cached
    function.calls = calls  # for `CachedRoute`
    if kind is None:
        attach(function, handles)
    else:
        function = CachedMethod(cached, handles, kind)
    own_signature = calls.parameters.signature
    signature = SignatureForFastAPI.of(function, own_signature, calls.parameters.hidden)
    function.__signature__, calls.unseen = signature, signature.unseen
    calls.decorated = function
    note_made(Made("cache_response", manager, function, func, calls, options))
    expect_keys(manager, options["key_prefix"])
    return function


def invalidate_cache(
    cache_manager: "CacheManager",
    keys: str | list[str] | None = None,
    *,
    tags: Collection[str] = (),
    only_on_success: bool = False,
) -> Decorator:
    """Remove the entries of `keys` and `tags` after the function has run, before it returns.

    Commit inside the function: if you commit after it has returned, another request may read, and cache,
    the old state.

    Args:
        cache_manager: The cache.
        keys: A key or a pattern below the manager's prefix, or a list of them. `*` is the only wildcard.
            It may name arguments of the function, as in `"user:{user_id}*"`. Their values are escaped,
            so a `*` in a value is no wildcard.
        tags: Tags, which may name arguments as well.
        only_on_success: For a function that writes nothing if it fails: nothing is removed after an
            exception, nor for a status of 400 or more, in the returned response or in the one that
            FastAPI passed in.

    The entries are also removed if the function raised or was cancelled, because it may have written
    before that. Removing too much costs a miss; keeping too much gives a wrong answer. For the same
    reason an argument that has no text of its own matches any value.

    Raises:
        TypeError, ValueError: When it is applied, for invalid keys, tags or flags.
    """
    check_manager(cache_manager, "invalidate_cache", 'keys="users:*"')
    check_several(keys=() if keys is None else keys, tags=tags)
    check_flags(only_on_success=only_on_success)
    patterns = [keys] if isinstance(keys, str) else list(keys or [])
    if not (patterns or tags) or not all(isinstance(key, str) and key for key in patterns):
        raise ValueError(f"keys={keys!r} must be a key or a list of keys, none of them empty")
    if any(map(callable, tags)):
        raise TypeError(
            f"tags={list(tags)!r} of invalidate_cache has a function: name tags, which may have "
            f"arguments, as in 'user:{{user_id}}'"
        )

    def decorate(func: Any) -> Any:
        _tell_of_a_route_below("invalidate_cache", func)
        if isinstance(func, (classmethod, staticmethod)):
            return type(func)(decorate(func.__func__))
        run = as_coroutine_function(func)
        calls = InvalidatingCalls(
            cache_manager, func, run, keys=patterns, tags=tags, only_on_success=only_on_success
        )

        @functools.wraps(func)
        async def invalidating(*args: Any, **kwargs: Any) -> Any:
            return await calls.call(args, kwargs)

        given = {"keys": patterns, "tags": tags}
        note_made(Made("invalidate_cache", cache_manager, invalidating, func, calls, given))
        return invalidating

    return cast("Decorator", decorate)


def _tell_of_a_route_below(decorator: str, func: Callable[..., Any]) -> None:
    if is_endpoint(func):
        logger.warning(
            "%s.%s is an endpoint already, and FastAPI will never call what this decorator makes "
            "of it: put %s below the decorator of the route",
            func.__module__,
            func.__qualname__,
            decorator,
        )

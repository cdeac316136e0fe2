"""The decorators: `cache_response` caches what a function returns, `invalidate_cache` removes entries.

A cached call reads downhill: decorator, calls, key, manager, backend, codec. Whatever goes wrong
below the decorator, the function runs as if there were no cache.
"""

import functools
import logging
from collections.abc import Callable, Collection
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

from .calls import (
    CachedCalls,
    CacheDecorator,
    CachedMethod,
    Decorator,
    Handles,
    InvalidatingCalls,
    as_coroutine_function,
    attach,
    check_background,
    check_flags,
    check_key,
    check_manager,
    check_several,
    check_times,
    is_endpoint,
    unwrapped,
)
from .coherence import without_own_frames
from .keys import KeyFunction, Tag, Varying, check_key_prefix, expect_keys
from .reads import CONNECTION, SignatureForFastAPI, taken

if TYPE_CHECKING:
    from .manager import CacheManager

logger = logging.getLogger(__name__)

_MISSING: Any = None  # `key_prefix` has no default but for the message about missing parentheses


def cache_response(
    cache_manager: "CacheManager",
    key_prefix: str = _MISSING,
    expire: int | timedelta | None = None,
    *,
    ignore: Collection[str | ContextVar[Any]] = (),
    key: str | KeyFunction | None = None,
    vary: Varying = (),
    cache_status: Collection[int] = (),
    tags: Collection[Tag] = (),
    stale: int | timedelta | None = None,
    refresh: Literal["inline", "background"] = "inline",
    early_refresh: float = 0.0,
    method: str = "GET",
    shared: bool = False,
) -> CacheDecorator:
    """Cache what the function returns, under a key made of its name and its arguments.

    Put it between the route decorator of FastAPI and the function. `key_prefix` begins the key,
    so that `invalidate_cache(keys="{key_prefix}*")` covers every entry. `expire` is in seconds;
    without it the manager's `default_ttl` holds.

    Parameters named in `ignore`, a database session for one, are no part of the key, and neither are
    context variables there, the number of the request for one. Parameters of type `Response` or
    `BackgroundTasks` never are. Of a `Request`, method, path and query are. A result for which
    something of it, or a context variable, was read that is not in the key is not stored, and an
    exception not shared. `vary` adds to the key: names of headers, context variables, and functions
    without arguments. An endpoint whose dependencies take from the request what is in no argument of the key,
    and in no variable of `vary`, runs uncached. `shared=True` says that the answer is the same for
    everybody, whoever asks: then nothing of this paragraph keeps a result from being stored.

    As an endpoint the function is cached for requests by `method` ("GET" stands for "HEAD", too); those
    by another one have it run each time.

    `key` replaces what stands behind `key_prefix`: a template such as `"user:{user_id}"`, whose
    values are escaped, or a function that takes every call that the function takes. It returns a
    string, of which `*` and `~` are escaped, or a tuple, whose parts are escaped and joined by
    colons. A template names, and a function reads, every parameter that is not ignored and not
    handed over by FastAPI. `templates` tells how a value stands in a key.

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

    A method has entries of its own for each object; `cache_response` may stand above `classmethod`
    and `staticmethod`.

    Raises `TypeError` or `ValueError` when it is applied, for arguments that cannot be right, for
    a parameter whose type can have no identity, for a refresh in the background that needs what
    ends with the request, and for a second function that would share the entries of the first.
    """
    check_manager(cache_manager, "cache_response", 'key_prefix="users", expire=60')
    check_key_prefix(key_prefix)
    if refresh not in ("inline", "background"):
        raise ValueError(f"refresh={refresh!r} must be 'inline' or 'background'")
    check_times(expire, stale, early_refresh)
    check_several(ignore=ignore, vary=vary, cache_status=cache_status, tags=tags)
    check_key(key)
    check_flags(shared=shared)
    options: dict[str, Any] = {
        "key_prefix": key_prefix,
        "ignore": ignore,
        "key": key,
        "vary": vary,
        "statuses": cache_status,
        "tags": tags,
        "freshness": cache_manager.freshness(expire, stale, early_refresh),
        "in_background": refresh == "background",
        "method": method,
        "shared": shared,
        "logger": logger,
    }
    return cast("CacheDecorator", functools.partial(_cached, cache_manager, options))


def _cached(manager: "CacheManager", options: dict[str, Any], func: Any, /) -> Any:
    """Return the function that caches what `func` returns."""
    _tell_of_a_route_below("cache_response", func)
    kind, func = unwrapped(func)
    run = as_coroutine_function(func)
    if options["in_background"]:
        check_background(func)
    calls = CachedCalls(manager, func, run, **options)
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
    expect_keys(manager, options["key_prefix"])
    return function


def invalidate_cache(
    cache_manager: "CacheManager",
    keys: str | list[str] | None = None,
    *,
    tags: Collection[str] = (),
    only_on_success: bool = False,
) -> Decorator:
    """Remove what `keys` cover after the function has run, before its result is handed on.

    Each of `keys` is a key or a pattern below the manager's prefix; `*` is the only wildcard. It
    may name arguments of the function, as in `"user:{user_id}*"`; their values are escaped, so
    that a `*` in one is no wildcard. Commit inside the function: what is committed after it has
    returned can be read, and cached, in its old state.

    The entries are removed when the function raised or was cancelled, too: it may have written
    before that, and forgetting too much costs a miss, keeping too much a wrong answer. For the
    same reason an argument that has no text of its own stands for any. With `only_on_success`
    nothing is removed then, nor for a response whose status is 400 or more, be it that which FastAPI
    handed over: for a function that writes nothing where it fails.

    Raises `TypeError` or `ValueError` when it is applied, for keys that cannot be right.
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

"""The decorators: `cache_response` caches what a function returns, `invalidate_cache` removes entries.

A cached call reads downhill: decorator, calls, key, manager, backend, codec. Whatever goes wrong
below the decorator, the function runs as if there were no cache.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextvars import ContextVar
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
from starlette.responses import Response

from .calls import (
    CachedCalls,
    CachedMethod,
    Handles,
    as_coroutine_function,
    attach,
    check_background,
    check_manager,
    check_several,
    check_times,
    is_endpoint,
    unwrapped,
)
from .coherence import without_own_frames
from .keys import (
    WILDCARD,
    KeyFunction,
    KeyPattern,
    Parameters,
    Tag,
    Template,
    Varying,
    check_key_prefix,
    expect_keys,
    tell_of_void,
    templates_of,
)
from .loops import insist_on_asyncio
from .reads import CONNECTION, SignatureForFastAPI, taken, without_hidden
from .values import hints_of

if TYPE_CHECKING:
    from .manager import CacheManager

logger = logging.getLogger(__name__)

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")

_MISSING: Any = None  # `key_prefix` has no default but for the message about missing parentheses


class CachedFunction(Protocol[P, R_co]):
    """A function that `cache_response` has decorated, and what can be done with its entries.

    On a method they are bound as the method is: `thing.method.invalidate(1)`, which is the same as
    `Class.method.invalidate(thing, 1)`. Parameters that are no part of the key may be left out.
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
    ) -> "CachedFunction[Q, R_co]": ...

    def cache_key(self, *args: Any, **kwargs: Any) -> str:
        """Return the key of a call, as `get`, `delete`, `exists` and `invalidate` take it.

        Raises `TypeError` for a call that does not fit, and for one that has no key.
        """

    async def invalidate(self, *args: Any, **kwargs: Any) -> bool:
        """Remove the entry of this one call; return whether that was done.

        Nothing else is removed: raises `TypeError` for a call that has no key, too.
        """

    async def invalidate_all(self) -> bool:
        """Remove every entry of this function; return whether that was done.

        With a `key=` of one's own, these are all entries below its `key_prefix`.
        """

    async def refresh(self, *args: Any, **kwargs: Any) -> R_co:
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
    values are escaped, or a function that takes every call that the function takes, and returns a
    string, which is taken as it is, or a tuple, whose parts are escaped and joined by colons. A
    template names, and a function reads, every parameter that is not ignored and not handed over by
    FastAPI. `templates` tells how a value stands in a key.

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
    if key is not None and not (isinstance(key, str) or callable(key)):
        raise TypeError(
            f"key={key!r} must be a template, such as 'user:{{user_id}}', or a function"
        )
    if not isinstance(shared, bool):
        raise TypeError(f"shared={shared!r} must be True or False")
    freshness = cache_manager.freshness(expire, stale, early_refresh)

    def decorate(func: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        _tell_of_a_route_below("cache_response", func)
        kind, func = unwrapped(func)
        run = as_coroutine_function(func)
        if refresh == "background":
            check_background(func)
        calls = CachedCalls(
            cache_manager,
            func,
            run,
            key_prefix=key_prefix,
            ignore=ignore,
            key=key,
            vary=vary,
            statuses=cache_status,
            tags=tags,
            freshness=freshness,
            in_background=refresh == "background",
            method=method,
            shared=shared,
            logger=logger,
        )

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
        handles = Handles(
            cache_manager, calls, func, has_own_key=key is not None, is_method=is_method
        )
        function: Any = cached
        function.calls = calls  # for `CachedRoute`
        if kind is None:
            attach(function, handles)
        else:
            function = CachedMethod(cached, handles, kind)
        signature = SignatureForFastAPI.of(
            function, calls.parameters.signature, calls.parameters.hidden
        )
        function.__signature__, calls.unseen = signature, signature.unseen
        calls.decorated = function
        names = calls.parameters.signature.parameters
        own = Template(key, names) if isinstance(key, str) else None
        expect_keys(cache_manager, key_prefix, calls.family, own)
        return cast("Callable[..., Coroutine[Any, Any, Any]]", function)

    return cast("CacheDecorator", decorate)


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
        parameters, hints = Parameters.of(func), hints_of(func)
        names = parameters.signature.parameters
        templates = [Template(pattern, names, hints) for pattern in patterns]
        tagged = templates_of(tags, parameters)
        with_arguments = any(template.has_fields for template in [*templates, *tagged])
        is_first = True

        @functools.wraps(func)
        async def invalidating(*args: Any, **kwargs: Any) -> Any:
            nonlocal is_first
            insist_on_asyncio()
            if is_first:  # all functions that are read are decorated by now
                is_first = False
                tell_of_void(cache_manager, func, templates, logger)
            # Before the function runs: it may change what it was given.
            given = without_hidden(kwargs)
            arguments = _bound(parameters, args, given) if with_arguments else {}
            covered, named = _rendered(cache_manager, templates, tagged, arguments or {})
            is_due = not only_on_success
            try:
                result = await run(*args, **kwargs)
                is_due = is_due or not _has_failed(result, *args, *kwargs.values())
            except TypeError:
                # Of a call that does not fit, it is the function's own answer: it has not run.
                is_due = is_due and arguments is not None
                raise
            else:
                return result
            finally:
                if is_due:
                    await _to_its_end(_invalidate_all(cache_manager, covered, named))

        return invalidating

    return cast("Decorator", decorate)


def _has_failed(*things: object) -> bool:
    """Whether there is a response among these that tells of a failure."""
    responses = [each for each in things if isinstance(each, Response)]
    return any((each.status_code or 0) >= 400 for each in responses)  # FastAPI hands over `None`


def _tell_of_a_route_below(decorator: str, func: Any) -> None:
    if is_endpoint(func):
        logger.warning(
            "%s.%s is an endpoint already, and FastAPI will never call what this decorator makes "
            "of it: put %s below the decorator of the route",
            func.__module__,
            func.__qualname__,
            decorator,
        )


def _bound(
    parameters: Parameters, args: tuple[Any, ...], given: Mapping[str, object]
) -> Mapping[str, object] | None:
    """Return the arguments of a call; `None` if they do not fit what the function shows of itself."""
    try:
        return parameters.arguments(args, given)
    except TypeError:
        return None


def _rendered(
    manager: "CacheManager",
    keys: list[Template],
    tags: list[Template],
    arguments: Mapping[str, object],
) -> tuple[list[list[KeyPattern]], list[str]]:
    """Return patterns, those of one template together, and tags.

    One with an argument that has no text lets everything be covered. Never raises: what is
    rendered here may be anything that a user sends.
    """
    covered, named = list[list[KeyPattern]](), list[str]()
    for template in (*keys, *tags):
        try:
            if template in keys:
                covered.append(template.patterns(arguments, f"{manager.key_prefix}:"))
            else:
                named.append(template.name(arguments))
        except Exception as error:
            logger.warning("%r stands for all, as %r", template.text, error)
            covered.append([_everything(manager)])
    return covered, named


def _everything(manager: "CacheManager") -> KeyPattern:
    return KeyPattern.parse(WILDCARD, prefix=f"{manager.key_prefix}:")


async def _invalidate_all(
    manager: "CacheManager", covered: list[list[KeyPattern]], tags: list[str]
) -> None:
    """Carry out invalidations; what follows one that was not delivered is not even tried.

    Never raises: the write is done, and its caller has to learn that.
    """
    try:
        delivered = not tags or await manager.invalidate_tags(*tags)
        for patterns in covered:
            if delivered:
                delivered = all(await asyncio.gather(*map(manager.delete_matching, patterns)))
            else:
                for pattern in patterns:
                    manager.defer(pattern)
    except Exception as error:
        logger.warning("an invalidation failed, and one of everything is put off: %r", error)
        manager.defer(WILDCARD)


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

"""The entries of a cached function by hand: `cache_key`, `invalidate`, `refresh`."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, Query, Request, Response

from ... import CacheManager, cache_response
from ..naming import named


class Session:
    """What has no identity."""


async def session() -> Session:
    """Return a session."""
    return Session()


def request(method: str = "GET") -> Request:
    """Return a request."""
    scope = {"type": "http", "method": method, "path": "/", "headers": [], "query_string": b""}
    return Request(scope)


async def last(user_id: int, session: Session) -> int:
    """Take what is ignored behind what counts."""
    return user_id


async def first(session: Session, user_id: int) -> int:
    """Take it in front."""
    return user_id


async def by_name(user_id: int, *, session: Session) -> int:
    """Take it by name only."""
    return user_id


async def with_default(user_id: int, session: Session | None = None, page: int = 1) -> int:
    """Take it between, with a default."""
    return user_id


async def dependent(user_id: int, session: Annotated[Session, Depends(session)]) -> int:
    """Take it from a dependency."""
    return user_id


async def handed(user_id: int, session: Response, tasks: BackgroundTasks) -> int:
    """Take what FastAPI hands to it."""
    return user_id


async def queried(
    user_id: int,
    session: Session = Depends(session),  # noqa: B008 - as FastAPI's older examples do
    page: int = Query(1),
) -> int:
    """Take what FastAPI fills in from a query."""
    return user_id


IGNORING: list[tuple[Callable[..., Any], Any]] = [
    *((each, Session()) for each in (last, first, by_name, with_default, dependent, queried)),
    (handed, Response()),
]


@pytest.mark.parametrize("key", [None, "user:{user_id}"])
@pytest.mark.parametrize(("function", "given"), IGNORING, ids=named)
async def test_p3_what_is_no_part_of_the_key_may_be_left_out(
    memory: CacheManager, function: Callable[..., Any], given: object, key: str | None
) -> None:
    """Or given by name: the one entry goes, and no other."""
    more = {"tasks": BackgroundTasks()} if function is handed else {}
    ignore = (
        ("session", "page") if function is with_default or function is queried else ("session",)
    )
    read = cache_response(memory, "read", ignore=ignore, key=key)(function)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {"user_id": 1}),
        ((), {"user_id": 1, "session": given}),
    ]
    if function is not first:  # behind what may be left out, only a name tells what is meant
        calls += [((1,), {}), ((1,), {"session": given})]
    keys = {read.cache_key(*args, **kwargs) for args, kwargs in calls}
    assert len(keys) == 1
    for args, kwargs in calls:
        for user_id in (1, 2):
            await read(user_id=user_id, session=given, **more)
        [mine], other = keys, read.cache_key(user_id=2)
        assert [await memory.exists(mine), await memory.exists(other)] == [True, True]
        assert await read.invalidate(*args, **kwargs)
        assert [await memory.exists(mine), await memory.exists(other)] == [False, True]


@pytest.mark.parametrize(
    ("args", "kwargs", "what"),
    [
        ((), {}, "missing a required argument: 'user_id'"),
        ((), {"usr": 1}, ".*unexpected keyword argument 'usr'"),
        ((1,), {"usr": 1}, ".*unexpected keyword argument 'usr'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"user_id": 1}, "multiple values"),
        (
            (Session(),),
            {},
            "(parameter 'user_id': a |{user_id} has no text: a |key= raised Type).*Session",
        ),
    ],
)
@pytest.mark.parametrize("key", [None, "user:{user_id}", lambda user_id, session: str(user_id + 0)])
async def test_a_call_that_does_not_fit_removes_nothing(
    memory: CacheManager, key: Any, args: Any, kwargs: Any, what: str
) -> None:
    """It is a `TypeError` that names the function and what it takes."""
    read = cache_response(memory, "read", ignore=("session",), key=key)(last)
    await read(1, Session())
    with pytest.raises(TypeError, match=r"last\.invalidate\(\): " + what):
        await read.invalidate(*args, **kwargs)
    with pytest.raises(TypeError, match=r"last\.cache_key\(\): " + what):
        read.cache_key(*args, **kwargs)
    with pytest.raises(TypeError, match=r"last\.refresh\(\)"):
        await read.refresh(*args, **kwargs)
    assert await memory.exists(read.cache_key(1)) is True


async def test_a_refresh_needs_what_the_function_needs(memory: CacheManager) -> None:
    """With that it stores the result, without it says what is missing."""
    runs = []

    @cache_response(memory, "read", ignore=("session",))
    async def read(user_id: int, session: Session) -> int:
        runs.append(session)
        return user_id + len(runs)

    with pytest.raises(TypeError, match=r"refresh\(\) runs the function, which needs 'session'"):
        await read.refresh(1)
    assert await read.refresh(1, Session()) == 2
    assert await read.refresh(1, session=Session()) == 3
    assert await read(1, Session()) == 3


async def test_a_refresh_takes_the_defaults(memory: CacheManager) -> None:
    """Of what is ignored, too."""
    read = cache_response(memory, "read", ignore=("session",))(with_default)
    assert await read.refresh(7, page=2) == 7
    assert await memory.exists(read.cache_key(7, page=2)) is True


async def test_p3_what_could_be_meant_in_two_ways_is_refused(memory: CacheManager) -> None:
    """Behind what may be left out, an argument is given by name: so none is taken for another."""
    read = cache_response(memory, "read", ignore=("token",))(between)
    await read(1, "2")
    await read(1, "1", "2")
    for args in ((1, "2"), (1, "1", "2")):
        with pytest.raises(
            TypeError, match=r"it takes \(user_id: int, \*, token: str = \.\.\., page"
        ):
            await read.invalidate(*args)
    for kwargs in ({}, {"token": "2"}, {"page": "1"}):
        assert read.cache_key(1, **kwargs) == read.cache_key(1)
    assert await read.invalidate(1) == await read.invalidate(1, page="2") == (True, 1)
    keys = [read.cache_key(1), read.cache_key(1, page="2")]
    assert [await memory.exists(key) for key in keys] == [False, False]


async def between(user_id: int, token: str, page: str = "1") -> int:
    """Take what is ignored between what counts."""
    return user_id


async def test_what_comes_behind_a_default_of_fastapi_is_given_by_name(
    memory: CacheManager,
) -> None:
    """Where it has no default of its own, or one that is made for each request."""

    async def read(
        page: int = Query(1),
        size: int = Query(),
        day: str = Query(default_factory=lambda: "today"),
    ) -> int:
        return page

    cached = cache_response(memory, "read")(read)
    assert cached.cache_key(size=2, day="x") == cached.cache_key(1, size=2, day="x")
    for kwargs in ({"size": 2}, {"day": "x"}):
        with pytest.raises(TypeError, match="missing a required"):
            cached.cache_key(1, **kwargs)


async def test_what_follows_in_a_row_cannot_be_given_behind_what_is_left_out(
    memory: CacheManager,
) -> None:
    """Nobody could tell where it begins."""

    async def read(user_id: int, session: Any, *rest: int, **more: int) -> int:
        return user_id

    cached = cache_response(memory, "read", ignore=("session",))(read)
    await cached(1, Session())
    with pytest.raises(TypeError, match="too many positional arguments"):
        await cached.invalidate(1, 2)
    assert await memory.exists(cached.cache_key(1)) is True
    assert cached.cache_key(1, more=2) != cached.cache_key(1)


async def test_a_request_is_left_out_where_it_is_no_part_of_the_key(memory: CacheManager) -> None:
    """With a key of one's own that does not look at it; otherwise it is missing."""

    async def read(user_id: int, request: Request) -> int:
        return user_id

    own = cache_response(memory, "own", key="{user_id}")(read)
    assert own.cache_key(1) == "own:1"
    whole = cache_response(memory, "whole")(read)
    with pytest.raises(TypeError, match="missing a required argument: 'request'"):
        whole.cache_key(1)
    assert whole.cache_key(1, request()) != whole.cache_key(1, request("HEAD"))
    for key in (
        "{user_id}:{request.method}",
        lambda user_id, request: f"{user_id}{request.method}",
    ):
        looking = cache_response(memory, f"looking {type(key).__name__}", key=key)(read)
        with pytest.raises(TypeError, match="missing a required argument: 'request'"):
            await looking.invalidate(1)
        with pytest.raises(TypeError, match="missing a required argument: 'request'"):
            looking.cache_key(1)
        assert await looking.invalidate(1, request())


@pytest.mark.parametrize("look", [str, repr, bool, list, len, lambda it: it == 1, lambda it: it[0]])
async def test_what_was_left_out_makes_no_key(memory: CacheManager, look: Any) -> None:
    """However a `key=` function looks at it."""

    @cache_response(
        memory, "r", ignore=("token",), key=lambda user_id, token: (user_id, look(token))
    )
    async def read(user_id: int, token: str) -> int:
        return user_id

    with pytest.raises(TypeError, match="missing a required argument: 'token'"):
        await read.invalidate(1)


async def test_a_name_that_the_module_uses_is_a_name_like_any_other(memory: CacheManager) -> None:
    """No parameter of a function gets in the way of the wrappers around it."""

    async def asynchronous(
        func: int, self: int, args: int, kwargs: int, key: int, bound: int
    ) -> int:
        return func

    def plain(func: int, self: int, args: int, kwargs: int, key: int, bound: int) -> int:
        return func

    call = {"func": 1, "self": 2, "args": 3, "kwargs": 4, "key": 5, "bound": 6}
    for function in (asynchronous, plain):
        read = cache_response(memory, "read")(function)
        assert [await read(**call), await read(**call), await read.refresh(**call)] == [1, 1, 1]
        assert await memory.exists(read.cache_key(**call)) is True
        assert await read.invalidate(**call)
        assert await memory.exists(read.cache_key(**call)) is False

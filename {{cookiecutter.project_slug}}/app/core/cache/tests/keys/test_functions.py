"""Functions that make keys: which are taken, and what is told of those that make none."""

import functools
import gc
import re
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from fastapi import Response

from ... import CacheManager, cache_response


async def read(user_id: int, page: int = 1) -> int:
    """Return what was asked for."""
    return user_id


async def asynchronous(user_id: int, page: int) -> str:
    """Return a key, later."""
    return f"{user_id}:{page}"


async def asynchronous_generator(user_id: int, page: int) -> AsyncIterator[str]:
    """Return keys, later."""
    yield f"{user_id}:{page}"


def generator(user_id: int, page: int) -> Iterator[str]:
    """Return keys."""
    yield f"{user_id}:{page}"


@functools.wraps(asynchronous)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    """Return what is awaited."""
    return asynchronous(*args, **kwargs)


class Keys:
    """Makes keys."""

    async def __call__(self, user_id: int, page: int) -> str:
        """Return a key, later."""
        return f"{user_id}:{page}"

    async def method(self, user_id: int, page: int) -> str:
        """Return a key, later."""
        return f"{user_id}:{page}"


LATER: list[Any] = [
    *(asynchronous, asynchronous_generator, generator, wrapped, Keys(), Keys().method),
    *(
        functools.partial(asynchronous, page=1),
        functools.partial(Keys()),
        functools.partial(wrapped),
    ),
]


@pytest.mark.parametrize("key", LATER, ids=lambda key: type(key).__name__)
async def test_an_asynchronous_key_function_is_refused(memory: CacheManager, key: Any) -> None:
    """A key is needed at once."""
    with pytest.raises(
        TypeError, match=r"is asynchronous or a generator, .* give a plain function"
    ):
        cache_response(memory, "x", key=key)(read)


def of_more(user_id: int, page: int, extra: int) -> str:
    """Want more than there is."""
    return f"{user_id}"


@pytest.mark.parametrize(
    "key",
    [
        *(lambda: "x", lambda user_id: f"{user_id}", of_more, functools.partial(of_more, 1, 2, 3)),
        *(
            lambda *, user_id: f"{user_id}",
            lambda user_id, /, *, pages: f"{user_id}",
            dict.fromkeys,
        ),
    ],
)
async def test_a_key_function_that_does_not_take_every_call_is_refused(
    memory: CacheManager, key: Any
) -> None:
    """With the parameters that it wants, and those that it is called with."""
    if key == dict.fromkeys:
        cache_response(memory, "x", key=key)(read)  # of which nothing can be known, or it fits
        return
    with pytest.raises(TypeError, match=r"has to take every call of read\(user_id: int, page: int"):
        cache_response(memory, "x", key=key)(read)


async def test_a_key_function_has_to_take_what_is_handed_to_the_endpoint(
    memory: CacheManager,
) -> None:
    """The message names it."""

    async def endpoint(user_id: int, response: Response) -> None: ...

    for takes in (lambda user_id: f"{user_id}", lambda user_id, *, tasks: f"{user_id}"):
        with pytest.raises(TypeError, match="response is handed to it, too"):
            cache_response(memory, "x", key=takes)(endpoint)
    key = cache_response(memory, "x", key=lambda user_id, response: f"{user_id}")(endpoint)
    assert key.cache_key(1) == "x:1"


@pytest.mark.parametrize(
    "key",
    [
        *(
            lambda user_id, page: (user_id, page),
            lambda a, b: (a, b),
            lambda page, user_id: (user_id, page),
        ),
        *(
            lambda *args, **more: (*args, *more.values()),
            lambda user_id, **more: (user_id, more["page"]),
        ),
        *(
            lambda user_id, page=7: (user_id, page),
            lambda user_id, /, page, more=0: (user_id, page),
        ),
        *(lambda *args: args, functools.partial(lambda more, user_id, page: (user_id, page), 1)),
    ],
)
async def test_p2_a_key_function_sees_one_call_as_one(memory: CacheManager, key: Any) -> None:
    """However the call is written, and with the defaults of the function, not its own."""
    cached = cache_response(memory, "x", key=key)(read)
    ways = [cached.cache_key(2), cached.cache_key(2, 1), cached.cache_key(page=1, user_id=2)]
    assert ways == ["x:2:1"] * 3
    assert cached.cache_key(1, 2) == "x:1:2"


def raising(error: Exception) -> Callable[..., str]:
    """Return a key function that raises."""

    def key(user_id: int, page: int) -> str:
        raise error.with_traceback(None) if user_id or page else error

    return key


async def coroutine() -> str:
    """Return a key, later."""
    return "key"


BROKEN: list[tuple[Any, str]] = [
    (raising(TypeError("no such thing")), "key= raised TypeError: no such thing"),
    (raising(KeyError("x")), "key= raised KeyError"),
    (lambda user_id, page: [user_id, page].clear(), "makes no key: a value of type NoneType"),
    (lambda user_id, page: {"pin": user_id, "page": page}, "makes no key: a value of type dict"),
    (lambda user_id, page: f"{user_id}{page}"[9:], "makes no key: an empty string"),
    (lambda user_id, page: user_id and page and coroutine(), "key= returned an awaitable"),
    (lambda user_id, page: (object(), user_id, page), "an? object has no text"),
    (max, "makes no key: a value of type int"),
]


@pytest.mark.parametrize(("key", "why"), BROKEN)
async def test_p10_a_key_function_that_makes_no_key_is_told(
    memory: CacheManager, key: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, the function runs, and Python has nothing to say of coroutines that nobody awaited."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached = cache_response(memory, "x", key=key)(read)
        assert [await cached(user_id) for user_id in range(1, 4)] == [1, 2, 3]
        gc.collect()
    [warning] = [record.getMessage() for record in caplog.records]
    assert "'pin'" not in warning  # an argument is nobody's business
    assert "read runs uncached: " in warning
    assert re.search(why, warning)
    with pytest.raises(TypeError, match=why):
        cached.cache_key(1)

"""The cache runs on asyncio: under another event loop, and under none, that is what is said.

A coroutine that is sent into by hand, as trio does, has no event loop of asyncio around it.
"""

import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from .. import (
    CacheBackend,
    CacheManager,
    MemoryBackend,
    RedisBackend,
    cache_response,
    invalidate_cache,
)
from ..errors import NotAsyncioError
from .conftest import SixMethods
from .faults import at_once

Use = Callable[[CacheManager], Coroutine[Any, Any, Any]]

USES: dict[str, Use] = {
    "get": lambda cache: cache.get("key"),
    "set": lambda cache: cache.set("key", 1),
    "delete": lambda cache: cache.delete("key"),
    "exists": lambda cache: cache.exists("key"),
    "clear": lambda cache: cache.clear(),
    "close": lambda cache: cache.close(),
    "health_check": lambda cache: cache.health_check(),
    "invalidate": lambda cache: cache.invalidate("key*"),
    "invalidate_tags": lambda cache: cache.invalidate_tags("tag"),
    "get_or_set": lambda cache: cache.get_or_set("key", dict),
    "get_many": lambda cache: cache.get_many(["key"]),
    "set_many": lambda cache: cache.set_many({"key": 1}),
    "delete_many": lambda cache: cache.delete_many(["key"]),
    "get_or_set_many": lambda cache: cache.get_or_set_many(["key"], lambda keys: {}),
    "a cached function": lambda cache: cache_response(cache, "f")(echo)(1),
    "with a tag": lambda cache: cache_response(cache, "f", tags=["t"])(echo)(1),
    "its invalidate": lambda cache: cache_response(cache, "f")(echo).invalidate(1),
    "its refresh": lambda cache: cache_response(cache, "f")(echo).refresh(1),
    "an invalidating function": lambda cache: invalidate_cache(cache, "f:*")(echo)(1),
}
BACKENDS: dict[str, Callable[[], CacheBackend]] = {
    "memory": MemoryBackend,
    "redis": lambda: RedisBackend(host="127.0.0.1", port=1),
    "six methods": SixMethods,
}


async def echo(number: int) -> int:
    """Return what it got."""
    return number


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_without_asyncio_that_is_said(
    backend: str, use: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By each method and decorator, over each backend; it is no outage, and nothing is lost."""
    cache = CacheManager(BACKENDS[backend]())
    with pytest.raises(RuntimeError, match="runs on asyncio only") as caught:
        at_once(USES[use](cache))
    assert type(caught.value) is NotAsyncioError
    assert "fails" not in caplog.text


def test_an_invalidating_function_does_not_run_first() -> None:
    """What it writes would not be invalidated."""
    ran: list[int] = []

    @invalidate_cache(CacheManager(MemoryBackend()), "f:*")
    async def write(number: int) -> None:
        ran.append(number)

    with pytest.raises(NotAsyncioError):
        at_once(write(1))
    assert ran == []


def test_what_is_put_off_outside_a_loop_is_told() -> None:
    """A thread without an event loop has nobody who would deliver it."""
    cache = CacheManager(MemoryBackend())
    errors: list[BaseException] = []

    def work() -> None:
        try:
            cache.defer("key*")
        except NotAsyncioError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert len(errors) == 1


def test_clear_sync_needs_none() -> None:
    """It brings its own."""
    assert CacheManager(MemoryBackend()).clear_sync() is True

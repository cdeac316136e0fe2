"""A cache that is switched off, for a process, for a block, or by its settings (promise P10)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import (
    CacheConfigError,
    CacheFactory,
    CacheManager,
    CacheSettings,
    MemoryBackend,
    cache_response,
    invalidate_cache,
)
from .conftest import OURS, lent, new_backend
from .endpoints import STATUS, get
from .package import NAME, cache

OFF: dict[str, Callable[[], CacheManager]] = {
    "CACHE_ENABLED=false": lambda: made(cache_backend="memory", cache_enabled=False),
    "CACHE_BACKEND=none": lambda: made(cache_backend="none"),
    "by hand": lambda: CacheManager(MemoryBackend(), enabled=False),
}


def made(**settings: Any) -> CacheManager:
    """Return a manager of these settings."""
    return CacheFactory.create_cache_manager(CacheSettings(**settings))


@pytest.fixture(params=OURS)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[CacheManager, CacheManager]]:
    """Lend a manager that is on, and one that is off, on one backend."""
    backend = new_backend(request)
    async with lent(CacheManager(backend)) as manager:
        yield manager, CacheManager(backend, enabled=False)


def counted(manager: CacheManager, **options: Any) -> Any:
    """Return a cached function that counts its runs."""
    runs: list[int] = []

    @cache_response(manager, "data", shared=True, **options)
    async def function() -> int:
        runs.append(1)
        return len(runs)

    return function


@pytest.mark.parametrize("how", OFF)
async def test_p10_every_call_runs_its_function(how: str) -> None:
    """Nothing is read, stored or shared, and nothing raises."""
    manager = OFF[how]()
    function = counted(manager)
    assert [await function() for _ in range(3)] == [1, 2, 3]
    assert sorted(await asyncio.gather(*[function() for _ in range(3)])) == [4, 5, 6]
    assert await function.refresh() == 7
    assert await manager.set("a", 1) is False
    assert await manager.set_many({"a": 1}) is False
    assert (await manager.get("a", "none"), await manager.exists("a")) == ("none", False)
    assert [await manager.get_or_set("a", iter([1, 2]).__next__) for _ in range(1)] == [1]
    assert await manager.get_many(["a"]) == {}
    loaded = await manager.get_or_set_many(["a", "b"], lambda keys: dict.fromkeys(keys[:1], 5))
    assert loaded == {"a": 5}
    assert (await manager.add("a", 1), await manager.incr("a"), await manager.ttl("a")) == (
        False,
        None,
        None,
    )
    assert [key async for key in manager.keys("*")] == []
    for done in (manager.clear(), manager.invalidate("a*"), manager.invalidate_tags("t")):
        assert await done
    assert (await manager.delete("a"), await manager.delete_many(["a"])) == (False, 0)
    assert await manager.health_check() is True
    await manager.close()


async def test_p10_no_server_is_asked_without_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """`CACHE_BACKEND=none` needs no Redis, whatever else is set."""
    for name, value in {"CACHE_BACKEND": "none", "REDIS_HOST": "redis", "REDIS_PORT": "x"}.items():
        monkeypatch.setenv(name, value)
    manager = CacheFactory.create_cache_manager()
    assert repr(manager.backend) == "NoBackend()"
    assert [await counted(manager)() for _ in range(2)] == [1, 1]


def test_a_wrong_value_of_the_switch_is_an_error() -> None:
    """It says which values there are."""
    with pytest.raises(CacheConfigError, match="true or false"):
        CacheSettings(cache_enabled="sometimes")
    with pytest.raises(CacheConfigError, match="redis, memory or none"):
        CacheSettings(cache_backend="nothing")


async def test_p10_a_block_is_off_for_its_own_calls_only(our_manager: CacheManager) -> None:
    """Another request goes on to have its hits meanwhile, and so does what comes after the block."""
    function = counted(our_manager)
    assert await function() == 1
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def in_a_block() -> list[int]:
        with our_manager.disabled():
            found = [await function()]
            inside.set()
            await go_on.wait()
            with our_manager.disabled():
                found.append(await function())
            return [*found, await asyncio.create_task(function())]

    block = asyncio.create_task(in_a_block())
    await inside.wait()
    assert await function() == 1
    go_on.set()
    assert await block == [2, 3, 4]
    assert await function() == 1


async def test_p10_a_block_is_of_one_cache(memory: CacheManager) -> None:
    """Another one goes on."""
    other = CacheManager(MemoryBackend())
    one, two = counted(memory), counted(other)
    with memory.disabled():
        assert [await one(), await one(), await two(), await two()] == [1, 2, 1, 1]


async def test_p3_a_cache_that_is_off_invalidates(pair: tuple[CacheManager, CacheManager]) -> None:
    """For those who use the same Redis: by key, pattern, tag, decorator, and by `set`."""
    on, off = pair
    read = counted(on, key="it", tags=["t"])
    ways: list[Callable[[], Any]] = [
        lambda: off.delete("data:it"),
        lambda: off.invalidate("data:*"),
        lambda: off.invalidate_tags("t"),
        invalidate_cache(off, "data:it")(lambda: None),
        off.clear,
        lambda: off.set("data:it", 5),
        lambda: off.set_many({"data:it": 5}),
    ]
    for runs, way in enumerate(ways, 1):
        assert [await read(), await read()] == [runs, runs]
        await way()
    assert await read() == len(ways) + 1


async def test_p3_a_refresh_that_is_off_leaves_nothing_old(
    pair: tuple[CacheManager, CacheManager],
) -> None:
    """What it computed is not stored; what was there may be old by now."""
    on, off = pair
    read = counted(on, key="it")
    assert [await read(), await read()] == [1, 1]

    @cache_response(off, "data", key="it", shared=True)
    async def again() -> int:
        return 5

    assert await again.refresh() == 5
    assert await read() == 2


async def test_p3_an_answer_ends_an_entry_also_while_it_is_off(
    pair: tuple[CacheManager, CacheManager],
) -> None:
    """A 404 says that there is nothing any more; a failure says nothing."""
    on, off = pair
    read = counted(on, key="it")
    errors: list[Exception] = [LookupError(), HTTPException(404)]

    @cache_response(off, "data", key="it", shared=True)
    async def again() -> int:
        raise errors[0]

    for error in list(errors):
        assert [await read(), await read()] == [1, 1]
        with pytest.raises(type(error)):
            await again.refresh()
        errors.pop(0)
    assert await read() == 2


async def test_p10_an_endpoint_says_why(our_manager: CacheManager) -> None:
    """Also where hits are answered before routing; a middleware outside may decide."""
    app = FastAPI()
    app.add_middleware(cache.CacheMiddleware, "app")

    class Switching:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if (b"x-no-cache", b"1") not in scope.get("headers", ()):
                await self.app(scope, receive, send)
                return
            with our_manager.disabled():
                await self.app(scope, receive, send)

    app.add_middleware(Switching)
    runs: list[int] = []

    @app.get("/it/{number}")
    @cache_response(our_manager, "it", shared=True)
    async def it(number: int) -> list[int]:
        runs.append(number)
        return [len(runs)]

    for _ in range(3):
        assert (await get(app, "/it/1")).json() == [1]
    past = await get(app, "/it/1", headers={"x-no-cache": "1"})
    assert (past.json(), past.headers[STATUS]) == ([2], "app; fwd=bypass; detail=disabled")
    assert (await get(app, "/it/1")).json() == [1]


@pytest.mark.parametrize("how", OFF)
def test_p10_the_log_says_that_it_is_off(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """In the line that names the backend."""
    with caplog.at_level("INFO", NAME):
        OFF[how]()
    if how != "by hand":
        assert "(switched off)" in caplog.text

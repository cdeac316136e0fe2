"""Event loops that end without a `close` leave no connection and no warning behind."""

import asyncio
import gc
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from redis import Redis

from ... import CacheManager, MemoryBackend, cache_response
from ...testing.redis_server import RedisServer
from ..conftest import OURS, redis_backend
from ..faults import WITHIN, eventually

LOOPS: Final = 50


def run_orderly(work: Any) -> None:
    """Run it as a script does."""
    asyncio.run(work)


def run_carelessly(work: Any) -> None:
    """Run it as old test suites do: the loop is closed, and told nothing before."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


@pytest.fixture
def connections(redis_client: Redis) -> Callable[[int], int]:
    """Lend what tells how many connections there are besides those of before.

    It waits until there are no more than it was told: that a connection was closed here is news to a
    server only later, and later still where a container's proxy stands between.
    """

    def count() -> int:
        return len(redis_client.client_list())

    before = count()

    def settled(at_most: int) -> int:
        deadline = time.monotonic() + WITHIN
        while (now := count() - before) > at_most and time.monotonic() < deadline:
            time.sleep(0.005)
        return now

    return settled


@pytest.fixture(autouse=True)
def no_warning() -> Iterator[None]:
    """Fail on each warning, also on those that are given when something is collected."""
    unraisable: list[Any] = []
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", unraisable.append)
        warnings.simplefilter("error")
        yield
        gc.collect()
    assert unraisable == []


def used(manager: CacheManager) -> Callable[[int], Any]:
    """Return what uses every kind of connection of a manager."""

    @cache_response(manager, "data", key="{number}")
    async def read(number: int) -> int:
        return number

    async def use(number: int) -> None:
        assert await read(number) == await read(number) == number
        await manager.delete(f"data:{number}")

    return use


@pytest.mark.parametrize("run", [run_orderly, run_carelessly])
def test_fifty_loops_in_a_row_leave_the_connections_of_one_at_most(
    redis_server: RedisServer,
    connections: Callable[[int], int],
    run: Callable[[Any], None],
) -> None:
    """One that ends as it should leaves none, another one those that it had."""
    manager = CacheManager(redis_backend(redis_server))
    use = used(manager)
    at_most = 3 if run is run_carelessly else 0
    for number in range(LOOPS):
        run(use(number))
        assert connections(at_most) <= at_most
    asyncio.run(manager.close())
    asyncio.run(use(0))
    assert len(manager.backend._topology._server._by_loop) <= 1  # type: ignore[attr-defined]


def test_an_application_under_a_test_client_leaves_nothing(
    redis_server: RedisServer, connections: Callable[[int], int]
) -> None:
    """Without `with` each request has a loop of its own."""
    manager = CacheManager(redis_backend(redis_server))
    app = FastAPI()

    @app.get("/{number}")
    @cache_response(manager, "data", key="{number}")
    async def read(number: int) -> int:
        return number

    client = TestClient(app)
    for number in range(LOOPS):
        assert client.get(f"/{number % 5}").json() == number % 5
        assert connections(0) == 0
    client.close()


@pytest.mark.parametrize("kind", OURS)
def test_a_computation_that_is_collected_after_its_loop_says_nothing(
    request: pytest.FixtureRequest, kind: str
) -> None:
    """The lease that it had ends by itself; who comes in another loop computes."""
    backend = redis_backend(request.getfixturevalue("redis_server")) if kind == "redis" else None
    manager = CacheManager(backend or MemoryBackend(), lock_timeout=0.1)
    began: list[int] = []

    @cache_response(manager, "data")
    async def forever() -> int:
        began.append(1)
        if len(began) == 1:
            await asyncio.Event().wait()
        return 7

    loop = asyncio.new_event_loop()
    task = loop.create_task(forever())
    loop.run_until_complete(eventually(lambda: began))
    loop.set_exception_handler(lambda *_: None)  # asyncio itself tells of a pending task
    loop.close()
    del task
    gc.collect()
    assert asyncio.run(forever()) == 7
    asyncio.run(manager.close())


def test_it_is_closed_once_and_can_be_used_again(
    redis_server: RedisServer, connections: Callable[[int], int]
) -> None:
    """By hand, in the middle of a loop, as well."""
    manager = CacheManager(redis_backend(redis_server))
    use = used(manager)

    async def main() -> None:
        for number in range(3):
            await use(number)
            await manager.close()
        tasks = asyncio.all_tasks()
        assert tasks == {asyncio.current_task()}
        await use(0)

    asyncio.run(main())
    assert connections(0) == 0

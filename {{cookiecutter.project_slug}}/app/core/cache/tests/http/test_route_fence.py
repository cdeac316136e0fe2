"""Routes and the fence: what goes on until a response is rendered (promises P3, P4 and P5)."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter
from fastapi.exceptions import ResponseValidationError
from fastapi.responses import JSONResponse

from ... import (
    CacheManager,
    RedisBackend,
)
from ...coherence.leases import is_lease
from ...testing.redis_server import RedisServer
from ..coherence.test_freshness import elapse
from ..conftest import redis_backend
from ..endpoints import (
    HIT,
    MISS,
    NOT_STORED,
    SHARED,
    STATUS,
    Endpoint,
    application,
    get,
    sent,
)
from ..faults import eventually
from ..internals import joined, waiting, waits_for_a_lease


class Gate:
    """An endpoint that can be held up, and fails, or is rendered, as a test wants."""

    def __init__(self, manager: CacheManager, **options: Any) -> None:
        self.endpoint = Endpoint(manager, **options)
        self.running, self.go_on = asyncio.Event(), asyncio.Event()
        self.result: Any = ["old"]
        self.rendering: Callable[[], None] = lambda: None
        gate = self

        class Rendered(JSONResponse):
            def render(self, content: Any) -> bytes:
                gate.rendering()
                return super().render(content)

        def register(router: APIRouter, endpoint: Endpoint) -> None:
            @router.get("/it", response_class=Rendered)
            @endpoint
            async def it() -> list[str]:
                result = self.result
                self.running.set()
                await self.go_on.wait()
                return result  # type: ignore[no-any-return]

        self.app = application(register, self.endpoint)

    def __cache_key__(self) -> str:
        """Say that one of these answers as another does."""
        return "gate"

    async def ask(self, number: int) -> list[asyncio.Task[httpx2.Response]]:
        """Send so many requests; return when one runs the function and the others wait for it."""
        tasks = [asyncio.create_task(get(self.app)) for _ in range(number)]
        await self.running.wait()
        assert self.endpoint.manager is not None
        await joined(self.endpoint.manager, number - 1)
        return tasks


async def test_p4_fifty_requests_are_one_computation(our_manager: CacheManager) -> None:
    """All have the same bytes, and the function has run once."""
    gate = Gate(our_manager)
    tasks = await gate.ask(50)
    gate.go_on.set()
    responses = await asyncio.gather(*tasks)
    assert {response.content for response in responses} == {b'["old"]'}
    assert sorted(response.headers[STATUS] for response in responses) == [SHARED] * 49 + [MISS]
    assert (gate.endpoint.runs, await gate.endpoint.kind()) == (1, "sent")


async def test_p4_processes_share_what_is_sent(redis_server: RedisServer) -> None:
    """A second one waits for the lease of the first, renders nothing, and sends the same."""
    backend = redis_backend(redis_server)
    managers = [
        CacheManager(redis_backend(redis_server, key_prefix=backend.key_prefix)) for _ in range(2)
    ]
    here, there = [Gate(manager) for manager in managers]
    try:
        [first] = await here.ask(1)
        second = asyncio.create_task(get(there.app))
        await eventually(lambda: waits_for_a_lease(managers[1]))
        here.go_on.set()
        assert sent(await first) == sent(await second)
        assert (await second).headers[STATUS] == HIT
        assert (here.endpoint.runs, there.endpoint.runs) == (1, 0)
    finally:
        await managers[0].clear()
        for manager in managers:
            await manager.close()


async def test_p3_an_invalidation_while_a_response_is_rendered(our_manager: CacheManager) -> None:
    """Who asks after it gets a new one, although the function had returned before it."""
    gate = Gate(our_manager)
    gate.go_on.set()

    async def invalidate() -> None:
        assert await our_manager.invalidate("it*")
        if isinstance(our_manager.backend, RedisBackend):
            await our_manager.close()

    def meanwhile() -> None:
        gate.rendering = lambda: None
        gate.result = ["new"]
        elsewhere = threading.Thread(target=lambda: asyncio.run(invalidate()))
        elsewhere.start()
        elsewhere.join()

    gate.rendering = meanwhile
    overtaken = await get(gate.app)
    assert (overtaken.json(), overtaken.headers[STATUS]) == (["old"], NOT_STORED)
    assert (await get(gate.app)).json() == ["new"]


async def test_p3_an_invalidation_between_miss_and_hit(our_manager: CacheManager) -> None:
    """A stored response is gone as a value would be, by pattern and by tag."""
    gate = Gate(our_manager, tags=["a", lambda result: [f"of:{each}" for each in result]])
    gate.go_on.set()
    for runs, tag in enumerate(("a", "of:old", "a"), 1):
        for _ in range(2):
            await get(gate.app)
        assert (gate.endpoint.runs, await gate.endpoint.kind()) == (runs, "sent")
        await our_manager.invalidate_tags("of:another")
        assert (await get(gate.app)).headers[STATUS] == HIT
        await our_manager.invalidate_tags(tag)
    await get(gate.app)
    await our_manager.invalidate("it*")
    assert (await get(gate.app)).headers[STATUS] == MISS


async def test_p4_cancelled_while_it_is_rendered_it_hands_over(our_manager: CacheManager) -> None:
    """One of those who wait runs the function, and the lease is not left behind."""
    gate = Gate(our_manager)

    def cancelled() -> None:
        gate.rendering = lambda: None
        raise asyncio.CancelledError

    gate.rendering = cancelled
    tasks = await gate.ask(3)
    gate.go_on.set()
    first, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert [other.json() for other in others if isinstance(other, httpx2.Response)] == [["old"]] * 2
    assert (gate.endpoint.runs, await gate.endpoint.kind()) == (2, "sent")


@pytest.mark.parametrize("how", ["rendering", "storing"])
async def test_p4_cancelled_alone_it_leaves_no_lease(our_manager: CacheManager, how: str) -> None:
    """Whether the task is cancelled by what renders, or just before the record is stored."""
    gate = Gate(our_manager)

    def cancelled() -> None:
        if how == "rendering":
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    gate.rendering = cancelled
    gate.go_on.set()
    await asyncio.wait([asyncio.create_task(get(gate.app))])

    async def free() -> bool:
        return not is_lease(await gate.endpoint.stands())

    await eventually(free)
    assert waiting(our_manager) == 0
    gate.rendering = lambda: None
    assert (await get(gate.app)).json() == ["old"]


async def test_p4_who_waits_for_a_response_shares_what_its_rendering_raises(
    our_manager: CacheManager,
) -> None:
    """The function runs once, and again for who asks later."""
    gate = Gate(our_manager)
    gate.result = [1]  # which is not what its annotation says
    tasks = await gate.ask(5)
    gate.go_on.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {ResponseValidationError}
    assert gate.endpoint.runs == 1
    gate.result = ["new"]
    assert (await get(gate.app)).json() == ["new"]


async def test_a_stale_response_is_sent_until_the_next_one_is_rendered(
    our_manager: CacheManager,
) -> None:
    """One request refreshes it, inline; where its rendering fails, the old one goes on."""
    short = timedelta(milliseconds=150)
    gate = Gate(our_manager, expire=short, stale=60)
    gate.go_on.set()
    assert (await get(gate.app)).headers[STATUS] == MISS
    await elapse(0.15)
    gate.result, gate.running = [1], asyncio.Event()
    with pytest.raises(ResponseValidationError):
        await get(gate.app)
    assert [(await get(gate.app)).json() for _ in range(5)] == [["old"]] * 5
    assert gate.endpoint.runs == 2
    await our_manager.invalidate("it*")

    gate.result = ["old"]
    await get(gate.app)
    await elapse(0.15)
    gate.result, gate.running = ["new"], asyncio.Event()
    gate.go_on.clear()
    refreshing = asyncio.create_task(get(gate.app))
    await gate.running.wait()
    assert (await get(gate.app)).json() == ["old"]
    gate.go_on.set()
    refreshed = await refreshing
    assert (refreshed.json(), refreshed.headers[STATUS]) == (["new"], MISS)
    assert (await get(gate.app)).json() == ["new"]
    assert (gate.endpoint.runs, await gate.endpoint.kind()) == (4, "sent")


async def test_a_refresh_in_the_background_stores_the_value(our_manager: CacheManager) -> None:
    """There is no response then; the endpoint renders it as without the route class."""
    short = timedelta(milliseconds=150)
    gate = Gate(our_manager, expire=short, stale=60, refresh="background")
    gate.go_on.set()
    await get(gate.app)
    assert await gate.endpoint.kind() == "sent"
    await elapse(0.15)
    gate.result = ["new"]
    assert (await get(gate.app)).json() == ["old"]

    async def is_new() -> bool:
        return (await get(gate.app)).content == b'["new"]'

    await eventually(is_new)
    assert await gate.endpoint.kind() == "value"


async def test_p4_calls_that_wait_for_a_response_share_one_run(our_manager: CacheManager) -> None:
    """They have no use for its bytes; one of them runs the function for all."""
    gate = Gate(our_manager)
    tasks = await gate.ask(1)
    calls = [asyncio.create_task(gate.endpoint.function()) for _ in range(10)]
    await joined(our_manager, 10)
    gate.go_on.set()
    assert [await call for call in calls] == [["old"]] * 10
    assert (await tasks[0]).json() == ["old"]
    assert gate.endpoint.runs == 2


async def test_p5_without_redis_endpoints_answer(redis_server: RedisServer) -> None:
    """And those who wait in this process share the bytes of one computation."""
    manager = CacheManager(redis_backend(redis_server, port=1, operation_timeout=0.25))
    gate = Gate(manager)
    tasks = [asyncio.create_task(get(gate.app)) for _ in range(5)]
    await gate.running.wait()
    await joined(manager, 4)
    gate.go_on.set()
    assert {response.content for response in await asyncio.gather(*tasks)} == {b'["old"]'}
    assert gate.endpoint.runs == 1
    await manager.close()

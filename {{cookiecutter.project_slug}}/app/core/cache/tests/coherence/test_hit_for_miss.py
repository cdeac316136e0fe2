"""Results that are nobody else's do not make their callers queue (promises P3, P4 and P8)."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter
from redis import Redis
from starlette.responses import Response

from ... import CacheManager, cache_response
from ...calls import recording
from ...coherence.lately import Lately
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..endpoints import HIT, NOT_STORED, STATUS, Endpoint, application, get
from ..faults import eventually, soon
from ..internals import joined, waiting


class Moody:
    """A function whose results may be stored or not, as a test wants; counts its runs."""

    def __init__(self) -> None:
        self.storable, self.runs, self.at_once = False, 0, 0
        self.go_on, self.first = asyncio.Event(), asyncio.Event()
        self.go_on.set()
        self.first.set()

    def cached(self, manager: CacheManager) -> Any:
        """Return it as a cached function."""

        @cache_response(manager, "moody", key="it")
        async def read() -> Response:
            self.runs += 1
            number = self.runs
            self.at_once += 1
            await (self.first if number == 1 else self.go_on).wait()
            self.at_once -= 1
            response = Response(f"run {number}")
            if not self.storable:
                response.headers["cache-control"] = "no-store"
            return response

        return read


async def test_p8_a_hundred_callers_of_what_is_nobody_elses_run_at_once(
    manager: CacheManager,
) -> None:
    """None of them waits for another one, once that is known, and each has a result of his own."""
    moody = Moody()
    read = moody.cached(manager)
    await read()
    moody.go_on.clear()
    callers = [asyncio.create_task(read()) for _ in range(100)]
    await eventually(lambda: moody.at_once == 100)
    assert waiting(manager) == 0
    moody.go_on.set()
    bodies = {bytes(response.body) for response in await asyncio.gather(*callers)}
    assert len(bodies) == 100


async def test_p8_those_who_waited_before_it_was_known_run_at_once(manager: CacheManager) -> None:
    """The first of them is waited for, and no other."""
    moody = Moody()
    read = moody.cached(manager)
    moody.first.clear()
    moody.go_on.clear()
    callers = [asyncio.create_task(read()) for _ in range(20)]
    await joined(manager, 19)
    moody.first.set()
    await eventually(lambda: moody.at_once == 19)
    moody.go_on.set()
    await soon(asyncio.gather(*callers))


async def test_p4_it_puts_no_lease_meanwhile(
    redis_manager: CacheManager, redis_client: Redis
) -> None:
    """Nobody in another process waits for what will not come."""
    moody = Moody()
    read = moody.cached(redis_manager)
    await read()
    await eventually(lambda: not redis_client.exists(f"{redis_manager.key_prefix}:moody:it"))
    moody.go_on.clear()
    callers = [asyncio.create_task(read()) for _ in range(3)]
    await eventually(lambda: moody.at_once == 3)
    assert not redis_client.exists(f"{redis_manager.key_prefix}:moody:it")
    moody.go_on.set()
    await asyncio.gather(*callers)


async def test_the_first_result_that_may_be_stored_ends_it(manager: CacheManager) -> None:
    """It is its own caller's only, for nothing guarded its key; the next one is everybody's."""
    moody = Moody()
    read = moody.cached(manager)
    await read()
    moody.storable = True
    bodies = [bytes((await read()).body) for _ in range(4)]
    assert bodies == [b"run 2", b"run 3", b"run 3", b"run 3"]


async def test_p4_another_process_fills_the_key_all_the_same(redis_server: RedisServer) -> None:
    """And what it stores is a hit here at once."""
    one = CacheManager(redis_backend(redis_server))
    other = CacheManager(redis_backend(redis_server, key_prefix=one.key_prefix))
    moody = Moody()
    here, there = moody.cached(one), moody.cached(other)
    await here()
    moody.storable = True
    assert (await there()).body == (await here()).body == b"run 2"
    await one.clear()
    await one.close()
    await other.close()


async def test_p3_what_is_computed_apart_is_nobody_elses(our_manager: CacheManager) -> None:
    """Who starts after an invalidation has a value from after it, and so have all later ones."""
    moody = Moody()
    read = moody.cached(our_manager)
    await read()
    moody.storable = True
    moody.go_on.clear()
    early = [asyncio.create_task(read()) for _ in range(3)]
    await eventually(lambda: moody.at_once == 3)
    await our_manager.delete("moody:it")
    moody.go_on.set()
    await asyncio.gather(*early)
    late = await read()
    assert late.body == b"run 5"
    assert (await read()).body == b"run 5"


@pytest.mark.parametrize("by", ["a header of the response", "a cookie"])
async def test_what_a_route_renders_counts(our_manager: CacheManager, by: str) -> None:
    """Requests for what is not stored, as it says when it is sent, do not wait for each other."""
    running: list[int] = []
    go_on, storable = asyncio.Event(), asyncio.Event()

    def register(router: APIRouter, endpoint: Endpoint) -> None:
        @router.get("/it")
        @endpoint
        async def it(response: Response) -> list[int]:
            running.append(1)
            await go_on.wait()
            if not storable.is_set() and by == "a cookie":
                response.set_cookie("session", "1")
            elif not storable.is_set():
                response.headers["cache-control"] = "private"
            return [1]

    app = application(register, Endpoint(our_manager))
    go_on.set()
    assert (await get(app)).headers[STATUS] == NOT_STORED
    go_on.clear()
    tasks = [asyncio.create_task(get(app)) for _ in range(10)]
    await eventually(lambda: len(running) == 11)
    storable.set()
    go_on.set()
    await asyncio.gather(*tasks)
    await get(app)
    assert (await get(app)).headers[STATUS] == HIT


@pytest.mark.parametrize("way", ["decorator", "get_or_set"])
async def test_what_is_too_large_is_not_encoded_for_each_call(
    our_manager: CacheManager, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is remembered for a while, and nobody queues for it."""
    our_manager.max_entry_bytes = 1000
    encoded: list[int] = []
    refuse = recording.refuse_large

    def counted(store: Any, data: bytes, key: str | None = None) -> None:
        encoded.append(len(data))
        refuse(store, data, key)

    monkeypatch.setattr(recording, "refuse_large", counted)

    @cache_response(our_manager, "large", key="it")
    async def decorated() -> str:
        return "x" * 2000

    async def by_hand() -> Any:
        return await our_manager.get_or_set("large:it", lambda: "x" * 2000)

    read: Callable[[], Any] = decorated if way == "decorator" else by_hand
    for _ in range(5):
        assert len(await read()) == 2000
    assert len(encoded) == 1


def test_keys_are_forgotten_in_time() -> None:
    """Each for itself, and those that were noted first where there are too many."""
    now = [0.0]
    lately = Lately(seconds=5, most=3, clock=lambda: now[0])
    for key in ("a", "b", "c", "a", "d"):
        lately.add(key)
        now[0] += 1
    assert [key in lately for key in "abcd"] == [True, False, True, True]
    now[0] = 7.5
    assert [key in lately for key in "acd"] == [True, False, True]
    lately.discard("a")
    lately.discard("nobody")
    assert ("a" in lately, len(lately)) == (False, 1)

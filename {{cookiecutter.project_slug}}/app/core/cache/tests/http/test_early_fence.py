"""Hits before routing after invalidations, while fills are in flight, and without Redis (P3, P5, P6)."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from ... import CacheManager, CacheMiddleware, cache_response
from ...testing.redis_server import RedisServer
from ..conftest import OURS, redis_backend
from ..faults import PATIENT, eventually, manager_behind, soon, without_redis
from ..internals import joined, settled
from ..proxy.fault_proxy import FaultProxy
from .internals import Clock, targets_of
from .origin import STATUS, Answer, ask, only_memory


@pytest.fixture(params=[*OURS, "near"])
async def manager(request: pytest.FixtureRequest) -> AsyncIterator[CacheManager]:
    """Lend a manager over each backend in turn, with a near cache too."""
    if request.param == "memory":
        manager = only_memory()
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        near = 100 if request.param == "near" else 0
        manager = CacheManager(redis_backend(server, near_size=near), ttl_jitter=0)
    yield manager
    await manager.clear()
    await manager.close()


class Stage:
    """An application whose endpoint returns what is the newest; it may be told to wait."""

    def __init__(self, manager: CacheManager, clock: Clock | None = None, **options: Any) -> None:
        self.manager, self.newest, self.runs = manager, 0, 0
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()
        self.may_end.set()
        self.error: Exception | None = None
        self.app = FastAPI()
        self.app.add_middleware(CacheMiddleware, name="t")
        given: dict[str, Any] = {"expire": 60, "tags": ("all", "number:{number}"), **options}

        async def it(number: int) -> list[int]:
            self.runs += 1
            read = self.newest
            self.begun.set()
            await self.may_end.wait()
            if self.error is not None:
                raise self.error
            return [number, read]

        self.function = cache_response(manager, "it", ignore=(), **given)(it)
        if clock is not None:
            clock.rules(self.function)
        self.app.get("/it/{number}")(self.function)

    def __cache_key__(self) -> str:
        """Say that what this does decides about no result: it counts."""
        return "stage"

    async def ask(self, number: int = 1, **options: Any) -> Answer:
        return await ask(self.app, f"/it/{number}", **options)

    async def learn(self, number: int = 1) -> None:
        """Ask until a hit comes before routing."""
        answers = [await self.ask(number) for _ in range(4)]
        assert [each.is_early for each in answers[2:]] == [True, True]


def of_the_call(stage: Stage) -> Awaitable[object]:
    return stage.function.invalidate(1)


def of_a_pattern(stage: Stage) -> Awaitable[object]:
    return stage.manager.invalidate("it:*")


def of_a_tag(stage: Stage) -> Awaitable[object]:
    return stage.manager.invalidate_tags("number:1")


def of_two_tags(stage: Stage) -> Awaitable[object]:
    return stage.manager.invalidate_tags("all", "other")


def of_all(stage: Stage) -> Awaitable[object]:
    return stage.manager.clear()


def of_all_calls(stage: Stage) -> Awaitable[object]:
    return stage.function.invalidate_all()


WAYS = [of_the_call, of_a_pattern, of_a_tag, of_two_tags, of_all, of_all_calls]
Invalidate = Callable[[Stage], Awaitable[object]]


@pytest.mark.parametrize("invalidate", WAYS)
async def test_p3_after_an_invalidation_a_miss(
    manager: CacheManager, invalidate: Invalidate
) -> None:
    """The target is known, and leads to no entry; then to the new one."""
    stage = Stage(manager)
    await stage.learn(1)
    await stage.learn(2)
    for newest in range(1, 4):
        stage.newest = newest
        await invalidate(stage)
        answers = [await stage.ask() for _ in range(3)]
        assert [each.body for each in answers] == [f"[1,{newest}]".encode()] * 3
        assert [each.is_early for each in answers] == [False, True, True]
        assert answers[0].says(STATUS) == "t; fwd=miss; stored"
    known = len(targets_of(stage.app))
    assert known == 2
    assert stage.runs == 5


async def test_p3_another_process_invalidates(redis_server: RedisServer) -> None:
    """Each hit before routing asks Redis, if there is no near cache."""
    one, other = [
        Stage(CacheManager(redis_backend(redis_server, key_prefix="test-early-other", **PATIENT)))
        for _ in range(2)
    ]
    await one.learn()
    for newest in range(1, 4):
        one.newest = other.newest = newest
        await (of_a_tag if newest % 2 else of_the_call)(other)
        assert (await one.ask()).body == f"[1,{newest}]".encode()
        assert (await one.ask()).is_early
    await one.manager.clear()
    for stage in (one, other):
        await stage.manager.close()


@pytest.mark.parametrize("invalidate", WAYS)
async def test_p3_a_fill_in_flight_is_overtaken(
    manager: CacheManager, invalidate: Invalidate
) -> None:
    """What was read before the invalidation goes to its own caller, and to nobody else."""
    stage = Stage(manager)
    await stage.learn()
    await invalidate(stage)
    stage.begun.clear()
    stage.may_end.clear()
    old = asyncio.ensure_future(stage.ask())
    await soon(stage.begun.wait())
    stage.newest = 1
    await invalidate(stage)
    stage.begun.clear()
    new = asyncio.ensure_future(stage.ask())
    await soon(stage.begun.wait())
    stage.may_end.set()
    assert [(await soon(each)).body for each in (old, new)] == [b"[1,0]", b"[1,1]"]
    assert ((await old).says("cache-status") or "").endswith("; fwd=miss; detail=overtaken")
    answers = [await stage.ask() for _ in range(2)]
    assert [(each.body, each.is_early) for each in answers] == [(b"[1,1]", True)] * 2


async def test_p3_what_was_overtaken_is_kept_by_no_cache(our_manager: CacheManager) -> None:
    """Neither the caller who computed it nor one who joined him may keep it for the time of an entry."""
    stage = Stage(our_manager)
    stage.may_end.clear()
    both = [asyncio.ensure_future(stage.ask()) for _ in range(2)]
    await joined(our_manager, 1)
    await of_all(stage)
    stage.may_end.set()
    answers = [await soon(each) for each in both]
    assert {each.body for each in answers} == {b"[1,0]"}
    assert {each.says("cache-control") for each in answers} == {"no-cache"}


async def test_p4_one_computation_for_all_who_come_early(manager: CacheManager) -> None:
    """Those who find no entry go the ordinary way, and join."""
    stage = Stage(manager)
    await stage.learn()
    await of_all(stage)
    stage.runs = 0
    stage.may_end.clear()
    stage.begun.clear()
    all_of_them = [asyncio.ensure_future(stage.ask()) for _ in range(5)]
    await soon(stage.begun.wait())
    stage.may_end.set()
    answers = [await soon(each) for each in all_of_them]
    assert {each.body for each in answers} == {b"[1,0]"}
    assert stage.runs == 1


async def test_p1_a_tag_is_the_same_after_a_restart(redis_server: RedisServer) -> None:
    """Another process that reads the entry, and one that computes it anew, have the same tag."""
    tags = []
    for begins_anew in (False, False, True):
        backend = redis_backend(redis_server, key_prefix="test-early-restart", **PATIENT)
        stage = Stage(CacheManager(backend))
        if begins_anew:
            await stage.manager.clear()
        answers = [await stage.ask() for _ in range(3)]
        tags += [each.says("etag") for each in answers]
        assert stage.runs == (1 if begins_anew or len(tags) == 3 else 0)
        if begins_anew:
            await stage.manager.clear()
        await stage.manager.close()
    assert len(set(tags)) == 1
    assert re.fullmatch('"[0-9a-f]{24}"', tags[0] or "")


# --- stale -----------------------------------------------------------------------------------------


async def test_p5_what_is_due_goes_the_ordinary_way(manager: CacheManager, clock: Clock) -> None:
    """One caller computes it anew; if that fails, the old one is served, and says that it is stale."""
    stage = Stage(manager, clock, expire=20, stale=30)
    await stage.learn()
    clock.seconds += 15
    assert (await stage.ask()).is_early
    clock.seconds += 15
    stage.error = RuntimeError("away")
    answer = await stage.ask()
    assert (answer.body, answer.is_early) == (b"[1,0]", False)
    assert answer.says(STATUS) == "t; hit; ttl=-10"
    assert answer.says("cache-control") == (
        "max-age=0, stale-while-revalidate=20, stale-if-error=20"
    )
    tag = answer.says("etag") or ""
    known = await stage.ask(headers={"If-None-Match": tag})
    assert (known.status, known.body, known.is_early) == (304, b"", False)
    stage.error, stage.newest = None, 1
    await stage.function.refresh(1)
    answer = await stage.ask()
    assert answer.body == b"[1,1]"
    assert (answer.says(STATUS) or "").startswith("t; hit")


async def test_p5_who_comes_first_after_it_is_due_is_not_answered_early(
    manager: CacheManager, clock: Clock
) -> None:
    """Also if the record is the same as the one that was read last."""
    stage = Stage(manager, clock, expire=20, stale=30)
    await stage.learn()
    assert (await stage.ask()).is_early
    clock.seconds += 21
    stage.newest = 1
    answer = await stage.ask()
    assert (answer.body, answer.is_early) == (b"[1,1]", False)
    assert answer.says(STATUS) == "t; fwd=stale; stored"


async def test_p5_a_refresh_in_the_background(manager: CacheManager, clock: Clock) -> None:
    """All are served the old one meanwhile, the ordinary way; then the new one."""
    stage = Stage(manager, clock, expire=20, stale=30, refresh="background")
    await stage.learn()
    clock.seconds += 21
    stage.newest = 1
    stage.may_end.clear()
    answers = [await stage.ask() for _ in range(3)]
    assert [(each.body, each.is_early) for each in answers] == [(b"[1,0]", False)] * 3
    assert {each.says(STATUS) for each in answers} == {"t; hit; ttl=-1"}
    stage.may_end.set()
    await settled(manager)
    answers = [await stage.ask() for _ in range(3)]
    assert {each.body for each in answers} == {b"[1,1]"}
    assert stage.runs == 2


# --- without Redis ---------------------------------------------------------------------------------


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """Lend a proxy in front of Redis."""
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


@pytest.mark.parametrize("near", [0, 100])
@pytest.mark.parametrize("how", ["refused", "hung"])
async def test_p5_without_redis_the_function_answers(
    proxy: FaultProxy, redis_server: RedisServer, how: Any, near: int
) -> None:
    """Nothing fails; when Redis is back, hits come before routing again."""
    manager = manager_behind(proxy, redis_server, near_size=near)
    stage = Stage(manager)
    await stage.learn()
    with without_redis(how, proxy, redis_server):
        stage.newest = 1
        for _ in range(4):
            answer = await stage.ask()
            assert answer.status == 200
            assert answer.body in (b"[1,0]", b"[1,1]")

        async def runs() -> bool:
            return not (await stage.ask()).is_early

        await eventually(runs)
        answer = await stage.ask()
        assert answer.body == b"[1,1]"
        assert (answer.says("cache-status") or "").endswith("; fwd=miss; detail=unavailable")

    async def comes_early() -> bool:
        return (await stage.ask()).is_early

    await eventually(comes_early)
    await eventually(manager.clear)
    await manager.close()


@pytest.mark.parametrize("near", [0, 100])
@pytest.mark.parametrize("invalidate", [of_the_call, of_a_pattern, of_a_tag])
async def test_p6_an_invalidation_without_redis_is_not_forgotten(
    proxy: FaultProxy, redis_server: RedisServer, invalidate: Invalidate, near: int
) -> None:
    """What it covers is not served, neither then, nor when Redis is back."""
    manager = manager_behind(proxy, redis_server, near_size=near)
    stage = Stage(manager)
    await stage.learn()
    with without_redis("refused", proxy, redis_server):
        stage.newest = 1
        await invalidate(stage)
        for _ in range(3):
            assert (await stage.ask()).body == b"[1,1]"

    async def comes_early() -> bool:
        answer = await stage.ask()
        assert answer.body == b"[1,1]"
        return answer.is_early

    await eventually(comes_early)
    await eventually(manager.clear)
    await manager.close()


async def test_p5_a_backend_that_hangs_is_asked_once(our_manager: CacheManager) -> None:
    """What was asked before routing is not asked again: a request waits for one answer only."""
    app, looks = FastAPI(), []
    app.add_middleware(CacheMiddleware)

    @app.get("/{number}")
    @cache_response(our_manager, "number")
    async def number(number: int) -> int:
        return number

    for _ in range(3):
        await ask(app, "/1")
    await our_manager.clear()
    looking = our_manager.fence.looks.look

    async def look(*args: Any, **options: Any) -> Any:
        looks.append(args)
        return await looking(*args, **options)

    our_manager.fence.looks.look = look  # type: ignore[method-assign]
    assert "; fwd=miss; stored" in ((await ask(app, "/1")).says("cache-status") or "")
    assert len(looks) <= 1

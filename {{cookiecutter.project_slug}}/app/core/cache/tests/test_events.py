"""What a cache tells those who listen (promise P10): one event for each call, and for each run."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, get_args

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import ResponseValidationError
from fastapi.security import HTTPBearer

from .. import CacheEvent, CacheManager, MemoryBackend, cache_response
from ..events import Kind
from ..testing.redis_server import RedisServer
from .coherence.test_freshness import elapse
from .conftest import lent, redis_backend
from .endpoints import get
from .faults import eventually, manager_behind, soon, without_redis
from .internals import joined, settled
from .package import cache
from .proxy.fault_proxy import FaultProxy

PER_CALL = ("hit", "stale", "shared", "miss", "bypass")


class Heard:
    """The events of a manager."""

    def __init__(self, manager: CacheManager) -> None:
        self.events: list[CacheEvent] = []
        self.end = manager.observe(self.events.append)

    @property
    def kinds(self) -> list[str]:
        """Return the kinds, and forget the events."""
        kinds: list[str] = [event.kind for event in self.events]
        self.events.clear()
        return kinds

    def last(self, kind: str) -> CacheEvent:
        """Return the last event of a kind."""
        return [event for event in self.events if event.kind == kind][-1]


def answers(manager: CacheManager, *answers: Any, key: str = "it", **options: Any) -> Any:
    """Return a cached function that gives these answers one by one; the last one again and again."""
    left = list(answers)

    @cache_response(manager, "data", key=key, shared=True, **options)
    async def function() -> Any:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return function


# --- calls of a function --------------------------------------------------------------------------


async def test_p10_a_miss_is_stored_and_then_hit(our_manager: CacheManager) -> None:
    """The events say which function, which key prefix, which key, and how long it took."""
    heard, function = Heard(our_manager), answers(our_manager, [1])
    await function()
    await function()
    stored, miss, hit = heard.events
    assert [stored.kind, miss.kind, hit.kind] == ["stored", "miss", "hit"]
    for event in (stored, miss, hit):
        assert event.function.endswith("test_events.answers.<locals>.function")
        assert (event.key_prefix, event.key) == ("data", f"{our_manager.key_prefix}:data:it")
        assert 0 < event.seconds < 10
        assert (event.reason, event.near) == ("", False)
    assert miss.seconds >= stored.seconds


def _same(value: Any) -> Any:
    return value


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a response of an error": (Response("no", 503), {}, "response"),
    "one that is private": (Response("x", headers={"cache-control": "private"}), {}, "response"),
    "what does not come back equal": (object(), {}, "unstorable"),
    "what is too large": ("x" * 20_000_000, {}, "size"),
    "tags that cannot be derived": ([1], {"tags": [lambda result: result["no"]]}, "tags"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_p10_what_is_refused_has_a_reason(our_manager: CacheManager, what: str) -> None:
    """One word, also for a call by hand."""
    answer, options, reason = REFUSED[what]
    heard, function = Heard(our_manager), answers(our_manager, answer, **options)
    await function()
    assert heard.last("refused").reason == reason
    assert heard.kinds == ["refused", "miss"]


async def test_p10_an_exception_is_told(our_manager: CacheManager) -> None:
    """Of a function, and one that would be stored but for what it holds."""
    heard = Heard(our_manager)
    for error in (LookupError("no"), HTTPException(503)):
        with pytest.raises(type(error)):
            await answers(our_manager, error, key=type(error).__name__)()
        assert heard.kinds == ["raised", "miss"]
    found = answers(our_manager, HTTPException(404), key="404", cache_status={404})
    for kinds in (["stored", "miss"], ["hit"]):
        with pytest.raises(HTTPException):
            await found()
        assert heard.kinds == kinds


@pytest.mark.parametrize("by_hand", [False, True])
async def test_p10_who_waits_shares_an_exception(our_manager: CacheManager, by_hand: bool) -> None:
    """One call ran and raised; the others have its exception, and ran nothing."""
    heard, go_on = Heard(our_manager), asyncio.Event()

    async def fail() -> int:
        await go_on.wait()
        raise ValueError

    call: Callable[[], Any] = cache_response(our_manager, "data", key="it", shared=True)(fail)
    if by_hand:
        call = partial(our_manager.get_or_set, "it", fail)
    calls = [asyncio.create_task(call()) for _ in range(3)]
    await joined(our_manager, 2)
    go_on.set()
    failed = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in failed] == [ValueError] * 3
    assert Counter(heard.kinds) == {"raised": 1, "miss": 1, "shared": 2}


async def test_p10_methods_have_their_own_names(our_manager: CacheManager) -> None:
    """Also those that are made of others."""
    heard = Heard(our_manager)
    await our_manager.exists("key")
    await our_manager.get_or_set_many(["key"], dict.fromkeys)
    told = [(event.function, event.kind) for event in heard.events if event.kind in PER_CALL]
    assert told == [("exists", "miss"), ("get_or_set_many", "miss")]


async def test_p10_who_waits_shares(our_manager: CacheManager) -> None:
    """One run, one miss, and nine who share it."""
    heard, go_on = Heard(our_manager), asyncio.Event()

    @cache_response(our_manager, "data", shared=True)
    async def function() -> int:
        await go_on.wait()
        return 1

    calls = [asyncio.create_task(function()) for _ in range(10)]
    await joined(our_manager, 9)
    go_on.set()
    await asyncio.gather(*calls)
    assert Counter(heard.kinds) == {"stored": 1, "miss": 1, "shared": 9}


@pytest.mark.parametrize("refresh", ["inline", "background"])
@pytest.mark.parametrize("fails", [False, True])
async def test_p10_a_refresh_is_told(our_manager: CacheManager, refresh: str, fails: bool) -> None:
    """Who refreshes has a miss, unless that fails or is in the background; a run is told anyway."""
    heard, later = Heard(our_manager), LookupError("no") if fails else [2]
    short = timedelta(milliseconds=100)
    function = answers(our_manager, [1], later, expire=short, stale=60, refresh=refresh)
    await function()
    await elapse(0.2)
    assert heard.kinds == ["stored", "miss"]
    await function()
    await settled(our_manager)
    caller = "miss" if refresh == "inline" and not fails else "stale"
    assert sorted(heard.kinds) == sorted(["raised" if fails else "stored", caller])


async def test_p10_an_overtaken_result_is_refused(our_manager: CacheManager) -> None:
    """Its reason says so."""
    heard, running, go_on = Heard(our_manager), asyncio.Event(), asyncio.Event()

    @cache_response(our_manager, "data", key="it", shared=True)
    async def function() -> int:
        running.set()
        await go_on.wait()
        return 1

    call = asyncio.create_task(function())
    await running.wait()
    await our_manager.delete("data:it")
    go_on.set()
    await soon(call)
    assert heard.last("refused").reason == "overtaken"
    assert heard.kinds == ["invalidated", "refused", "miss"]


async def test_p10_an_endpoint_tells_as_a_function_does(our_manager: CacheManager) -> None:
    """Also where its response is stored, and where hits are answered before routing."""
    app, heard = FastAPI(), Heard(our_manager)
    app.add_middleware(cache.CacheMiddleware)

    @app.get("/it/{number}")
    @cache_response(our_manager, "it", shared=True)
    async def it(number: int) -> list[int]:
        return [number]

    assert [(await get(app, "/it/1")).status_code for _ in range(4)] == [200] * 4
    assert all(0 < event.seconds < 10 for event in heard.events)
    assert {event.key_prefix for event in heard.events} == {"it"}
    assert sorted(heard.kinds) == ["hit", "hit", "hit", "miss", "stored"]


async def test_p10_a_bypass_has_a_reason(our_manager: CacheManager) -> None:
    """A dependency that knows who asks, and an argument without an identity."""
    app, heard, bearer = FastAPI(), Heard(our_manager), HTTPBearer()

    def user(request: Request) -> str:
        return request.headers["x-user"]

    @app.get("/mine", dependencies=[Depends(bearer), Depends(user)])
    @cache_response(our_manager, "mine")
    async def mine() -> list[int]:
        return [1]

    @cache_response(our_manager, "objects")
    async def of_object(thing: Any) -> int:
        return 1

    await get(app, "/mine", headers={"authorization": "Bearer x", "x-user": "ada"})
    await of_object(object())
    assert [(event.kind, event.reason) for event in heard.events] == [
        ("bypass", "dependency"),
        ("bypass", "key"),
    ]


# --- the methods of a manager ---------------------------------------------------------------------


async def test_p10_methods_are_told(our_manager: CacheManager) -> None:
    """`get`, `get_or_set` and `get_many`, each once."""
    heard = Heard(our_manager)
    await our_manager.set("a", 1)
    assert heard.kinds == []
    await our_manager.get("a")
    await our_manager.get("b")
    assert heard.kinds == ["hit", "miss"]
    for _ in range(2):
        await our_manager.get_or_set("c", lambda: 3)
    assert [(event.kind, event.function) for event in heard.events] == [
        ("miss", "get_or_set"),
        ("stored", "get_or_set"),
        ("hit", "get_or_set"),
    ]
    heard.events.clear()
    await our_manager.get_many(["a", "b", "c", "d", "e"])
    assert [(event.kind, event.number) for event in heard.events] == [("hit", 2), ("miss", 3)]


async def test_p10_a_run_of_a_factory_is_told(our_manager: CacheManager) -> None:
    """With its own time, and why its result is not stored."""
    heard = Heard(our_manager)

    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await our_manager.get_or_set("a", fail)
    assert heard.kinds == ["miss", "raised"]
    for what, reason in ((object(), "unstorable"), ("x" * 20_000_000, "size")):
        for _ in range(2):
            await our_manager.get_or_set("b" + reason, partial(_same, what))
        assert heard.last("refused").reason == reason
    heard.events.clear()
    await our_manager.get_or_set("c", lambda: 1, expire=0)
    assert heard.last("refused").reason == "stale"


async def test_p10_many_are_told_while_it_is_off(our_manager: CacheManager) -> None:
    """As calls that went past the cache."""
    heard = Heard(our_manager)
    with our_manager.disabled():
        await our_manager.get_many(["a", "b"])
        await our_manager.get_or_set_many(["a"], lambda keys: dict.fromkeys(keys, 1))
    assert [(event.kind, event.number) for event in heard.events] == [("bypass", 2), ("bypass", 1)]


async def test_p10_a_run_that_is_cancelled_is_told(our_manager: CacheManager) -> None:
    """As one that raised; and so is a response that cannot be rendered."""
    heard, running = Heard(our_manager), asyncio.Event()

    @cache_response(our_manager, "data", key="it", shared=True)
    async def function() -> int:
        running.set()
        await asyncio.Event().wait()
        return 1

    call = asyncio.create_task(function())
    await running.wait()
    call.cancel()
    await asyncio.wait([call])
    assert sorted(heard.kinds) == ["miss", "raised"]
    app = FastAPI()
    app.add_middleware(cache.CacheMiddleware)

    @app.get("/it", response_model=dict[str, int])
    @cache_response(our_manager, "it", shared=True)
    async def it() -> Any:
        return {"a": "no number"}

    with suppress(ResponseValidationError):
        await get(app)
    assert sorted(heard.kinds) == ["miss", "refused"]


async def test_p10_invalidations_are_told(our_manager: CacheManager) -> None:
    """What they were, and how many."""
    heard = Heard(our_manager)
    await our_manager.delete("a")
    await our_manager.delete_many(["a", "b"])
    await our_manager.invalidate("a:*")
    await our_manager.invalidate("a")
    await our_manager.invalidate_tags("x", "y", "z")
    await our_manager.clear()
    assert [(event.kind, event.reason, event.number) for event in heard.events] == [
        ("invalidated", "key", 1),
        ("invalidated", "key", 2),
        ("invalidated", "pattern", 1),
        ("invalidated", "key", 1),
        ("invalidated", "tag", 3),
        ("invalidated", "pattern", 1),
    ]


# --- a server that fails --------------------------------------------------------------------------


async def test_p10_a_server_that_fails_is_told(
    proxy: FaultProxy, redis_server: RedisServer
) -> None:
    """The failures, the breaker, and the invalidations that waited."""
    manager = manager_behind(proxy, redis_server)
    heard = Heard(manager)
    try:
        await manager.set("a", 1)
        with without_redis("refused", proxy, redis_server):
            for _ in range(10):
                await manager.get("a")
            await manager.delete("a")
            assert heard.last("failed").reason.startswith("redis at ")
            assert heard.last("breaker opened").reason.startswith("redis at ")
            assert heard.last("deferred").number == 1
        await eventually(lambda: "delivered" in [event.kind for event in heard.events])
        await eventually(lambda: "breaker closed" in [event.kind for event in heard.events])
        assert heard.last("delivered").number == 1
    finally:
        await manager.clear()
        await manager.close()


async def test_p10_the_near_cache_is_told(proxy: FaultProxy, redis_server: RedisServer) -> None:
    """Its hits, and what it loses with a connection."""
    behind = {"host": proxy.host, "port": proxy.port, "near_size": 100}
    async with lent(CacheManager(redis_backend(redis_server, **behind))) as manager:
        heard, function = Heard(manager), answers(manager, [1])
        for _ in range(3):
            await function()
        assert heard.last("hit").near is True
        proxy.drop()
        await function()
        await eventually(lambda: any(event.kind == "near cache flushed" for event in heard.events))
        assert heard.last("near cache flushed").number == 1


# --- listeners ------------------------------------------------------------------------------------


async def test_p10_several_listen_until_they_end(
    memory: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """One that raises disturbs neither the caller nor the others, and is logged once."""

    def wrong(event: CacheEvent) -> None:
        raise LookupError(event.kind)

    memory.observe(wrong)
    first, second = Heard(memory), Heard(memory)
    function = answers(memory, [1])
    for _ in range(3):
        assert await function() == [1]
    assert caplog.text.count("cache events failed") == 1
    assert first.kinds == second.kinds != []
    first.end()
    first.end()
    await memory.get("a")
    assert (first.kinds, second.kinds) == ([], ["miss"])


async def test_p5_a_listener_without_a_hash_may_fail(memory: CacheManager) -> None:
    """The caller hears nothing of that; two registrations end one by one."""

    @dataclass
    class Failing:
        heard: int = 0

        def __call__(self, event: CacheEvent) -> None:
            self.heard += 1
            raise LookupError

    failing = Failing()
    ends = [memory.observe(failing) for _ in range(2)]
    assert await answers(memory, [1])() == [1]
    assert failing.heard == 4
    for _ in range(2):
        ends[0]()
    await memory.get("a")
    assert failing.heard == 5


class Later:
    """What cannot be called at once."""

    async def __call__(self, event: CacheEvent) -> None: ...


@pytest.mark.parametrize("wrong", [None, 5, asyncio.sleep, Later()])
def test_a_listener_is_a_plain_function(memory: CacheManager, wrong: Any) -> None:
    """Whatever else is refused at once."""
    with pytest.raises(TypeError, match="plain function"):
        memory.observe(wrong)


async def test_p10_those_on_one_backend_hear_their_own_calls(redis_server: RedisServer) -> None:
    """And both what happens to its servers."""
    backend = MemoryBackend()
    one, two = CacheManager(backend, key_prefix="one"), CacheManager(backend, key_prefix="two")
    first, second = Heard(one), Heard(two)
    await one.get("a")
    assert (first.kinds, second.kinds) == (["miss"], [])


async def test_p10_all_kinds_are_tried_here(
    our_manager: CacheManager, request: pytest.FixtureRequest
) -> None:
    """`lost` is in the tests of `close`."""
    source = request.path.read_text()
    assert [kind for kind in get_args(Kind) if f'"{kind}"' not in source and kind != "lost"] == []


async def test_p10_an_event_is_for_good(our_manager: CacheManager) -> None:
    """No listener can change it for the next one."""
    heard: Heard = Heard(our_manager)
    await our_manager.get("a")
    change: Callable[..., None] = setattr
    with pytest.raises(AttributeError):
        change(heard.events[0], "kind", "hit")

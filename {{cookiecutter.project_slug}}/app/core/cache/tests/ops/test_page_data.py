"""What the page tells: the counters, the entries, and the effect of an invalidation (promise P10)."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi.responses import JSONResponse
from redis import Redis

from ... import CacheManager, MemoryBackend, RedisBackend, cache_response
from ...ops.counters import publish
from ...ops.page import state
from ...testing.redis_server import RedisServer
from ..conftest import SixMethods, lent, redis_backend
from ..faults import eventually, manager_behind, soon
from ..naming import named
from ..proxy.fault_proxy import FaultProxy
from .paged import WRITES, application, ask, client_of, invalidate

MARKUP = "<img src=x onerror=alert(1)>"
HOSTILE = f"{MARKUP}\x00\x1b[2J\u202e\ud800"


def function(manager: CacheManager, **options: Any) -> Any:
    """Return a cached function whose entry has the key `data:it` and a tag."""

    @cache_response(manager, "data", key="it", shared=True, tags=["users"], **options)
    async def cached() -> dict[str, str]:
        return {"name": MARKUP}

    return cached


# --- the state -------------------------------------------------------------------------------------


async def test_p10_the_state_has_the_counters(our_manager: CacheManager) -> None:
    """Of this process, as they are now."""
    app, cached = application(our_manager), function(our_manager)
    for _ in range(3):
        await cached()
    told = await ask(app, "/cache/data")
    (process,) = told["processes"]
    assert process["prefixes"]["data"]["hits"] == 2
    assert process["prefixes"]["data"]["misses"] == 1
    assert sum(process["prefixes"]["data"]["hit_times"]) == 2
    assert len(told["bounds"]) + 1 == len(process["prefixes"]["data"]["hit_times"])
    assert (told["is_up"], told["is_enabled"], told["has_near"]) == (True, True, False)
    assert told["is_shared"] is isinstance(our_manager.backend, RedisBackend)
    assert told["own"] == process["id"]


async def test_p10_the_state_has_other_processes(redis_server: RedisServer) -> None:
    """Those that publish their counters."""
    async with lent(CacheManager(redis_backend(redis_server))) as one:
        backend = redis_backend(redis_server, key_prefix=one.key_prefix)
        async with lent(CacheManager(backend)) as other:
            app = application(one)
            assert (await ask(app, "/cache/data"))["is_published"] is False
            await publish(one)
            await publish(other)
            told = await ask(app, "/cache/data")
            assert (len(told["processes"]), told["is_published"]) == (2, True)


async def test_p10_a_cache_that_is_off_says_so() -> None:
    """The page is there all the same."""
    manager = CacheManager(MemoryBackend(), enabled=False)
    assert (await ask(application(manager), "/cache/data"))["is_enabled"] is False


async def test_p5_no_password_is_told(redis_server: RedisServer) -> None:
    """Nor is any other secret of the backend."""
    manager = CacheManager(redis_backend(redis_server, password="topsecret", username="nobody"))
    for path in ("/cache", "/cache/data", "/cache/entries"):
        async with client_of(application(manager)) as client:
            assert "topsecret" not in (await client.get(path)).text
    await manager.close()


async def test_p5_the_page_outlives_the_backend(
    proxy: FaultProxy, redis_server: RedisServer
) -> None:
    """It says that the backend is away, and that an invalidation is kept."""
    async with lent(manager_behind(proxy, redis_server)) as manager:
        await manager.set("user:7", 1)
        app = application(manager)
        proxy.silence()
        told = await soon(ask(app, "/cache/data"))
        assert (told["is_up"], len(told["processes"])) == (False, 1)
        found = await soon(ask(app, "/cache/entries"))
        assert (found["entries"], found["incomplete"]) == ([], "away")
        async with client_of(app) as client:
            reply = await soon(client.get("/cache/entry", params={"key": "user:7"}))
            assert (reply.status_code, reply.json()["detail"]) == (
                503,
                "The backend does not answer.",
            )
        for body in ({"key": "user:7"}, {"pattern": "user:*"}, {"tag": "users"}):
            reply = await soon(invalidate(app, body))
            assert (reply.status_code, reply.json()["done"]) == (200, False)
        assert (await soon(ask(app, "/cache/data")))["processes"][0]["pending"] == 3
        proxy.heal()

        async def is_well() -> bool:
            told = await ask(app, "/cache/data")
            return bool(told["is_up"]) and told["processes"][0]["pending"] == 0

        await eventually(is_well)
        assert not await manager.exists("user:7")


async def test_p5_a_backend_that_hangs_counts_as_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also one that has no time limit of its own."""
    monkeypatch.setattr(state, "HEALTH_SECONDS", 0.05)
    manager = CacheManager(MemoryBackend())

    async def hang() -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(manager.backend, "health_check", hang)
    assert (await soon(ask(application(manager), "/cache/data")))["is_up"] is False


# --- entries ---------------------------------------------------------------------------------------


async def test_p10_entries_are_found(our_manager: CacheManager) -> None:
    """In order; those that match, and no more than asked for."""
    for number in range(30):
        await our_manager.set(f"user:{number:02}", number)
    await our_manager.set("order:1", 1)
    app = application(our_manager)
    found = await ask(app, "/cache/entries", pattern="user:*", limit=30)
    assert [each["key"] for each in found["entries"]] == [f"user:{each:02}" for each in range(30)]
    assert found["incomplete"] == ""
    found = await ask(app, "/cache/entries", pattern="user:*", limit=29)
    assert (len(found["entries"]), found["incomplete"]) == (29, "limit")
    assert len((await ask(app, "/cache/entries", pattern="*:1*"))["entries"]) == 11
    assert len((await ask(app, "/cache/entries"))["entries"]) == 31
    assert (await ask(app, "/cache/entries", pattern="nothing*"))["entries"] == []


async def test_p10_an_entry_says_what_it_is(our_manager: CacheManager) -> None:
    """Its content, who wrote it, how long it lives, and its tags."""
    cached = function(our_manager, expire=60)
    await cached()
    app = application(our_manager)
    told = await ask(app, "/cache/entry", key="data:it")
    assert json.loads(told["content"]) == {"name": MARKUP}
    assert told["function"].endswith("function.<locals>.cached")
    assert (told["kind"], told["tags"], told["is_current"]) == ("value", ["users"], True)
    assert 50 < told["expires_in"] <= 60
    assert told["size"] > 0
    await our_manager.invalidate_tags("users")
    assert (await ask(app, "/cache/entry", key="data:it"))["is_current"] is False


async def test_p10_a_response_has_its_status_and_headers(our_manager: CacheManager) -> None:
    """As it is sent."""

    @cache_response(our_manager, "data", key="it", shared=True, cache_status={404})
    async def cached() -> JSONResponse:
        return JSONResponse({"no": "thing"}, 404, {"X-Own": "yes"})

    await cached()
    told = await ask(application(our_manager), "/cache/entry", key="data:it")
    assert (told["kind"], told["status"]) == ("response", 404)
    assert ["x-own", "yes"] in told["headers"]


async def test_p10_an_entry_without_an_end_says_so(
    redis_manager: CacheManager, redis_client: Redis
) -> None:
    """JSON has no number for that."""
    redis_client.set(f"{redis_manager.key_prefix}:endless", b"1")
    told = await ask(application(redis_manager), "/cache/entry", key="endless")
    assert (told["expires_in"], told["is_endless"]) == (None, True)


async def test_p9_hostile_keys_and_contents_are_data(our_manager: CacheManager) -> None:
    """They come back as they are, in JSON; what deceives the eye is shown as an escape."""
    await our_manager.set(HOSTILE, {"text": HOSTILE[:-1] + "x" * 1_000_000})
    app = application(our_manager)
    (told,) = (await ask(app, "/cache/entries"))["entries"]
    assert told["key"] == HOSTILE
    assert told["shown"] == f"{MARKUP}\\x00\\x1b[2J\\u202e\\ud800"
    async with client_of(app) as client:
        for path in ("/cache/entries", "/cache/data"):
            reply = await client.get(path)
            assert reply.headers["content-type"] == "application/json"
            assert reply.content.isascii()
    await our_manager.set(HOSTILE[:-1], {"text": HOSTILE[:-1] + "x" * 1_000_000})
    told = await ask(app, "/cache/entry", key=HOSTILE[:-1])
    assert len(told["content"]) < 50_000
    assert "\x1b" not in told["content"]


async def test_p9_what_is_no_text_ends_no_search(
    redis_manager: CacheManager, redis_client: Redis
) -> None:
    """Another program may have put anything below the prefix."""
    redis_client.set(f"{redis_manager.key_prefix}:".encode() + b"\xff\xfe", b"1")
    found = await ask(application(redis_manager), "/cache/entries")
    assert found["incomplete"] in {"", "text"}


@pytest.mark.parametrize(
    "query",
    [
        "entries?pattern=",
        f"entries?pattern={'a' * 5000}",
        "entries?limit=0",
        "entries?limit=501",
        "entries?limit=x",
        "entry",
        "entry?key=",
        f"entry?key={'a' * 5000}",
    ],
    ids=named,
)
async def test_wrong_questions_are_refused(our_manager: CacheManager, query: str) -> None:
    """By 422, and never by 500."""
    async with client_of(application(our_manager), raises=False) as client:
        assert (await client.get(f"/cache/{query}")).status_code == 422


@pytest.mark.parametrize(
    "text",
    ["%00", "%ff%fe", "~tags", "~page:7", "a:~refresh", "*" * 4096, "[a-", "\\", "🦊" * 1000],
    ids=named,
)
async def test_odd_texts_are_answered(our_manager: CacheManager, text: str) -> None:
    """What cannot be a key has no entry; a pattern has one wildcard only."""
    async with client_of(application(our_manager), raises=False) as client:
        assert (await client.get(f"/cache/entries?pattern={text}")).status_code == 200
        assert (await client.get(f"/cache/entry?key={text}")).status_code == 404


async def test_a_backend_that_cannot_list_keys_says_so() -> None:
    """The rest of the page works."""
    app = application(CacheManager(SixMethods()))
    async with client_of(app) as client:
        reply = await client.get("/cache/entries")
        assert (reply.status_code, reply.json()["detail"]) == (
            501,
            "This backend cannot list its keys.",
        )
    assert (await ask(app, "/cache/data"))["is_up"] is True


async def test_p5_a_search_has_an_end(
    memory: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a large database there may be little to find; what was found until then is shown."""
    monkeypatch.setattr(state, "SEARCH_SECONDS", 0.05)
    for number in range(60):
        await memory.set(f"user:{number}", 1)
    scan = memory.backend.scan

    async def slow(pattern: Any) -> AsyncIterator[Any]:
        async for keys in scan(pattern):
            yield keys
        await asyncio.Event().wait()

    monkeypatch.setattr(memory.backend, "scan", slow)
    found = await soon(ask(application(memory), "/cache/entries", limit=500))
    assert found["incomplete"] == "time"
    assert len(found["entries"]) == 50


# --- invalidations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "left", "number"),
    [
        ({"key": "user:1"}, ["user:2", "order:1", "user:*"], 1),
        ({"key": "user:*"}, ["user:1", "user:2", "order:1"], 1),
        ({"key": "nothing"}, ["user:1", "user:2", "order:1", "user:*"], 0),
        ({"pattern": "user:*"}, ["order:1"], 3),
        ({"pattern": "*"}, [], 4),
        ({"pattern": "user:1"}, ["user:2", "order:1", "user:*"], 1),
    ],
    ids=named,
)
async def test_p7_an_invalidation_tells_its_effect(
    our_manager: CacheManager, body: dict[str, str], left: list[str], number: int
) -> None:
    """How many keys were removed, and these only: a key is no pattern."""
    for key in ("user:1", "user:2", "order:1", "user:*"):
        await our_manager.set(key, 1)
    reply = await invalidate(application(our_manager), body)
    ((what, name),) = body.items()
    told = {"what": what, "name": name, "done": True, "number": number}
    assert (reply.status_code, reply.json()) == (200, told)
    assert {key async for key in our_manager.keys("*")} == {*left}


async def test_p3_a_tag_is_invalidated(our_manager: CacheManager) -> None:
    """What had it is served no more."""
    cached = function(our_manager)
    await cached()
    app = application(our_manager)
    reply = await invalidate(app, {"tag": "users"})
    assert reply.json() == {"what": "tag", "name": "users", "done": True, "number": None}
    await cached()
    assert (await ask(app, "/cache/data"))["processes"][0]["prefixes"]["data"]["misses"] == 1


async def test_p9_hostile_names_are_invalidated_like_others(our_manager: CacheManager) -> None:
    """Also those with half a character, which no address can have."""
    for what, number in (("key", 1), ("pattern", 1), ("tag", None)):
        await our_manager.set(HOSTILE, 1)
        async with client_of(application(our_manager)) as client:
            body = json.dumps({what: HOSTILE})
            reply = await client.post("/cache/invalidate", content=body, headers=WRITES)
        assert reply.json() == {"what": what, "name": HOSTILE, "done": True, "number": number}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"\xff", 422),
        (b"[" * 5000, 422),
        (b"[]", 422),
        (b'"key"', 422),
        (b"{}", 422),
        (b'{"key": 1}', 422),
        (b'{"key": ""}', 422),
        (b'{"key": null}', 422),
        (b'{"key": "a", "tag": "b"}', 422),
        (b'{"everything": "*"}', 422),
        (b'{"key": "~tags"}', 422),
        (b'{"key": "%s"}' % (b"a" * 5000), 422),
        (b'{"pattern": "%s"}' % (b"a" * 5000), 422),
        (b'{"key": "%s"}' % (b"a" * 50_000), 413),
    ],
    ids=named,
)
async def test_wrong_wishes_are_refused(
    our_manager: CacheManager, body: bytes, status: int
) -> None:
    """By 422, and never by 500; nothing is removed."""
    await our_manager.set("a", 1)
    async with client_of(application(our_manager), raises=False) as client:
        reply = await client.post("/cache/invalidate", content=body, headers=WRITES)
    assert reply.status_code == status
    assert isinstance(reply.json()["detail"], str)
    assert await our_manager.exists("a")

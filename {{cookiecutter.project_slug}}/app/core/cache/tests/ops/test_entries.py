"""Entries as people look at them (promises P9, P10): what each is, who wrote it, and whether it is served."""

import asyncio
import math
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse, Response
from fastapi.testclient import TestClient
from redis import Redis

from ... import CachedRoute, CacheManager, MemoryBackend, cache_response
from ...ops.content import MOST_SHOWN, content_of, visible
from ...ops.entries import Entry, entries_of, entry_at
from ...testing.redis_server import RedisServer
from ..conftest import SixMethods, lent, redis_backend
from ..forging import forged, put, standing_at
from ..naming import named

HOSTILE = "a\x1b[2J\x07\u202e[red]\r\nb\x9b31m"


@pytest.fixture
async def small(redis_server: RedisServer) -> AsyncIterator[CacheManager]:
    """Lend a manager on Redis whose entries have at most 30,000 bytes."""
    backend = redis_backend(redis_server)
    async with lent(CacheManager(backend, max_entry_bytes=30_000)) as manager:
        yield manager


async def at(manager: CacheManager, key: str) -> Entry:
    """Return the entry at a key; a listing says the same of it, but headers and content."""
    found = await entry_at(manager, key)
    assert found is not None
    (listed,) = [each async for each in entries_of(manager) if each.key == key]
    same: dict[str, Any] = {"headers": (), "content": "", "expires_in": listed.expires_in}
    assert listed == found._replace(**same)
    return found


async def listed(manager: CacheManager, pattern: str = "*", **more: Any) -> list[str]:
    """Return the keys of a listing, in order."""
    return sorted([each.key async for each in entries_of(manager, pattern, **more)])


# What there is.


async def test_a_value_set_by_hand(our_manager: CacheManager) -> None:
    """It is plain JSON, and does not say when it was written."""
    await our_manager.set("user:7", {"name": "Ada", "age": 36}, expire=60)
    entry = await at(our_manager, "user:7")
    assert (entry.kind, entry.function, entry.written) == ("by hand", "set", None)
    assert entry.size == len(await standing_at(our_manager, "user:7"))
    assert entry.expires_in is not None
    assert 55 < entry.expires_in <= 60
    assert (entry.is_current, entry.is_stale, entry.tags) == (True, False, ())
    assert entry.content == '{\n  "name": "Ada",\n  "age": 36\n}'


async def test_a_value_of_get_or_set(our_manager: CacheManager) -> None:
    """It says when it was written, and has tags."""
    before = time.time()
    await our_manager.get_or_set("jobs", lambda: [1, 2], tags=["queue", "a:b"])
    entry = await at(our_manager, "jobs")
    assert (entry.kind, entry.function) == ("value", "get_or_set")
    assert sorted(entry.tags) == ["a:b", "queue"]
    assert entry.written is not None
    assert before - 0.01 <= entry.written <= time.time() + 0.01
    assert entry.content == "[\n  1,\n  2\n]"


async def test_a_value_of_a_cached_function(our_manager: CacheManager) -> None:
    """Its name is known where it is; a type that JSON lacks is shown as it is stored."""

    @cache_response(our_manager, "numbers", tags=["number:{number}"])
    async def double(number: int) -> set[int]:
        return {2 * number}

    await double(4)
    entry = await at(our_manager, double.cache_key(4))
    assert (entry.kind, entry.tags, entry.is_current) == ("value", ("number:4",), True)
    assert entry.function.endswith(
        ".test_entries.test_a_value_of_a_cached_function.<locals>.double"
    )
    assert entry.content == '{\n  "$set": [\n    8\n  ]\n}'


async def test_a_function_of_another_process(redis_server: RedisServer) -> None:
    """It is told by its digest, or by its name if its manager is given, too."""
    backend = redis_backend(redis_server)
    async with lent(CacheManager(backend)) as theirs:
        ours = CacheManager(redis_backend(redis_server, key_prefix=theirs.key_prefix))

        @cache_response(theirs, "numbers")
        async def double(number: int) -> int:
            return 2 * number

        await double(4)
        entry = await at(ours, double.cache_key(4))
        assert entry.function.startswith("unknown function ")
        assert (entry.content, entry.is_current) == ("8", True)
        known = await entry_at(ours, double.cache_key(4), managers=[theirs])
        assert known is not None
        assert known.function.endswith("double")
        (listing,) = [each async for each in entries_of(ours, managers=[theirs])]
        assert listing.function == known.function
        await ours.close()


@pytest.mark.parametrize("route", ["plain", "cached"])
async def test_a_response(our_manager: CacheManager, route: str) -> None:
    """It has a status and headers; a body of JSON is indented."""
    app = FastAPI()
    if route == "cached":
        app.router.route_class = CachedRoute

    @app.get("/")
    @cache_response(our_manager, "page", key="it")
    async def read_page() -> Response:
        return JSONResponse({"a": [1]}, 201, {"X-Own": "yes"})

    with TestClient(app) as client:
        assert client.get("/").status_code == 201
    entry = await at(our_manager, "page:it")
    assert (entry.kind, entry.status, entry.is_current) == ("response", 201, True)
    assert ("x-own", "yes") in entry.headers
    assert entry.content == '{\n  "a": [\n    1\n  ]\n}'


async def test_an_exception(our_manager: CacheManager) -> None:
    """It has a status, and its arguments are its content."""

    @cache_response(our_manager, "thing", key="it", cache_status={404})
    async def read_thing() -> int:
        raise HTTPException(404, "no such thing")

    with pytest.raises(HTTPException):
        await read_thing()
    entry = await at(our_manager, "thing:it")
    assert (entry.kind, entry.status) == ("exception", 404)
    assert "no such thing" in entry.content


async def test_an_exception_of_another_class(our_manager: CacheManager) -> None:
    """It has no status."""

    @cache_response(our_manager, "thing", key="it", exceptions=(LookupError,))
    async def read_thing() -> int:
        raise LookupError("no such thing")

    with pytest.raises(LookupError):
        await read_thing()
    entry = await at(our_manager, "thing:it")
    assert (entry.kind, entry.status, entry.is_current) == ("exception", None, True)
    assert "no such thing" in entry.content


async def test_what_is_being_computed(our_manager: CacheManager) -> None:
    """It is not served, and has no function yet."""
    begun, end = asyncio.Event(), asyncio.Event()

    async def compute() -> int:
        begun.set()
        await end.wait()
        return 1

    computing = asyncio.create_task(our_manager.get_or_set("slow", compute))
    await begun.wait()
    entry = await at(our_manager, "slow")
    assert (entry.kind, entry.is_current, entry.function) == ("computing", False, "")
    end.set()
    assert await computing == 1
    assert (await at(our_manager, "slow")).kind == "value"


async def test_what_was_stored_compressed(our_manager: CacheManager) -> None:
    """The size is that in Redis, and the content is whole."""
    our_manager.compress_over = 100
    await our_manager.get_or_set("long", lambda: "x" * 5000)
    entry = await at(our_manager, "long")
    assert entry.size < 500
    assert entry.content == f'"{"x" * 5000}"'


# Whether it is served.


async def test_p3_an_invalidated_tag_shows(our_manager: CacheManager) -> None:
    """Of all entries that have it, and of no other one."""
    for key, tags in {"a": ["one"], "b": ["one", "two"], "c": ["two"], "d": []}.items():
        await our_manager.get_or_set(key, lambda: 1, tags=tags)
    await our_manager.invalidate_tags("one")
    current = {each.key: each.is_current async for each in entries_of(our_manager)}
    assert current == {"a": False, "b": False, "c": True, "d": True}
    assert not (await at(our_manager, "b")).is_current


async def test_p6_an_invalidation_that_waits_shows(memory: CacheManager) -> None:
    """This process does not serve the entry."""
    await memory.set("a", 1)
    memory.defer("a")
    assert not (await at(memory, "a")).is_current
    await memory.close()


async def test_a_stale_entry_shows(our_manager: CacheManager) -> None:
    """It is past its `expire`, and still there."""
    await our_manager.get_or_set("old", lambda: 1, expire=100, stale=100)
    assert not (await at(our_manager, "old")).is_stale
    data = await standing_at(our_manager, "old")
    rest = data.partition(b"\n")[0].split(b" ", 7)[7]
    until = rest.partition(b'"until":')[2].partition(b",")[0]
    await put(our_manager, "old", forged(data, rest=rest.replace(until, b"1000")))
    entry = await at(our_manager, "old")
    assert (entry.is_stale, entry.is_current, entry.expires_in) == (True, True, math.inf)


async def test_there_is_nothing(our_manager: CacheManager) -> None:
    """Nor are the cache's own keys entries: nonces of tags, claims of refreshes."""
    await our_manager.get_or_set("a", lambda: 1, tags=["tag"])
    await put(our_manager, "a:~refresh", b"1")
    for key in ("b", "", "~tag:tag", "~tags", "a:~refresh", "x" * 5000):
        assert await entry_at(our_manager, key) is None
    assert await listed(our_manager) == ["a"]


# Listings.


@pytest.mark.parametrize("number", [0, 1, 49, 50, 51, 120])
async def test_a_listing_has_each_entry(our_manager: CacheManager, number: int) -> None:
    """In batches, and no more than asked for."""
    keys = [f"key:{at:03}" for at in range(number)]
    await our_manager.set_many(dict.fromkeys(keys, 1))
    await our_manager.set("other", 1)
    assert await listed(our_manager, "key:*") == keys
    for most in (0, 1, 50, 60, 500):
        some = await listed(our_manager, "key:*", most=most)
        assert len(some) == min(most, number)
        assert set(some) <= set(keys)


async def test_a_backend_of_six_methods_has_no_listing() -> None:
    """A single entry it shows, without the time that is left."""
    manager = CacheManager(SixMethods())
    await manager.set("a", [1])
    entry = await entry_at(manager, "a")
    assert entry is not None
    assert (entry.kind, entry.content, entry.expires_in) == ("by hand", "[\n  1\n]", None)
    with pytest.raises(NotImplementedError):
        await listed(manager)


# What others may have put there.


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "foreign"),
        (b"hello", "foreign"),
        (b"\x80\x04N.", "foreign"),
        (b"?", "foreign"),
        (b"[" * 5000, "foreign"),
        (b'{"$model": ["os.system", "true"]}', "foreign"),
        (b"cache/1 abc", "unreadable"),
        (b"cache/2 ", "unreadable"),
        (b"cache/2 \n\n\n", "unreadable"),
        (b"cache/2 " + b" " * 500 + b"\n", "unreadable"),
        (b"lease/1 x", "computing"),
        (b"lease/\xff\xff", "computing"),
    ],
    ids=named,
)
async def test_p9_bytes_of_others(our_manager: CacheManager, data: bytes, kind: str) -> None:
    """They are told as what they are, and never served."""
    await put(our_manager, "it", data)
    entry = await at(our_manager, "it")
    assert (entry.kind, entry.is_current, entry.size) == (kind, False, len(data))
    assert entry.content.replace("\n", "").replace("\t", "").isprintable()


async def recorded(manager: CacheManager, **more: Any) -> bytes:
    """Return a record with a tag."""
    await manager.get_or_set("it", lambda: {"a": 1}, tags=["tag"], **more)
    return await standing_at(manager, "it")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": b"code"},
        {"payload": b"{"},
        {"payload": b"\xff"},
        {"rest": b"{"},
        {"rest": b"[]"},
        {"rest": b'{"tags":["x"]}'},
        {"rest": b'{"tags":{"~tags":"0"}}'},
        {"rest": b'{"tags":{"other:~tag:x":"0"}}'},
        {"rest": b'{"until":"soon"}'},
        {"rest": b'{"until":true}'},
        {"rest": b'{"zlib":5}'},
        {"rest": b'{"zlib":1e300}'},
        {"kind": b"response", "rest": b'{"head":"999"}'},
        {"kind": b"response", "rest": b'{"head":"200\\nA: b\\u0000"}'},
        {"kind": b"response", "rest": b"{}"},
        {"kind": b"raised", "payload": b"[404]"},
        {"kind": b"raised", "rest": b'{"class":"mine","args":0}', "payload": b"{}"},
        {"kind": b"raised", "rest": b'{"class":"fastapi","args":1}', "payload": b'["x"]'},
    ],
    ids=named,
)
async def test_p9_forged_records(our_manager: CacheManager, change: dict[str, bytes]) -> None:
    """Length and sum are right, and something inside is not."""
    await put(our_manager, "it", forged(await recorded(our_manager), **change))
    entry = await at(our_manager, "it")
    assert (entry.kind, entry.is_current) == ("unreadable", False)


async def test_p9_damaged_records(our_manager: CacheManager) -> None:
    """Each byte counts, and so does the key."""
    data = await recorded(our_manager)
    await put(our_manager, "other", data)
    assert (await at(our_manager, "other")).kind == "unreadable"
    changed = data.replace(b'{"a":1}', b'{"a":2}')
    for damaged in (data[:-1], data + b"x", changed, data.replace(b"\n", b"", 1)):
        await put(our_manager, "it", damaged)
        assert (await at(our_manager, "it")).kind == "unreadable"


async def test_p9_a_bomb_stays_small(our_manager: CacheManager) -> None:
    """What would grow beyond the largest entry is not made."""
    packing, zeros = zlib.compressobj(), bytes(1_000_000)
    bomb = b"".join([*(packing.compress(zeros) for _ in range(200)), packing.flush()])
    data = forged(await recorded(our_manager), payload=bomb, rest=b'{"zlib":200000000}')
    await put(our_manager, "it", data)
    tracemalloc.start()
    try:
        entry = await entry_at(our_manager, "it")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert entry is not None
    assert entry.kind == "unreadable"
    assert most < 50_000_000


@pytest.mark.parametrize("told", [b"000000000000", b"ffffffffffff"])
async def test_p9_a_time_that_cannot_be_is_none(our_manager: CacheManager, told: bytes) -> None:
    """Long ago, or in the year 10889."""
    data = await recorded(our_manager)
    number = data.split(b" ", 4)[3]
    await put(our_manager, "it", data.replace(number, number[:16] + told))
    entry = await at(our_manager, "it")
    assert (entry.kind, entry.written) == ("value", None)


async def test_p9_what_is_no_bytes(redis_manager: CacheManager, redis_client: Redis) -> None:
    """A list has no size, and one of another program is not read."""
    key = f"{redis_manager.key_prefix}:list"
    redis_client.rpush(key, "a", "b")
    redis_client.expire(key, 100)
    entry = await at(redis_manager, "list")
    assert (entry.kind, entry.size, entry.content) == ("foreign", 0, "")
    assert entry.expires_in == pytest.approx(100, abs=5)


@pytest.mark.parametrize(
    ("size", "start", "whole", "seen"),
    [
        (29_000, b"", "foreign", "by hand"),
        (31_000, b"", "foreign", "foreign"),
        (31_000, b"cache/2 ", "unreadable", "unreadable"),
    ],
)
async def test_p9_a_large_one_is_not_decoded(
    small: CacheManager, redis_client: Redis, size: int, start: bytes, whole: str, seen: str
) -> None:
    """Only its size is told; of one that may be an entry, a listing reads the beginning."""
    redis_client.set(f"{small.key_prefix}:it", start + b"[" * size)
    entry = await entry_at(small, "it")
    assert entry is not None
    assert (entry.kind, entry.size) == (whole, size + len(start))
    assert ("not read" in entry.content) is (size > small.max_entry_bytes)
    (listing,) = [each async for each in entries_of(small)]
    assert (listing.kind, listing.size) == (seen, size + len(start))


async def test_a_large_entry_is_listed_by_its_head(small: CacheManager) -> None:
    """Its tags are known, and whether it is served."""
    await small.get_or_set("it", lambda: "x" * 25_000, tags=["tag"])
    entry = await at(small, "it")
    assert (entry.kind, entry.tags, entry.is_current) == ("value", ("tag",), True)
    await small.invalidate_tags("tag")
    assert not (await at(small, "it")).is_current


async def test_p9_keys_may_be_anything(our_manager: CacheManager) -> None:
    """Control characters, half characters and markup are kept as they are: printing escapes them."""
    keys = [HOSTILE, "half \ud800", "[bold]it[/bold]", "*?[a]\\"]
    for key in keys:
        await our_manager.set(key, HOSTILE)
    assert sorted(await listed(our_manager)) == sorted(keys)
    for key in keys:
        assert visible((await at(our_manager, key)).content) == (await at(our_manager, key)).content


async def test_p7_a_user_of_redis_without_strlen(
    redis_server: RedisServer, redis_client: Any
) -> None:
    """The permissions that the cache needs are enough to look at entries."""
    prefix = f"test-{time.time_ns()}"
    allowed = "+get +set +unlink +exists +eval +evalsha +getrange +pexpire +pttl +scan +ping"
    redis_client.execute_command(
        *f"ACL SETUSER {prefix} on >pw ~{prefix}:* resetchannels -@all {allowed}".split()
    )
    backend = redis_backend(redis_server, username=prefix, password="pw", key_prefix=prefix)
    try:
        async with lent(CacheManager(backend, max_entry_bytes=30_000)) as manager:
            await manager.get_or_set("short", lambda: 1)
            await manager.get_or_set("long", lambda: "x" * 25_000)
            redis_client.set(f"{prefix}:huge", b"x" * 40_000)
            redis_client.set(f"{prefix}:empty", b"")
            sizes = {each.key: (each.kind, each.size) async for each in entries_of(manager)}
            assert sizes["huge"] == ("foreign", 30_001)
            assert sizes["empty"] == ("foreign", 0)
            for key in ("short", "long"):
                assert sizes[key] == ("value", len(await standing_at(manager, key)))
    finally:
        redis_client.execute_command("ACL", "DELUSER", prefix)


# Text for people.


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a": "\xc3\xa9"}', '{\n  "a": "é"\n}'),
        (b"plain\ttext\n", "plain\ttext\n"),
        (b"\x1b[31m", "\\x1b[31m"),
        (b'"\\u001b[31m"', '"\\u001b[31m"'),
        (b'"\\ud800"', '"\\ud800"'),
        (b"\xff\x00", "ff 00"),
        (b"1" * 5000, "1" * 5000),
        (b"[" * 900 + b"]" * 900, None),
        ("a\u2028b\u202ec".encode(), "a\\u2028b\\u202ec"),
    ],
    ids=named,
)
def test_a_content_is_text_that_steers_nothing(data: bytes, text: str | None) -> None:
    """JSON is indented, text is as it is, other bytes are numbers."""
    shown = content_of(data)
    assert text is None or shown == text
    assert shown.replace("\n", "").replace("\t", "").isprintable()


def test_a_long_content_is_cut() -> None:
    """And says how long it is."""
    assert content_of(b"x" * (MOST_SHOWN + 1)).endswith(
        f"first {MOST_SHOWN} of {MOST_SHOWN + 1} characters"
    )
    assert content_of(b"x" * MOST_SHOWN) == "x" * MOST_SHOWN
    assert content_of(b"\xff" * 600).endswith("the first 512 of 600 bytes")


def test_the_clock_of_memory_is_the_clock_of_entries() -> None:
    """The time that is left follows the clock of the backend."""
    now = [0.0]
    manager = CacheManager(MemoryBackend(clock=lambda: now[0]))

    async def left() -> float | None:
        await manager.set("a", 1, expire=60)
        now[0] += 20
        return (await at(manager, "a")).expires_in

    assert asyncio.run(left()) == pytest.approx(40)

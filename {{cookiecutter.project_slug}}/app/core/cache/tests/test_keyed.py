"""Entries by key: `add`, `touch`, `ttl`, `keys`, tags of values set by hand, times as texts."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, assert_type

import pytest
from fastapi.responses import JSONResponse
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from .. import (
    CacheFactory,
    CacheManager,
    CacheSettings,
    MemoryBackend,
    UnavailableError,
    cache_response,
)
from ..expiry import milliseconds
from ..testing.redis_server import RedisServer
from .conftest import SixMethods, redis_backend
from .faults import PATIENT, eventually, manager_behind, soon
from .proxy.fault_proxy import FaultProxy


async def gone(manager: CacheManager, key: str) -> None:
    """Wait until a process has heard what another one has invalidated: its near cache may be late."""

    async def is_gone() -> bool:
        return not await manager.exists(key)

    await eventually(is_gone)


@pytest.mark.parametrize(
    ("expire", "ms"),
    [
        (1.5, 1500),
        (1.001, 1001),
        (0.0019, 1),
        (0.0009, 0),
        (-1e300, 0),
        ("0.9ms", 0),
        (1e306, 100 * 365 * 24 * 60 * 60 * 1000),
        (1e300, 100 * 365 * 24 * 60 * 60 * 1000),
        (0.0, 0),
        (-0.5, 0),
        ("10m", 600_000),
        ("2h", 7_200_000),
        ("1h30m", 5_400_000),
        ("2.5s", 2500),
        ("250ms", 250),
        ("1d", 86_400_000),
        ("0s", 0),
        (timedelta(seconds=1.5), 1500),
        (60, 60_000),
    ],
)
def test_a_time_has_many_forms(expire: Any, ms: int) -> None:
    """All of them count in milliseconds."""
    assert milliseconds(expire) == ms


@given(
    st.lists(
        st.tuples(st.integers(0, 999), st.sampled_from(["ms", "s", "m", "h", "d"])), min_size=1
    )
)
def test_a_text_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    """In any order and number."""
    units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert milliseconds(text) == sum(number * units[unit] for number, unit in parts)


@given(st.text())
def test_any_other_text_is_an_error(text: str) -> None:
    """It is never taken for a time that somebody did not mean."""
    if any(character in text for character in "smhd"):
        return
    with pytest.raises(ValueError, match="numbers with units"):
        milliseconds(text)


async def test_every_method_takes_every_form(manager: CacheManager) -> None:
    """A backend that somebody wrote gets seconds or a timedelta, as it always did."""
    for expire in (60, 60.5, "1m", timedelta(minutes=1)):
        assert await manager.set("a", 1, expire) is True
        assert await manager.set_many({"a": 1, "b": 2}, expire) is True
        assert await manager.get_or_set("c", lambda: 3, expire, stale=expire) == 3
        assert await manager.get_or_set_many(["d"], dict.fromkeys, expire) == {"d": None}
        assert await manager.add("e", 5, expire) is True
        assert await manager.incr("f", 6, expire) == 6
        assert await manager.touch("a", expire) is True
        await manager.clear()


async def test_p4_of_many_who_add_one_has_added(pair: tuple[CacheManager, CacheManager]) -> None:
    """In this process and in another, also if all add the same value."""
    for value in (1, "text", None, {"a": [1]}):
        added = await asyncio.gather(*[each.add("key", value, 60) for each in pair * 20])
        assert sum(added) == 1
        for each in pair:
            assert await each.get("key", "none") == value
        assert await pair[1].add("key", "another") is False
        assert await pair[0].delete("key") is True
        assert await pair[1].add("key", "another") is True
        assert await pair[0].get("key") == "another"
        assert await pair[1].delete("key") is True


async def test_p3_what_is_not_served_is_no_reason_not_to_add(our_manager: CacheManager) -> None:
    """An entry whose tag was invalidated stands there, and is as good as gone."""
    await our_manager.set("key", "old", tags=["tag"])
    assert await our_manager.add("key", "new") is False
    await our_manager.invalidate_tags("tag")
    assert await our_manager.add("key", "new") is True
    assert await our_manager.get("key") == "new"


async def test_p4_what_is_computed_is_taken(our_manager: CacheManager) -> None:
    """Whoever computes it gets to store it."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        began.set()
        await go_on.wait()
        return "computed"

    computing = asyncio.create_task(our_manager.get_or_set("key", slow))
    await soon(began.wait())
    assert await our_manager.add("key", "added") is False
    assert await our_manager.touch("key") is False
    assert await our_manager.ttl("key") is None
    go_on.set()
    assert await soon(computing) == "computed"
    assert await our_manager.get("key") == "computed"


async def test_a_stored_response_is_there(pair: tuple[CacheManager, CacheManager]) -> None:
    """`get` does not see it, and nothing takes its place, not from a process that does not know it."""
    one, _ = pair

    @cache_response(one, "page", 100)
    async def page() -> JSONResponse:
        return JSONResponse({"a": 1})

    @cache_response(one, "value", 100)
    async def value() -> int:
        return 1

    for function in (page, value):
        await function()
        key = function.cache_key()
        for each in pair:
            assert await each.add(key, "taken") is False
            assert await each.touch(key, "1h") is True
            left = await each.ttl(key)
            assert left is not None
            assert 3000 < left <= 3600
    assert await one.exists(page.cache_key()) is False
    assert (await page()).body == b'{"a":1}'


FOREIGN: dict[str, Callable[[Redis, str], object]] = {
    "a list": lambda redis, key: redis.rpush(key, "a"),
    "no JSON": lambda redis, key: redis.set(key, b"\xff\x00"),
    "a number with zeros": lambda redis, key: redis.set(key, "007"),
    "a record of another key": lambda redis, key: redis.set(key, b"cache/2 0000000000000000 x"),
}


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_p9_what_is_not_ours_is_as_good_as_nothing(
    redis_manager: CacheManager, redis_client: Redis, foreign: str
) -> None:
    """To `get`, and so to `add`, `touch` and `ttl`."""
    key = f"{redis_manager.key_prefix}:key"
    FOREIGN[foreign](redis_client, key)
    assert await redis_manager.get("key", "none") == "none"
    assert (await redis_manager.touch("key"), await redis_manager.ttl("key")) == (False, None)
    assert await redis_manager.incr("key", 3) == 3
    assert await redis_manager.get("key") == 3
    await redis_manager.delete("key")
    FOREIGN[foreign](redis_client, key)
    assert await redis_manager.add("key", "added") is True
    assert await redis_manager.get("key") == "added"


async def test_p9_a_foreign_name_is_no_key(
    redis_manager: CacheManager, redis_client: Redis
) -> None:
    """One that is no text does not keep the others from being listed."""
    await redis_manager.set("key", 1)
    redis_client.set(redis_manager.key_prefix.encode() + b":\xff\xfe", b"1")
    assert [key async for key in redis_manager.keys("*")] == ["key"]


async def test_wrong_values_are_told_before_any_is_stored(our_manager: CacheManager) -> None:
    """With the key that is wrong; a list is no mapping."""
    with pytest.raises(ValueError, match="begins with '~'"):
        await our_manager.set_many({"a": 1, "~b": 2})
    assert await our_manager.exists("a") is False
    values: Any = ["a"]
    with pytest.raises(TypeError, match=r"values=\['a'\] must be a mapping"):
        await our_manager.set_many(values)


async def test_what_cannot_come_back_is_not_added(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is what is too large; a warning says why."""
    our_manager.max_entry_bytes = 100
    for value in (object(), "x" * 1000):
        assert await our_manager.add("key", value) is False
        assert "not stored at" in caplog.records[-1].getMessage()
    assert await our_manager.add("key", 1, 0) is False
    assert await our_manager.exists("key") is False


async def test_touch_lets_an_entry_live_on(our_manager: CacheManager) -> None:
    """One set by hand, a tagged one, a computed one; of a missing key it says so."""

    @cache_response(our_manager, "data", 10)
    async def function() -> int:
        return 1

    await our_manager.set("plain", "x" * 500, 10)
    await our_manager.set("tagged", 1, 10, tags=["tag"])
    await function()
    for key in ("plain", "tagged", function.cache_key()):
        value = await our_manager.get(key)
        assert await our_manager.touch(key, "1h") is True
        left = await our_manager.ttl(key)
        assert left is not None
        assert 3500 < left <= 3600
        assert await our_manager.get(key) == value
    assert await our_manager.touch("missing") is False
    await our_manager.invalidate_tags("tag")
    assert await our_manager.touch("tagged") is False
    assert await our_manager.touch("plain", 0) is True
    assert await our_manager.exists("plain") is False


async def test_touch_works_on_six_methods() -> None:
    """The value is written again, and is the same."""
    manager = CacheManager(SixMethods())
    for value in ({"a": 1}, "text", None):
        await manager.set("key", value, 10)
        assert await manager.touch("key", 3600) is True
        assert await manager.get("key", "none") == value


async def test_ttl_tells_how_long(our_manager: CacheManager, redis_client: Redis) -> None:
    """In seconds; infinity without an end, `None` for what is not there."""
    await our_manager.set("key", 1, 100)
    left = await our_manager.ttl("key")
    assert left is not None
    assert 99 < left <= 100
    assert await our_manager.ttl("missing") is None
    await our_manager.backend.set(f"{our_manager.key_prefix}:endless", 1)
    assert await our_manager.ttl("endless") == math.inf
    assert await CacheManager(SixMethods()).ttl("key") is None


async def test_keys_are_listed(our_manager: CacheManager) -> None:
    """Those that a pattern matches, without prefix, tags, and what the cache keeps for itself."""

    @cache_response(our_manager, "data", tags=["tag"])
    async def function(number: int) -> int:
        return number

    names = ["user:1", "user:2", "us*r:3", "other", "ü:\ud800"]
    await our_manager.set_many(dict.fromkeys(names, 1))
    await our_manager.set("tagged", 1, tags=["a tag"])
    await function(1)
    of_function = function.cache_key(1)
    assert sorted([key async for key in our_manager.keys("user:*")]) == ["user:1", "user:2"]
    assert [key async for key in our_manager.keys("us*r:3")] == ["us*r:3"]
    assert [key async for key in our_manager.keys("missing*")] == []
    assert {key async for key in our_manager.keys("*")} == {*names, "tagged", of_function}
    for key in names:
        assert await our_manager.exists(key)


async def test_p7_no_key_of_another_prefix_is_listed(redis_manager: CacheManager) -> None:
    """Whatever wildcards of Redis a prefix holds."""
    backend: Any = redis_manager.backend
    other = CacheManager(backend, key_prefix=f"{redis_manager.key_prefix}[a-z]?")
    await redis_manager.set("a", 1)
    await other.set("b", 1)
    assert [key async for key in other.keys("*")] == ["b"]
    assert [key async for key in redis_manager.keys("*")] == ["a"]
    await other.clear()


async def test_thousands_of_keys_are_listed(our_manager: CacheManager) -> None:
    """In more steps than one."""
    names = {f"key:{number}" for number in range(3000)}
    await our_manager.set_many(dict.fromkeys(names, 1))
    assert {key async for key in our_manager.keys("key:*")} == names


async def test_a_list_is_whole_or_an_error(proxy: FaultProxy, redis_server: RedisServer) -> None:
    """While Redis is away, no empty list says that there is nothing."""
    manager = manager_behind(proxy, redis_server)
    proxy.refuse()
    proxy.drop()
    with pytest.raises(UnavailableError):
        [key async for key in manager.keys("*")]
    with pytest.raises(NotImplementedError, match="cannot list"):
        [key async for key in CacheManager(SixMethods()).keys("*")]
    with pytest.raises(TypeError, match="must be a string"):
        manager.keys("")
    proxy.heal()


async def test_p3_values_set_by_hand_have_tags(pair: tuple[CacheManager, CacheManager]) -> None:
    """They go with them, in every process, and other values stay."""
    one, other = pair
    assert await one.set("key", {"a": 1}, tags=["user:1", "all"]) is True
    assert await one.set_many({"x": 1, "y": 2}, tags=["all"]) is True
    assert await one.set("plain", 1) is True
    for each in pair:
        assert await each.get_many(["key", "x", "y", "plain"]) == {
            "key": {"a": 1},
            "x": 1,
            "y": 2,
            "plain": 1,
        }
    assert await other.invalidate_tags("user:1") is True
    assert await other.get_many(["key", "x"]) == {"x": 1}
    await gone(one, "key")
    assert await one.get_many(["x", "y", "plain"]) == {"x": 1, "y": 2, "plain": 1}
    assert await one.invalidate_tags("all") is True
    for each in pair:
        assert await each.get_many(["key", "x", "y", "plain"]) == {"plain": 1}
        assert await each.get_or_set("z", lambda: "computed") == "computed"


async def test_p3_an_invalidation_in_between_is_not_lost(our_manager: CacheManager) -> None:
    """A tag that is invalidated while a value is stored takes it along."""
    backend: Any = our_manager.backend
    replace, go_on, began = backend.replace, asyncio.Event(), asyncio.Event()

    async def late(*args: Any) -> bool:
        began.set()
        await go_on.wait()
        replaced: bool = await replace(*args)
        return replaced

    backend.replace = late
    setting = asyncio.create_task(our_manager.set("key", "old", tags=["tag"]))
    await soon(began.wait())
    other = CacheManager(backend, key_prefix=our_manager.key_prefix)
    await other.invalidate_tags("tag")
    go_on.set()
    await soon(setting)
    assert await our_manager.get("key") is None


@pytest.mark.parametrize("tags", ["tag", 7, [1], [None]], ids=repr)
async def test_wrong_tags_are_an_error(our_manager: CacheManager, tags: Any) -> None:
    """Before anything is stored."""
    with pytest.raises(TypeError):
        await our_manager.set("key", 1, tags=tags)
    with pytest.raises(TypeError):
        await our_manager.set_many({"key": 1}, tags=tags)
    assert await our_manager.exists("key") is False


async def test_invalidations_tell_how_many(manager: CacheManager) -> None:
    """Where the backend counts; the result is true if it is done."""
    counts = not isinstance(manager.backend, SixMethods)
    await manager.set_many({"user:1": 1, "user:2": 2, "other": 3})
    removed = await manager.invalidate("user:*")
    assert removed
    assert removed.done is True
    assert removed.number == (2 if counts else None)
    removed = await manager.invalidate("user:*")
    assert removed
    assert removed.number == (0 if counts else None)
    assert await manager.clear() is True


async def test_p6_what_is_not_done_is_false(proxy: FaultProxy, redis_server: RedisServer) -> None:
    """It says so, and is done later."""
    manager = manager_behind(proxy, redis_server)
    proxy.refuse()
    proxy.drop()
    removed = await manager.invalidate("user:*")
    assert not removed
    assert removed == (False, None)
    proxy.heal()
    await eventually(lambda: not manager.invalidations.pending.is_open)
    await manager.close()


async def test_the_type_of_a_factory_is_the_type_of_the_result(memory: CacheManager) -> None:
    """As a type checker sees it, and as it is."""

    async def asynchronous() -> dict[str, int]:
        return {"a": 1}

    def plain() -> list[str]:
        return ["a"]

    assert_type(await memory.get_or_set("a", asynchronous), dict[str, int])
    assert_type(await memory.get_or_set("b", plain), list[str])
    assert_type(await memory.get_or_set("c", lambda: 1.5), float)


async def test_a_manager_is_closed_by_its_block(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    """Whatever is raised in it; and several with other settings stand side by side."""
    settings = CacheSettings(
        cache_backend="redis",
        redis_host=redis_server.host,
        redis_port=redis_server.port,
        redis_db=redis_server.db,
        redis_password=redis_server.password,
        cache_key_prefix=redis_backend(redis_server).key_prefix,
        cache_default_ttl=7,
    )
    before = len(redis_client.client_list())

    async def fail() -> None:
        async with (
            CacheFactory.create_cache_manager(settings) as first,
            CacheManager(MemoryBackend(), key_prefix="second") as second,
        ):
            await asyncio.gather(first.set("key", 1), second.set("key", 2))
            assert [await each.get("key") for each in (first, second)] == [1, 2]
            assert (first.default_ttl, second.default_ttl) == (7, 300)
            assert len(redis_client.client_list()) > before
            await first.delete("key")
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    await eventually(lambda: len(redis_client.client_list()) <= before)


CALLS: dict[str, tuple[Callable[[CacheManager], Awaitable[object]], object]] = {
    "add": (lambda manager: manager.add("key", 1), False),
    "incr": (lambda manager: manager.incr("key"), None),
    "touch": (lambda manager: manager.touch("key"), False),
    "ttl": (lambda manager: manager.ttl("key"), None),
    "set with tags": (lambda manager: manager.set("key", 1, tags=["tag"]), False),
}


@pytest.mark.parametrize("call", CALLS)
async def test_p6_nothing_is_done_over_an_invalidation_that_is_pending(
    proxy: FaultProxy, redis_server: RedisServer, call: str
) -> None:
    """What it covers is gone for this process, so nothing is added to it, counted, or prolonged."""
    make, expected = CALLS[call]
    manager = manager_behind(proxy, redis_server)
    other = CacheManager(redis_backend(redis_server, key_prefix=manager.key_prefix, **PATIENT))
    await other.set("key", 41)
    proxy.refuse()
    proxy.drop()
    assert await manager.delete("key") is False
    assert await make(manager) == expected
    proxy.heal()
    await eventually(lambda: not manager.invalidations.pending.is_open)
    assert await other.get("key") is None
    for each in (manager, other):
        await each.clear()
        await each.close()

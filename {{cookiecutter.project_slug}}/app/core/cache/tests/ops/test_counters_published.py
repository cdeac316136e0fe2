"""Processes publish their counters, and read those of others as data (promises P7, P9, P10)."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis import Redis

from ... import CacheManager, MemoryBackend
from ...ops import counters, counts
from ...ops.counters import counters_of, publish, published, publishing
from ...testing.redis_server import RedisServer
from ..conftest import SixMethods, lent, redis_backend
from ..faults import eventually, manager_behind, soon
from ..naming import named
from ..proxy.fault_proxy import FaultProxy
from .counted import function

WAIT = 0.02
"""Seconds between two times that something is published here."""


async def test_p9_large_values_at_the_places_cost_little(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    """Nobody reads them whole: the cache goes on as it was, with its near entries."""
    backend = redis_backend(redis_server, near_size=100, operation_timeout=0.25)
    async with lent(CacheManager(backend)) as manager:
        failures: list[str] = []
        manager.observe(lambda event: failures.append(event.kind))
        await manager.set("key", 1)
        assert await manager.get("key") == 1
        for number in range(counters.PLACES):
            redis_client.set(f"{manager.key_prefix}:~page:{number}", b"[" * 300_000, ex=60)
        assert [each.pid for each in await published(manager)] == [counters_of(manager).now().pid]
        assert await publish(manager) is False
        assert not {"failed", "breaker opened", "near cache flushed"} & {*failures}


async def test_many_prefixes_are_published_in_few_bytes(
    two: tuple[CacheManager, CacheManager],
) -> None:
    """The busiest by name, and what all others did in one sum."""
    one, other = two
    own = counters_of(one)
    for number in range(counts.MOST_PREFIXES):
        asked = function(one, 1, f"a key prefix of some length, number {number:03}")
        for _ in range(number + 1):
            await asked()
    calls = sum(each.calls for each in own.now().prefixes.values())
    assert await publish(one) is True
    read = (await published(other))[-1]
    assert read.id == own.now().id
    assert sum(each.calls for each in read.prefixes.values()) == calls
    assert "a key prefix of some length, number 099" in read.prefixes
    data = await one.backend.get_bytes(own.place)
    assert data is not None
    assert len(data) <= counts.MOST_BYTES


@pytest.fixture
async def two(redis_server: RedisServer) -> AsyncIterator[tuple[CacheManager, CacheManager]]:
    """Lend two caches with one key prefix, as two processes of a service have them."""
    prefix = f"test-{uuid.uuid4().hex}"
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(
                lent(CacheManager(redis_backend(redis_server, key_prefix=prefix)))
            )
            for _ in range(2)
        ]
        yield one, other


def places(client: Redis, manager: CacheManager) -> list[bytes]:
    """Return the keys at which counters stand."""
    found: Any = client.keys(f"{manager.key_prefix}:~page:*")
    return [*found]


async def test_p10_processes_know_of_each_other(two: tuple[CacheManager, CacheManager]) -> None:
    """Each has its own numbers as they are now, and those of the other as it has published them."""
    one, other = two
    counters_of(other)
    await function(other, [1], "theirs")()
    assert await publish(other) is True
    await function(other, [1], "later")()
    own, theirs = await published(one)
    assert own.id == counters_of(one).now().id
    assert theirs.prefixes["theirs"].stored == 1
    assert "later" not in theirs.prefixes
    before = counters_of(other).now()
    assert theirs._replace(published=0, prefixes={}) == before._replace(published=0, prefixes={})
    assert await publish(other) is True
    assert "later" in (await published(one))[1].prefixes
    await function(one, [1], "own")()
    assert "own" in (await published(one))[0].prefixes


async def test_p10_a_process_has_one_place(
    two: tuple[CacheManager, CacheManager], redis_client: Redis
) -> None:
    """However often it publishes; others have others, and what it leaves there expires."""
    for _ in range(3):
        for manager in two:
            assert await publish(manager) is True
    there = places(redis_client, two[0])
    assert len(there) == 2
    for place in there:
        left: Any = redis_client.pttl(place)
        assert 0 < left <= counters.PUBLISHED_SECONDS * 1000
    assert len(await published(two[0])) == 2


async def test_p7_counters_are_no_entries(redis_manager: CacheManager, redis_client: Redis) -> None:
    """Nobody sees them among keys. All that removes everything removes them, and they come again."""
    await publish(redis_manager)
    found = redis_manager.keys()
    assert [key async for key in found] == []
    for removing in (redis_manager.clear, lambda: redis_manager.invalidate("*")):
        assert len(places(redis_client, redis_manager)) == 1
        assert await removing()
        assert places(redis_client, redis_manager) == []
        assert await publish(redis_manager) is True
    assert len(places(redis_client, redis_manager)) == 1


async def test_p7_a_place_that_another_has_taken_is_left_to_it(
    redis_manager: CacheManager, redis_client: Redis
) -> None:
    """After its own has expired, a process takes another place."""
    await publish(redis_manager)
    (place,) = places(redis_client, redis_manager)
    redis_client.set(place, b"another")
    assert await publish(redis_manager) is True
    assert redis_client.get(place) == b"another"
    assert len(places(redis_client, redis_manager)) == 2


async def test_p10_there_may_be_too_many_processes(
    redis_manager: CacheManager, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those for which there is no place are not seen by others, and work as before."""
    monkeypatch.setattr(counters, "PLACES", 2)
    for number in range(2):
        redis_client.set(f"{redis_manager.key_prefix}:~page:{number}", b"another")
    assert await publish(redis_manager) is False
    assert len(await published(redis_manager)) == 1


async def test_p7_a_place_is_taken_once(
    two: tuple[CacheManager, CacheManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by processes that begin at the same moment."""
    monkeypatch.setattr(counters, "PLACES", 1)
    assert sorted(await asyncio.gather(*map(publish, two))) == [False, True]


@pytest.mark.parametrize("kind", [MemoryBackend, SixMethods])
async def test_p10_a_backend_of_this_process_gets_nothing(kind: type[Any]) -> None:
    """Unless it says that it may have connections."""
    backend = kind()
    manager = CacheManager(backend)
    assert await publish(manager) is backend.connects
    stored: dict[str, Any] = getattr(backend, "entries", None) or getattr(backend, "_entries", {})
    assert len(stored) == backend.connects
    assert len(await published(manager)) == 1


async def test_p10_publishing_lasts_as_long_as_its_context(
    two: tuple[CacheManager, CacheManager], redis_client: Redis
) -> None:
    """It goes on by itself, and leaves nothing."""
    (one, other), before = two, asyncio.all_tasks()
    async with publishing(one, every=WAIT):
        assert len(asyncio.all_tasks()) > len(before)
        for number in range(3):
            await one.get("a")
            wanted = number + 1

            async def is_told(wanted: int = wanted) -> bool:
                told = [each.prefixes.get("get") for each in (await published(other))[1:]]
                return [each and each.misses for each in told] == [wanted]

            await eventually(is_told)
    assert places(redis_client, one) == []
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("every", [0, -1, 20, float("nan")])
async def test_p10_a_time_that_cannot_be_is_refused(memory: CacheManager, every: float) -> None:
    """Counters would be away, or never rest."""
    with pytest.raises(ValueError, match="more than 0 and less than 20 seconds"):
        async with publishing(memory, every=every):
            pass


async def test_p5_publishing_outlives_redis(proxy: FaultProxy, redis_server: RedisServer) -> None:
    """Nothing is raised while it is away; afterwards the numbers are there again."""
    async with lent(manager_behind(proxy, redis_server)) as manager:
        async with publishing(manager, every=WAIT):
            await eventually(lambda: counters_of(manager).place)
            proxy.refuse()
            proxy.drop()
            await eventually(lambda: counters_of(manager).now().open_breakers)
            assert await soon(publish(manager)) is False
            assert len(await soon(published(manager))) == 1
            proxy.heal()
            await eventually(lambda: publish(manager))
        assert counters_of(manager).place == ""


async def test_p5_a_backend_that_hangs_ends_nothing(
    memory: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks gets the numbers of this process in a while."""
    monkeypatch.setattr(counters, "_PATIENCE_SECONDS", 0.05)
    backend = SixMethods()

    async def hang(_: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(backend, "get", hang)
    manager = CacheManager(backend)
    assert await soon(publish(manager)) is False
    assert len(await soon(published(manager))) == 1


def _hostile(now: counters.ProcessCounters) -> dict[str, bytes]:
    """Return what others may have put where counters stand."""
    data = json.dumps(now).encode()
    nested: Any = 1
    for _ in range(500):
        nested = [nested]
    of_data = now.prefixes["get"]

    def changed(**changes: Any) -> bytes:
        return json.dumps(now._replace(**changes)).encode()

    def of_prefix(**changes: Any) -> bytes:
        return changed(prefixes={"get": of_data._replace(**changes)})

    return {
        "nothing": b"",
        "no JSON": b"\x80\x04K\x01.",
        "an object": b"{}",
        "a part": data[:-10],
        "one more": data[:-1] + b",1]",
        "deep": json.dumps(nested).encode(),
        "large": data + b" " * counts.MOST_BYTES,
        "a text for a number": changed(pid="1"),
        "less than nothing": changed(pid=-1),
        "more than JavaScript counts": changed(pending=2**60),
        "not a number": data.replace(str(now.started).encode(), b"NaN"),
        "without end": data.replace(str(now.started).encode(), b"1e999"),
        "an identity that is none": changed(id="<img src=x>"),
        "too many prefixes": changed(prefixes={str(number): of_data for number in range(200)}),
        "too many words": changed(failures={str(number): 1 for number in range(200)}),
        "a long name": changed(host="h" * 1000),
        "too few durations": of_prefix(hit_times=[1]),
        "too many durations": of_prefix(fill_times=[1] * 1000),
        "true for a number": of_prefix(hits=True),
    }


async def test_p9_what_others_have_put_there_is_refused(
    two: tuple[CacheManager, CacheManager], redis_client: Redis
) -> None:
    """Each is left out, and what is right is still read."""
    one, other = two
    counters_of(other)
    await other.get("a")
    now = counters_of(other).now()._replace(id="0123456789abcdef")
    key = f"{one.key_prefix}:~page:7"
    redis_client.set(key, json.dumps(now))
    assert (await published(one))[1:] == [now]
    for what, data in _hostile(now).items():
        redis_client.set(key, data)
        assert (await published(one))[1:] == [], named(what)
    redis_client.delete(key)
    redis_client.rpush(key, b"a list")
    await publish(other)
    assert [each.id for each in (await published(one))[1:]] == [counters_of(other).now().id]


async def test_p9_a_copy_of_counters_counts_once(
    two: tuple[CacheManager, CacheManager], redis_client: Redis
) -> None:
    """Of another process, and of this one."""
    one, other = two
    for manager in two:
        await publish(manager)
    for number, place in enumerate(places(redis_client, one)):
        redis_client.copy(place.decode(), f"{one.key_prefix}:~page:{100 + number}", replace=True)
    assert [each.id for each in await published(one)] == [
        counters_of(each).now().id for each in (one, other)
    ]

"""`testing/faults.py`: a backend that raises, hangs, or returns nothing, when a test wants it."""

import asyncio
import inspect
from typing import Any

import pytest

from ... import CacheManager, MemoryBackend
from ...base import CacheBackend
from ...keys import KeyPattern
from ...testing import Faults, faults
from ..conftest import SixMethods
from ..faults import eventually, soon
from . import shop

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys((*faults.READS, "delete"), ("key",)),
    **dict.fromkeys(("get_many_bytes", "nonces_now", "delete_many"), (["key", "other"],)),
    **dict.fromkeys(("nonces", "invalidate_tag_keys"), (["key", "other"], 1000)),
    **dict.fromkeys(("set", "set_bytes", "set_json"), ("key", b"1")),
    **dict.fromkeys(("acquire",), ("key", b"1", 1000)),
    **dict.fromkeys(("renew",), ("key", b"1", 1000)),
    "increment": ("key", 1, 1000),
    "look": ("key", ["tag", "other"]),
    "wait_for_change": ("key", b"1"),
    "release": ("key", b"1"),
    "replace": ("key", b"1", b"2", 1000),
    "delete_matching": (KeyPattern(("app:", "")),),
    "clear": (),
    "health_check": (),
}
NOTHING = {
    **dict.fromkeys((*faults.READS, *faults.STORES, *faults.REMOVALS), False),
    **dict.fromkeys(
        ("get", "get_bytes", "ttl_ms", "wait_for_change", "acquire", "increment"), None
    ),
    **dict.fromkeys(("get_many_bytes", "nonces_now", "nonces"), (None, None)),
    "look": (None, (None, None)),
    "delete_many": 0,
}
BACKENDS = [MemoryBackend, SixMethods]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", NOTHING)
async def test_each_method_fails_in_each_way(backend: type[CacheBackend], method: str) -> None:
    """It raises, returns nothing, hangs until it is healed, and then does its work."""
    failing = backend()
    failure = Faults(failing)

    async def call() -> Any:
        return await getattr(failing, method)(*ARGUMENTS[method])

    failure.raises(method)
    with pytest.raises(ConnectionError, match=f"{method} fails, because this test wants it to"):
        await call()
    failure.returns_nothing(method)
    assert await call() == NOTHING[method]
    assert failure.calls == {method: 2}
    failure.hangs(method)
    hanging = asyncio.ensure_future(call())
    await eventually(lambda: failure.hanging == 1)
    assert not hanging.done()
    failure.heal()
    await soon(hanging)
    assert failure.hanging == 0
    assert method not in vars(failing)


def test_all_methods_of_a_backend_can_fail() -> None:
    """But for those that wait for nothing, and `close`."""
    methods = {
        name
        for name, method in vars(CacheBackend).items()
        if inspect.iscoroutinefunction(method) and name != "close"
    }
    assert methods == {*faults.READS, *faults.STORES, *faults.REMOVALS}


def test_a_method_that_there_is_not_is_told() -> None:
    """With those that there are."""
    with pytest.raises(
        ValueError, match="no method 'gett', 'putt' that can fail; give some of get,"
    ):
        Faults(MemoryBackend()).raises("get", "gett", "putt")


async def test_a_call_that_hangs_can_be_cancelled() -> None:
    """And is then forgotten."""
    backend = MemoryBackend()
    failing = Faults(backend)
    failing.hangs()
    hanging = asyncio.ensure_future(backend.get("key"))
    await eventually(lambda: failing.hanging == 1)
    hanging.cancel()
    await asyncio.wait([hanging])
    assert failing.hanging == 0
    failing.heal()


async def test_the_application_goes_on_without_its_cache(
    cache: CacheManager, cache_faults: Faults
) -> None:
    """Whatever fails, the function runs; when all is well again, there are hits."""
    for fail in (cache_faults.raises, cache_faults.returns_nothing):
        fail()
        first = await shop.computed(1)
        assert await shop.computed(1) > first
        assert await cache.get("key") is None
        cache_faults.heal()
    assert await cache.health_check() is True
    await cache.clear()
    first = await shop.computed(1)
    assert await shop.computed(1) == first


async def test_a_leader_hangs_until_it_is_healed(cache: CacheManager, cache_faults: Faults) -> None:
    """So a test can look at the moment before an entry is stored."""
    cache_faults.hangs("replace")
    call = asyncio.ensure_future(shop.computed(1))
    await eventually(lambda: cache_faults.hanging == 1)
    await cache.invalidate("shop-computed*")
    cache_faults.heal()
    first = await soon(call)
    assert await shop.computed(1) > first


def test_faults_may_be_named_first(cache_faults: Faults, cache: CacheManager) -> None:
    """They are those of the cache of this test."""
    cache_faults.raises()
    assert asyncio.run(cache.set("key", 1)) is False


async def test_a_real_redis_can_fail(redis_cache: CacheManager, cache_faults: Faults) -> None:
    """As memory can, without a server that is stopped."""
    await redis_cache.set("key", 1)
    cache_faults.raises(*cache_faults.READS)
    assert await redis_cache.get("key") is None
    cache_faults.heal()
    assert await redis_cache.get("key") == 1

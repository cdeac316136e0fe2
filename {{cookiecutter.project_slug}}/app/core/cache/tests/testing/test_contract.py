"""`testing/contract.py`: the contract of backends passes for ours, and finds what is wrong."""

import asyncio
import copy
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from ... import CacheBackend, MemoryBackend
from ...keys import KeyPattern
from ...testing import CacheBackendContract, trying
from ...testing.redis_server import RedisServer
from ..conftest import SixMethods, redis_backend


class TestMemory(CacheBackendContract):
    """Entries in this process, with methods of their own for all."""

    def make_backend(self) -> CacheBackend:
        """Return a new backend."""
        return MemoryBackend()


class TestSixMethods(CacheBackendContract):
    """The least that a backend can be."""

    def make_backend(self) -> CacheBackend:
        """Return a new backend."""
        return Copying()


class TestRedis(CacheBackendContract):
    """Entries in Redis, with a near cache and without."""

    make: Callable[[], CacheBackend]

    @pytest.fixture(autouse=True, params=[0, 100])
    def server(self, redis_server: RedisServer, request: pytest.FixtureRequest) -> None:
        """Take a server and a `near_size` from fixtures."""
        self.make = lambda: redis_backend(redis_server, near_size=request.param)

    def make_backend(self) -> CacheBackend:
        """Return a new backend."""
        return self.make()


class Copying(SixMethods):
    """A backend of six methods that are right."""

    async def get(self, key: str) -> Any | None:
        return copy.deepcopy(await super().get(key))


class Sharing(SixMethods):
    """It hands out what it holds."""


class Truthful(Copying):
    """It says that it removed what was not there."""

    async def delete(self, key: str) -> bool:
        await super().delete(key)
        return True


class Greedy(Copying):
    """Its `clear` takes what is somebody else's."""

    async def clear(self) -> bool:
        self.entries.clear()
        return True


class Eternal(Copying):
    """Nothing expires."""

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        seconds = expire.total_seconds() if isinstance(expire, timedelta) else expire
        return await super().set(key, value, None if seconds is None or seconds > 0 else 0)


class Forgiving(Copying):
    """It stores what has no time to live."""

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        return await super().set(key, value, expire or None)


class Textual(Copying):
    """It keeps values as text."""

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        return await super().set(key, str(value), expire)


class Closed(Copying):
    """It does not open again."""

    is_closed = False

    async def close(self) -> None:
        self.is_closed = True

    async def get(self, key: str) -> Any | None:
        return None if self.is_closed else await super().get(key)


class Careless(MemoryBackend):
    """Its steps act whatever is there."""

    async def acquire(self, key: str, data: bytes, ms: int) -> bytes | None:
        await self.set_bytes(key, data, timedelta(milliseconds=ms))
        return None

    async def replace(self, key: str, over: bytes, data: bytes, ms: int) -> bool:
        return await self.set_bytes(key, data, timedelta(milliseconds=ms))

    async def delete_matching(self, pattern: KeyPattern) -> int:
        return await self.delete_matching_all()

    async def delete_matching_all(self) -> int:
        return await super().delete_matching(KeyPattern((f"{self.key_prefix}:", "")))


class Deaf(MemoryBackend):
    """An invalidated tag keeps its nonce."""

    async def invalidate_tag_keys(self, tags: Sequence[str], ms: int) -> bool:
        return True


class Split(MemoryBackend):
    """It says that it is atomic, and waits between looking and storing."""

    async def acquire(self, key: str, data: bytes, ms: int) -> bytes | None:
        standing = await self.get_bytes(key)
        await asyncio.sleep(0)
        if standing is None:
            await self.set_bytes(key, data, timedelta(milliseconds=ms))
        return standing


WRONG: list[tuple[type[CacheBackend], str, str]] = [
    (
        Sharing,
        "test_a_value_is_returned_as_a_copy",
        r"returned \{'list': \[1, 2\]\}.*: return a copy",
    ),
    (Truthful, "test_a_missing_key_is_none", "delete of a missing key returned True"),
    (Greedy, "test_clear_keeps_to_the_prefix", "get of 'app2:key' after clear returned None"),
    (Forgiving, "test_zero_or_less_is_not_stored", "set with expire=0 returned True"),
    (Textual, "test_a_value_comes_back_equal", "get of the value None returned 'None'"),
    (Closed, "test_it_opens_again_after_close", "get after close returned None instead of 1"),
    (Careless, "test_a_lease_is_acquired_once", "returned None instead of b'mine'"),
    (Careless, "test_bytes_are_replaced_by_their_beginning", "replace of a missing key"),
    (Deaf, "test_tags_get_new_nonces", "an invalidated tag kept its nonce"),
    (Careless, "test_a_pattern_removes_what_it_matches", "removed 'other': leave that"),
    (Split, "test_a_lease_is_acquired_once", "of 20 callers who acquired one key returned 20"),
]


@pytest.mark.parametrize(("backend", "test", "says"), WRONG)
def test_what_is_wrong_is_told(backend: type[CacheBackend], test: str, says: str) -> None:
    """By the method, what it returned, and what to do."""
    with pytest.raises(AssertionError, match=says):
        getattr(contract_of(backend), test)()


def test_an_entry_that_does_not_expire_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while of waiting."""
    monkeypatch.setattr(trying, "WITHIN", 0.1)
    with pytest.raises(AssertionError, match=r"50 ms is still there after 0\.1 seconds"):
        contract_of(Eternal).test_an_entry_expires()


def test_a_contract_without_a_backend_says_what_it_needs() -> None:
    """The method that makes one."""
    with pytest.raises(NotImplementedError, match="Contract needs a method make_backend"):
        CacheBackendContract().test_set_replaces()


def contract_of(backend: type[CacheBackend]) -> CacheBackendContract:
    """Return the contract for a class of backends."""

    class Contract(CacheBackendContract):
        def make_backend(self) -> CacheBackend:
            return backend()

    return Contract()

"""What a backend has to do, as tests: inherit from `BackendContract`, and say how to make yours."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from ... import CacheBackend, CacheManager, cache_response
from ..faults import eventually
from ..package import NAME

JOHN = {"name": "John", "email": "john@example.com"}


@pytest.mark.anyio
class BackendContract:
    """What holds over every backend, of six methods or more.

        class TestMine(BackendContract):
            @pytest.fixture
            def backend(self) -> CacheBackend:
                return MyBackend()

    What it keeps below its own `key_prefix` has to be the test's: it is cleared.
    """

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run on asyncio, which is what the cache runs on."""
        return "asyncio"

    @pytest.fixture
    def backend(self) -> CacheBackend:
        """Make a new backend."""
        raise NotImplementedError("say by a fixture `backend` how to make one")

    @pytest.fixture
    async def manager(self, backend: CacheBackend) -> AsyncIterator[CacheManager]:
        """Lend a manager over the backend, empty."""
        manager = CacheManager(backend)
        yield manager
        await manager.clear()
        await manager.close()

    async def test_a_value_comes_back_equal(self, manager: CacheManager) -> None:
        """What was set is got, and `set` says that it is stored."""
        assert await manager.set("user:123", JOHN, expire=300) is True
        assert await manager.get("user:123") == JOHN

    @pytest.mark.parametrize("begins", ["~raw ", "~raw lease/2 ", "cache/2 ", '"', "null", "\x00"])
    async def test_p1_no_text_counts_as_what_the_cache_keeps_itself(
        self, manager: CacheManager, begins: str
    ) -> None:
        """Whatever a text begins with, it comes back, by hand and from a cached function."""
        texts = {f"text:{rest}": f"{begins}{rest}" for rest in ('{"admin":true}', "1", "")}
        for key, text in texts.items():
            assert await manager.set(key, text) is True
            assert await manager.get(key) == text
            assert await manager.get_or_set(key, lambda: "computed") == text

        @cache_response(manager, "texts")
        async def cached(key: str) -> str:
            return texts[key]

        assert await manager.get_many([*texts]) == texts
        for key in (*texts, *texts):
            assert await cached(key) == texts[key]

    @pytest.mark.parametrize("value", [None, False, 0, "", [], {}, 1.5, "ü", [1, {"a": [None]}]])
    async def test_any_json_value_comes_back_with_its_type(
        self, manager: CacheManager, value: Any
    ) -> None:
        """Values that count as false come back as themselves, and exist."""
        assert await manager.set("key", value) is True
        assert await manager.exists("key") is True
        got = await manager.get("key")
        assert got == value
        assert type(got) is type(value)

    async def test_a_missing_key_is_none(self, manager: CacheManager) -> None:
        """A key that was never set has no value, does not exist and cannot be deleted."""
        assert await manager.get("nothing") is None
        assert await manager.exists("nothing") is False
        assert await manager.delete("nothing") is False

    async def test_delete_removes_one_key(self, manager: CacheManager) -> None:
        """`delete` removes the key that it is given and no other, a `*` included."""
        for key in ("user:1", "user:2", "user:*"):
            await manager.set(key, key)
        assert await manager.delete("user:*") is True
        assert await manager.get("user:*") is None
        assert await manager.get("user:1") == "user:1"
        assert await manager.delete("user:1") is True
        assert await manager.exists("user:1") is False
        assert await manager.exists("user:2") is True

    async def test_clear_removes_everything(self, manager: CacheManager) -> None:
        """After `clear` nothing is left."""
        for number in range(5):
            await manager.set(f"key:{number}", number)
        assert await manager.clear() is True
        assert [await manager.get(f"key:{number}") for number in range(5)] == [None] * 5

    async def test_set_replaces_value(self, manager: CacheManager) -> None:
        """The last value that was set is the one that is got."""
        await manager.set("key", 1)
        await manager.set("key", 2)
        assert await manager.get("key") == 2

    @pytest.mark.parametrize("expire", [0, -1, timedelta(0), timedelta(seconds=-5)])
    async def test_expire_of_zero_or_less_stores_nothing(
        self, manager: CacheManager, expire: int | timedelta
    ) -> None:
        """Such a value is not stored, never for ever, and the old one is gone too."""
        await manager.set("key", "old")
        assert await manager.set("key", "new", expire=expire) is False
        assert await manager.get("key") is None

    @pytest.mark.parametrize("expire", [b"60", [60], True])
    async def test_expire_of_another_type_is_an_error(
        self, manager: CacheManager, expire: Any
    ) -> None:
        """The message tells the value and what to give instead."""
        with pytest.raises(TypeError, match=r"expire=.* timedelta"):
            await manager.set("key", "value", expire=expire)

    @pytest.mark.parametrize("key", ["", None, 7, b"bytes"])
    async def test_a_key_of_another_type_is_an_error(self, manager: CacheManager, key: Any) -> None:
        """A key is a string that is not empty; every method says so."""
        for call in (manager.get, manager.delete, manager.exists, manager.invalidate):
            with pytest.raises(TypeError, match="key="):
                await call(key)
        with pytest.raises(TypeError, match="key="):
            await manager.set(key, 1)

    async def test_a_backend_is_healthy_and_usable_after_close(self, manager: CacheManager) -> None:
        """A closed manager opens again when it is used."""
        assert await manager.health_check() is True
        await manager.close()
        await manager.close()
        assert await manager.set("key", 1) is True
        assert await manager.get("key") == 1
        assert await manager.health_check() is True

    async def test_invalidate_covers_at_least_its_pattern(self, manager: CacheManager) -> None:
        """Nothing that the pattern covers is left."""
        await manager.set("user:1", 1)
        await manager.set("user:2", 2)
        assert await manager.invalidate("user:*")
        assert await manager.exists("user:1") is False
        assert await manager.exists("user:2") is False

    async def test_an_invalidation_of_nothing_is_done(self, manager: CacheManager) -> None:
        """It says whether it was done, not whether there was something to remove."""
        assert await manager.invalidate("nothing")
        assert await manager.invalidate("nothing*")

    async def test_two_prefixes_do_not_meet(self, manager: CacheManager) -> None:
        """Managers of different prefixes see nothing of each other."""
        one = CacheManager(manager.backend, key_prefix=f"{manager.key_prefix}-one")
        two = CacheManager(manager.backend, key_prefix=f"{manager.key_prefix}-two")
        await one.set("key", 1)
        assert await two.get("key") is None
        assert await two.delete("key") is False
        assert await one.get("key") == 1
        await one.delete("key")

    async def test_a_value_that_cannot_come_back_is_not_stored(
        self, manager: CacheManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A warning tells why, and the value that it would have replaced is gone."""
        await manager.set("key", "old")
        assert await manager.set("key", object()) is False
        assert await manager.get("key") is None
        assert "builtins.object" in caplog.text

    async def test_p1_a_value_changed_after_it_was_stored_or_read_stays(
        self,
        manager: CacheManager,
    ) -> None:
        """Whoever changes a value changes a copy, also on a backend that keeps objects."""
        value = {"list": [1]}
        await manager.set("key", value)
        value["list"].append(2)
        (await manager.get("key"))["list"].append(3)
        assert await manager.get("key") == {"list": [1]}

        @cache_response(manager, "data")
        async def function() -> dict[str, list[int]]:
            return {"list": [1]}

        for _ in range(3):
            (await function())["list"].append(2)
        assert await function() == {"list": [1]}

    async def test_many_callers_at_once(self, manager: CacheManager) -> None:
        """More callers than connections all get their own values."""

        async def round_trip(number: int) -> Any:
            await manager.set(f"key:{number}", number)
            return await manager.get(f"key:{number}")

        assert await asyncio.gather(*map(round_trip, range(200))) == list(range(200))

    async def test_what_a_manager_does_is_logged(
        self, manager: CacheManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each with the key or the pattern."""
        caplog.set_level(logging.DEBUG, NAME)
        await manager.get("key")
        await manager.set("key", 1)
        await manager.get("key")
        await manager.set("key", 1, expire=0)
        await manager.set("key", 1)
        await manager.delete("key")
        await manager.clear()
        messages = [record.getMessage() for record in caplog.records]
        assert [message.split(f" {manager.key_prefix}:")[0] for message in messages] == [
            *("miss", "stored", "hit", "not stored", "stored", "deleted", "invalidated"),
        ]

    async def test_a_stored_none_is_not_a_missing_key(self, manager: CacheManager) -> None:
        """With a default of one's own the two can be told apart."""
        missing = object()
        assert await manager.get("key", missing) is missing
        await manager.set("key", None)
        assert await manager.get("key", missing) is None

    async def test_p1_what_is_too_large_is_not_stored(
        self, manager: CacheManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A warning names the limit, the caller has the result, and the old value is gone."""
        limited = CacheManager(manager.backend, key_prefix=manager.key_prefix, max_entry_bytes=1000)

        @cache_response(limited, "data")
        async def function(size: int) -> str:
            return "x" * size

        assert len(await function(2000)) == len(await function(2000)) == 2000
        assert "CACHE_MAX_ENTRY_BYTES" in caplog.records[0].getMessage()
        assert len(caplog.records) == 1
        assert await limited.set("key", "small") is True
        assert await limited.set("key", "x" * 2000) is False
        assert await limited.get("key") is None
        assert len(await function(500)) == 500
        assert await limited.set("key", "x" * 500) is True

    async def test_what_is_compressed_can_be_read_by_all(self, manager: CacheManager) -> None:
        """A process that has compression switched off reads what another one compressed."""
        on = CacheManager(manager.backend, key_prefix=manager.key_prefix, compress_over=100)
        calls: list[str] = []

        async def function(text: str) -> str:
            calls.append(text)
            return text * 1000

        one, two = cache_response(on, "data")(function), cache_response(manager, "data")(function)
        for text in ("a", "", "ü"):
            assert await one(text) == await two(text) == text * 1000
        assert calls == ["a", "", "ü"]

    async def test_an_entry_expires(self, manager: CacheManager) -> None:
        """After its time there is none, whatever the backend counts in."""
        assert await manager.set("key", 1, expire=timedelta(milliseconds=50)) is True

        async def is_gone() -> bool:
            return not await manager.exists("key") and await manager.get("key") is None

        await eventually(is_gone)

    async def test_p7_clear_keeps_to_the_key_prefix(self, manager: CacheManager) -> None:
        """What begins otherwise is somebody else's."""
        backend = manager.backend
        own, other = f"{backend.key_prefix}:key", f"{backend.key_prefix}2:key"
        assert await backend.set(own, 1) is True
        assert await backend.set(other, 2) is True
        assert await backend.clear() is True
        assert [await backend.get(own), await backend.get(other)] == [None, 2]
        assert await backend.delete(other) is True

    async def test_p4_a_cached_call_is_one_computation(self, manager: CacheManager) -> None:
        """For all who make it at once, and until it is invalidated, by pattern or by tag."""
        runs: list[int] = []

        @cache_response(manager, "data", tags=["tag"])
        async def function(number: int) -> int:
            runs.append(number)
            await asyncio.sleep(0)
            return number

        invalidations = (
            lambda: manager.invalidate("data*"),
            lambda: manager.invalidate_tags("tag"),
            manager.clear,
        )
        for number, invalidate in enumerate(invalidations, start=1):
            assert await asyncio.gather(*(function(1) for _ in range(10))) == [1] * 10
            assert await function(1) == 1
            assert len(runs) == number
            assert await invalidate()

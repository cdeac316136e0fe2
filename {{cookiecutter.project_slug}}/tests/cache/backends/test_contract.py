"""What the contract promises of a manager, over every backend."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from app.core.cache import CacheManager, MemoryBackend, cache_response
from tests.cache.conftest import SixMethods

JOHN = {"name": "John", "email": "john@example.com"}


async def test_a_value_comes_back_equal(manager: CacheManager) -> None:
    """What was set is got, and `set` says that it is stored."""
    assert await manager.set("user:123", JOHN, expire=300) is True
    assert await manager.get("user:123") == JOHN


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, 1.5, "ü", [1, {"a": [None]}]])
async def test_any_json_value_comes_back_with_its_type(manager: CacheManager, value: Any) -> None:
    """Values that count as false come back as themselves, and exist."""
    assert await manager.set("key", value) is True
    assert await manager.exists("key") is True
    got = await manager.get("key")
    assert got == value
    assert type(got) is type(value)


async def test_a_missing_key_is_none(manager: CacheManager) -> None:
    """A key that was never set has no value, does not exist and cannot be deleted."""
    assert await manager.get("nothing") is None
    assert await manager.exists("nothing") is False
    assert await manager.delete("nothing") is False


async def test_delete_removes_one_key(manager: CacheManager) -> None:
    """`delete` removes the key that it is given and no other, a `*` included."""
    for key in ("user:1", "user:2", "user:*"):
        await manager.set(key, key)
    assert await manager.delete("user:*") is True
    assert await manager.get("user:*") is None
    assert await manager.get("user:1") == "user:1"
    assert await manager.delete("user:1") is True
    assert await manager.exists("user:1") is False
    assert await manager.exists("user:2") is True


async def test_clear_removes_everything(manager: CacheManager) -> None:
    """After `clear` nothing is left."""
    for number in range(5):
        await manager.set(f"key:{number}", number)
    assert await manager.clear() is True
    assert [await manager.get(f"key:{number}") for number in range(5)] == [None] * 5


async def test_set_replaces_value(manager: CacheManager) -> None:
    """The last value that was set is the one that is got."""
    await manager.set("key", 1)
    await manager.set("key", 2)
    assert await manager.get("key") == 2


@pytest.mark.parametrize("expire", [0, -1, timedelta(0), timedelta(seconds=-5)])
async def test_expire_of_zero_or_less_stores_nothing(
    manager: CacheManager, expire: int | timedelta
) -> None:
    """Such a value is not stored, never for ever, and the old one is gone too."""
    await manager.set("key", "old")
    assert await manager.set("key", "new", expire=expire) is False
    assert await manager.get("key") is None


@pytest.mark.parametrize("expire", [1.5, "60", True])
async def test_expire_of_another_type_is_an_error(manager: CacheManager, expire: Any) -> None:
    """The message tells the value and what to give instead."""
    with pytest.raises(TypeError, match=r"expire=.* timedelta"):
        await manager.set("key", "value", expire=expire)


@pytest.mark.parametrize("key", ["", None, 7, b"bytes"])
async def test_a_key_of_another_type_is_an_error(manager: CacheManager, key: Any) -> None:
    """A key is a string that is not empty; every method says so."""
    for call in (manager.get, manager.delete, manager.exists, manager.invalidate):
        with pytest.raises(TypeError, match="key="):
            await call(key)
    with pytest.raises(TypeError, match="key="):
        await manager.set(key, 1)


async def test_a_backend_is_healthy_and_usable_after_close(manager: CacheManager) -> None:
    """A closed manager opens again when it is used."""
    assert await manager.health_check() is True
    await manager.close()
    await manager.close()
    assert await manager.set("key", 1) is True
    assert await manager.get("key") == 1
    assert await manager.health_check() is True


async def test_invalidate_covers_at_least_its_pattern(manager: CacheManager) -> None:
    """Nothing that the pattern covers is left."""
    await manager.set("user:1", 1)
    await manager.set("user:2", 2)
    assert await manager.invalidate("user:*") is True
    assert await manager.exists("user:1") is False
    assert await manager.exists("user:2") is False


async def test_invalidate_covers_no_more_than_its_pattern(our_manager: CacheManager) -> None:
    """`*` is the only wildcard: `?`, brackets and backslashes are literal."""
    manager = our_manager
    keys = ["a?c", "abc", "a[b]c", "a\\c", "a*c", "xa?c"]
    for pattern, gone in {
        "a?*": {"a?c"},
        "a[b]*": {"a[b]c"},
        "a\\*": {"a\\c"},
        "*?c": {"a?c", "xa?c"},
        "a*c": {"a?c", "abc", "a[b]c", "a\\c", "a*c"},
        "a?c": {"a?c"},
        "**": set(keys),
    }.items():
        for key in keys:
            await manager.set(key, 1)
        assert await manager.invalidate(pattern) is True
        left = {key for key in keys if await manager.exists(key)}
        assert left == set(keys) - gone, pattern


async def test_an_invalidation_of_nothing_is_done(manager: CacheManager) -> None:
    """It says whether it was done, not whether there was something to remove."""
    assert await manager.invalidate("nothing") is True
    assert await manager.invalidate("nothing*") is True


async def test_six_methods_are_enough_for_patterns() -> None:
    """Without a way to list keys a pattern clears all, and an exact key still means one."""
    manager = CacheManager(SixMethods())
    await manager.set("user:1", 1)
    await manager.set("post:1", 1)
    assert await manager.invalidate("user:1") is True
    assert await manager.exists("post:1") is True
    assert await manager.invalidate("user:*") is True
    assert await manager.exists("post:1") is False


async def test_p7_a_pattern_reaches_the_managers_own_prefix() -> None:
    """Where `clear` stands for a pattern, it is that of the manager's prefix."""
    manager = CacheManager(SixMethods(), key_prefix="shop")
    await manager.set("user:1", 1)
    assert await manager.invalidate("user*") is True
    assert await manager.exists("user:1") is False


async def test_p7_clear_keeps_to_the_managers_own_prefix(our_manager: CacheManager) -> None:
    """Not to that of the backend, which another manager may have."""
    other = CacheManager(our_manager.backend, key_prefix=f"{our_manager.key_prefix}2")
    await our_manager.set("key", 1)
    await other.set("key", 2)
    assert await other.clear() is True
    assert await other.get("key") is None
    assert await our_manager.get("key") == 1


async def test_two_prefixes_do_not_meet(manager: CacheManager) -> None:
    """Managers of different prefixes see nothing of each other."""
    one = CacheManager(manager.backend, key_prefix=f"{manager.key_prefix}-one")
    two = CacheManager(manager.backend, key_prefix=f"{manager.key_prefix}-two")
    await one.set("key", 1)
    assert await two.get("key") is None
    assert await two.delete("key") is False
    assert await one.get("key") == 1
    await one.delete("key")


async def test_a_value_that_cannot_come_back_is_not_stored(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning tells why, and the value that it would have replaced is gone."""
    await manager.set("key", "old")
    assert await manager.set("key", object()) is False
    assert await manager.get("key") is None
    assert "builtins.object" in caplog.text


async def test_p1_a_value_changed_after_it_was_stored_or_read_stays(
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


async def test_many_callers_at_once(manager: CacheManager) -> None:
    """More callers than connections all get their own values."""

    async def round_trip(number: int) -> Any:
        await manager.set(f"key:{number}", number)
        return await manager.get(f"key:{number}")

    assert await asyncio.gather(*map(round_trip, range(200))) == list(range(200))


async def test_what_a_manager_does_is_logged(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Each with the key or the pattern."""
    caplog.set_level(logging.DEBUG, "app.core.cache")
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


def test_a_manager_says_what_it_is() -> None:
    """Its backend and its prefix."""
    backend = MemoryBackend(max_entries=2, max_bytes=3)
    assert repr(CacheManager(backend, key_prefix="shop")) == (
        "CacheManager(MemoryBackend(max_entries=2, max_bytes=3), key_prefix='shop')"
    )


@pytest.mark.parametrize("prefix", ["", 7])
def test_a_wrong_prefix_is_an_error(prefix: Any) -> None:
    """The prefix bounds what `clear` removes; without one there is no bound."""
    with pytest.raises(ValueError, match="key_prefix="):
        CacheManager(SixMethods(), key_prefix=prefix)


@pytest.mark.parametrize("ttl", [0, -1, 1.5, True, "60"])
def test_a_wrong_default_ttl_is_an_error(ttl: Any) -> None:
    """It is whole seconds, and at least one."""
    with pytest.raises(ValueError, match="default_ttl="):
        CacheManager(SixMethods(), default_ttl=ttl)


def test_a_backend_must_be_one() -> None:
    """A client handed over by mistake is told apart at once."""
    client: Any = object()
    with pytest.raises(TypeError, match="CacheBackend"):
        CacheManager(client)


async def test_a_stored_none_is_not_a_missing_key(manager: CacheManager) -> None:
    """With a default of one's own the two can be told apart."""
    missing = object()
    assert await manager.get("key", missing) is missing
    await manager.set("key", None)
    assert await manager.get("key", missing) is None


async def test_p1_what_is_too_large_is_not_stored(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
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


async def test_what_is_compressed_can_be_read_by_all(manager: CacheManager) -> None:
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


async def test_managers_of_two_prefixes_share_six_methods() -> None:
    """Each forgets its own entries, whichever was made last."""
    backend = SixMethods()
    one, two = CacheManager(backend, key_prefix="one"), CacheManager(backend, key_prefix="two")
    for forget in (CacheManager.clear, lambda manager: manager.invalidate("key*")):
        await one.set("key", 1)
        await two.set("key", 2)
        assert await forget(one) is True
        assert await one.exists("key") is False
        assert await two.exists("key") is True


class Broken(SixMethods):
    """A backend of somebody else's that raises whatever it is asked."""

    async def get(self, key: str) -> Any | None:
        raise ConnectionError("refused")

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        raise ConnectionError("refused")

    async def delete(self, key: str) -> bool:
        raise KeyError(key)

    async def exists(self, key: str) -> bool:
        raise AttributeError("transport")

    async def clear(self) -> bool:
        raise OSError("gone")

    async def close(self) -> None:
        raise RuntimeError("closed")


async def test_p5_no_failure_of_a_backend_reaches_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """All methods return what the contract says, and the log has one line for the outage.

    What no server answers is a mistake in somebody's code, and told as that, once for each place.
    """
    manager = CacheManager(Broken())
    assert await manager.get("key") is None
    assert await manager.set("key", 1) is False
    assert await manager.delete("key") is False
    assert await manager.exists("key") is False
    assert await manager.clear() is False
    assert await manager.invalidate("key*") is False
    assert await manager.health_check() is False
    await manager.close()
    is_mistake = "an error in the code of the cache itself, or of its backend"
    told = [record.getMessage() for record in caplog.records]
    mistakes = [line for line in told if is_mistake in line]
    assert len(mistakes) == 2
    assert "KeyError: 'app:key'" in mistakes[0]
    assert "AttributeError: transport" in mistakes[1]
    lines = [line for line in told if is_mistake not in line]
    assert len(lines) == 3
    assert "fails, going on without it" in lines[0]
    assert "an invalidation could not be delivered" in lines[1]
    assert "closed with 3 invalidations that could not be delivered" in lines[2]
    assert "ConnectionError: refused" in lines[0]


async def test_p5_an_invalidation_that_failed_is_not_said_to_be_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names its pattern."""
    caplog.set_level(logging.DEBUG, "app.core.cache")
    assert await CacheManager(Broken()).invalidate("user*") is False
    assert "could not invalidate app:user*" in caplog.text

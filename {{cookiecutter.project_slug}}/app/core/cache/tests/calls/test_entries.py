"""`get_or_set` and the methods for many keys: for code that is no decorator."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from ... import CacheManager
from ..internals import joined


async def test_a_missing_value_is_computed_and_stored(manager: CacheManager) -> None:
    """The second caller has what the first one stored, and `get` has it too."""
    calls: list[int] = []

    async def factory() -> dict[str, Any]:
        calls.append(1)
        return {"a": (1, None)}

    assert await manager.get_or_set("key", factory, expire=60) == {"a": (1, None)}
    assert await manager.get_or_set("key", factory) == {"a": (1, None)}
    assert await manager.get("key") == {"a": (1, None)}
    assert await manager.exists("key") is True
    assert calls == [1]


@pytest.mark.parametrize("value", [None, False, 0, ""])
async def test_values_that_count_as_false_are_values(manager: CacheManager, value: Any) -> None:
    """They are not computed again."""
    calls: list[int] = []

    def factory() -> Any:
        calls.append(1)
        return value

    for _ in range(3):
        assert await manager.get_or_set("key", factory) is value
    assert calls == [1]


async def test_what_was_set_by_hand_is_there(manager: CacheManager) -> None:
    """It is not computed, and wins over a computation that is under way."""

    async def factory() -> Any:
        return "computed"

    await manager.set("key", {"by": "hand"})
    assert await manager.get_or_set("key", factory) == {"by": "hand"}


async def test_p3_a_value_set_meanwhile_wins(our_manager: CacheManager) -> None:
    """The factory's own caller has what it computed."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def factory() -> str:
        started.set()
        await go_on.wait()
        return "computed"

    caller = asyncio.create_task(our_manager.get_or_set("key", factory))
    await started.wait()
    assert await our_manager.get("key") is None
    assert await our_manager.exists("key") is False
    await our_manager.set("key", "by hand")
    go_on.set()
    assert await caller == "computed"
    assert await our_manager.get("key") == "by hand"


async def test_p4_the_factory_runs_once(manager: CacheManager) -> None:
    """However many want the value."""
    calls: list[int] = []
    started, go_on = asyncio.Event(), asyncio.Event()

    async def factory() -> list[int]:
        calls.append(1)
        started.set()
        await go_on.wait()
        return [1]

    callers = [asyncio.create_task(manager.get_or_set("key", factory)) for _ in range(20)]
    await started.wait()
    await joined(manager, 19)
    go_on.set()
    assert await asyncio.gather(*callers) == [[1]] * 20
    assert calls == [1]


async def test_tags_reach_entries(manager: CacheManager) -> None:
    """For `get_or_set`, for `get` and for `get_many`."""
    values = iter("abc")

    def factory() -> str:
        return next(values)

    assert await manager.get_or_set("key", factory, tags=["tag"]) == "a"
    assert await manager.get("key") == "a"
    assert await manager.invalidate_tags("other") is True
    assert await manager.get_many(["key"]) == {"key": "a"}
    assert await manager.invalidate_tags("tag") is True
    assert await manager.get("key") is None
    assert await manager.get_many(["key"]) == {}
    assert await manager.get_or_set("key", factory, tags=["tag"]) == "b"


async def test_an_error_of_the_factory_is_the_callers(manager: CacheManager) -> None:
    """And nothing is stored."""

    async def factory() -> int:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        await manager.get_or_set("key", factory)
    assert await manager.get("key") is None


async def test_a_stale_value_outlives_a_failure(our_manager: CacheManager) -> None:
    """As with the decorator."""
    results: list[Any] = [1, RuntimeError("away")]

    async def factory() -> Any:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    expire = timedelta(milliseconds=1)
    for _ in range(2):
        assert await our_manager.get_or_set("key", factory, expire=expire, stale=60) == 1


async def test_a_hot_value_is_computed_early(our_manager: CacheManager) -> None:
    """With a factor so large that it is always due."""
    values = iter(range(10))

    async def factory() -> int:
        return next(values)

    for expected in range(3):
        got = await our_manager.get_or_set("key", factory, expire=60, early_refresh=1e9)
        assert got == expected
        await (
            our_manager.fence.leases.tasks.settle()
        )  # until then this caller's claim keeps others from it
    assert await our_manager.get_or_set("key", factory, expire=60) == 2
    with pytest.raises(ValueError, match="early_refresh=-1"):
        await our_manager.get_or_set("key", factory, early_refresh=-1)


async def test_many_keys_are_read_in_one_round_trip(
    redis_manager: CacheManager, redis_client: Redis
) -> None:
    """Those that have no value are left out."""
    assert await redis_manager.set_many({f"key:{n}": n for n in range(50)}, expire=60) is True
    keys = [f"key:{n}" for n in range(60)]
    assert await redis_manager.get_many(keys) == {f"key:{n}": n for n in range(50)}
    assert await redis_manager.delete_many(keys) == 50
    assert await redis_manager.get_many(keys) == {}


async def test_many_keys_on_every_backend(manager: CacheManager) -> None:
    """The same, and nothing for no keys."""
    assert await manager.set_many({"a": 1, "b": None}) is True
    assert await manager.get_many(["a", "b", "c"]) == {"a": 1, "b": None}
    assert await manager.delete_many(["a", "c"]) == 1
    assert await manager.get_many(["a", "b"]) == {"b": None}
    assert await manager.get_many([]) == {}
    assert await manager.delete_many([]) == 0
    assert await manager.set_many({}) is True


async def test_what_is_missing_of_many_is_loaded_at_once(manager: CacheManager) -> None:
    """One call of the loader for all of it; what it leaves out is left out."""
    calls: list[list[str]] = []

    async def load(keys: list[str]) -> dict[str, str]:
        calls.append(keys)
        return {key: key.upper() for key in keys if key != "nothing"}

    await manager.set("a", "by hand")
    keys = ["a", "b", "nothing", "c"]
    expected = {"a": "by hand", "b": "B", "c": "C"}
    assert await manager.get_or_set_many(keys, load) == expected
    assert list(await manager.get_or_set_many(keys, load)) == ["a", "b", "c"]
    assert [sorted(call) for call in calls] == [["b", "c", "nothing"], ["nothing"]]


async def test_p4_who_asks_for_many_waits_for_what_others_compute(manager: CacheManager) -> None:
    """Each key is loaded once, by whoever came first."""
    loaded: list[str] = []
    started, go_on = asyncio.Event(), asyncio.Event()

    async def load(keys: list[str]) -> dict[str, str]:
        loaded.extend(keys)
        started.set()
        await go_on.wait()
        return {key: key.upper() for key in keys}

    first = asyncio.create_task(manager.get_or_set_many(["a", "b"], load))
    await started.wait()
    second = asyncio.create_task(manager.get_or_set_many(["b", "c"], load))
    third = asyncio.create_task(manager.get_or_set("a", lambda: "another"))
    await joined(manager, 1)
    go_on.set()
    assert await first == {"a": "A", "b": "B"}
    assert await second == {"b": "B", "c": "C"}
    assert await third == "A"
    assert sorted(loaded) == ["a", "b", "c"]


async def test_what_a_loader_leaves_out_is_nobody_elses(manager: CacheManager) -> None:
    """Who waited for it with a factory of his own computes it himself."""
    started = asyncio.Event()

    async def hang() -> str:
        started.set()
        await asyncio.Event().wait()
        return "never"

    async def load(keys: list[str]) -> dict[str, str]:
        return {}

    leader = asyncio.create_task(manager.get_or_set("a", hang))
    await started.wait()
    many = asyncio.create_task(manager.get_or_set_many(["a"], load))
    await joined(manager, 1)
    one = asyncio.create_task(manager.get_or_set("a", lambda: "own"))
    await joined(manager, 2)
    leader.cancel()
    assert await one == "own"
    assert await many in ({}, {"a": "own"})


async def test_an_error_of_the_loader_is_the_callers(manager: CacheManager) -> None:
    """And the next caller loads again."""

    async def fail(keys: list[str]) -> dict[str, str]:
        raise LookupError(", ".join(keys))

    async def load(keys: list[str]) -> dict[str, str]:
        return dict.fromkeys(keys, "value")

    with pytest.raises(LookupError):
        await manager.get_or_set_many(["a", "b"], fail)
    assert await manager.get_or_set_many(["a", "b"], load) == {"a": "value", "b": "value"}

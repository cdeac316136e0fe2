"""`invalidate_cache`, over every backend."""

import asyncio
from typing import Any

import anyio
import pytest

from .. import CacheManager, MemoryBackend, cache_response, invalidate_cache
from ..keys import KeyPattern


async def test_a_write_invalidates_what_its_patterns_cover(manager: CacheManager) -> None:
    """After the write the next read runs the function."""
    data = {"name": "John"}

    @cache_response(manager, "user_data")
    async def read(user_id: int) -> dict[str, str]:
        return dict(data)

    @invalidate_cache(cache_manager=manager, keys=["user_data*", "profile:7"])
    async def write(name: str) -> str:
        data["name"] = name
        return name

    await manager.set("profile:7", 1)
    assert await read(1) == {"name": "John"}
    assert await write("Jane") == "Jane"
    assert await read(1) == {"name": "Jane"}
    assert await manager.exists("profile:7") is False


async def test_other_entries_survive_a_write(our_manager: CacheManager) -> None:
    """A write removes what its patterns cover and nothing else."""
    await our_manager.set("user_data:1", 1)
    await our_manager.set("user", 1)
    await invalidate_cache(our_manager, "user_data*")(asyncio.sleep)(0)
    assert await our_manager.exists("user_data:1") is False
    assert await our_manager.exists("user") is True


async def test_a_write_invalidates_after_it_ran(manager: CacheManager) -> None:
    """Inside the function the entry is still there; when the caller goes on it is gone."""
    seen = []

    @invalidate_cache(manager, "key")
    async def write() -> None:
        seen.append(await manager.get("key"))

    await manager.set("key", "old")
    await write()
    assert seen == ["old"]
    assert await manager.get("key") is None


async def test_a_write_that_failed_or_was_cancelled_invalidates_too(manager: CacheManager) -> None:
    """It may have written before that."""
    started = asyncio.Event()

    @invalidate_cache(manager, "key")
    async def fail() -> None:
        raise LookupError("after the commit")

    @invalidate_cache(manager, "key")
    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    await manager.set("key", 1)
    with pytest.raises(LookupError, match="after the commit"):
        await fail()
    assert await manager.get("key") is None

    await manager.set("key", 1)
    task = asyncio.create_task(hang())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await manager.get("key") is None


@pytest.mark.parametrize("cancel", ["task", "scope"])
async def test_a_cancelled_write_still_invalidates_all(cancel: str) -> None:
    """A cancellation that comes while the entries are removed waits for the rest of them."""
    removing, go_on = asyncio.Event(), asyncio.Event()

    class Slow(MemoryBackend):
        async def delete_matching(self, pattern: KeyPattern) -> int:
            removing.set()
            await go_on.wait()
            return await super().delete_matching(pattern)

    manager = CacheManager(Slow())
    await manager.set("one", 1)
    await manager.set("two", 2)
    write = invalidate_cache(manager, ["one", "two"])(asyncio.sleep)
    with anyio.CancelScope() as scope:
        task = asyncio.ensure_future(write(0)) if cancel == "task" else None

        async def interrupt() -> None:
            await removing.wait()
            for _ in range(2):  # who is cancelled twice waits as well
                scope.cancel() if task is None else task.cancel()
                for _ in range(5):  # turns of the loop in which the cancellation arrives
                    await asyncio.sleep(0)
            go_on.set()

        interrupting = asyncio.ensure_future(interrupt())
        if task is None:
            await write(0)
        else:
            with pytest.raises(asyncio.CancelledError):
                await task
    assert [await manager.exists(key) for key in ("one", "two")] == [False, False]
    await interrupting


async def test_the_keys_are_those_of_the_decoration(manager: CacheManager) -> None:
    """A list that is changed later changes nothing."""
    keys = ["one"]
    decorator = invalidate_cache(manager, keys)
    keys[:] = ["two"]
    await manager.set("one", 1)
    await decorator(asyncio.sleep)(0)
    assert await manager.exists("one") is False


async def test_a_flag_that_is_none_is_refused(our_manager: CacheManager) -> None:
    """A text such as "no" would else count as yes."""
    options: dict[str, Any] = {"only_on_success": "no"}
    with pytest.raises(TypeError, match="only_on_success='no' must be True or False"):
        invalidate_cache(our_manager, "users*", **options)


@pytest.mark.parametrize("keys", ["", [], ["user*", ""], [7]])
async def test_wrong_keys_are_errors_when_decorating(our_manager: CacheManager, keys: Any) -> None:
    """An invalidation of nothing is a mistake."""
    with pytest.raises(ValueError, match="keys="):
        invalidate_cache(our_manager, keys)

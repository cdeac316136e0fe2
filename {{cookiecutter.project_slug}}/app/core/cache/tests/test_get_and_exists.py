"""`get`, `get_many` and `exists` give one answer: what was stored is there for all."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from redis import Redis

from .. import CacheManager, cache_response
from ..keys import KeyPattern

MISSING = object()


async def answers(manager: CacheManager, key: str) -> set[bool]:
    """Return whether there is a value, as each of the three says."""
    return {
        await manager.get(key, MISSING) is not MISSING,
        key in await manager.get_many([key]),
        await manager.exists(key),
    }


@pytest.mark.parametrize("value", [1, None, False, "", "lease", [], {"a": 1}])
async def test_what_was_set_is_there(manager: CacheManager, value: Any) -> None:
    """A stored `None`, too."""
    assert await answers(manager, "key") == {False}
    await manager.set("key", value)
    assert await answers(manager, "key") == {True}
    await manager.delete("key")
    await manager.get_or_set("key", lambda: value)
    assert await answers(manager, "key") == {True}


class User(BaseModel):
    """A user, as functions return it."""

    name: str


async def test_an_entry_of_a_function_is_there(manager: CacheManager) -> None:
    """All three say so, and it is what the call returns; by hand it can be removed."""
    runs: list[str] = []

    @cache_response(manager, "user", key="{name}")
    async def user(name: str) -> User:
        runs.append(name)
        return User(name=name)

    key = user.cache_key("ada")
    removals: list[Callable[[], Awaitable[object]]] = [
        lambda: manager.delete(key),
        lambda: manager.delete_many([key]),
        lambda: manager.invalidate(key),
        lambda: manager.invalidate("user:*"),
    ]
    for number, remove in enumerate(removals, 1):
        assert [await user("ada"), await user("ada")] == [User(name="ada")] * 2
        assert await answers(manager, key) == {True}
        assert await manager.get(key) == User(name="ada")
        assert await remove()
        assert await answers(manager, key) == {False}
        assert len(runs) == number


async def test_an_entry_that_is_more_than_a_value_is_not_there(manager: CacheManager) -> None:
    """One of a response can be removed by hand, and no more."""

    @cache_response(manager, "response")
    async def response() -> JSONResponse:
        return JSONResponse(1)

    await response()
    assert await answers(manager, response.cache_key()) == {False}
    assert await manager.delete(response.cache_key()) is True


async def test_p3_an_entry_of_a_function_with_tags_is_there_until_one_is_invalidated(
    manager: CacheManager,
) -> None:
    """Whoever reads it by hand knows nothing of its tags: the entry does."""

    @cache_response(manager, "tagged", tags=["users", lambda value: [f"value:{value}"]])
    async def tagged() -> int:
        return 1

    for tag in ("users", "value:1"):
        await tagged()
        assert await answers(manager, tagged.cache_key()) == {True}
        assert await manager.invalidate_tags(tag)
        assert await answers(manager, tagged.cache_key()) == {False}


async def test_what_is_being_computed_is_not_there_yet(manager: CacheManager) -> None:
    """A lease is no value."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def factory() -> int:
        started.set()
        await go_on.wait()
        return 1

    caller = asyncio.create_task(manager.get_or_set("key", factory))
    await started.wait()
    assert await answers(manager, "key") == {False}
    go_on.set()
    await caller
    assert await answers(manager, "key") == {True}


@pytest.mark.parametrize("remove", ["tag", "not delivered"])
async def test_what_was_invalidated_by_a_tag_is_gone(
    our_manager: CacheManager, remove: str
) -> None:
    """Also while that is still to be delivered."""
    await our_manager.get_or_set("key", lambda: 1, tags=["tag"])
    assert await answers(our_manager, "key") == {True}
    if remove == "tag":
        await our_manager.invalidate_tags("tag")
    else:
        pending = KeyPattern((f"{our_manager.key_prefix}:~tag:tag",))
        our_manager.invalidations.pending.add([pending])
    assert await answers(our_manager, "key") == {False}


@pytest.mark.parametrize("data", [b"{", b"", b"\xff", b"cache/1 a b c value 1 {}\n1", b"cache/2 "])
async def test_p9_what_is_no_value_is_not_there(our_manager: CacheManager, data: bytes) -> None:
    """Bytes of another tool, a record of another version, half a record."""
    await our_manager.backend.set_bytes(f"{our_manager.key_prefix}:key", data)
    assert await answers(our_manager, "key") == {False}
    assert await our_manager.get_or_set("key", lambda: 2) == 2
    assert await answers(our_manager, "key") == {True}


async def test_p9_a_key_of_another_type_is_not_there(
    redis_manager: CacheManager, redis_client: Redis
) -> None:
    """A list of Redis, for one."""
    redis_client.rpush(f"{redis_manager.key_prefix}:key", "a")
    assert await answers(redis_manager, "key") == {False}

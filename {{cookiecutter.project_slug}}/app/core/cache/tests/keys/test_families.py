"""Keys that seem to cover nothing: `invalidate_cache` says so, once, at its first call."""

from typing import Any

import pytest

from ... import CacheManager, MemoryBackend, cache_response, invalidate_cache


@pytest.fixture
def memory() -> CacheManager:
    """Lend a manager with three cached functions."""
    manager = CacheManager(MemoryBackend(), key_prefix="app")

    async def plain(user_id: int) -> int:
        return user_id

    async def own(user_id: int) -> int:
        return user_id

    cache_response(manager, "users")(plain)
    cache_response(manager, "rows", key="row:{user_id}")(own)
    cache_response(manager, "made", key=lambda user_id: f"{user_id}")(own)
    return manager


@pytest.mark.parametrize(
    ("keys", "meant"),
    [
        ("users", "users:*"),
        ("rows", "rows:*"),
        ("made", "made:*"),
        ("app:users:*", "users:*"),
        ("app:user:{user_id}", "user:{user_id}"),
    ],
)
async def test_keys_that_cover_no_entry_of_their_family_are_told(
    memory: CacheManager, keys: str, meant: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the pattern that was probably meant, and once."""

    @invalidate_cache(memory, keys)
    async def write(user_id: int) -> None: ...

    await write(1)
    await write(2)
    [warning] = [record.getMessage() for record in caplog.records]
    assert f"keys={keys!r}" in warning
    assert f"did you mean {meant!r}?" in warning


@pytest.mark.parametrize(
    "keys",
    [
        *("users*", "users:*", "u*", "*", "users:*plain*:*", "rows:row:{user_id}", "rows:row:1"),
        *(
            "rows:*1",
            "rows:{user_id}:{user_id}",
            "made:{user_id}",
            "other",
            "user",
            "other:{user_id}",
        ),
    ],
)
async def test_keys_that_may_cover_something_are_not_told(
    memory: CacheManager, keys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor are those that begin like no family: they are for what is set by hand."""

    @invalidate_cache(memory, keys)
    async def write(user_id: int) -> None: ...

    await write(1)
    assert caplog.records == []


async def test_a_key_prefix_may_be_that_of_all_keys(caplog: pytest.LogCaptureFixture) -> None:
    """What begins with it is below it."""
    memory = CacheManager(MemoryBackend(), key_prefix="app")

    @cache_response(memory, "app")
    async def read() -> int:
        return 1

    @invalidate_cache(memory, "app:*")
    async def write() -> None: ...

    await write()
    assert caplog.records == []


async def test_what_is_decorated_after_the_write_counts(caplog: pytest.LogCaptureFixture) -> None:
    """The look is at the first call."""
    memory = CacheManager(MemoryBackend())

    @invalidate_cache(memory, "later")
    async def write() -> None: ...

    @cache_response(memory, "later")
    async def read() -> int:
        return 1

    await write()
    assert "did you mean 'later:*'?" in caplog.text
    assert await read() == 1

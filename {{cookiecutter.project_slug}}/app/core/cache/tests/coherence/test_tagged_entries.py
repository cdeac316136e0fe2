"""A tag, given or derived, invalidates the entries that have it (promises P3 and P5)."""

import asyncio
from typing import Any

import pytest
from redis import Redis

from ... import CacheManager, cache_response, invalidate_cache
from .fence_scenes import Source


async def test_p3_a_tag_that_was_evicted_makes_a_miss(
    redis_manager: CacheManager, redis_client: Redis
) -> None:
    """Never the return of what was invalidated."""
    source = Source()
    source.go_on.set()
    read = source.cached(redis_manager)
    await read(7)
    for key in redis_client.scan_iter(f"{redis_manager.key_prefix}:~tag:*"):
        redis_client.unlink(key)
    source.value = "new"
    assert [await read(7), await read(7)] == ["new", "new"]


async def test_a_tag_spares_entries_without_it(manager: CacheManager) -> None:
    """A tag with an argument is one entry's; a tag without is all entries'."""
    source = Source()
    source.go_on.set()
    read = source.cached(manager)
    await read(7)
    await read(8)
    assert await manager.invalidate_tags("value:7") is True
    await read(7)
    await read(8)
    assert source.reads == 3
    await manager.invalidate_tags("all")
    await read(7)
    await read(8)
    assert source.reads == 5


@pytest.mark.parametrize("tags", ["one", [""], [7], ["{nobody}"]])
async def test_wrong_tags_are_errors_when_decorating(our_manager: CacheManager, tags: Any) -> None:
    """For both decorators."""

    async def function(number: int) -> int:
        return number

    with pytest.raises((TypeError, ValueError), match=r"tags=|nobody"):
        cache_response(our_manager, "data", tags=tags)(function)
    with pytest.raises((TypeError, ValueError), match=r"tags=|nobody"):
        invalidate_cache(our_manager, tags=tags)(function)


class Team:
    """A source of teams whose members are known only when they are read."""

    def __init__(self) -> None:
        self.members = [1, 2]
        self.reads = 0
        self.reading, self.go_on = asyncio.Event(), asyncio.Event()

    def cached(self, manager: CacheManager) -> Any:
        """Return a cached function whose tags are the members that it returns."""

        @cache_response(
            manager, "team", tags=["teams", lambda team: [f"user:{member}" for member in team]]
        )
        async def read(name: str) -> list[int]:
            members = list(self.members)
            self.reads += 1
            self.reading.set()
            await self.go_on.wait()
            return members

        return read


async def test_tags_may_be_derived_from_the_result(manager: CacheManager) -> None:
    """A tag that the result has invalidates it, and one that it has not does not."""
    team = Team()
    team.go_on.set()
    read = team.cached(manager)
    for expected, tag in ((1, "user:3"), (1, "user:2"), (2, "teams"), (3, "user:1")):
        assert [await read("a"), await read("a")] == [[1, 2], [1, 2]]
        assert team.reads == expected
        assert await manager.invalidate_tags(tag) is True


async def test_p3_a_derived_tag_overtakes_a_fill(manager: CacheManager) -> None:
    """Although nobody knew, when it was invalidated, that the result would have it."""
    team = Team()
    read = team.cached(manager)
    overtaken = asyncio.create_task(read("a"))
    await team.reading.wait()
    team.members = [1]
    assert await manager.invalidate_tags("user:2") is True
    late = asyncio.create_task(read("a"))
    for _ in range(20):
        await asyncio.sleep(0)
    team.go_on.set()
    assert await overtaken == [1, 2]
    assert await late == [1]
    assert await read("a") == [1]


async def test_p5_tags_that_cannot_be_derived_cost_only_the_entry(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller has the result, and one warning names the function."""

    @cache_response(manager, "data", tags=[lambda value: [value["missing"]]])
    async def function() -> dict[str, int]:
        return {}

    assert [await function(), await function()] == [{}, {}]
    assert len(caplog.records) == 1
    assert "tags cannot be derived" in caplog.text

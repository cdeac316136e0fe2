"""Invalidations are kept, too, for a backend that has six methods only (promise P6)."""

from datetime import timedelta
from typing import Any, Final

import pytest

from ... import CacheManager
from ..conftest import SixMethods
from .pending_scenes import KINDS, WAYS, Entries, delivered


class Moody(SixMethods):
    """A backend of six methods that raise while it is away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    def _come(self) -> None:
        if self.away:
            raise OSError("away")

    async def get(self, key: str) -> Any | None:
        self._come()
        return await super().get(key)

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        self._come()
        return await super().set(key, value, expire)

    async def delete(self, key: str) -> bool:
        self._come()
        return await super().delete(key)

    async def exists(self, key: str) -> bool:
        self._come()
        return await super().exists(key)

    async def clear(self) -> bool:
        self._come()
        return await super().clear()


class Swallowing(SixMethods):
    """A backend that raises nothing while it is away: it says `None` or `False`."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    async def get(self, key: str) -> Any | None:
        return None if self.away else await super().get(key)

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        return not self.away and await super().set(key, value, expire)

    async def delete(self, key: str) -> bool:
        return not self.away and await super().delete(key)

    async def exists(self, key: str) -> bool:
        return not self.away and await super().exists(key)

    async def clear(self) -> bool:
        return not self.away and await super().clear()


@pytest.mark.parametrize("way", WAYS)
async def test_p6_it_is_kept_for_a_backend_of_six_methods(way: str) -> None:
    """Which raise while it is away; it is tried from time to time."""
    manager = CacheManager(backend := Moody())
    entries = Entries(manager)
    invalidate, covered = WAYS[way]
    await entries.store([1])
    backend.away = True
    assert not await invalidate(entries, 1)
    entries.source = "new"
    for kind in covered:
        assert await entries.read(kind, 1) <= {None, "new"}
    backend.away = False
    for kind in covered:
        assert await entries.read(kind, 1) <= {None, "new"}
    await delivered(manager)
    for kind in covered:
        assert "old" not in await entries.read(kind, 1)
    await manager.close()


NOT_BY_DELETE: Final = [
    "a pattern",
    "a tag",
    "set",
    "set over made",
    "f.invalidate_all",
    "clear",
    "invalidate_cache by tags",
]
"""Ways of which a backend that swallows its failures tells: `False` of `delete` may mean no entry."""


@pytest.mark.parametrize("way", NOT_BY_DELETE)
async def test_p6_a_backend_that_says_false_has_not_done_it(way: str) -> None:
    """What it did not do is kept, and done when it does something again."""
    manager = CacheManager(backend := Swallowing())
    entries = Entries(manager)
    invalidate, covered = WAYS[way]
    await entries.store([1])
    assert {value for kind in KINDS for value in await entries.read(kind, 1)} >= {"old"}
    backend.away = True
    assert not await invalidate(entries, 1)
    entries.source = "new"
    for kind in covered:
        assert "old" not in await entries.read(kind, 1)
    backend.away = False
    for kind in covered:
        assert "old" not in await entries.read(kind, 1)
    await delivered(manager)
    for kind in covered:
        assert "old" not in await entries.read(kind, 1)
    await manager.close()

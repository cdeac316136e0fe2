"""The backend of a cache that is switched off for good: it keeps nothing, and needs no server."""

# ruff: noqa: ARG002 - it has no use for what it is given

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

from ..base import CacheBackend
from ..keys import KeyPattern


class NoBackend(CacheBackend):
    """Keeps nothing. The manager of `CACHE_BACKEND=none` has it, and runs every function."""

    connects = False

    def __init__(self, key_prefix: str) -> None:
        self.key_prefix = key_prefix

    def __repr__(self) -> str:
        return "NoBackend()"

    async def get(self, key: str) -> Any | None:
        return None

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        return False

    async def delete(self, key: str) -> bool:
        return False

    async def exists(self, key: str) -> bool:
        return False

    async def clear(self) -> bool:
        return True

    async def close(self) -> None:
        pass

    async def scan(self, pattern: KeyPattern, /) -> AsyncIterator[Sequence[str]]:
        for _ in ():
            yield ()

    async def invalidate_tag_keys(self, tags: Sequence[str], ms: int) -> bool:
        """Return that it is done: there is nothing to invalidate."""
        return True

"""Decorated functions that no route calls, and one that a route calls, for audits."""

from datetime import timedelta
from typing import Any

from ... import CacheManager, MemoryBackend, cache_response, invalidate_cache

cache = CacheManager(MemoryBackend())


class Thing:
    """What no record can hold."""


class Unbound:
    """Stands for something that is not there yet, as a proxy."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


unbound = Unbound()


@cache_response(cache, "far_away")
async def load_far() -> Thing:
    """Return something."""
    return Thing()


class Far:
    """A service."""

    @cache_response(cache, "far_away")
    @staticmethod
    async def read_far() -> int:
        """Return a number."""
        return 1


@cache_response(cache, "far_away", tags=["far"], expire=timedelta(days=31))
async def read_far() -> int:
    """Return a number."""
    return 1


@invalidate_cache(cache, keys="far_aways:*")
async def write_far() -> None:
    """Change something."""


@invalidate_cache(cache, keys="profile*")
async def write_other() -> None:
    """Change something else."""


async def endpoint() -> int:
    """Call some of them."""
    await write_other()
    return await read_far()

"""Cached functions of which the tests count the calls."""

from typing import Any

from ... import CacheManager, cache_response


def function(manager: CacheManager, answer: Any, prefix: str = "data", **options: Any) -> Any:
    """Return a cached function that gives this answer."""

    @cache_response(manager, prefix, shared=True, **options)
    async def cached(_: int = 0) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return cached

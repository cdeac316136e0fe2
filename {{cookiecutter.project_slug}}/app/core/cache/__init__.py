"""A cache for asynchronous services, in Redis or in memory. Start with README.md beside this file."""

from typing import TYPE_CHECKING

from . import backends
from .backends import MemoryBackend
from .base import CacheBackend
from .coherence import CacheStatusMiddleware, InvalidationEvent
from .config import CacheConfigError, CacheFactory, get_cache_manager
from .http import CachedRoute
from .manager import CacheManager, cache_response, invalidate_cache

if TYPE_CHECKING:
    from .backends import RedisBackend, Tls
    from .settings import CacheSettings

__all__ = [
    "CacheBackend",
    "CacheConfigError",
    "CacheFactory",
    "CacheManager",
    "CacheSettings",
    "CacheStatusMiddleware",
    "CachedRoute",
    "InvalidationEvent",
    "MemoryBackend",
    "RedisBackend",
    "Tls",
    "cache_response",
    "get_cache_manager",
    "invalidate_cache",
]


def __getattr__(name: str) -> object:
    """Import the settings, and what needs redis-py, when they are asked for: most of all there is.

    Raises `CacheConfigError` for `RedisBackend` and `Tls` where redis-py is missing or too old.
    """
    if name in ("RedisBackend", "Tls"):
        return getattr(backends, name)
    if name == "CacheSettings":
        from .settings import CacheSettings  # noqa: PLC0415 - that is the point

        return CacheSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

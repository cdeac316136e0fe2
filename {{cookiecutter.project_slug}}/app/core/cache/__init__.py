"""A cache for asynchronous services, in Redis or in memory. Start with README.md beside this file."""

from .backends import MemoryBackend, RedisBackend, Tls
from .base import CacheBackend
from .config import CacheConfigError, CacheFactory, CacheSettings, get_cache_manager
from .journal import InvalidationEvent
from .manager import CacheManager, cache_response, invalidate_cache
from .route import CachedRoute
from .status import CacheStatusMiddleware

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

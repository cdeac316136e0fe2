"""The factory of cache managers: the one place that puts the parts together."""

import logging
import threading
from typing import ClassVar

from .manager import CacheManager

__all__ = ["CacheConfigError", "CacheFactory", "get_cache_manager"]

logger = logging.getLogger(__name__)


class CacheConfigError(ValueError):
    """A setting of the cache has a value that cannot be right."""


class CacheFactory:
    """Makes cache managers from the settings, and keeps the one that a service shares.

    All methods are called on the class.
    """

    _manager: ClassVar[CacheManager | None] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def create_cache_manager(cls) -> CacheManager:
        """Return a new manager. It connects when it is first used, not here.

        Raises `CacheConfigError` for a setting with a wrong value.
        """
        from .settings import CacheSettings, backend_of  # noqa: PLC0415 - see `__init__`

        settings = CacheSettings.load()
        manager = CacheManager(
            backend_of(settings),
            default_ttl=settings.cache_default_ttl,
            max_entry_bytes=settings.cache_max_entry_bytes,
            compress_over=settings.cache_compress_over,
            ttl_jitter=settings.cache_ttl_jitter,
            lock_timeout=settings.cache_lock_timeout,
        )
        logger.info("cache in %r, key prefix %r", manager.backend, manager.key_prefix)
        return manager

    @classmethod
    def get_cache_manager(cls) -> CacheManager:
        """Return the shared manager, which is made when it is first asked for."""
        with cls._lock:
            if cls._manager is None:
                cls._manager = cls.create_cache_manager()
            return cls._manager

    @classmethod
    async def close_cache_manager(cls) -> None:
        """Close the shared manager's connections, if there is one. It can be used again."""
        if cls._manager is not None:
            await cls._manager.close()

    @classmethod
    async def health_check_cache(cls) -> bool:
        """Return whether the shared manager's backend answers."""
        return await cls.get_cache_manager().health_check()

    @classmethod
    def get_cache_key_prefix(cls) -> str:
        """Return the prefix of the shared manager's keys, without the colon."""
        return cls.get_cache_manager().key_prefix

    @classmethod
    def get_default_ttl(cls) -> int:
        """Return the shared manager's default time to live, in seconds."""
        return cls.get_cache_manager().default_ttl


def get_cache_manager() -> CacheManager:
    """Return the shared manager, which is made when it is first asked for."""
    return CacheFactory.get_cache_manager()

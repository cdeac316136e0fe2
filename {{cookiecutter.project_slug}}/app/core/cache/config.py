"""The factory of cache managers: the one place that puts the parts together."""

import logging
import threading
from typing import TYPE_CHECKING, ClassVar

from .errors import CacheConfigError
from .floors import insist_on_the_rest
from .manager import CacheManager

if TYPE_CHECKING:
    from .settings import CacheSettings

__all__ = ["CacheConfigError", "CacheFactory", "get_cache_manager"]

logger = logging.getLogger(__name__)


class CacheFactory:
    """Makes cache managers from the settings, and keeps the one that a service shares.

    All methods are called on the class.
    """

    _manager: ClassVar[CacheManager | None] = None
    _is_told: ClassVar[bool] = False
    """Whether the log has the line that names the backend of the shared manager."""
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def create_cache_manager(cls, settings: "CacheSettings | None" = None) -> CacheManager:
        """Return a new manager. It connects when it is first used, not here.

        Without `settings` they are read from the environment. Raises `CacheConfigError` for a wrong
        value, for contradictions, and for packages that are missing or too old. Raises `TypeError`
        if `settings` is not a `CacheSettings`.
        """
        insist_on_the_rest()
        from .settings import CacheSettings, backend_of  # noqa: PLC0415 - see `__init__`

        settings = CacheSettings.load() if settings is None else settings
        if not isinstance(settings, CacheSettings):
            raise TypeError(  # it may hold a password
                f"settings is a {type(settings).__name__}; give CacheSettings(...), or leave it out"
            )
        manager = CacheManager(
            backend_of(settings),
            default_ttl=settings.cache_default_ttl,
            max_entry_bytes=settings.cache_max_entry_bytes,
            compress_over=settings.cache_compress_over,
            ttl_jitter=settings.cache_ttl_jitter,
            lock_timeout=settings.cache_lock_timeout,
            cache_control=settings.cache_control,
            client_control=settings.cache_client_control,
            enabled=settings.cache_enabled and settings.backend_name != "none",
        )
        _tell(manager)
        return manager

    @classmethod
    def get_cache_manager(cls) -> CacheManager:
        """Return the shared manager. The first call makes it.

        The first call is often at import, before logging is configured. Then the first later call
        at which logging is on writes the log line that names the backend.
        """
        is_heard = logger.isEnabledFor(logging.INFO) and logger.hasHandlers()
        with cls._lock:
            if cls._manager is None:
                cls._is_told = is_heard
                cls._manager = cls.create_cache_manager()
            elif is_heard and not cls._is_told:
                cls._is_told = True
                _tell(cls._manager)
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


def _tell(manager: CacheManager) -> None:
    off = " (switched off)" if manager.switch.is_off else ""
    logger.info("cache in %r%s, key prefix %r", manager.backend, off, manager.key_prefix)


def get_cache_manager() -> CacheManager:
    """Return the shared manager. The first call makes it."""
    return CacheFactory.get_cache_manager()

"""Settings from the environment, and the one place that puts the parts together."""

import logging
import threading
from typing import ClassVar, Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .backends import MemoryBackend, RedisBackend
from .base import DEFAULT_KEY_PREFIX, CacheBackend
from .manager import DEFAULT_MAX_ENTRY_BYTES, DEFAULT_TTL, DEFAULT_TTL_JITTER, CacheManager

logger = logging.getLogger(__name__)


class CacheConfigError(ValueError):
    """A setting of the cache has a value that cannot be right."""


class CacheSettings(BaseSettings):
    """The cache's settings: each field is read from the variable of its name in capitals.

    Variables of the environment come before those of a `.env` file in the working directory. An
    empty one counts as unset.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    cache_backend: Literal["redis", "memory"] | None = Field(
        default=None,
        description="redis or memory; unset, it is redis where REDIS_HOST is set, else memory",
    )
    redis_host: str = Field(default="localhost", description="a host name or address")
    redis_port: int = Field(default=6379, ge=1, le=65535, description="a port, 1 to 65535")
    redis_db: int = Field(default=0, ge=0, description="the number of a database, 0 or more")
    redis_password: SecretStr | None = Field(default=None, description="a password")
    redis_max_connections: int = Field(
        default=10, ge=1, le=10_000, description="connections of each process, 1 to 10000"
    )
    redis_timeout: float = Field(
        default=5.0, gt=0, le=3600, description="seconds, more than 0, at most 3600"
    )
    cache_default_ttl: int = Field(
        default=DEFAULT_TTL, ge=1, le=2**31 - 1, description="whole seconds, 1 or more"
    )
    cache_key_prefix: str = Field(
        default=DEFAULT_KEY_PREFIX,
        pattern=r"^[!-~]{1,100}$",
        description="1 to 100 visible ASCII characters, no spaces",
    )

    cache_max_entry_bytes: int = Field(
        default=DEFAULT_MAX_ENTRY_BYTES, ge=1, description="a number of bytes, 1 or more"
    )
    cache_compress_over: int = Field(
        default=0, ge=0, description="a number of bytes, or 0 for no compression"
    )

    cache_ttl_jitter: float = Field(
        default=DEFAULT_TTL_JITTER, ge=0, le=0.5, description="a part of the time to live, 0 to 0.5"
    )

    @classmethod
    def load(cls) -> Self:
        """Read the settings.

        Raises `CacheConfigError`, which names each wrong variable, its value and what is allowed.
        """
        try:
            return cls()
        except ValidationError as error:
            lines = [_complaint(str(each["loc"][0]), each["input"]) for each in error.errors()]
        # Outside the handler, so that no traceback shows what pydantic was given.
        raise CacheConfigError("; ".join(lines))

    @property
    def backend_name(self) -> Literal["redis", "memory"]:
        """The backend that was chosen, or follows from whether there is a `REDIS_HOST`."""
        if self.cache_backend is not None:
            return self.cache_backend
        return "redis" if "redis_host" in self.model_fields_set else "memory"


def _complaint(field: str, value: object) -> str:
    variable = field.upper()
    allowed = CacheSettings.model_fields[field.lower()].description
    return f"{variable}={value!r} is not allowed; it must be {allowed}"


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
        settings = CacheSettings.load()
        manager = CacheManager(
            _backend(settings),
            default_ttl=settings.cache_default_ttl,
            max_entry_bytes=settings.cache_max_entry_bytes,
            compress_over=settings.cache_compress_over,
            ttl_jitter=settings.cache_ttl_jitter,
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


def _backend(settings: CacheSettings) -> CacheBackend:
    if settings.backend_name == "memory":
        return MemoryBackend(key_prefix=settings.cache_key_prefix)
    return RedisBackend(
        host=settings.redis_host,
        port=settings.redis_port,
        db=settings.redis_db,
        password=settings.redis_password,
        max_connections=settings.redis_max_connections,
        timeout=settings.redis_timeout,
        key_prefix=settings.cache_key_prefix,
    )

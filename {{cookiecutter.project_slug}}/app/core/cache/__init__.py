"""A cache for asynchronous services, in Redis or in memory. Start with README.md beside this file."""

from pathlib import Path
from typing import TYPE_CHECKING

from . import backends
from .backends import MemoryBackend
from .base import CacheBackend
from .coherence import InvalidationEvent, Removal
from .config import CacheConfigError, CacheFactory, get_cache_manager
from .errors import UnavailableError
from .events import CacheEvent
from .manager import CacheManager, cache_response, invalidate_cache
from .optional import insist_on_file

if TYPE_CHECKING:
    from .backends import RedisBackend, Tls
    from .http import CachedRoute, CacheMiddleware, CacheStatusMiddleware
    from .settings import CacheSettings

    __version__: str

__all__ = [
    "CacheBackend",
    "CacheConfigError",
    "CacheEvent",
    "CacheFactory",
    "CacheManager",
    "CacheMiddleware",
    "CacheSettings",
    "CacheStatusMiddleware",
    "CachedRoute",
    "InvalidationEvent",
    "MemoryBackend",
    "RedisBackend",
    "Removal",
    "Tls",
    "UnavailableError",
    "cache_response",
    "get_cache_manager",
    "invalidate_cache",
]


def __getattr__(name: str) -> object:
    """Import large classes, optional ones, and those that need redis-py only when they are used.

    `__version__` is read from version.txt, and "unknown" where that is missing or empty.

    Raises `CacheConfigError` for `RedisBackend` and `Tls` if redis-py is missing or too old, and
    for a class whose file was deleted.
    """
    if name == "CachedRoute":
        insist_on_file("http/route.py", name)
        from .http import CachedRoute  # noqa: PLC0415 - its file may be deleted

        return CachedRoute
    if name == "CacheMiddleware":
        insist_on_file("http/middleware.py", name)
        from .http import CacheMiddleware  # noqa: PLC0415 - its file may be deleted

        return CacheMiddleware
    if name == "CacheStatusMiddleware":
        insist_on_file("http/status.py", name)
        from .http import CacheStatusMiddleware  # noqa: PLC0415 - its file may be deleted

        return CacheStatusMiddleware
    if name in ("RedisBackend", "Tls"):
        return getattr(backends, name)
    if name == "CacheSettings":
        from .settings import CacheSettings  # noqa: PLC0415 - only settings need pydantic-settings

        return CacheSettings
    if name == "__version__":
        file = Path(__file__).with_name("version.txt")
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
        return text.strip() or "unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

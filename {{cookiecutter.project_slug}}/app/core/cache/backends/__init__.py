"""Where entries can be kept."""

from typing import TYPE_CHECKING

from ..floors import insist_on_redis_py
from .memory import MemoryBackend

if TYPE_CHECKING:
    from .redis import RedisBackend
    from .wire.connections import Tls

__all__ = ["MemoryBackend", "RedisBackend", "Tls"]


def __getattr__(name: str) -> object:
    """Import a name that needs redis-py on its first use: `MemoryBackend` works without redis-py.

    Raises `CacheConfigError` if redis-py is missing or too old.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    insist_on_redis_py()
    from .redis import RedisBackend  # noqa: PLC0415 - memory needs no redis-py
    from .wire.connections import Tls  # noqa: PLC0415 - memory needs no redis-py

    return RedisBackend if name == "RedisBackend" else Tls

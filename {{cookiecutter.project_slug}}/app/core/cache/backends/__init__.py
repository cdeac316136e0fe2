"""Where entries can be kept."""

from typing import TYPE_CHECKING

from ..floors import insist_on_redis_py
from .memory import MemoryBackend

if TYPE_CHECKING:
    from .connections import Tls
    from .redis import RedisBackend

__all__ = ["MemoryBackend", "RedisBackend", "Tls"]


def __getattr__(name: str) -> object:
    """Import what needs redis-py when it is asked for: memory works without.

    Raises `CacheConfigError` where redis-py is missing or too old.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    insist_on_redis_py()
    from .connections import Tls  # noqa: PLC0415 - that is the point
    from .redis import RedisBackend  # noqa: PLC0415 - likewise

    return RedisBackend if name == "RedisBackend" else Tls

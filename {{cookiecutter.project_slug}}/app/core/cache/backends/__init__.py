"""Where entries can be kept."""

from .connections import Tls
from .memory import MemoryBackend
from .redis import RedisBackend

__all__ = ["MemoryBackend", "RedisBackend", "Tls"]

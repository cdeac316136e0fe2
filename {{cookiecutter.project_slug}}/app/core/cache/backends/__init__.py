"""Where entries can be kept."""

from .memory import MemoryBackend
from .redis import RedisBackend

__all__ = ["MemoryBackend", "RedisBackend"]

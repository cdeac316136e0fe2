"""The settings, from the environment or given, and the backend that they describe.

Nothing here is imported before it is asked for.
"""

from .backend import backend_of
from .model import CacheSettings

__all__ = [
    "CacheSettings",
    "backend_of",
]

"""The settings, from the environment or given, and the backend that they describe.

Nothing here is imported before it is asked for.
"""

from .model import CacheSettings, backend_of

__all__ = [
    "CacheSettings",
    "backend_of",
]

"""The settings, from the environment or from arguments, and the backend that they describe.

Nothing imports this room before settings are needed.
"""

from .backend import backend_of
from .model import CacheSettings

__all__ = [
    "CacheSettings",
    "backend_of",
]

"""The page of a cache: what it does, what it holds, and buttons to invalidate that.

Nobody sees it who is not let in: see `cache_page`.
"""

from .routes import cache_page

__all__ = ["cache_page"]

"""Optional parts for HTTP: the middleware, the route class, and the header `Cache-Status`.

You may delete the files of the middleware, `route`, or `status`, as README.md lists them, or the whole
folder. No other room imports them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .middleware import CacheMiddleware
    from .route import CachedRoute
    from .routed import why_routed
    from .status import CacheStatusMiddleware

__all__ = ["CacheMiddleware", "CacheStatusMiddleware", "CachedRoute", "why_routed"]


def __getattr__(name: str) -> object:
    """Import a name when it is asked for: its file may have been deleted."""
    if name == "CachedRoute":
        from .route import CachedRoute  # noqa: PLC0415 - its file may be deleted

        return CachedRoute
    if name == "CacheMiddleware":
        from .middleware import CacheMiddleware  # noqa: PLC0415 - its file may be deleted

        return CacheMiddleware
    if name == "CacheStatusMiddleware":
        from .status import CacheStatusMiddleware  # noqa: PLC0415 - its file may be deleted

        return CacheStatusMiddleware
    if name == "why_routed":
        from .routed import why_routed  # noqa: PLC0415 - its file may be deleted

        return why_routed
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Optional parts for operation: the audit of an application, and metrics.

You may delete its files, as README.md lists them, or the whole folder. No other room imports them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .audit import Audit, CacheAuditError, Told, audit_cache
    from .findings import Finding

__all__ = ["Audit", "CacheAuditError", "Finding", "Told", "audit_cache"]


def __getattr__(name: str) -> object:
    """Import a name when it is asked for: its file may have been deleted."""
    if name in __all__:
        from . import audit  # noqa: PLC0415 - its file may be deleted

        return getattr(audit, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

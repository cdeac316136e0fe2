"""The values of settings and arguments where nothing else is said."""

from typing import Final, Literal, get_args

CacheControl = Literal["max-age", "no-cache", "immutable", "none"]
"""What the responses of cached endpoints say to clients and proxies: see `cache_response`."""
CACHE_CONTROLS: Final[tuple[CacheControl, ...]] = get_args(CacheControl)

DEFAULT_CACHE_CONTROL: CacheControl = "max-age"
DEFAULT_KEY_PREFIX = "app"
DEFAULT_LOCK_TIMEOUT = 5.0
DEFAULT_MAX_ENTRY_BYTES = 8 * 1024 * 1024
DEFAULT_NEAR_BYTES = 64 * 1024 * 1024
DEFAULT_OPERATION_TIMEOUT = 0.25
DEFAULT_TTL = 300
DEFAULT_TTL_JITTER = 0.02

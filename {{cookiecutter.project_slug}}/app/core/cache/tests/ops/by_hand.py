"""Code that stores by hand, for audits."""

from ... import CacheManager, MemoryBackend

cache = CacheManager(MemoryBackend())


async def remember(user: str = "") -> None:
    """Store something."""
    await cache.set(f"session:{user}", 1)
    await cache.get_or_set("team", lambda: 1, tags=[f"team:{user}", "all_teams"])


SETTINGS_KEY, STATS = "settings:all", "stats"


def profile_key(user: str) -> str:
    """Return the key of a profile."""
    return f"profile:{user}"


async def settings(user: str = "") -> None:
    """Read what constants and helpers name."""
    await cache.get_or_set(SETTINGS_KEY, lambda: 1)
    await cache.get_or_set(f"{STATS}:{user}", lambda: 1)
    await cache.get_or_set(profile_key(user), lambda: 1, tags=["fe" + "ed"])

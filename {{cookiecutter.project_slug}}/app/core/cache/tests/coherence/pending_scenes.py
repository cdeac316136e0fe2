"""What the tests of pending invalidations share: entries of each kind, ways to invalidate them."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from ... import CacheManager, cache_response, invalidate_cache
from ..faults import eventually


class Entries:
    """Entries of each kind, that say what their source said when they were made."""

    def __init__(self, manager: CacheManager) -> None:
        self.manager = manager
        self.source = "old"
        self.runs = 0

        @cache_response(manager, "function", key="{number}", tags=["tag:{number}", "tag"])
        async def function(number: int) -> str:
            return self.compute()

        @cache_response(manager, "plain", key="{number}")
        async def plain(number: int) -> str:
            return self.compute()

        self.function, self.plain = function, plain

    def compute(self) -> str:
        """Ask the source."""
        self.runs += 1
        return self.source

    async def store(self, numbers: list[int]) -> None:
        """Store one of each kind for each number."""
        for number in numbers:
            await self.manager.set(f"set:{number}", self.source)
            await self.made(number)
            await self.function(number)
            await self.plain(number)

    async def made(self, number: int) -> Any:
        """Read what `get_or_set` makes."""
        return await self.manager.get_or_set(f"made:{number}", self.compute, tags=[f"tag:{number}"])

    async def read(self, kind: str, number: int) -> set[Any]:
        """Return what can be read of an entry, in every way; `None` for a miss."""
        key = f"{kind}:{number}"
        if kind in ("function", "plain"):
            return {await getattr(self, kind)(number)}
        found = {await self.manager.get(key), (await self.manager.get_many([key])).get(key)}
        if kind == "made":
            return found | {await self.made(number)}
        return found | ({"exists"} if await self.manager.exists(key) else set())

    async def write(self, number: int, **covered: Any) -> None:
        """Call a function that changes the source, and invalidates what it has to."""

        async def write(number: int) -> None:
            self.source = "new"

        await invalidate_cache(self.manager, **covered)(write)(number)


Way = tuple[Callable[[Entries, int], Awaitable[object]], set[str]]


WAYS: Final[dict[str, Way]] = {
    "delete": (lambda entries, n: entries.manager.delete(f"set:{n}"), {"set"}),
    "delete_many": (
        lambda entries, n: entries.manager.delete_many([f"set:{n}", f"made:{n}"]),
        {"set", "made"},
    ),
    "a key": (lambda entries, n: entries.manager.invalidate(f"made:{n}"), {"made"}),
    "a pattern": (
        lambda entries, n: entries.manager.invalidate(f"*:{n}"),
        {"set", "made", "function", "plain"},
    ),
    "a tag": (lambda entries, n: entries.manager.invalidate_tags(f"tag:{n}"), {"made", "function"}),
    "set": (lambda entries, n: entries.manager.set(f"set:{n}", "new"), {"set"}),
    "set over made": (lambda entries, n: entries.manager.set(f"made:{n}", "new"), {"made"}),
    "set, for no time": (lambda entries, n: entries.manager.set(f"set:{n}", 1, expire=0), {"set"}),
    "f.invalidate": (lambda entries, n: entries.function.invalidate(n), {"function"}),
    "f.invalidate, without tags": (lambda entries, n: entries.plain.invalidate(n), {"plain"}),
    "invalidate_cache": (
        lambda entries, n: entries.write(n, keys=["set:{number}", "ma*e:{number}"]),
        {"set", "made"},
    ),
    "invalidate_cache by tags": (
        lambda entries, n: entries.write(n, tags=["tag:{number}"]),
        {"made", "function"},
    ),
    "f.invalidate_all": (lambda entries, n: entries.function.invalidate_all(), {"function"}),
    "clear": (lambda entries, n: entries.manager.clear(), {"set", "made", "function", "plain"}),
}
"""Ways to invalidate entries of a number, and the kinds of those that it covers."""


OF_ALL_NUMBERS: Final = {"f.invalidate_all", "clear"}


KINDS: Final = ("set", "made", "function", "plain")


async def delivered(manager: CacheManager) -> None:
    """Wait until nothing is to be delivered."""
    await eventually(lambda: len(manager.invalidations.pending) == 0)

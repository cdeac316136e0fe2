"""What can be done with a cache, and what comes of it without Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from .... import CacheManager, cache_response, invalidate_cache
from ....keys.tags import Tag
from ...faults import BUDGET
from ...internals import always_due

LOOSE: Final = 10
"""A busy machine may make a call take so many times what it may take."""


FOREVER: Final = 60.0
"""A budget that no test can wait for."""


Call = Callable[[CacheManager], Awaitable[object]]


Function = Callable[[str], Awaitable[str]]


class Lost(NamedTuple):
    """When an exchange that came to nothing began, and when it was given up."""

    begun: float
    ended: float


async def computed(value: str) -> str:
    """Compute a value."""
    return value


def plain(manager: CacheManager, function: Function = computed) -> Any:
    """Make a cached function."""
    return cache_response(manager, f"plain:{function.__name__}", key="{value}")(function)


def tagged(manager: CacheManager, function: Function = computed) -> Any:
    """Make one that has tags, of which one is derived from its result."""
    tags: list[Tag] = ["tag", "tag:{value}", lambda value: [f"derived:{value}"]]
    return cache_response(manager, f"tagged:{function.__name__}", key="{value}", tags=tags)(
        function
    )


def due(manager: CacheManager, function: Function = computed) -> Any:
    """Make one whose entries are always due to be computed anew."""
    decorator = cache_response(
        manager, f"due:{function.__name__}", key="{value}", stale=60, early_refresh=1.0
    )
    return always_due(decorator(function))


def writing(manager: CacheManager) -> Any:
    """Make a function that invalidates a lot."""
    keys = ["a*", "b*", "c:{value}", "d:{value}*", "e"]
    return invalidate_cache(manager, keys, tags=["tag", "tag:{value}"])(computed)


async def loaded(keys: list[str]) -> dict[str, str]:
    """Compute a value for each key."""
    return dict.fromkeys(keys, "1")


CALLS: Final[dict[str, tuple[Call, object]]] = {
    "get": (lambda manager: manager.get("key"), None),
    "get, with a default": (lambda manager: manager.get("key", 7), 7),
    "get_many": (lambda manager: manager.get_many(["key", "other"]), {}),
    "set": (lambda manager: manager.set("key", 1), False),
    "set, for no time": (lambda manager: manager.set("key", 1, expire=0), False),
    "set_many": (lambda manager: manager.set_many({"a": 1, "b": 2, "c": 3}), False),
    "delete": (lambda manager: manager.delete("key"), False),
    "delete_many": (lambda manager: manager.delete_many(["key", "other"]), 0),
    "exists": (lambda manager: manager.exists("key"), False),
    "clear": (lambda manager: manager.clear(), False),
    "invalidate": (lambda manager: manager.invalidate("key*"), (False, None)),
    "invalidate_tags": (lambda manager: manager.invalidate_tags("tag", "other"), False),
    "health_check": (lambda manager: manager.health_check(), False),
    "get_or_set": (lambda manager: manager.get_or_set("new", lambda: "1", tags=["tag"]), "1"),
    "get_or_set_many": (
        lambda manager: manager.get_or_set_many(["new", "newer"], loaded),
        {"new": "1", "newer": "1"},
    ),
    "a cached function": (lambda manager: plain(manager)("1"), "1"),
    "one with tags": (lambda manager: tagged(manager)("1"), "1"),
    "one that is due": (lambda manager: due(manager)("1"), "1"),
    "its refresh": (lambda manager: plain(manager).refresh("1"), "1"),
    "its invalidation": (lambda manager: plain(manager).invalidate("1"), (False, None)),
    "that of all its calls": (lambda manager: plain(manager).invalidate_all(), (False, None)),
    "invalidate_cache": (lambda manager: writing(manager)("1"), "1"),
}
"""What can be done, and what comes of it without Redis."""


COMPUTED: Final = ["1", {"new": "1", "newer": "1"}]
"""What comes of it in any case."""


def cost_one_budget(lost: list[Lost]) -> bool:
    """Whether what came to nothing was under way at the same time, and not for too long."""
    first, last = min(each.begun for each in lost), max(each.ended for each in lost)
    at_once = max(each.begun for each in lost) <= min(each.ended for each in lost)
    return at_once and last - first < BUDGET * LOOSE


def waiting(manager: CacheManager) -> asyncio.Event:
    """Return what is set when the manager begins to wait for what another process computes."""
    wait_for_change, begun = manager.backend.wait_for_change, asyncio.Event()

    async def noted(key: str, standing: bytes) -> bytes | None:
        begun.set()
        return await wait_for_change(key, standing)

    manager.backend.wait_for_change = noted  # type: ignore[method-assign]
    return begun

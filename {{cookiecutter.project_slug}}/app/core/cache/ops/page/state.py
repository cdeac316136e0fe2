"""What the page shows, as JSON data."""

import asyncio
import json
import math
import time
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from ...errors import UnavailableError
from ..content import visible
from ..counters import ProcessCounters, counters_of, published
from ..counts import BOUNDS
from ..entries import Entry, entries_of
from .guard import HEADERS

if TYPE_CHECKING:
    from ...manager import CacheManager

HEALTH_SECONDS = 1.0
"""How long the page waits for the backend to say that it is well."""
SEARCH_SECONDS = 4.0
"""How long a search may take: in a large database there may be few keys to be found."""


def answer(data: object, status: int = 200) -> Response:
    """Return data as a response. It is ASCII, for texts from outside may hold half characters."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Response(text, status, HEADERS, "application/json")


async def state_of(manager: "CacheManager") -> dict[str, Any]:
    """Return what the cache did: in each process, as counters since it began."""
    is_up, processes = await asyncio.gather(_is_up(manager), published(manager))
    return {
        "backend": repr(manager.backend),
        "key_prefix": manager.key_prefix,
        "is_enabled": not manager.switch.is_off,
        "is_up": is_up,
        "is_shared": manager.backend.connects,
        "is_published": counters_of(manager).place != "",
        "has_near": manager.backend.near is not None,
        "now": time.time(),
        "bounds": BOUNDS,
        "own": processes[0].id,
        "processes": [_process(each) for each in processes],
    }


async def _is_up(manager: "CacheManager") -> bool:
    try:
        async with asyncio.timeout(HEALTH_SECONDS):
            return await manager.health_check()
    except TimeoutError:
        return False


def _process(counters: ProcessCounters) -> dict[str, Any]:
    prefixes = {name: each._asdict() for name, each in counters.prefixes.items()}
    return {**counters._asdict(), "prefixes": prefixes}


async def found(manager: "CacheManager", pattern: str, limit: int) -> dict[str, Any]:
    """Return the first entries whose keys match, and why these may not be all.

    Raises `NotImplementedError` if the backend cannot list keys.
    """
    entries, why, seen = dict[str, Entry](), "", 0
    try:
        async with asyncio.timeout(SEARCH_SECONDS):
            async for entry in entries_of(manager, pattern, most=limit + 1):
                seen += 1
                if seen > limit:
                    why = "limit"
                else:
                    entries[entry.key] = entry  # one may come twice
    except TimeoutError:
        why = "time"
    except UnavailableError:
        why = "away"
    except UnicodeDecodeError:
        why = "text"
    ordered = sorted(entries.values(), key=lambda each: each.key)
    return {"entries": [told(each) for each in ordered], "incomplete": why}


def told(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON data; `shown` is its key without what deceives the eye."""
    has_end = entry.expires_in is not None and math.isfinite(entry.expires_in)
    return {
        **entry._asdict(),
        "shown": visible(entry.key),
        "expires_in": entry.expires_in if has_end else None,
        "is_endless": entry.expires_in == math.inf,
    }

"""The entries of a cache as people look at them: what each is, who wrote it, and whether it is served.

All that is read comes from a server to which others may have access. So it is judged as data, never
decoded into objects of the application, and bounded.
"""

import math
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import NamedTuple

from ..calls import CachedCalls, made_with
from ..keys import tag_keys_of
from ..manager import CacheManager
from ..stored import owner_digest
from .content import content_of
from .parsed import Kind, Parsed, parsed
from .standing import Standing, standing_at

_BY_HAND = b"get_or_set"  # the owner of records that no decorated function has made
_BATCH = 50
_MOST_LISTED = 16_384  # bytes that a listing reads of each entry: more than nearly all have
_MOST_NONCES = 1000  # in one request
_NOT_SERVED = ("computing", "unreadable", "foreign")


class Entry(NamedTuple):
    """What stands at one key."""

    key: str
    """Without the prefix of all keys. It may hold anything, also what must not reach a terminal."""
    kind: Kind
    """`by hand` is a value of `set`; `computing` a lease: somebody computes the entry now.

    `unreadable` is a record that is damaged, forged, too large or of another version, and `foreign`
    what another program has put there. Neither is ever served.
    """
    size: int
    """How many bytes Redis holds; 0 if they are not bytes, such as a list."""
    expires_in: float | None
    """Seconds; `math.inf` if it has no end, `None` if the backend cannot tell."""
    written: float | None = None
    """When, in seconds since 1970; `None` if it does not say."""
    function: str = ""
    """Who wrote it; a function that this process does not know by the digest of its owner."""
    tags: tuple[str, ...] = ()
    is_current: bool = False
    """Whether it is served, as far as can be told without a call: none of its tags was invalidated."""
    is_stale: bool = False
    """Whether it is past its `expire`, and served for as long as `stale` allows."""
    status: int | None = None
    """Of a response or an exception."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of a response; they may hold anything that a header may. Listings have none."""
    content: str = ""
    """As text without control characters but line breaks; a long one is cut. Listings have none."""


async def entry_at(
    manager: CacheManager, key: str, *, managers: Sequence[CacheManager] = ()
) -> Entry | None:
    """Return what stands at a key, with its content; `None` if there is nothing.

    What begins with `~` is no entry but the cache's own. `managers` are others whose functions are
    known by name, too. Raises `UnavailableError` if the backend is away.
    """
    if not key or key.startswith("~") or key.endswith(":~refresh"):
        return None
    wholes = [f"{manager.key_prefix}:{key}"]
    (standing,) = await standing_at(manager, wholes, _MOST_LISTED)
    if standing is not None and standing.size <= manager.max_entry_bytes and not standing.is_whole:
        (standing,) = await standing_at(manager, wholes, manager.max_entry_bytes)
    if standing is None:
        return None
    (found,) = await _told(manager, {key: standing}, _names([manager, *managers]), is_whole=True)
    return found


async def entries_of(
    manager: CacheManager,
    pattern: str = "*",
    *,
    most: int | None = None,
    managers: Sequence[CacheManager] = (),
) -> AsyncIterator[Entry]:
    """Yield the entries whose keys `pattern` matches, at most `most`, without their content.

    They come as the backend finds them; one may come twice. Only the beginning of a large entry is
    read, so damage to its payload is not seen. Raises what `CacheManager.keys` raises.
    """
    names, batch, left = _names([manager, *managers]), dict[str, None](), most
    if left is not None and left <= 0:
        return
    async for key in manager.keys(pattern):
        batch[key] = None
        if len(batch) == (_BATCH if left is None else min(left, _BATCH)):
            for entry in await _listed(manager, [*batch], names):
                yield entry
            left = None if left is None else left - len(batch)
            batch.clear()
            if left == 0:
                return
    for entry in await _listed(manager, [*batch], names):
        yield entry


async def _listed(
    manager: CacheManager, keys: Sequence[str], names: Mapping[bytes, str]
) -> list[Entry]:
    wholes = [f"{manager.key_prefix}:{key}" for key in keys]
    found = await standing_at(manager, wholes, _MOST_LISTED)
    there = {key: each for key, each in zip(keys, found, strict=True) if each is not None}
    return await _told(manager, there, names, is_whole=False)


async def _told(
    manager: CacheManager,
    there: Mapping[str, Standing],
    names: Mapping[bytes, str],
    *,
    is_whole: bool,
) -> list[Entry]:
    """Return the entries at keys; `is_whole` says that their headers and contents are wanted."""
    before = f"{manager.key_prefix}:"
    read = {key: parsed(manager, before + key, each) for key, each in there.items()}
    nonces = await nonces_at(manager, {tag for each in read.values() for tag in each.told})
    (start,) = tag_keys_of(manager.key_prefix, [""])
    found = list[Entry]()
    for key, each in read.items():
        is_kept = each.kind not in _NOT_SERVED and not manager.invalidations.pending.covers(
            before + key, *each.told
        )
        entry = Entry(
            key,
            each.kind,
            there[key].size,
            _seconds(there[key].ms),
            each.written,
            _function(each, names),
            tuple([tag.removeprefix(start) for tag in each.told]),
            is_current=is_kept and all(nonces[tag] == old for tag, old in each.told.items()),
            is_stale=each.until is not None and each.until <= time.time() * 1000,
            status=each.status,
        )
        if is_whole:
            content = _content(there[key], each)
            entry = entry._replace(headers=each.headers, content=content)
        found.append(entry)
    return found


def _content(standing: Standing, read: Parsed) -> str:
    if not standing.is_whole:
        return f"... {standing.size} bytes, more than CACHE_MAX_ENTRY_BYTES: not read"
    is_read = read.kind in ("value", "response", "exception")
    return content_of(read.payload if is_read else standing.data)


async def nonces_at(manager: CacheManager, tags: set[str]) -> dict[str, bytes | None]:
    """Return the nonces that stand at the keys of tags now."""
    wanted, found = sorted(tags), dict[str, bytes | None]()
    for first in range(0, len(wanted), _MOST_NONCES):
        some = wanted[first : first + _MOST_NONCES]
        nonces = await manager.fence.looks.ask(manager.backend.nonces_now(some))
        found.update(zip(some, nonces, strict=True))
    return found


def _names(managers: Iterable[CacheManager]) -> dict[bytes, str]:
    """Return the names of functions, by the digests of owners that records have."""
    names = {owner_digest(_BY_HAND): "get_or_set"}
    for made in made_with([*managers]):
        if isinstance(made.calls, CachedCalls):
            names[made.calls.owner_digest] = made.calls.name
    return names


def _function(read: Parsed, names: Mapping[bytes, str]) -> str:
    if read.kind == "by hand":
        return "set"
    if not read.owner:
        return ""
    return names.get(read.owner) or f"unknown function {read.owner.decode('ascii')}"


def _seconds(ms: int | None) -> float | None:
    if ms is None:
        return None
    return math.inf if ms < 0 else ms / 1000

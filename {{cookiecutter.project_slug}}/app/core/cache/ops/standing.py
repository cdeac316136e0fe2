"""What stands at keys, as bytes: read in batches, and no more of it than is asked for."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from ..base import WRONG_TYPE, BytesBackend
from ..errors import UnavailableError
from ..manager import CacheManager
from ..resilience import Use

_MISSING = -2  # the PTTL of a key that is not there


class Standing(NamedTuple):
    """What stands at a key."""

    data: bytes
    """All of it, or its beginning."""
    size: int
    """How many bytes there are in all; 0 if it is not bytes, such as a Redis list."""
    ms: int | None
    """For how many milliseconds it still lives, -1 without an end; `None` if that is not known."""
    is_bytes: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether `data` is all of it."""
        return len(self.data) >= self.size


async def standing_at(
    manager: CacheManager, keys: Sequence[str], most: int
) -> list[Standing | None]:
    """Return what stands at whole keys, at most `most` bytes of each; `None` where there is nothing.

    On Redis that is one request. Raises `UnavailableError` if the backend is away.
    """
    if not keys:
        return []
    if is_redis(manager):
        return await _in_redis(manager, keys, most)
    return [await _anywhere(manager, key, most) for key in keys]


def is_redis(manager: CacheManager) -> bool:
    """Whether the backend of a manager sends commands to servers of Redis."""
    return hasattr(manager.backend, "_topology")


async def replies_of(manager: CacheManager, *commands: tuple[Any, ...]) -> list[Any]:
    """Return the replies of Redis to commands that only read; a reply may be a `ResponseError`."""
    from ..backends.wire.requests import Request  # noqa: PLC0415 - memory needs no hiredis

    backend: Any = manager.backend
    replies: list[Any] = await backend._topology.execute(Request(commands, Use.READ))
    return replies


async def replies_of_servers(
    manager: CacheManager, *commands: tuple[Any, ...]
) -> AsyncIterator[tuple[str, list[Any]]]:
    """Yield the name of each server that has keys, once, and its replies to commands that only read."""
    from ..backends.wire.requests import Request  # noqa: PLC0415 - memory needs no hiredis

    backend: Any = manager.backend
    asked = set[str]()
    async for server in backend._topology.walk():
        if server.name not in asked:
            asked.add(server.name)
            yield server.name, await server.execute(Request(commands, Use.READ))


async def _anywhere(manager: CacheManager, key: str, most: int) -> Standing | None:
    looks, backend = manager.fence.looks, manager.backend
    data, _ = await looks.ask(backend.look(key))
    if data is None:
        return None
    ms = await looks.ask(backend.ttl_ms(key))
    if data is WRONG_TYPE and not isinstance(backend, BytesBackend):
        return Standing(b"", 0, ms, is_bytes=False)
    return Standing(data[:most], len(data), ms)


async def _in_redis(manager: CacheManager, keys: Sequence[str], most: int) -> list[Standing | None]:
    from ..backends.commands import encoded  # noqa: PLC0415 - memory needs no redis-py

    commands: list[tuple[Any, ...]] = []
    for name in map(encoded, keys):
        commands += [("STRLEN", name), ("GETRANGE", name, 0, most - 1), ("PTTL", name)]
    replies = await replies_of(manager, *commands)
    threes = zip(replies[::3], replies[1::3], replies[2::3], strict=True)
    found = [_found(*three) for three in threes]
    for place, each in enumerate(found):
        if each is not None and each.size < len(each.data):
            # The user of Redis has no permission for STRLEN, so all is read that may be an entry.
            last = manager.max_entry_bytes
            (data,) = await replies_of(manager, ("GETRANGE", encoded(keys[place]), 0, last))
            again = _found(len(data), data, each.ms)
            found[place] = again and again._replace(data=again.data[:most])
    return found


def _found(size: Any, data: Any, ms: Any) -> Standing | None:
    """Read the replies for one key; a size that is not known is -1."""
    left = ms if isinstance(ms, int) else None
    if isinstance(data, Exception):
        if str(data).startswith("WRONGTYPE"):
            return Standing(b"", 0, left, is_bytes=False)
        raise UnavailableError(str(data))
    if left == _MISSING or (left is None and not data):
        return None
    return Standing(data, size if isinstance(size, int) else -1, left)

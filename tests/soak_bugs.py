"""Bugs for the soak to find: each makes a cache do what a cache must not do."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta
from random import random
from typing import Any

Cache = Any  # the manager of the project that this runs in


def lose_what_cannot_be_delivered(cache: Cache) -> None:
    """Forget an invalidation that does not reach the server."""

    def add(_patterns: Collection[Any]) -> None:
        pass

    cache.invalidations.pending.add = add


def store_over_whatever_stands_there(cache: Cache) -> None:
    """Store a fill although an invalidation overtook it."""
    backend = cache.backend

    async def replace(key: str, _over: bytes, data: bytes, ms: int) -> bool:
        return bool(await backend.set_bytes(key, data, timedelta(milliseconds=ms)))

    backend.replace = replace


def take_an_older_answer(cache: Cache) -> None:
    """Take, now and then, the answer to the question before."""
    get_many_bytes, answers = cache.backend.get_many_bytes, [()]

    async def astray(keys: Sequence[str]) -> tuple[bytes | None, ...]:
        answers.append(await get_many_bytes(keys))
        older = answers.pop(0)
        is_taken = len(older) == len(keys) and random() < 0.2  # noqa: S311 - no secret
        return older if is_taken else answers[0]

    cache.backend.get_many_bytes = astray


def let_callers_see_failures(cache: Cache) -> None:
    """Raise where the server cannot be asked."""
    run = cache.fence.run

    async def unguarded(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - the cache's types are those of another project
        if not await cache.backend.health_check():
            raise ConnectionError("the server is away")
        return await run(*arguments, **more)

    cache.fence.run = unguarded


def go_on_when_cancelled(cache: Cache) -> None:
    """Give a caller that is cancelled its value all the same."""
    run = cache.fence.run

    async def stubborn(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - the cache's types are those of another project
        try:
            return await run(*arguments, **more)
        except asyncio.CancelledError:
            return await run(*arguments, **more)

    cache.fence.run = stubborn


def neglect_tasks(cache: Cache) -> None:
    """Make tasks that fail and are not asked how they fared, and some that never end."""
    endless: list[asyncio.Task[Any]] = []

    async def unclaim(*_: object) -> None:
        endless[:] = [task for task in endless if not task.done()]
        if len(endless) < 20:
            endless.append(asyncio.create_task(asyncio.Event().wait()))
        raise ValueError("nobody asks")

    cache.fence.leases.unclaim = unclaim


def keep_connections(cache: Cache) -> None:
    """Close nothing when it is closed."""

    async def close() -> None:
        pass

    cache.backend.close = close


def keep_what_was_seen(cache: Cache) -> None:
    """Let memory grow."""
    look, seen = cache.backend.look, []
    cache.backend.read_nowait = lambda *_key, **_more: None

    async def hoard(*key: Any) -> object:  # noqa: ANN401 - the cache's types are those of another project
        seen.append([bytearray(1000) for _ in range(10)])
        return await look(*key)

    cache.backend.look = hoard

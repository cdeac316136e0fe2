"""Entries, leases and tags in Redis, as commands to the servers of a topology."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, ResponseError

from ..base import POLL_SECONDS, WRONG_TYPE, BytesBackend, Nonces, is_nonce, new_nonce
from ..expiry import milliseconds
from ..keys import KeyPattern
from ..resilience import Use
from ..stored import is_of_another_key
from .commands import (
    IF_BEGINS,
    IF_BEGINS_SHA,
    INCREMENT,
    decoded,
    encoded,
    found_in,
    get_nonce,
    get_of,
    nonce_of,
    nonces_in,
    raise_on_error,
)
from .topologies.single import Topology
from .wire.requests import Command, Gets, Request
from .wire.server import Server

if TYPE_CHECKING:
    from .near import NearCache

_LONGEST_WAIT_SECONDS = 0.5
"""A watched key is read again after this time without a message."""

_MISSING = -2  # the PTTL of a key that is not there

_SCAN_COUNT = 1000  # keys that one SCAN looks at, and one UNLINK removes: about a millisecond each


class RedisStore(BytesBackend):
    """Bytes on the servers of a topology; raises `UnavailableError` if one is unwell."""

    atomic = True
    near: "NearCache | None"  # pyright: ignore[reportIncompatibleVariableOverride]
    _topology: Topology

    async def get_bytes(self, key: str) -> bytes | None:
        return (await self.get_many_bytes([key]))[0]

    async def set_bytes(self, key: str, data: bytes, expire: int | timedelta | None = None) -> bool:
        ttl = None if expire is None else milliseconds(expire)
        if ttl == 0:
            await self.delete_many([key])
            return False
        lifetime: Command = () if ttl is None else ("PX", ttl)
        await self._all([("SET", encoded(key), data, *lifetime)], Use.STORE, invalidates=True)
        return True

    async def get_many_bytes(self, keys: Sequence[str]) -> Nonces:
        found, _ = await self._read(keys)
        return tuple(
            [
                None if data is WRONG_TYPE or (data and is_of_another_key(key, data)) else data
                for key, data in zip(keys, found, strict=True)
            ]
        )

    async def delete_many(self, keys: Sequence[str]) -> int:
        return sum(await self._unlink([encoded(key) for key in keys]))

    async def delete_matching(self, pattern: KeyPattern) -> int:
        """Remove every key that `pattern` covers, and return how many; SCAN finds them."""
        if pattern.exact_key is not None:
            return await self.delete_many([pattern.exact_key])
        removed = 0
        async for names in self._walk(pattern):
            removed += sum(await self._unlink(names))
        return removed

    async def scan(self, pattern: KeyPattern, /) -> AsyncIterator[Sequence[str]]:
        async for names in self._walk(pattern):
            yield [key for key in map(decoded, names) if key is not None]

    async def _walk(self, pattern: KeyPattern) -> AsyncIterator[list[bytes]]:
        """Yield the keys that a pattern covers, as SCAN finds them.

        SCAN returns each key that exists during the whole scan, and other clients are served
        between its steps (https://redis.io/docs/latest/commands/scan/). Each step has the time
        limit of one operation.
        """
        glob = pattern.redis_glob().encode("utf-8", "surrogatepass")
        async for server in self._topology.walk():
            async for names in _scan(server, glob):
                yield names

    async def look(
        self, key: str, tags: Sequence[str] = (), deadline: float | None = None
    ) -> tuple[bytes | None, Nonces]:
        """Return the bytes of `key` and of `tags`; `WRONG_TYPE` for a key of another type."""
        (standing,), nonces = await self._read([key], tags, deadline)
        return standing, nonces

    async def ttl_ms(self, key: str, /) -> int | None:
        """Return for how many milliseconds a key still lives; `None` if the server does not say."""
        (ms,) = await self._topology.execute(Request([("PTTL", encoded(key))], Use.READ))
        return ms if type(ms) is int and ms != _MISSING else None

    def read_nowait(
        self, key: str, tags: Sequence[str] = (), /, *, by_hand: bool = False
    ) -> "asyncio.Future[Any] | None":
        """Send a GET; with a near cache return `None`, as that needs the PTTL that `look` reads."""
        if self.near is not None:
            return None
        get = get_of(key)
        if not tags and not by_hand:
            return self._topology.read_nowait(get)
        # A nonce does not name its tag, but the reply before it names its key.
        return self._topology.read_nowait(Gets(get, [*map(nonce_of, tags)], sealed=by_hand))

    async def _read(
        self, keys: Sequence[str], tags: Sequence[str] = (), deadline: float | None = None
    ) -> tuple[list[bytes | None], Nonces]:
        """Return the bytes of `keys`, and the nonces at `tags`."""
        if not keys and not tags:
            return [], ()
        # GETs, not one MGET: on a cluster the keys live in different slots.
        names = [encoded(key) for key in keys]
        commands: list[Command] = [("GET", name) for name in names]
        commands += [get_nonce(encoded(tag)) for tag in tags]
        if self.near is not None:
            commands += [("PTTL", name) for name in names]
        found = await self._topology.execute(Request(commands, Use.READ, deadline=deadline))
        values, nonces = found[: len(keys)], found[len(keys) : len(keys) + len(tags)]
        return [found_in(reply) for reply in values], nonces_in(nonces)

    async def wait_for_change(self, key: str, standing: bytes, /) -> bytes | None:
        """Return the bytes of `key`; if they are `standing`, after a change or half a second."""
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        request = Request([("GET", encoded(key))], Use.READ, changed=changed)
        try:
            now = found_in((await self._topology.execute(request))[0])
            if now == standing and changed.cancelled():
                await asyncio.sleep(POLL_SECONDS)
            elif now == standing:
                await asyncio.wait([changed], timeout=_LONGEST_WAIT_SECONDS)
        finally:
            changed.cancel()
        return now

    async def acquire(self, key: str, data: bytes, ms: int) -> bytes | None:
        command: Command = ("SET", encoded(key), data, "NX", "GET", "PX", ms)
        standing = found_in((await self._topology.execute(Request([command], Use.STORE)))[0])
        return None if standing == data else standing  # our first try has set it

    async def replace(self, key: str, over: bytes, data: bytes, ms: int) -> bool:
        return await self._if_begins(key, Use.STORE, over, "SET", data, ms)

    async def renew(self, key: str, over: bytes, ms: int) -> bool:
        return await self._if_begins(key, Use.STORE, over, "PEXPIRE", b"", ms)

    async def release(self, key: str, over: bytes) -> bool:
        """Remove `key` if its bytes begin with `over`; if the script is refused, in any case.

        A Redis user without permission for scripts can store nothing, but must not leave leases.
        """
        reply = await self._script(key, Use.REMOVE, over, "UNLINK")
        if isinstance(reply, ResponseError):
            return await self.delete_many([key]) > 0
        return bool(reply)

    async def increment(self, key: str, by: int, ms: int) -> int | None:
        """Count in one step, and never twice: a request that may have been executed is not repeated."""
        command: Command = ("EVAL", INCREMENT, 1, encoded(key), by, ms)
        request = Request([command], Use.STORE, invalidates=True, once=True)
        total = found_in((await self._topology.execute(request))[0])
        return total if isinstance(total, int) else None

    async def nonces_now(self, tags: Sequence[str]) -> Nonces:
        return (await self._read((), tags))[1]

    async def nonces(self, tags: Sequence[str], ms: int) -> Nonces:
        made = [new_nonce() for _ in tags]
        names = [encoded(tag) for tag in tags]
        setting: list[Command] = [
            ("SET", name, nonce, "NX", "PX", ms) for name, nonce in zip(names, made, strict=True)
        ]
        request = Request([*setting, *map(get_nonce, names)], Use.STORE)
        asked = await self._topology.execute(request)
        for reply in asked[: len(names)]:
            raise_on_error(reply)
        found = [*nonces_in(asked[len(names) :])]
        forged = [place for place, nonce in enumerate(found) if not is_nonce(nonce)]
        if forged:  # a caller that has read another nonce meanwhile misses once more
            commands: list[Command] = [("SET", names[at], made[at], "PX", ms) for at in forged]
            await self._all(commands, Use.STORE)
            for at in forged:
                found[at] = made[at]
        return tuple(found)

    async def invalidate_tag_keys(self, tags: Sequence[str], ms: int) -> bool:
        """Put a new nonce at each of the keys `tags`, at the first key before the others."""
        steps = [tags[:1], tags[1:]] if self._topology.one_slot else [tags]
        for step in steps:
            commands: list[Command] = [("SET", encoded(tag), new_nonce(), "PX", ms) for tag in step]
            await self._all(commands, Use.REMOVE, invalidates=True)
        return True

    async def _unlink(self, names: Sequence[bytes]) -> list[int]:
        commands: list[Command] = [("UNLINK", *names)]
        if self._topology.one_slot:
            commands = [("UNLINK", name) for name in names]
        return await self._all(commands, Use.REMOVE, invalidates=True)

    async def _if_begins(self, key: str, use: Use, *arguments: bytes | str | int) -> bool:
        return bool(raise_on_error(await self._script(key, use, *arguments)))

    async def _script(self, key: str, use: Use, *arguments: bytes | str | int) -> Any:
        arguments = (1, encoded(key), *arguments)
        request = Request([("EVALSHA", IF_BEGINS_SHA, *arguments)], use)
        (reply,) = await self._topology.execute(request)
        if isinstance(reply, NoScriptError):
            request = Request([("EVAL", IF_BEGINS, *arguments)], use)
            (reply,) = await self._topology.execute(request)
        return reply

    async def _one(self, command: Command, use: Use) -> Any:
        return (await self._all([command], use))[0]

    async def _all(
        self, commands: Sequence[Command], use: Use, *, invalidates: bool = False
    ) -> list[Any]:
        request = Request(commands, use, invalidates)
        return [raise_on_error(reply) for reply in await self._topology.execute(request)]


async def _scan(server: Server, glob: bytes) -> AsyncIterator[list[bytes]]:
    cursor = b"0"
    while True:
        command: Command = ("SCAN", cursor, "MATCH", glob, "COUNT", _SCAN_COUNT)
        (reply,) = await server.execute(Request((command,), Use.READ))
        cursor, names = raise_on_error(reply)
        if names:
            yield names
        if cursor == b"0":
            return

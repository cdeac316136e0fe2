"""Entries in Redis, or in what speaks its protocol: one server, Sentinel or Cluster."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from hashlib import sha1
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SecretStr
from redis.exceptions import NoScriptError, ResponseError

from ..base import (
    DEFAULT_KEY_PREFIX,
    DEFAULT_NEAR_BYTES,
    DEFAULT_OPERATION_TIMEOUT,
    FOREIGN,
    NONCE_BYTES,
    POLL_SECONDS,
    BytesBackend,
    Nonces,
    UnavailableError,
    is_nonce,
    milliseconds,
    new_nonce,
)
from ..keys import KeyPattern
from ..resilience import Use
from ..stored import SHORT_KEY, is_of_another_key, start_of_record
from .addresses import Address
from .topologies.choice import Place, optional, topology_at
from .wire.connections import Connector, Tls
from .wire.requests import Command, Get, Request
from .wire.server import Options, Server

if TYPE_CHECKING:
    from .near import NearCache

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LONGEST_WAIT_SECONDS = 0.5
"""So long without a message, and a key that is watched is read again."""

# One atomic step: compare the beginning of what stands at a key, and act if it is that. A key of
# another type than string is `FOREIGN`.
_IF_BEGINS = b"""
local over, verb = ARGV[1], ARGV[2]
local standing = redis.pcall('GETRANGE', KEYS[1], 0, #over - 1)
if type(standing) == 'table' then
    if string.sub(standing.err, 1, 9) ~= 'WRONGTYPE' then return standing end
    standing = '?'
end
if standing ~= over then return 0 end
if verb == 'SET' then
    redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
elseif verb == 'PEXPIRE' then
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
else
    redis.call('UNLINK', KEYS[1])
end
return 1
"""
_IF_BEGINS_SHA = sha1(_IF_BEGINS, usedforsecurity=False).hexdigest()

_SCAN_COUNT = 1000  # keys that one SCAN looks at, and one UNLINK removes: about a millisecond each


class RedisBackend(BytesBackend):
    """Entries in Redis, over connections of each event loop.

    `host` and `port`, or a `unix_socket`, tell the server; with `cluster` it is one of several, and
    `host` may be a list of addresses, "a:7000,b:7000". With `sentinels`, the server is the one that
    they call `sentinel_master`. `tls` secures the connections, those to sentinels too.

    No operation takes more than `operation_timeout` seconds, in all; of that, connecting takes no
    more than `timeout`. `max_connections` bounds the connections of each server and event loop;
    further callers wait in line. None is made before the first use, so that an instance may be made
    at import. A server that is unwell is left alone for a while: see `breaker`.

    The six methods of the contract do not raise because Redis is away, slow or answers with an
    error; they return `None` or `False`. The others raise `UnavailableError`.
    """

    atomic = True
    near: "NearCache | None"

    def __init__(
        self,
        *,
        host: str = "localhost",
        port: int = 6379,
        db: int = 0,
        username: str | None = None,
        password: SecretStr | str | None = None,
        max_connections: int = 10,
        timeout: float = 5.0,
        operation_timeout: float = DEFAULT_OPERATION_TIMEOUT,
        key_prefix: str = DEFAULT_KEY_PREFIX,
        unix_socket: str | None = None,
        tls: Tls | None = None,
        sentinels: Sequence[Address] = (),
        sentinel_master: str | None = None,
        sentinel_username: str | None = None,
        sentinel_password: SecretStr | str | None = None,
        cluster: bool = False,
        near_size: int = 0,
        near_bytes: int = DEFAULT_NEAR_BYTES,
    ) -> None:
        if not key_prefix:
            raise ValueError(f"{key_prefix=} must not be empty: it bounds what is ours in Redis")
        self.key_prefix = key_prefix
        self.near = _near_cache(near_size, near_bytes)
        budget = min(operation_timeout, timeout)
        self._options = Options(budget, max_connections, logger, self.near)
        connector = Connector(username, password, db=db, tls=tls, timeout=timeout)
        asking = Connector(sentinel_username, sentinel_password, tls=tls, timeout=timeout)
        self._place = Place(host, port, db, unix_socket, cluster, sentinels, sentinel_master)
        probe_key = _encoded(f"{key_prefix}:~probe")
        self._topology = topology_at(self._place, connector, asking, self._options, probe_key)

    def __repr__(self) -> str:
        return f"RedisBackend({self._place})"

    def on_recovery(self, step: Callable[[], Awaitable[None]], /) -> bool:
        """Have `step` awaited when a server that was unwell works again, before others ask it."""
        self._options.on_recovery.append(step)
        return True

    def on_takeover(self, step: Callable[[], None], /) -> bool:
        """Have `step` called when a replica takes its master's place, before it is asked."""
        self._options.on_takeover.append(step)
        return self._topology.has_replicas

    async def get(self, key: str) -> Any | None:
        """Return the value at `key`, or `None`, also while Redis is away."""
        return await _or_default(None, super().get(key))

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        """Store `value` as JSON; raises `UnstorableError` where it would not come back equal."""
        return await _or_default(False, super().set(key, value, expire))

    async def delete(self, key: str) -> bool:
        """Remove `key` and return whether there was something to remove."""
        return await _or_default(0, self.delete_many([key])) > 0

    async def exists(self, key: str) -> bool:
        """Return whether `key` exists."""
        found: int = await _or_default(0, self._one(key, ("EXISTS", _encoded(key)), Use.READ))
        return found > 0

    async def clear(self) -> bool:
        """Remove every key below `key_prefix`, walking with SCAN: never FLUSHDB."""
        everything = KeyPattern((f"{self.key_prefix}:", ""))
        return await _or_default(False, self.delete_matching(everything))

    async def close(self) -> None:
        """Close the connections of the running event loop; a later use makes new ones."""
        await self._topology.close()

    async def health_check(self) -> bool:
        """Return whether Redis answers, all of it; at once if it is known to be unwell."""
        return await _or_default(False, self._topology.ping())

    async def get_bytes(self, key: str) -> bytes | None:
        """Return the bytes at `key`, or `None`, also for a key of another type than string."""
        return (await self.get_many_bytes([key]))[0]

    async def set_bytes(self, key: str, data: bytes, expire: int | timedelta | None = None) -> bool:
        """Store `data` at `key`."""
        ttl = None if expire is None else milliseconds(expire)
        if ttl == 0:
            await self.delete_many([key])
            return False
        lifetime: Command = () if ttl is None else ("PX", ttl)
        name = _encoded(key)
        await self._all([name], [("SET", name, data, *lifetime)], Use.STORE, invalidates=True)
        return True

    async def get_many_bytes(self, keys: Sequence[str]) -> Nonces:
        """Return what stands at each of `keys`, in one round trip; other types are left out."""
        found, _ = await self._read(keys)
        return tuple(
            [
                None if data is FOREIGN or (data and is_of_another_key(key, data)) else data
                for key, data in zip(keys, found, strict=True)
            ]
        )

    async def delete_many(self, keys: Sequence[str]) -> int:
        """Remove `keys` and return how many of them there were."""
        return sum(await self._unlink([_encoded(key) for key in keys]))

    async def delete_matching(self, pattern: KeyPattern) -> bool:
        """Remove every key that `pattern` covers, a walk with SCAN if it has a wildcard.

        SCAN returns every key that is present from its beginning to its end, and lets other
        clients in between its steps (https://redis.io/docs/latest/commands/scan/). Each step has
        the time of one operation.
        """
        if pattern.exact_key is not None:
            await self.delete_many([pattern.exact_key])
            return True
        glob = pattern.redis_glob().encode("utf-8", "surrogatepass")
        async for server in self._topology.walk():
            async for names in _scan(server, glob):
                await self._unlink(names)
        return True

    async def look(
        self, key: str, tags: Sequence[str] = (), deadline: float | None = None
    ) -> tuple[bytes | None, Nonces]:
        """Return what stands at `key` and at `tags`; `FOREIGN` for a key of another type."""
        (standing,), nonces = await self._read([key], tags, deadline)
        return standing, nonces

    def read_nowait(
        self, key: str, tags: Sequence[str] = (), /, *, by_hand: bool = False
    ) -> "asyncio.Future[Any] | None":
        """Send a GET; the near cache needs the PTTL as well, and is served by `look`."""
        if self.near is not None or tags or by_hand:
            return None
        get = _get(key) if len(key) <= SHORT_KEY else _get.__wrapped__(key)
        return self._topology.read_nowait(get)

    async def _read(
        self, keys: Sequence[str], tags: Sequence[str] = (), deadline: float | None = None
    ) -> tuple[list[bytes | None], Nonces]:
        """Return what stands at `keys`, and the nonces at `tags`."""
        if not keys and not tags:
            return [], ()
        # GETs, not one MGET: on a cluster the keys live in different slots.
        names, tag_names = [*map(_encoded, keys)], [*map(_encoded, tags)]
        commands: list[Command] = [("GET", name) for name in names]
        commands += map(_get_nonce, tag_names)
        if self.near is not None:
            commands += [("PTTL", name) for name in names]
        request = Request([*names, *tag_names, *names][: len(commands)], commands, Use.READ)
        request.deadline = deadline
        found = await self._topology.execute(request)
        return (
            [*map(_standing, found[: len(keys)])],
            _nonces(found[len(keys) : len(keys) + len(tags)]),
        )

    async def wait_for_change(self, key: str, standing: bytes, /) -> bytes | None:
        """Return what stands at `key`, if that is still `standing` when the server says so."""
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        name = _encoded(key)
        request = Request([name], [("GET", name)], Use.READ, changed=changed)
        try:
            (reply,) = await self._topology.execute(request)
            now = _standing(reply)
            if now == standing and changed.cancelled():
                await asyncio.sleep(POLL_SECONDS)
            elif now == standing:
                await asyncio.wait([changed], timeout=_LONGEST_WAIT_SECONDS)
        finally:
            changed.cancel()
        return now

    async def acquire(self, key: str, data: bytes, ms: int) -> bytes | None:
        """Put `data` at `key` if nothing stands there, else return that: SET NX GET."""
        command: Command = ("SET", _encoded(key), data, "NX", "GET", "PX", ms)
        standing: bytes | None = await self._one(key, command, Use.STORE)
        return None if standing == data else standing  # it was set by a first try that broke

    async def replace(self, key: str, over: bytes, data: bytes, ms: int) -> bool:
        """Put `data` at `key` if what stands there begins with `over`."""
        return await self._if_begins(key, Use.STORE, over, "SET", data, ms)

    async def renew(self, key: str, over: bytes, ms: int) -> bool:
        """Let `key` live for `ms` from now if it begins with `over`."""
        return await self._if_begins(key, Use.STORE, over, "PEXPIRE", b"", ms)

    async def release(self, key: str, over: bytes) -> bool:
        """Remove `key` if what stands there begins with `over`; without asking if it may not ask.

        A user without the permission for scripts stores nothing, but he must not leave leases.
        """
        reply = await self._script(key, Use.REMOVE, over, "UNLINK")
        if isinstance(reply, ResponseError):
            return await self.delete_many([key]) > 0
        return bool(reply)

    async def nonces_now(self, tags: Sequence[str]) -> Nonces:
        """Return what stands at the keys `tags`, and no more than a byte too many of each."""
        return (await self._read((), tags))[1]

    async def nonces(self, tags: Sequence[str], ms: int) -> Nonces:
        """Return the nonces at the keys `tags`; make those that are missing, or none, for `ms`."""
        made = [new_nonce() for _ in tags]
        names = [_encoded(tag) for tag in tags]
        setting: list[Command] = [
            ("SET", name, nonce, "NX", "PX", ms) for name, nonce in zip(names, made, strict=True)
        ]
        request = Request([*names, *names], [*setting, *map(_get_nonce, names)], Use.STORE)
        asked = await self._topology.execute(request)
        for reply in asked[: len(names)]:
            _raise_on_error(reply)
        found = [*_nonces(asked[len(names) :])]
        forged = [place for place, nonce in enumerate(found) if not is_nonce(nonce)]
        if forged:  # who has seen another one meanwhile misses once more
            commands: list[Command] = [("SET", names[at], made[at], "PX", ms) for at in forged]
            await self._all([names[at] for at in forged], commands, Use.STORE)
            for at in forged:
                found[at] = made[at]
        return tuple(found)

    async def invalidate_tag_keys(self, tags: Sequence[str], ms: int) -> bool:
        """Put a new nonce at each of the keys `tags`, at the first of them before the others."""
        steps = [tags[:1], tags[1:]] if self._topology.one_slot else [tags]
        for step in steps:
            names = [_encoded(tag) for tag in step]
            commands: list[Command] = [("SET", name, new_nonce(), "PX", ms) for name in names]
            await self._all(names, commands, Use.REMOVE, invalidates=True)
        return True

    async def _unlink(self, names: Sequence[bytes]) -> list[int]:
        commands: list[Command] = [("UNLINK", *names)]
        if self._topology.one_slot:
            commands = [("UNLINK", name) for name in names]
        keys = names[: len(commands)]
        return await self._all(keys, commands, Use.REMOVE, invalidates=True)

    async def _if_begins(self, key: str, use: Use, *arguments: bytes | str | int) -> bool:
        return bool(_raise_on_error(await self._script(key, use, *arguments)))

    async def _script(self, key: str, use: Use, *arguments: bytes | str | int) -> Any:
        name = _encoded(key)
        arguments = (1, name, *arguments)
        request = Request([name], [("EVALSHA", _IF_BEGINS_SHA, *arguments)], use)
        (reply,) = await self._topology.execute(request)
        if isinstance(reply, NoScriptError):
            request = Request([name], [("EVAL", _IF_BEGINS, *arguments)], use)
            (reply,) = await self._topology.execute(request)
        return reply

    async def _one(self, key: str, command: Command, use: Use) -> Any:
        return (await self._all([_encoded(key)], [command], use))[0]

    async def _all(
        self,
        names: Sequence[bytes],
        commands: Sequence[Command],
        use: Use,
        *,
        invalidates: bool = False,
    ) -> list[Any]:
        request = Request(names, commands, use, invalidates)
        return [_raise_on_error(reply) for reply in await self._topology.execute(request)]


async def _or_default(failed: T, operation: Awaitable[T]) -> T:
    """Return the result of `operation`, or `failed` where the server is unwell."""
    try:
        return await operation
    except UnavailableError:
        return failed


async def _scan(server: Server, glob: bytes) -> AsyncIterator[list[bytes]]:
    cursor = b"0"
    while True:
        command: Command = ("SCAN", cursor, "MATCH", glob, "COUNT", _SCAN_COUNT)
        (reply,) = await server.execute(Request((), (command,), Use.READ))
        cursor, names = _raise_on_error(reply)
        if names:
            yield names
        if cursor == b"0":
            return


def _near_cache(size: int, most_bytes: int) -> "NearCache | None":
    if not size or not most_bytes:
        return None
    with optional("CACHE_NEAR_SIZE", "near.py"):
        from .near import NearCache  # noqa: PLC0415 - it may be gone

    return NearCache(size, most_bytes)


@lru_cache(maxsize=4096)  # hot keys are asked for again and again
def _get(key: str) -> Get:
    start = start_of_record(key)
    return Get.of(_encoded(key), start, start.partition(b" ")[0] + b" ")


def _encoded(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _get_nonce(name: bytes) -> Command:
    # Somebody may have put there what is large: no more is read than tells that it is no nonce.
    return ("GETRANGE", name, 0, NONCE_BYTES)


def _nonces(replies: Sequence[Any]) -> Nonces:
    """Return what stands at keys of tags; nothing is an empty text to the command."""
    return tuple([_standing(reply) or None for reply in replies])


def _standing(reply: Any) -> bytes | None:
    """Return what a GET found: `FOREIGN` for a key of another type."""
    if isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"):
        return FOREIGN
    found: bytes | None = _raise_on_error(reply)
    return found


def _raise_on_error(reply: Any) -> Any:
    """Return a reply, or raise `UnavailableError` if it is an error."""
    if isinstance(reply, ResponseError):
        raise UnavailableError(str(reply))
    return reply

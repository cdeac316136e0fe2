"""Entries in Redis, or in what speaks its protocol."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.credentials import CredentialProvider
from redis.exceptions import ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from ..base import (
    DEFAULT_KEY_PREFIX,
    FOREIGN,
    BytesBackend,
    Nonces,
    UnavailableError,
    milliseconds,
    new_nonce,
)
from ..outage import Outage
from ..patterns import KeyPattern
from ..record import is_of_another_key

logger = logging.getLogger(__name__)

T = TypeVar("T")

# One atomic step: compare the beginning of what stands at a key, and act if it is that. A key of
# another type than string is `FOREIGN`.
_IF_BEGINS = """
local over, verb = ARGV[1], ARGV[2]
local standing = redis.pcall('GETRANGE', KEYS[1], 0, #over - 1)
if type(standing) == 'table' then standing = '?' end
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

_SCAN_COUNT = 1000  # keys that one SCAN looks at, and one UNLINK removes: about a millisecond each


class RedisBackend(BytesBackend):
    """Entries in one Redis server, over a pool of connections for each event loop.

    `timeout`, in seconds, limits connecting, waiting for an answer and waiting for a free
    connection of the pool, each. `max_connections` bounds the pool. No connection is made before
    the first use, so an instance may be made at import. Commands are not tried again: the cache's
    caller has the function to run instead.

    No method raises because Redis is away, slow or answers with an error; it then returns `None`
    or `False`.
    """

    atomic = True

    def __init__(
        self,
        *,
        host: str = "localhost",
        port: int = 6379,
        db: int = 0,
        password: SecretStr | str | None = None,
        max_connections: int = 10,
        timeout: float = 5.0,
        key_prefix: str = DEFAULT_KEY_PREFIX,
    ) -> None:
        self.key_prefix = key_prefix
        self._host, self._port, self._db = host, port, db
        self._credentials = None if password is None else _Password(password)
        self._max_connections = max_connections
        self._timeout = timeout
        # A connection belongs to the event loop that it was made in.
        self._clients: dict[asyncio.AbstractEventLoop, _Client] = {}
        self._lock = threading.Lock()
        self._outage = Outage(f"redis at {host}:{port}", logger)

    def __repr__(self) -> str:
        return f"RedisBackend(host={self._host!r}, port={self._port}, db={self._db})"

    async def delete(self, key: str) -> bool:
        """Remove `key` and return whether there was something to remove."""
        return await self._attempt(lambda client: client.unlink(key), 0) > 0

    async def exists(self, key: str) -> bool:
        """Return whether `key` exists."""
        return await self._attempt(lambda client: client.exists(key), 0) > 0

    async def clear(self) -> bool:
        """Remove every key below `key_prefix`, walking with SCAN: never FLUSHDB."""
        return await self.delete_matching(KeyPattern((f"{self.key_prefix}:", "")))

    async def close(self) -> None:
        """Close the connections of the running event loop; a later use makes new ones."""
        with self._lock:
            client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    async def health_check(self) -> bool:
        """Return whether Redis answers a PING."""
        return await self._attempt(_ping, False)

    async def delete_matching(self, pattern: KeyPattern) -> bool:
        """Remove every key that `pattern` covers, a walk with SCAN if it has a wildcard.

        SCAN returns every key that is present from its beginning to its end, and lets other
        clients in between its steps (https://redis.io/docs/latest/commands/scan/).
        """
        return await self._attempt(lambda client: _unlink_matching(client, pattern), False)

    async def get_bytes(self, key: str) -> bytes | None:
        """Return the bytes at `key`, or `None`, also for a key of another type than string."""
        return await self._attempt(lambda client: client.get_of(key), None)

    async def set_bytes(self, key: str, data: bytes, expire: int | timedelta | None = None) -> bool:
        """Store `data` at `key`."""
        ttl = None if expire is None else milliseconds(expire)
        if ttl == 0:
            await self.delete(key)
            return False
        return await self._attempt(lambda client: _set(client, key, data, ttl), False)

    async def get_many_bytes(self, keys: Sequence[str]) -> Nonces:
        """Return what stands at each of `keys`, in one round trip."""
        return await self._must(lambda client: client.get_many(keys))

    async def delete_many(self, keys: Sequence[str]) -> int:
        """Remove `keys`, in one command, and return how many of them there were."""
        return await self._attempt(lambda client: client.unlink(*keys), 0)

    async def look(self, key: str, tags: Sequence[str] = ()) -> tuple[bytes | None, Nonces]:
        """Return what stands at `key` and at `tags`; `FOREIGN` for a key of another type."""
        return await self._must(lambda client: client.look(key, tags))

    async def acquire(self, key: str, data: bytes, ms: int) -> bytes | None:
        """Put `data` at `key` if nothing stands there, else return that: SET NX GET."""
        return await self._must(lambda client: client.acquire(key, data, ms))

    async def replace(self, key: str, over: bytes, data: bytes, ms: int) -> bool:
        """Put `data` at `key` if what stands there begins with `over`."""
        return await self._must(lambda client: client.if_begins(key, over, "SET", data, ms))

    async def renew(self, key: str, over: bytes, ms: int) -> bool:
        """Let `key` live for `ms` from now if it begins with `over`."""
        return await self._must(lambda client: client.if_begins(key, over, "PEXPIRE", b"", ms))

    async def release(self, key: str, over: bytes) -> bool:
        """Remove `key` if what stands there begins with `over`."""
        return await self._must(lambda client: client.if_begins(key, over, "UNLINK", b"", 0))

    async def nonces(self, tags: Sequence[str], ms: int) -> Nonces:
        """Return the nonces at the keys `tags`; make those that are missing, for `ms`."""
        return await self._must(lambda client: client.nonces(tags, ms))

    async def renonce(self, tags: Sequence[str], ms: int) -> bool:
        """Put a new nonce at each of the keys `tags`."""
        return await self._attempt(lambda client: client.renonce(tags, ms), False)

    async def _attempt(self, command: Callable[["_Client"], Awaitable[T]], failed: T) -> T:
        """Run `command` and return its result, or `failed` where it fails."""
        try:
            return await self._must(command)
        except UnavailableError:
            return failed

    async def _must(self, command: Callable[["_Client"], Awaitable[T]]) -> T:
        """Run `command`; where it fails, note that, once per outage, and raise `UnavailableError`.

        Not only the client's own exceptions count: a transport that closes at the wrong moment
        lets others through.
        """
        try:
            result = await command(self._client())
        except Exception as error:
            if not _is_about_the_key(error):
                self._outage.failed(error)
            raise UnavailableError(str(error)) from None
        self._outage.worked()
        return result

    def _client(self) -> "_Client":
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            with self._lock:
                # Loops that ended without a `close` took their connections with them.
                self._clients = {
                    other: kept for other, kept in self._clients.items() if not other.is_closed()
                }
                client = self._clients[loop] = self._new_client()
        return client

    def _new_client(self) -> "_Client":
        pool = BlockingConnectionPool(
            host=self._host,
            port=self._port,
            db=self._db,
            credential_provider=self._credentials,
            max_connections=self._max_connections,
            timeout=self._timeout,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            # By default a refused connection is tried again for seconds.
            retry=Retry(NoBackoff(), 0),
            # While these are on, the pool hands out connections without looking whether an old
            # reply is still waiting in them.
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        client = _Client(connection_pool=pool)
        client._if_begins = client.register_script(_IF_BEGINS)
        client.auto_close_connection_pool = True  # the pool is this client's own
        return client


def _is_about_the_key(error: Exception) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")


class StrayReplyError(Exception):
    """A connection answered with what belongs to another key."""


class _Client(Redis):
    """A client that drops a connection whose answers have gone astray.

    After one doubled reply every later one on that connection is an answer to an earlier question.
    A stored record names its key, so a GET that is answered with another key's shows it.
    """

    _if_begins: AsyncScript

    async def get_of(self, key: str) -> bytes | None:
        """Return the bytes at `key`; raises `StrayReplyError` for another key's record."""
        execute: Callable[..., Awaitable[bytes | None]] = self.execute_command
        return await execute("GET", key, of_key=key)

    async def look(self, key: str, tags: Sequence[str]) -> tuple[bytes | None, Nonces]:
        """Read a key and its tags, in one round trip."""
        try:
            if not tags:
                return await self._get_surely(key), ()
            # GETs in a pipeline, not one MGET: on a cluster the keys live in different slots.
            async with self.pipeline(transaction=False) as pipe:
                for each in (key, *tags):
                    pipe.get(each)
                standing, *nonces = await pipe.execute()
        except ResponseError as error:
            if _is_about_the_key(error):
                return FOREIGN, (None,) * len(tags)
            raise
        if standing is not None and is_of_another_key(key, standing):
            await self.connection_pool.disconnect(inuse_connections=False)
            standing, nonces = await self._get_surely(key), [None for _ in tags]
        return standing, tuple(nonces)

    async def _get_surely(self, key: str) -> bytes | None:
        """Read a key; what another connection says again, if it is astray, does stand there."""
        try:
            return await self.get_of(key)
        except StrayReplyError as error:
            logger.warning("redis: %s", error)
            execute: Callable[..., Awaitable[bytes | None]] = self.execute_command
            return await execute("GET", key)

    async def get_many(self, keys: Sequence[str]) -> Nonces:
        """Read keys; what is of another type, or another key's record, is as if it were absent."""
        async with self.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.get(key)
            found = await pipe.execute(raise_on_error=False)
        return tuple(
            [
                data if isinstance(data, bytes) and not is_of_another_key(key, data) else None
                for key, data in zip(keys, found, strict=True)
            ]
        )

    async def acquire(self, key: str, data: bytes, ms: int) -> bytes | None:
        """Set a key that is absent, or return what stands there."""
        execute: Callable[..., Awaitable[bytes | None]] = self.execute_command
        return await execute("SET", key, data, "NX", "GET", "PX", ms, get=True)

    async def if_begins(self, key: str, over: bytes, verb: str, data: bytes, ms: int) -> bool:
        """Do something to a key if what stands there begins with `over`."""
        return bool(await self._if_begins(keys=[key], args=[over, verb, data, ms]))

    async def nonces(self, tags: Sequence[str], ms: int) -> Nonces:
        """Read nonces, and make those that are missing."""
        made = [new_nonce() for _ in tags]
        async with self.pipeline(transaction=False) as pipe:
            for tag, nonce in zip(tags, made, strict=True):
                pipe.execute_command("SET", tag, nonce, "NX", "GET", "PX", ms, get=True)
            found = await pipe.execute()
        return tuple([old or new for old, new in zip(found, made, strict=True)])

    async def renonce(self, tags: Sequence[str], ms: int) -> bool:
        """Set new nonces."""
        async with self.pipeline(transaction=False) as pipe:
            for tag in tags:
                pipe.set(tag, new_nonce(), px=ms)
            return all(await pipe.execute())

    async def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        """Read the reply to a command; `of_key` is the key whose record it may be."""
        key = options.pop("of_key", None)
        reply = await super().parse_response(connection, command_name, **options)
        if key is not None and isinstance(reply, bytes) and is_of_another_key(key, reply):
            await connection.disconnect()
            raise StrayReplyError("a reply that belongs to another key; its connection is dropped")
        return reply


class _Password(CredentialProvider):
    """Hands the password to the client when it connects, and shows it to nobody else."""

    def __init__(self, password: SecretStr | str) -> None:
        self._password = SecretStr(password) if isinstance(password, str) else password

    def get_credentials(self) -> tuple[str]:
        return (self._password.get_secret_value(),)

    async def get_credentials_async(self) -> tuple[str]:
        return self.get_credentials()


async def _ping(client: Redis) -> bool:
    return bool(await client.ping())


async def _set(client: Redis, key: str, data: bytes, ttl: int | None) -> bool:
    return bool(await client.set(key, data, px=ttl))


async def _unlink_matching(client: Redis, pattern: KeyPattern) -> bool:
    if pattern.exact_key is not None:
        await client.unlink(pattern.exact_key)
        return True
    async for keys in _scan(client, pattern.redis_glob()):
        await client.unlink(*keys)
    return True


async def _scan(client: Redis, glob: str) -> AsyncIterator[list[bytes | str]]:
    cursor = None
    while cursor != 0:
        cursor, keys = await client.scan(cursor or 0, match=glob, count=_SCAN_COUNT)
        if keys:
            yield keys

"""Entries in Redis, or in a server that speaks its protocol: one server, Sentinel or Cluster."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SecretStr

from ..defaults import DEFAULT_KEY_PREFIX, DEFAULT_NEAR_BYTES, DEFAULT_OPERATION_TIMEOUT
from ..errors import UnavailableError
from ..events import Events
from ..keys import KeyPattern
from ..optional import insist_on_file
from ..resilience import Use
from .addresses import Address
from .commands import encoded
from .redis_store import RedisStore
from .topologies.choice import Place, topology_at
from .wire.connections import Connector, Tls
from .wire.server import Options

if TYPE_CHECKING:
    from .near import NearCache

logger = logging.getLogger(__name__)

T = TypeVar("T")


class RedisBackend(RedisStore):
    """Entries in Redis; each event loop has its own connections.

    `host` and `port`, or a `unix_socket`, name the server. With `cluster` it is one of several, and
    `host` may be a list of addresses, "a:7000,b:7000". With `sentinels`, the server is the master
    that they know as `sentinel_master`. `tls` secures all connections, those to sentinels too.

    No operation takes more than `operation_timeout` seconds, in all; of that, connecting takes no
    more than `timeout`. `max_connections` bounds the connections of each server and event loop;
    further callers wait in line. No connection is opened before the first use, so an instance may
    be made at import. A server that is unwell is not asked for a while: see `breaker`.

    If Redis is away, slow or answers with an error, the six methods of the contract return `None`
    or `False`. The others raise `UnavailableError`.
    """

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
        self.events = Events()
        self.near = _near_cache(near_size, near_bytes, self.events)
        budget = min(operation_timeout, timeout)
        self._options = Options(budget, max_connections, logger, self.near, self.events)
        connector = Connector(username, password, db=db, tls=tls, timeout=timeout)
        asking = Connector(sentinel_username, sentinel_password, tls=tls, timeout=timeout)
        self._place = Place(host, port, db, unix_socket, cluster, sentinels, sentinel_master)
        probe_key = encoded(f"{key_prefix}:~probe")
        self._topology = topology_at(self._place, connector, asking, self._options, probe_key)

    def __repr__(self) -> str:
        return f"RedisBackend({self._place})"

    def on_recovery(self, step: Callable[[], Awaitable[None]], /) -> bool:
        self._options.on_recovery.append(step)
        return True

    def on_takeover(self, step: Callable[[], None], /) -> bool:
        self._options.on_takeover.append(step)
        return self._topology.has_replicas

    async def get(self, key: str) -> Any | None:
        return await _or_default(None, super().get(key))

    async def set(self, key: str, value: Any, expire: int | timedelta | None = None) -> bool:
        return await _or_default(False, super().set(key, value, expire))

    async def delete(self, key: str) -> bool:
        return await _or_default(0, self.delete_many([key])) > 0

    async def exists(self, key: str) -> bool:
        found: int = await _or_default(0, self._one(("EXISTS", encoded(key)), Use.READ))
        return found > 0

    async def clear(self) -> bool:
        """Remove every key below `key_prefix`, by SCAN: never by FLUSHDB."""
        everything = KeyPattern((f"{self.key_prefix}:", ""))
        return await _or_default(False, self.delete_matching(everything)) is not False

    async def close(self) -> None:
        await self._topology.close()

    async def health_check(self) -> bool:
        return await _or_default(False, self._topology.ping())


async def _or_default(failed: T, operation: Awaitable[T]) -> T:
    """Return the result of `operation`, or `failed` if the server is unwell."""
    try:
        return await operation
    except UnavailableError:
        return failed


def _near_cache(size: int, most_bytes: int, events: Events) -> "NearCache | None":
    if not size or not most_bytes:
        return None
    insist_on_file("backends/near.py", "CACHE_NEAR_SIZE")
    from .near import NearCache  # noqa: PLC0415 - its file may be deleted

    return NearCache(size, most_bytes, events)

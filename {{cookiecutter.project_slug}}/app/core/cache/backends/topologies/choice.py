"""Chooses the topology from the arguments of a backend."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from ...optional import insist_on_file
from ..addresses import Address, addresses
from ..wire.connections import Connector
from ..wire.server import Options, Server
from .single import Single, Topology, server_at


class Place(NamedTuple):
    """Where the servers are."""

    host: str
    port: int
    db: int
    unix_socket: str | None
    cluster: bool
    sentinels: Sequence[Address]
    sentinel_master: str | None

    def __str__(self) -> str:
        where = f"{'cluster' if self.cluster else 'host'}={self.host!r}, port={self.port}"
        if self.sentinels:
            where = f"sentinel_master={self.sentinel_master!r}"
        elif self.unix_socket:
            where = f"unix_socket={self.unix_socket!r}"
        return f"{where}, db={self.db}"


def topology_at(
    place: Place, connector: Connector, asking: Connector, options: Options, probe_key: bytes
) -> Topology:
    """Return the topology at a place; `connector` connects to its servers, `asking` to sentinels.

    Raises `CacheConfigError` if its file was deleted, `ValueError` for what does not go together.
    """
    host, port, db, unix_socket, cluster, sentinels, sentinel_master = place
    if sentinels:
        if not sentinel_master or cluster or unix_socket:
            raise ValueError(
                f"{sentinel_master=}, {cluster=}, {unix_socket=}: sentinels need the name of a "
                f"master, and go with neither a cluster nor a Unix socket"
            )
        insist_on_file("backends/topologies/sentinel.py", "REDIS_SENTINELS")
        from .sentinel import Master, Sentinels  # noqa: PLC0415 - its file may be deleted

        found = Sentinels(sentinels, sentinel_master, asking, connector)
        return Master(found, sentinel_master, options)
    if cluster:
        if db or unix_socket:
            raise ValueError(f"{db=}, {unix_socket=}: a cluster has neither")
        insist_on_file("backends/topologies/cluster.py", "REDIS_CLUSTER")
        from .cluster import Cluster  # noqa: PLC0415 - its file may be deleted

        return Cluster(addresses(host, port), connector, options, probe_key)
    if unix_socket:
        connect = partial(connector.connect_unix, unix_socket)
        return Single(Server(f"redis at {unix_socket}", connect, options))
    return Single(server_at((host, port), connector, options))

"""Redis Sentinel and Redis Cluster as processes on loopback, with settings that make them quick."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Final, TypeVar

from redis.exceptions import RedisError

from tests.baked import eventually
from tests.certificates import Certificates
from tests.servers import LOOPBACK, Login, Server, folder_of_servers, free_ports, started

MASTER_NAME: Final = "the-master"
SLOTS: Final = 16384
_AT_ONCE: Final = 100  # keys to move

T = TypeVar("T")


def _wait_for(look: Callable[[], T | None], what: str) -> T:
    """Look until there is something, and return that. Servers may be going or coming meanwhile."""
    found: list[T] = []

    def looked() -> bool:
        try:
            seen = look()
        except (RedisError, OSError):
            return False
        if seen:
            found.append(seen)
        return bool(seen)

    eventually(looked, what)
    return found[0]


def _awake(servers: Iterable[Server]) -> list[Server]:
    return [server for server in servers if server.awake]


def _by_port(servers: Iterable[Server], port: int) -> Server:
    return next(server for server in servers if server.port == port)


def _followed_by(server: Server) -> int | None:
    """Return the port of the master that a replica follows."""
    role = server.ask("ROLE")
    return int(role[2]) if role[0] == "slave" and role[3] == "connected" else None


def _replica_login(login: Login | None) -> tuple[str, ...]:
    return (f"masteruser {login.username}", f"masterauth {login.password}") if login else ()


# --- Sentinel ----------------------------------------------------------------------------------

# Milliseconds. What a sentinel knows of a replica counts for five pings while the master is down,
# and then it asks once a second; a master that it has just come to know gets one ping in time.
_DOWN_AFTER: Final = 1000
_PUBLISH_PERIOD: Final = 100
_PERIODS: Final = (
    *("PING-PERIOD", 300, "INFO-PERIOD", 100),
    *("PUBLISH-PERIOD", _PUBLISH_PERIOD, "ASK-PERIOD", 100),
)


@dataclass(frozen=True, slots=True)
class SentinelSet:
    """Three servers, of which one is the master, and three sentinels that watch them."""

    servers: tuple[Server, ...]
    sentinels: tuple[Server, ...]

    def master(self) -> Server:
        """Wait until the sentinels agree on a master that is awake and is one; return it."""
        return _wait_for(self._agreed, "a master")

    def fail_over(self) -> Server:
        """Kill the master, and return the new one as soon as there is one."""
        self.master().kill()
        return self.master()

    def replace_master(self) -> Server:
        """Have the master replaced although it is well; return it when sentinels name another."""
        old = self.master()
        self.sentinels[0].ask("SENTINEL", "FAILOVER", MASTER_NAME)
        eventually(lambda: self.master() is not old, "another master")
        return old

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Let a master that was replaced go on for eight seconds, as sentinels do by default.

        They turn it into a replica after four of these periods. A failover on demand needs longer
        than one second: nobody may undo it before everybody has heard of it.
        """
        self._publish_every(2000)
        yield
        self._publish_every(_PUBLISH_PERIOD)

    def _publish_every(self, ms: int) -> None:
        for sentinel in self.sentinels:
            sentinel.ask("SENTINEL", "DEBUG", "PUBLISH-PERIOD", ms)

    def settle(self) -> None:
        """Wait until all servers that are awake follow the master, and all sentinels know it."""

        def settled() -> bool:
            master = self._agreed()
            replicas = [server for server in _awake(self.servers) if server is not master]
            return (
                master is not None
                and all(_followed_by(replica) == master.port for replica in replicas)
                and all(_knows_all(sentinel) for sentinel in _awake(self.sentinels))
            )

        _wait_for(settled, "the sentinels to know all")

    def _agreed(self) -> Server | None:
        asked = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
        ports = {int(sentinel.ask(*asked)[1]) for sentinel in _awake(self.sentinels)}
        master = _by_port(self.servers, ports.pop())
        alone = not ports and master.awake and master.ask("ROLE")[0] == "master"
        return master if alone else None


def _knows_all(sentinel: Server) -> bool:
    """Whether it has found the two other sentinels and the two replicas, and no failover is on."""
    said = sentinel.ask("SENTINEL", "MASTER", MASTER_NAME)
    known = dict(zip(said[::2], said[1::2], strict=True))
    found = (known["num-other-sentinels"], known["num-slaves"], known["flags"])
    return found == ("2", "2", "master")


@contextmanager
def sentinel_set(
    *lines: str,
    executable: str | None = None,
    login: Login | None = None,
    sentinel_login: Login | None = None,
    certificates: Certificates | None = None,
) -> Iterator[SentinelSet]:
    """Lend a set. `lines` and `login` are the servers'; the sentinels have a login of their own."""
    ports = free_ports(6)
    with folder_of_servers() as folder, ExitStack() as stack:
        make = partial(Server, folder, executable=executable, certificates=certificates)
        settings = (*_replica_login(login), *lines)
        servers = tuple(make(*settings, port=port, login=login) for port in ports[:3])
        stack.enter_context(started(*servers))
        master, *replicas = servers
        for replica in replicas:
            replica.ask("REPLICAOF", *master.address)
            replica.ask("CONFIG", "REWRITE")
        # Sentinels look for replicas at their start, and then not for a while.
        _wait_for(
            lambda: all(_followed_by(replica) == master.port for replica in replicas), "replicas"
        )

        settings = tuple(_watching(master, login, sentinel_login))
        sentinels = tuple(make(*settings, port=port, login=sentinel_login) for port in ports[3:])
        stack.enter_context(started(*sentinels))
        for sentinel in sentinels:
            sentinel.ask("SENTINEL", "DEBUG", *_PERIODS)
        found = SentinelSet(servers, sentinels)
        found.settle()
        yield found


def _watching(master: Server, login: Login | None, own: Login | None) -> Iterator[str]:
    yield f"sentinel monitor {MASTER_NAME} {LOOPBACK} {master.port} 2"
    yield f"sentinel down-after-milliseconds {MASTER_NAME} {_DOWN_AFTER}"
    yield f"sentinel failover-timeout {MASTER_NAME} 2000"
    yield f"sentinel parallel-syncs {MASTER_NAME} 2"
    if login:
        yield f"sentinel auth-user {MASTER_NAME} {login.username}"
        yield f"sentinel auth-pass {MASTER_NAME} {login.password}"
    if own:
        yield f"sentinel sentinel-user {own.username}"
        yield f"sentinel sentinel-pass {own.password}"


# --- Cluster -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cluster:
    """Three masters, each with a replica."""

    nodes: tuple[Server, ...]

    def masters(self) -> list[Server]:
        """Wait until all nodes agree that each slot has a master that is awake; return them."""
        owners = {*self._owners()}
        return [node for node in self.nodes if node.port in owners]

    def owner(self, slot: int) -> Server:
        """Wait in the same way; return the master of a slot."""
        return _by_port(self.nodes, self._owners()[slot])

    def replica(self, master: Server) -> Server:
        """Wait until somebody follows this master, and return that."""
        return _wait_for(
            lambda: next((n for n in _awake(self.nodes) if _followed_by(n) == master.port), None),
            f"a replica of {master}",
        )

    def fail_over(self, master: Server) -> Server:
        """Kill a master, and return its replica as soon as that has taken over."""
        slot = self._owners().index(master.port)
        master.kill()
        return self.owner(slot)

    def settle(self) -> None:
        """Wait until all who are awake see each other, and replicas follow their masters."""

        def settled() -> bool:
            masters = {*self._agreed()}
            awake = _awake(self.nodes)
            return all(
                _seen_by(node) >= {other.port for other in awake}
                and (node.port in masters or _followed_by(node) in masters)
                for node in awake
            )

        _wait_for(settled, "the nodes to find each other")

    def move(self, slots: Iterable[int], target: Server) -> None:
        """Move slots with their keys to another master, one after another, as resharding does."""
        owners = self._owners()
        for slot in slots:
            _move(slot, _by_port(self.nodes, owners[slot]), target)

    def _owners(self) -> list[int]:
        return _wait_for(self._agreed, "a master for each slot")

    def _agreed(self) -> list[int]:
        """Return the port of each slot's master, or nothing while there is no agreement."""
        awake = _awake(self.nodes)
        owners, *others = [_owners(node) for node in awake]
        agreed = all(seen == owners for seen in others) and {*owners} <= {n.port for n in awake}
        well = all("cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in awake)
        return owners if agreed and well else []


@contextmanager
def cluster(
    *lines: str,
    executable: str | None = None,
    login: Login | None = None,
    certificates: Certificates | None = None,
) -> Iterator[Cluster]:
    """Lend a cluster, in which each master has a third of the slots."""
    ports = free_ports(12)
    with folder_of_servers() as folder:
        nodes = tuple(
            Server(
                folder,
                "cluster-enabled yes",
                f"cluster-port {bus}",
                f"cluster-announce-ip {LOOPBACK}",
                "cluster-node-timeout 1000",
                "cluster-replica-validity-factor 0",
                "cluster-allow-replica-migration no",
                *_replica_login(login),
                *lines,
                executable=executable,
                port=port,
                login=login,
                certificates=certificates,
            )
            for port, bus in zip(ports[:6], ports[6:], strict=True)
        )
        with started(*nodes):
            _join(nodes, buses=ports[6:])
            found = Cluster(nodes)
            found.settle()
            yield found


def _join(nodes: tuple[Server, ...], buses: list[int]) -> None:
    for epoch, node in enumerate(nodes, 1):
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
    for one, (other, bus) in combinations(zip(nodes, buses, strict=True), 2):
        one[0].ask("CLUSTER", "MEET", *other.address, bus)
    everybody = {node.port for node in nodes}
    _wait_for(lambda: all(_seen_by(node) == everybody for node in nodes), "the nodes to meet")
    masters, replicas = nodes[:3], nodes[3:]
    borders = [SLOTS * third // 3 for third in range(4)]
    for master, first, end in zip(masters, borders, borders[1:], strict=False):
        master.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
    for master, replica in zip(masters, replicas, strict=True):
        replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID"))


def _seen_by(node: Server) -> set[int]:
    """Return the ports of those that a node knows and finds well."""
    lines = [line.split() for line in node.ask("CLUSTER", "NODES").splitlines()]
    return {
        int(address.partition("@")[0].rpartition(":")[2])
        for _, address, flags, *_ in lines
        if not {"fail", "fail?", "handshake", "noaddr"} & {*flags.split(",")}
    }


def _owners(node: Server) -> list[int]:
    """Return the port of each slot's master, 0 for none, as a node sees it."""
    owners = [0] * SLOTS
    for first, last, (_, port, *_), *_ in node.ask("CLUSTER", "SLOTS"):
        owners[first : last + 1] = [port] * (last + 1 - first)
    return owners


def _move(slot: int, source: Server, target: Server) -> None:
    source_id, target_id = source.ask("CLUSTER", "MYID"), target.ask("CLUSTER", "MYID")
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    # From here on no key comes into being at the source.
    eventually(lambda: _emptied(slot, source, target), f"slot {slot} to be empty")
    for node in (target, source):  # which tell the others
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)


def _emptied(slot: int, source: Server, target: Server) -> bool:
    """Move keys of a slot; return whether these were all."""
    login = ("AUTH2", target.login.username, target.login.password) if target.login else ()
    with source.client(decode_responses=False) as client:
        keys = client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, _AT_ONCE)
        if keys:
            client.execute_command("MIGRATE", *target.address, "", 0, 5000, *login, "KEYS", *keys)
    return len(keys) < _AT_ONCE

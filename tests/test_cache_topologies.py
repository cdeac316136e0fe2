"""The cache on each topology, by settings alone: what is promised holds on all of them."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest
from redis.exceptions import MovedError

from tests.baked import BakedProject, eventually
from tests.certificates import Certificates, make_certificates
from tests.servers import LOOPBACK, SERVERS, Login, Server, each_server, one_server
from tests.topologies import MASTER_NAME, Cluster, SentinelSet, cluster, sentinel_set
from tests.workers import Worker, working

if TYPE_CHECKING:
    from redis import Redis

WORKER: Final = Path(__file__).with_name("topology_worker.py")
READERS: Final = ("a function", "get_or_set", "get_or_set_many")
WAYS: Final = ("delete", "set", "exact key", "pattern", "clear", "decorator")
TAG_WAYS: Final = ("tag", "decorator with a tag")

PASSWORD: Final = "correct:horse@battery/staple?"  # noqa: S105 - of these tests
MAY: Final = "get set unlink exists eval evalsha getrange pexpire scan ping"
"""What the cache's own user may do on one server, on database 0."""
MAY_ON_A_CLUSTER: Final = f"{MAY} cluster|slots cluster|nodes asking"
MAY_WITH_SENTINEL: Final = f"{MAY} role"


def user(commands: str) -> str:
    """Return the line of a server's configuration that makes the cache's own user."""
    return f"user cache on >{PASSWORD} ~app:* -@all +{commands.replace(' ', ' +')}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cache is: the settings by which it finds that, and clients to look from outside."""

    settings: dict[str, str]
    masters: "dict[Server, Redis]"
    """Those that have the keys; the clients are in the database of the cache."""
    others: "dict[Server, Redis]"
    """Replicas and sentinels."""

    def put(self, keys: Iterable[str]) -> None:
        """Store something at each key."""
        for master in self.masters.values():
            for key in keys:
                with suppress(MovedError):  # it is another master's
                    master.set(key, "1")

    def stored(self) -> list[set[str]]:
        """Return the keys of each master."""
        return [{*master.scan_iter(count=1000)} for master in self.masters.values()]

    def connections(self) -> Counter[Server]:
        """Count the connections to all servers that are neither theirs nor the test's."""
        found: Counter[Server] = Counter()
        for server, client in (self.masters | self.others).items():
            own = client.client_id()
            found[server] = sum(
                not ({"S", "M"} & {*each["flags"]} or each["name"].startswith("sentinel-"))
                for each in client.client_list()
                if int(each["id"]) != own
            )
        return +found


# --- the table of topologies -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Topology:
    """Servers, and the settings for them."""

    lend: Callable[[str, Certificates], AbstractContextManager[Any]]
    """Starts servers of this executable."""
    settings: Callable[[Any, Certificates], dict[str, str]]
    db: int = 0


def address(server: Server, _: object = None) -> dict[str, str]:
    """Return the settings for one server."""
    return {"REDIS_HOST": LOOPBACK, "REDIS_PORT": str(server.port)}


def asked(found: SentinelSet, _: object = None) -> dict[str, str]:
    """Return the settings for a set of sentinels."""
    sentinels = ",".join(map(address_of, found.sentinels))
    return {"REDIS_SENTINELS": sentinels, "REDIS_SENTINEL_MASTER": MASTER_NAME}


def address_of(server: Server) -> str:
    """Return where a server is, in a list."""
    return f"{LOOPBACK}:{server.port}"


def seeds(found: Cluster, _: object = None) -> dict[str, str]:
    """Return the settings for a cluster, of which two servers are named: one is a replica."""
    hosts = ",".join(map(address_of, (found.nodes[-1], found.nodes[0])))
    return {"REDIS_CLUSTER": "true", "REDIS_HOST": hosts}


def url(scheme: str, where: str, *, username: str = "") -> dict[str, str]:
    """Return the settings with an address in one."""
    return {"REDIS_URL": f"{scheme}://{username}:{quote(PASSWORD, safe='')}@{where}"}


def tls(certificates: Certificates) -> dict[str, str]:
    """Return the settings for TLS."""
    return {
        "REDIS_TLS_CA_FILE": str(certificates.authority),
        "REDIS_TLS_CERT_FILE": str(certificates.client.certificate),
        "REDIS_TLS_KEY_FILE": str(certificates.client.key),
    }


PATIENT: Final = {"CACHE_OPERATION_TIMEOUT": "5"}
"""For what is not about time."""
AS_USER: Final = {"REDIS_USERNAME": "cache", "REDIS_PASSWORD": PASSWORD}
WITH_TLS: Final = {"REDIS_TLS": "true"}
ADMIN: Final = Login("admins", "admin")
WATCHER: Final = Login("watchers", "watcher")
AS_WATCHER: Final = {
    "REDIS_SENTINEL_USERNAME": WATCHER.username,
    "REDIS_SENTINEL_PASSWORD": WATCHER.password,
}

TOPOLOGIES: Final[dict[str, Topology]] = {
    "host and port": Topology(lambda executable, _: one_server(executable=executable), address),
    "password": Topology(
        lambda executable, _: one_server(executable=executable, login=Login(PASSWORD)),
        lambda server, _: address(server) | {"REDIS_PASSWORD": PASSWORD},
    ),
    "user": Topology(
        lambda executable, _: one_server(user(MAY), executable=executable, login=ADMIN),
        lambda server, _: address(server) | AS_USER,
    ),
    "redis URL": Topology(
        lambda executable, _: one_server(user(f"{MAY} select"), executable=executable, login=ADMIN),
        lambda server, _: url("redis", f"{LOOPBACK}:{server.port}/3", username="cache"),
        db=3,
    ),
    "rediss URL": Topology(
        lambda executable, certificates: one_server(
            executable=executable, login=Login(PASSWORD), certificates=certificates
        ),
        lambda server, certificates: url("rediss", f"localhost:{server.port}") | tls(certificates),
    ),
    "unix URL": Topology(
        lambda executable, _: one_server(user(f"{MAY} select"), executable=executable, login=ADMIN),
        lambda server, _: url("unix", f"{server.socket}?db=1", username="cache"),
        db=1,
    ),
    "TLS": Topology(
        lambda executable, certificates: one_server(
            executable=executable, certificates=certificates
        ),
        lambda server, certificates: address(server) | WITH_TLS | tls(certificates),
    ),
    "Sentinel": Topology(lambda executable, _: sentinel_set(executable=executable), asked),
    "Sentinel, users, TLS": Topology(
        lambda executable, certificates: sentinel_set(
            user(MAY_WITH_SENTINEL),
            executable=executable,
            login=ADMIN,
            sentinel_login=WATCHER,
            certificates=certificates,
        ),
        lambda found, certificates: (
            asked(found) | AS_USER | AS_WATCHER | WITH_TLS | tls(certificates)
        ),
    ),
    "Cluster": Topology(lambda executable, _: cluster(executable=executable), seeds),
    "Cluster, user, TLS": Topology(
        lambda executable, certificates: cluster(
            user(MAY_ON_A_CLUSTER), executable=executable, login=ADMIN, certificates=certificates
        ),
        lambda found, certificates: seeds(found) | AS_USER | WITH_TLS | tls(certificates),
    ),
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make certificates once."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def worker(installed: BakedProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Lend a process of the installed project."""
    with working(installed, WORKER, tmp_path_factory.mktemp("worker")) as worker:
        yield worker


@pytest.fixture(
    scope="module",
    params=[(topology, server) for topology in TOPOLOGIES for server in SERVERS],
    ids="-".join,
)
def place(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[Place]:
    """Lend each topology of each kind of server."""
    name, server = request.param
    topology = TOPOLOGIES[name]
    with topology.lend(SERVERS[server], certificates) as found, ExitStack() as stack:
        masters, others = split(found)
        clients = [
            {each: stack.enter_context(each.client(db=db)) for each in servers}
            for servers, db in ((masters, topology.db), (others, 0))
        ]
        yield Place(topology.settings(found, certificates) | PATIENT, *clients)


def split(found: Server | SentinelSet | Cluster) -> tuple[list[Server], list[Server]]:
    """Return the masters, and the others."""
    if isinstance(found, Server):
        return [found], []
    if isinstance(found, Cluster):
        masters = found.masters()
        return masters, [node for node in found.nodes if node not in masters]
    return [found.master()], [
        each for each in (*found.servers, *found.sentinels) if each is not found.master()
    ]


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache at a place, in a process of its own."""

    worker: Worker
    place: Place

    def does(self, job: str, **details: object) -> None:
        """Have a job done: nothing is logged, and neither task nor connection is left."""
        self.begins(job, **details)
        self.ends()

    def begins(self, job: str, **details: object) -> None:
        """Have a job begun."""
        self.worker.tell(settings=self.place.settings, job=job, **details)

    def ends(self) -> None:
        """Wait for the job's end."""
        said = self.worker.hear("result")
        assert (said["log"], said["left"]) == ([], [])
        eventually(lambda: not self.place.connections(), "all connections to be closed")


@pytest.fixture
def cache(worker: Worker, place: Place) -> Iterator[Cache]:
    """Lend a cache on servers without keys."""
    yield Cache(worker, place)
    for master, keys in zip(place.masters.values(), place.stored(), strict=True):
        for key in keys:
            master.unlink(key)


# --- what is promised on each ------------------------------------------------------------------


def test_values_of_many_slots_come_and_go(cache: Cache) -> None:
    """One by one and many at once, and the cache says that it is well."""
    cache.does("values")


def test_p4_code_computes_once(cache: Cache) -> None:
    """One value or many, until they are invalidated."""
    cache.does("computed")


def test_p4_a_decorated_function_runs_once(cache: Cache) -> None:
    """It runs again after each kind of invalidation, and no other function with it."""
    cache.does("decorated")


def test_an_old_entry_is_served_while_it_is_computed_anew(cache: Cache) -> None:
    """Unless it was invalidated."""
    cache.does("old")


@pytest.mark.parametrize("reader", READERS)
def test_p3_what_an_invalidation_overtook_is_not_stored(cache: Cache, reader: str) -> None:
    """Whoever computes it has it, and the next caller has the new value."""
    for way in WAYS if reader == "get_or_set_many" else WAYS + TAG_WAYS:
        cache.does("overtaken", reader=reader, way=way)


MANY: Final = [f"{number}" for number in range(60)]
"""So many names that each master of a cluster has some of them."""


def test_a_pattern_reaches_all_masters(cache: Cache) -> None:
    """What it covers is gone from each, and nothing else is."""
    cache.does("fill", names=[f"{family}:{name}" for family in ("one", "other") for name in MANY])
    assert all(any(key.startswith("app:one:") for key in keys) for keys in cache.place.stored())
    cache.does("invalidate", pattern="one:*")
    assert set.union(*cache.place.stored()) == {f"app:other:{name}" for name in MANY}


def test_p7_clear_removes_own_keys_only_on_all_masters(cache: Cache) -> None:
    """The keys of siblings, whose prefix begins alike, are there on each of them afterwards."""
    siblings = {f"{sibling}:{name}" for sibling in ("app2", "ap", "xapp") for name in MANY} | {
        "app"
    }
    cache.place.put(siblings)
    cache.does("fill", names=MANY)
    assert all(any(key.startswith("app:") for key in keys) for keys in cache.place.stored())
    cache.does("clear")
    assert set.union(*cache.place.stored()) == siblings
    assert all(cache.place.stored())


def test_all_connections_are_closed(cache: Cache) -> None:
    """There are some while the cache is used, to each master, and none once it is closed."""
    cache.begins("hold")
    assert cache.worker.hear("event") == "holding"
    assert cache.place.connections().keys() >= cache.place.masters.keys()
    cache.place.put(["app:over"])
    cache.ends()


# --- settings that do not fit the servers ------------------------------------------------------

AWAY: Final = {
    "get": "the default",
    "set": False,
    "get_or_set": [1, 1],
    "get_or_set_many": {"key": 1},
    "clear": False,
    "health_check": False,
}
"""What callers have of a cache that cannot be reached."""


def use(worker: Worker, settings: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Use a cache with these settings; return what its callers had, and what it logged."""
    worker.tell(job="use", settings=settings)
    said = worker.hear("result")
    assert said["left"] == []
    return said["answer"], said["log"]


def find_away(worker: Worker, settings: dict[str, str], reason: str) -> None:
    """Use a cache that is away for this reason: the log has it, in one line for each server."""
    had, log = use(worker, settings)
    assert had == AWAY
    told = [line for line in log if "invalidation" not in line]
    servers = [re.match(r"redis at (.+?) (fails|refuses)", line) for line in told]
    assert all(servers), told
    assert len({match[1] for match in servers if match}) == len(told) > 0, told
    assert all(re.search(reason, line) for line in told), told


@pytest.fixture(scope="module", params=SERVERS)
def secured(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[dict[str, str]]:
    """Lend the settings of one server that wants a certificate and a password."""
    with one_server(
        executable=SERVERS[request.param], login=Login(PASSWORD), certificates=certificates
    ) as server:
        yield address(server) | {"REDIS_PASSWORD": PASSWORD} | WITH_TLS | tls(certificates)


NO_CERTIFICATE: Final = {"REDIS_TLS_CERT_FILE": "", "REDIS_TLS_KEY_FILE": ""}
STRANGERS: Final = {
    "REDIS_TLS_CERT_FILE": "{stranger[certificate]}",
    "REDIS_TLS_KEY_FILE": "{stranger[key]}",
}
NO_TLS: Final = {"REDIS_TLS": "", "REDIS_TLS_CA_FILE": "", **NO_CERTIFICATE}
UNKNOWN: Final = "certificate verify failed: self-signed certificate"
INVALID: Final = "AuthenticationError: invalid username-password pair"
MISTAKES: Final[dict[str, tuple[dict[str, str], str]]] = {
    "another CA": ({"REDIS_TLS_CA_FILE": "{other_authority}"}, UNKNOWN),
    "the system's CAs": ({"REDIS_TLS_CA_FILE": ""}, UNKNOWN),
    "no certificate": (NO_CERTIFICATE, "reset by peer|certificate required"),
    "another CA's certificate": (STRANGERS, "reset by peer|unknown ca"),
    "no TLS": (NO_TLS, "reset by peer|closed by server"),
    "a wrong password": ({"REDIS_PASSWORD": "wrong"}, INVALID),
    "no password": ({"REDIS_PASSWORD": ""}, "AuthenticationError: HELLO must be"),
    "a wrong user": ({"REDIS_USERNAME": "nobody"}, INVALID),
    "no such database": ({"REDIS_DB": "99"}, "DB index is out of range"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_p5_a_server_that_refuses_is_away(
    worker: Worker, secured: dict[str, str], certificates: Certificates, mistake: str
) -> None:
    """Callers have no error, and the log has the reason once."""
    assert use(worker, secured)[1] == []
    wrong, reason = MISTAKES[mistake]
    changed = {name: text.format(**asdict(certificates)) for name, text in wrong.items()}
    find_away(worker, secured | changed, reason)


@each_server
def test_p5_a_server_with_anothers_name_is_away(
    worker: Worker, certificates: Certificates, executable: str
) -> None:
    """Unless the settings say that the name in its certificate does not matter."""
    elsewhere = replace(certificates, server=certificates.elsewhere)
    with one_server(executable=executable, certificates=elsewhere) as server:
        settings = address(server) | WITH_TLS | tls(certificates)
        find_away(worker, settings, r"certificate is not valid for '127\.0\.0\.1'")
        had, log = use(worker, settings | {"REDIS_TLS_CHECK_HOSTNAME": "false"})
        assert (had["get_or_set"], had["health_check"], log) == ([1, 1], True, [])


def test_p5_a_master_that_sentinels_do_not_name_is_away(worker: Worker) -> None:
    """The log has what each sentinel said, or that it is none."""
    with sentinel_set(login=Login(PASSWORD), sentinel_login=WATCHER) as found:
        settings = asked(found) | AS_WATCHER | {"REDIS_PASSWORD": PASSWORD}
        assert use(worker, settings)[1] == []
        for wrong, reason in (
            ({"REDIS_SENTINEL_MASTER": "other"}, "none of 3 sentinels .* 'other'"),
            ({"REDIS_SENTINEL_PASSWORD": "wrong"}, f"none of 3 sentinels .*: {INVALID}"),
            ({"REDIS_SENTINELS": address_of(found.servers[0])}, ".*: AuthenticationError: "),
            ({"REDIS_SENTINELS": f"{LOOPBACK}:1"}, "none of 1 sentinels .* 127.0.0.1:1"),
            ({"REDIS_PASSWORD": "wrong"}, INVALID),
        ):
            find_away(worker, settings | wrong, reason)


def test_p5_servers_that_are_no_cluster_are_away(worker: Worker) -> None:
    """And so is a cluster for somebody who takes it for one server."""
    with one_server() as server:
        settings = address(server) | {"REDIS_CLUSTER": "true"}
        find_away(worker, settings, "cluster support disabled")
    with cluster(login=Login(PASSWORD)) as found:
        settings = seeds(found) | {"REDIS_PASSWORD": PASSWORD}
        assert use(worker, settings)[1] == []
        for wrong, reason in (
            ({"REDIS_PASSWORD": "wrong"}, INVALID),
            ({"REDIS_HOST": f"{LOOPBACK}:1,{LOOPBACK}:2"}, "Connect call failed"),
        ):
            find_away(worker, settings | wrong, reason)
        node = address(found.nodes[0]) | {"REDIS_PASSWORD": PASSWORD}
        had, log = use(worker, node)
        assert had["get_or_set"] == [1, 1]
        assert [line for line in log if "REDIS_CLUSTER=true" in line] == log[:1]

"""The cache while a master is killed or hangs, and while slots move, with traffic all the time.

A process of an installed project reads in twenty tasks, and in three more it changes the source of
what is cached and invalidates that, in every way that there is. What must not happen is counted:
errors, and values older than an invalidation which had returned before the read began, be it
delivered or kept in the journal.

Redis replicates asynchronously: an invalidation that a master carried out in its last moment, and
did not hand on, would be lost. On one machine that moment is too short to make allowance for it.
"""

import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import pytest
from redis.crc import key_slot

from tests.baked import BakedProject, eventually
from tests.servers import SERVERS, Server
from tests.test_cache_topologies import PATIENT, asked, seeds
from tests.test_cache_topologies import WORKER as TOPOLOGY_WORKER
from tests.topologies import SLOTS, Cluster, SentinelSet, cluster, sentinel_set
from tests.workers import Worker, working

pytestmark = pytest.mark.alone

WORKER: Final = Path(__file__).with_name("failover_worker.py")
SEED: Final = os.environ.get("TEST_SEED") or secrets.token_hex(4)
BUDGET: Final = 0.25
"""Seconds: the default of `CACHE_OPERATION_TIMEOUT`."""
NOISE: Final = 10
"""So many budgets a call may take on a machine with other work; on a quiet one it is one or two."""
MOST_SLOW: Final = 0.15
"""The part of the calls that may wait while a master hangs; on a quiet machine it is 0.02."""
MOST_LINES: Final = 60
"""So many the log may have; on a quiet machine there are six."""
OTHERS: Final = 100_000
"""So many keys that are not the cache's make a visit to a master last."""
LOST: Final = 50
"""At least so many writes do not reach a replica that lags behind."""
WRITES: Final = 15
"""At least so many of each way are made while slots move."""

HARM: Final[dict[str, tuple[Callable[[Server], None], Callable[[Server], None]]]] = {
    "killed": (Server.kill, Server.start),
    "paused": (Server.pause, Server.resume),
}
"""What is done to a master, and how it comes back: as a replica, for another one has its place."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Trouble:
    """How long calls took, in seconds."""

    while_it_lasted: list[float]
    until_hits: list[float]
    """The same, and on until everything that had not changed was a hit again."""
    seconds: float
    """How long after it had ended that was."""

    def __str__(self) -> str:
        """Say it in a line."""
        took = [1000 * seconds for seconds in self.until_hits]
        percentiles = quantiles(took, n=100)
        return (
            f"{len(took)} calls meanwhile: p50 {percentiles[49]:.1f} ms, p99 {percentiles[98]:.0f} "
            f"ms, longest {max(took):.0f} ms; hits again after {self.seconds:.2f} s"
        )

    def check(self) -> None:
        """Fail if calls waited for a server that was known to be away, or for long."""
        assert max(self.until_hits) < NOISE * BUDGET
        slow = [seconds for seconds in self.while_it_lasted if seconds > BUDGET / 2]
        assert len(slow) < MOST_SLOW * len(self.while_it_lasted)


class Traffic:
    """What runs in the process, as it looks from here."""

    def __init__(self, worker: Worker, where: str, report: Report) -> None:
        self._worker, self._where, self._report = worker, where, report
        self._troubles: list[Trouble] = []
        self.keys: list[str] = []
        """Where the process stores what it reads."""
        self.log: list[str] = []
        self.delivered_late = 0
        """How many invalidations had returned, and were delivered afterwards."""

    def does(self, job: str, **details: object) -> Any:  # noqa: ANN401 - the job knows
        """Have the process do a job."""
        self._worker.tell(job=job, **details)
        return self._worker.hear("result")

    @contextmanager
    def running(self, settings: dict[str, str]) -> Iterator[None]:
        """Let it run; at the end no caller has seen an error, or anything stale."""
        self.keys = self.does("begin", settings=settings, seed=SEED)
        try:
            yield
        finally:
            found = self.does("end")
        self.log, put_off = found["log"], Counter(found["put_off"])
        self.delivered_late = put_off["delivered"]
        stale, errors = found["stale"], found["errors"]
        counted = (
            f"{self._where}: {found['reads']} reads, {sum(found['writes'].values())} writes, "
            f"{self.delivered_late} of them delivered late, stale {len(stale)}, "
            f"errors {len(errors)}"
        )
        self._report(f"{'; '.join([counted, *map(str, self._troubles)])} (seed {SEED})")
        assert (stale, errors, found["left"], put_off["lost"]) == ([], [], [], 0)
        assert len(self.log) < MOST_LINES
        for trouble in self._troubles:
            trouble.check()

    @contextmanager
    def trouble(self) -> Iterator[None]:
        """Note how long calls take while this lasts, and then until there are hits again."""
        self.does("mark")
        yield
        self._troubles.append(Trouble(**self.does("recover")))


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    """Name each kind of server."""
    return str(request.param)


@pytest.fixture(scope="module")
def sentinels(server: str) -> Iterator[SentinelSet]:
    """Lend a set of three servers with three sentinels."""
    with sentinel_set(executable=SERVERS[server]) as found:
        yield found


@pytest.fixture(scope="module")
def nodes(server: str) -> Iterator[Cluster]:
    """Lend a cluster of three masters, each with a replica."""
    with cluster(executable=SERVERS[server]) as found:
        yield found


@pytest.fixture(scope="module")
def worker(installed: BakedProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Lend a process of the installed project."""
    with working(installed, WORKER, tmp_path_factory.mktemp("worker")) as worker:
        yield worker


@pytest.fixture(scope="module")
def loner(installed: BakedProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Lend one that does a single thing at a time."""
    with working(installed, TOPOLOGY_WORKER, tmp_path_factory.mktemp("loner")) as worker:
        yield worker


@pytest.mark.parametrize("harm", HARM)
def test_p3_p5_p6_sentinels_replace_a_master(
    worker: Worker, sentinels: SentinelSet, server: str, harm: str, report: Report
) -> None:
    """Callers do not notice, the new one is used by itself, and the old one does no harm."""
    traffic = Traffic(worker, f"Sentinel, {server}, the master {harm}", report)
    with traffic.running(asked(sentinels)):
        replace_a_master(traffic, lambda: [sentinels.master()], harm)
        sentinels.settle()
        traffic.does("recover")
    assert traffic.delivered_late > 0


@pytest.mark.parametrize("harm", HARM)
def test_p3_p5_p6_a_cluster_replaces_a_master(
    worker: Worker, nodes: Cluster, server: str, harm: str, report: Report
) -> None:
    """Callers do not notice, its replica is used by itself, and the old one does no harm."""
    traffic = Traffic(worker, f"Cluster, {server}, one of its masters {harm}", report)
    with traffic.running(seeds(nodes)):
        replace_a_master(traffic, nodes.masters, harm)
        nodes.settle()
        traffic.does("recover")
    assert traffic.delivered_late > 0


def test_p3_p5_p6_sentinels_replace_a_master_that_is_well(
    worker: Worker, sentinels: SentinelSet, server: str, report: Report
) -> None:
    """As for a maintenance: the old one goes on for seconds, but is left, and nothing is lost."""
    traffic = Traffic(worker, f"Sentinel, {server}, the master replaced on demand", report)
    with traffic.running(asked(sentinels)):
        with traffic.trouble(), sentinels.patient():
            old = sentinels.replace_master()
            eventually(lambda: not callers_of(old), "everybody to leave it")
            assert old.ask("ROLE")[0] == "master"
        sentinels.settle()
        traffic.does("recover")


def callers_of(server: Server) -> list[str]:
    """Return what clients last asked a server for, except for servers, sentinels and ourselves."""
    with server.client() as client:
        return [
            each["cmd"]
            for each in client.client_list(_type="normal")
            if not each["name"].startswith("sentinel") and each["id"] != str(client.client_id())
        ]


def test_p3_p5_p6_a_cluster_replaces_a_master_that_is_well(
    worker: Worker, nodes: Cluster, server: str, report: Report
) -> None:
    """Its replica gets all that it has, and then takes its place: nobody notices."""
    traffic = Traffic(worker, f"Cluster, {server}, one of its masters replaced on demand", report)
    with traffic.running(seeds(nodes)):
        with traffic.trouble():
            old, *_ = nodes.masters()
            nodes.replica(old).ask("CLUSTER", "FAILOVER")
            eventually(lambda: old not in nodes.masters(), "another master")
        nodes.settle()
        traffic.does("recover")


def test_p3_p6_a_sentinels_replica_has_not_got_the_last_invalidations(
    worker: Worker, sentinels: SentinelSet, server: str, report: Report
) -> None:
    """They had returned, but were not replicated: the new master is told them by who made them."""
    traffic = Traffic(worker, f"Sentinel, {server}, replicas that lag behind", report)
    with traffic.running(asked(sentinels)):
        old = sentinels.master()
        replicas = [each for each in sentinels.servers if each is not old]
        lose_what_is_written(traffic, old, replicas, sentinels.master)
        sentinels.settle()


def test_p3_p6_a_clusters_replica_has_not_got_the_last_invalidations(
    worker: Worker, nodes: Cluster, server: str, report: Report
) -> None:
    """They had returned, but were not replicated: the new master is told them by who made them."""
    traffic = Traffic(worker, f"Cluster, {server}, a replica that lags behind", report)
    with traffic.running(seeds(nodes)):
        old, *_ = nodes.masters()
        lose_what_is_written(traffic, old, [nodes.replica(old)], nodes.masters)
        nodes.settle()


def lose_what_is_written(
    traffic: Traffic, old: Server, replicas: list[Server], wait: Callable[[], object]
) -> None:
    """Let a master write what its replicas do not get, and then let one of them take its place."""
    for replica in replicas:
        replica.ask("CONFIG", "SET", "masterauth", "wrong")
    old.ask("CLIENT", "KILL", "TYPE", "replica")
    before = sum(traffic.does("look")["writes"].values())
    eventually(
        lambda: sum(traffic.does("look")["writes"].values()) > before + LOST, f"{LOST} writes"
    )
    assert old.ask("ROLE")[2] == []
    traffic.does("rest")  # so that the journal covers nothing
    old.kill()
    wait()
    traffic.does("go")
    traffic.does("recover")
    for replica in replicas:
        replica.ask("CONFIG", "SET", "masterauth", "")
    old.start()
    traffic.does("recover")


def replace_a_master(traffic: Traffic, masters: Callable[[], list[Server]], harm: str) -> None:
    """Harm a master until another one has its place, and let it come back."""
    do, undo = HARM[harm]
    old = masters()[0]
    with traffic.trouble():
        do(old)
        assert old not in masters()
    undo(old)


def test_p3_p6_a_master_that_hung_is_no_master_to_who_was_idle(
    worker: Worker, sentinels: SentinelSet, server: str, report: Report
) -> None:
    """When it goes on it takes itself for one for a while, and would lose what it is told."""
    traffic = Traffic(worker, f"Sentinel, {server}, the master paused while all rest", report)
    with traffic.running(asked(sentinels)):
        old = sentinels.master()
        traffic.does("rest")
        old.pause()
        assert sentinels.master() is not old
        with traffic.trouble():
            old.resume()
            traffic.does("go")
            sentinels.settle()
    assert any("another server has taken over" in line for line in traffic.log)


def test_p3_p5_slots_move(worker: Worker, nodes: Cluster, server: str, report: Report) -> None:
    """Callers do not notice, patterns and tags miss no key, and the log says nothing."""
    traffic = Traffic(worker, f"Cluster, {server}, slots moved", report)
    with traffic.running(seeds(nodes)):
        here, there, _ = nodes.masters()
        slots = [slot for slot in {*map(slot_of, traffic.keys)} if nodes.owner(slot) is here]
        slow, quick = slots[:3], slots[3:]
        before = traffic.does("look")["writes"]

        def moved_enough() -> bool:
            for target in (there, here):
                nodes.move(quick, target)
            now = traffic.does("look")["writes"]
            return all(now[way] >= before.get(way, 0) + WRITES for way in now)

        with traffic.trouble():
            for slot in slow:
                begin_to_move(slot, here, there)
            eventually(moved_enough, f"{WRITES} writes of each way")
            nodes.move(slow, there)
    assert traffic.log == []


def begin_to_move(slot: int, source: Server, target: Server) -> None:
    """Let a slot be in motion: what comes into being from now on does so at the target."""
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))


def test_p3_a_pattern_misses_no_key_that_moves(loner: Worker, nodes: Cluster) -> None:
    """Not even those that go to a master which was visited, from one which was not."""
    first, between, last = map(nodes.owner, (0, SLOTS // 2, SLOTS - 1))
    crowd, moving = tag_of(SLOTS // 2), tag_of(SLOTS - 1)
    with between.client() as client, client.pipeline(transaction=False) as pipeline:
        for number in range(OTHERS):
            pipeline.set(f"{crowd}:{number}", "")
        pipeline.execute()
    settings = seeds(nodes) | PATIENT
    loner.tell(job="fill", settings=settings, names=[f"{moving}:{number}" for number in range(50)])
    loner.hear("result")
    assert last.ask("CLUSTER", "COUNTKEYSINSLOT", SLOTS - 1) == 50
    with between.client() as client, client.monitor() as seen:
        loner.tell(job="invalidate", settings=settings, pattern=f"{moving}:*")
        while "SCAN" not in seen.next_command()["command"]:
            pass
    nodes.move([SLOTS - 1], first)
    loner.hear("result")
    for master in (first, last):
        assert master.ask("CLUSTER", "COUNTKEYSINSLOT", SLOTS - 1) == 0


def tag_of(slot: int) -> str:
    """Return a hash tag: keys with it are in this slot."""
    return next(tag for tag in map("{{{}}}".format, count()) if slot_of(tag) == slot)


def slot_of(key: str) -> int:
    """Return the slot of a key."""
    return int(key_slot(key.encode()))

"""The near cache between processes: nothing stale in the one that writes, new soon elsewhere."""

import statistics
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis
from redis.crc import key_slot
from redis_server import RedisServer

from tests.baked import BakedProject, eventually
from tests.fence_traffic import SEED, WAYS, Scene
from tests.fence_traffic import WORKER as FENCE_WORKER
from tests.servers import LOOPBACK, Server, each_server
from tests.topologies import MASTER_NAME, Cluster, cluster, sentinel_set
from tests.workers import Worker, working

pytestmark = pytest.mark.alone

WORKER: Final = Path(__file__).with_name("near_worker.py")
TRUST_SECONDS: Final = 1.0
"""Nothing is older than that, whatever happens to the network or to Redis."""
VERSIONS: Final = 10_000
ITEM: Final = "1"
NEAR: Final = {"near_size": 1000, "operation_timeout": 2.0}
PREFIX: Final = "near"


@pytest.fixture(scope="module")
def fence_crew(
    installed: BakedProject, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Worker]]:
    """Lend three workers of the fence's tests."""
    folder = tmp_path_factory.mktemp("workers")
    with ExitStack() as stack:
        yield [stack.enter_context(working(installed, FENCE_WORKER, folder)) for _ in range(3)]


@pytest.fixture
def scene(redis_server: RedisServer) -> Iterator[Scene]:
    """Lend keys of this test's own, and remove them after it."""
    prefix = f"near-{uuid.uuid4().hex}"
    address = address_of(redis_server)
    with Redis.from_url(redis_server.url) as client:
        yield Scene(client, prefix, cache=address | NEAR, address=address)
        for start in (prefix, f"beside-{prefix}"):
            for key in client.scan_iter(f"{start}:*", count=1000):
                client.unlink(key)


def address_of(server: RedisServer) -> dict[str, Any]:
    """Return where a server is."""
    return {name: getattr(server, name) for name in ("host", "port", "db", "password")}


class Processes:
    """A reader that reads all the time, and a writer, which share a board."""

    def __init__(self, reader: Worker, writer: Worker) -> None:
        self.reader, self.writer = reader, writer
        self.stale = 0
        """How many reads of the writer's own process were stale."""
        self.written = 0

    def read(self) -> None:
        """Let the reader have the entry near, and then read until the end."""
        self.reader.tell(job="reads")
        assert self.reader.hear("event") == "reading"

    def write(
        self, times: int, *, pause: float = 0.01, ways: tuple[str, ...] = ("delete", "tag")
    ) -> None:
        """Let the writer write so often, and wait for that."""
        self.begin_to_write(times, pause=pause, ways=ways)
        self.have_written()

    def begin_to_write(
        self, times: int, *, pause: float = 0.01, ways: tuple[str, ...] = ("delete", "tag")
    ) -> None:
        """Let the writer begin."""
        seed = f"{SEED} {self.written}"
        self.writer.tell(job="writes", times=times, pause=pause, ways=ways, seed=seed)
        self.written += times

    def have_written(self) -> None:
        """Wait until it has."""
        self.stale += self.writer.hear("result")

    def end(self) -> tuple[dict[str, Any], list[float]]:
        """Return what the reader has seen, and for how long after each write it saw old ones."""
        self.writer.tell(job="over")
        self.writer.hear("result")
        seen = self.reader.hear("result")
        late = {int(version): seconds for version, seconds in seen.pop("late").items()}
        return seen, [late.get(version, 0.0) for version in range(1, self.written + 1)]


@contextmanager
def processes(
    project: BakedProject, folder: Path, cache: dict[str, Any], prefix: str = PREFIX
) -> Iterator[Processes]:
    """Lend them, with this cache."""
    board = folder / "board"
    board.write_bytes(bytes(8 * (3 + VERSIONS)))
    with (
        working(project, WORKER, folder) as reader,
        working(project, WORKER, folder) as writer,
    ):
        for worker in (reader, writer):
            worker.tell(
                job="begin",
                cache=NEAR | cache,
                prefix=prefix,
                board=str(board),
                item=ITEM,
                tags=["number:1"],
            )
            worker.hear("result")
        yield Processes(reader, writer)
        for worker in (reader, writer):
            worker.tell(job="end")
            worker.hear("result")


def in_words(seconds: list[float]) -> str:
    """Return the most telling figures."""
    ms = [1000 * each for each in seconds]
    p50, p99 = (statistics.quantiles(ms, n=100, method="inclusive")[place] for place in (49, 98))
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, longest {max(ms):.2f} ms of {len(ms)}"


# --- one server ----------------------------------------------------------------------------------


@pytest.mark.parametrize("refreshed", [False, True], ids=["", "refreshed"])
@pytest.mark.parametrize("way", WAYS)
def test_p3_no_read_in_the_process_that_invalidates_is_stale(
    fence_crew: list[Worker],
    scene: Scene,
    way: str,
    report: Callable[[str], None],
    *,
    refreshed: bool,
) -> None:
    """However often the source changes while three processes read; in the others few are."""
    scene.client.mset({scene.beside("source"): 0, scene.beside("returned"): 0})
    for number, worker in enumerate(fence_crew):
        scene.begin(
            worker,
            "read_and_write",
            way=way,
            reader="a function",
            fenced=True,
            refreshed=refreshed,
            seed=f"{SEED} {number}",
            readers=8,
            writes=0 if number else 60,
            reads=900,
        )
    mine, *theirs = [worker.hear("result") for worker in fence_crew]
    line = f"P3 near by {way}{' refreshed' * refreshed}, seed {SEED}: {mine}; others {theirs}"
    report(line)
    assert mine["stale"] == 0, line
    assert mine["writes"] >= 60, line
    assert sum(each["reads"] for each in (mine, *theirs)) >= 800, line


def test_p3_another_processs_write_is_seen_soon(
    installed: BakedProject,
    redis_server: RedisServer,
    tmp_path: Path,
    report: Callable[[str], None],
) -> None:
    """As soon as the message is there; the writer's own process sees it at once."""
    prefix = f"near-{uuid.uuid4().hex}"
    with processes(installed, tmp_path, address_of(redis_server), prefix) as both:
        both.read()
        both.write(1000, pause=0.006)
        seen, late = both.end()
    report(
        f"Near cache, staleness after another process's write: {in_words(late)}; "
        f"{seen['asked'] / seen['reads']:.1%} of {seen['reads']} reads asked Redis"
    )
    assert both.stale == 0
    assert seen["asked"] < seen["reads"] / 2
    assert statistics.quantiles(late, n=100)[98] < 0.1
    assert max(late) < TRUST_SECONDS


def test_p3_a_fork_trusts_what_it_inherits_no_longer_than_it_could(
    installed: BakedProject,
    redis_server: RedisServer,
    tmp_path: Path,
    report: Callable[[str], None],
) -> None:
    """It does not hear its parent's messages; its own invalidations count at once there, too."""
    prefix = f"near-{uuid.uuid4().hex}"
    with processes(installed, tmp_path, address_of(redis_server), prefix) as both:
        both.reader.tell(job="forks")
        seen = both.reader.hear("result")
        report(f"Near cache in a fork: the parent's write was seen {seen['late']:.2f} s late")
        assert (seen["done"], seen["status"], seen["own"]) == (True, 0, 0)
        assert 0 < seen["late"] < TRUST_SECONDS
        assert seen["here"][0] >= 1


# --- several servers -----------------------------------------------------------------------------


@each_server
def test_p3_slots_move_while_others_write(
    installed: BakedProject, tmp_path: Path, executable: str, report: Callable[[str], None]
) -> None:
    """Key by key, all at once where the server can, and by a failover: messages come of each."""
    with cluster(executable=executable) as found:
        slot = key_slot(f"{PREFIX}:family:{ITEM}".encode())
        cache = {"host": LOOPBACK, "port": found.nodes[0].port, "cluster": True}
        with processes(installed, tmp_path, cache) as both:
            both.read()
            for _ in range(2):
                both.begin_to_write(200)
                for target in found.masters():
                    if target is not found.owner(slot):
                        found.move([slot], target)
                both.have_written()
            atomically = "redis" not in Path(executable).name
            if atomically:
                both.begin_to_write(200)
                for target in found.masters():
                    if target is not found.owner(slot):
                        migrate(found, slot, target)
                both.have_written()
            old = found.owner(slot)
            both.begin_to_write(400)
            found.replica(old).ask("CLUSTER", "FAILOVER")
            eventually(lambda: old.ask("ROLE")[0] == "slave", "the master to follow")
            both.have_written()
            both.write(50)
            seen, late = both.end()
    report(
        f"Near cache while slots move{' at once, too,' * atomically} and masters change: "
        f"{in_words(late)}; {seen['asked'] / seen['reads']:.1%} of {seen['reads']} asked"
    )
    assert both.stale == 0
    assert max(late) < TRUST_SECONDS
    assert seen["asked"] < seen["reads"] / 2


def migrate(found: Cluster, slot: int, target: Server) -> None:
    """Move a slot with all its keys at once, as some servers can."""
    words = ("SLOTSRANGE", slot, slot, "NODE", target.ask("CLUSTER", "MYID"))
    assert found.owner(slot).ask("CLUSTER", "MIGRATESLOTS", *words) == "OK"
    eventually(lambda: found.owner(slot) is target, "the slot to move")


@each_server
def test_p3_a_master_that_was_replaced_is_not_trusted(
    installed: BakedProject, tmp_path: Path, executable: str
) -> None:
    """It answers, but hears nothing of its successor, so that no message comes."""
    with cluster(executable=executable) as found:
        slot = key_slot(f"{PREFIX}:family:{ITEM}".encode())
        seeds = ",".join(f"{LOOPBACK}:{node.port}" for node in found.nodes)
        with processes(installed, tmp_path, {"host": seeds, "cluster": True}) as both:
            both.write(1)
            both.read()
            old = found.owner(slot)
            new = found.replica(old)
            new.ask("CLUSTER", "FAILOVER")
            eventually(lambda: old.ask("ROLE")[0] == "slave", "the master to follow")
            found.masters()
            old.ask("CONFIG", "SET", "masterauth", "a password that its successor has not")
            new.ask("CLIENT", "KILL", "TYPE", "replica")
            eventually(lambda: old.ask("ROLE")[3] != "connected", "it to be deaf")
            both.write(5, pause=0.2, ways=("delete",))  # a tag has a master of its own
            assert old.ask("ROLE")[3] != "connected"
            _, late = both.end()
    assert both.stale == 0
    assert max(late) < TRUST_SECONDS


def test_p3_a_master_hangs_and_follows_another_one_then(
    installed: BakedProject, tmp_path: Path
) -> None:
    """Of what sentinels' first master had told nothing is served for longer than a second."""
    with sentinel_set() as found:
        sentinels = [(LOOPBACK, sentinel.port) for sentinel in found.sentinels]
        # Who begins to connect to a master that hangs must not wait until it goes on.
        names = {"sentinels": sentinels, "sentinel_master": MASTER_NAME}
        cache = names | {"operation_timeout": 0.25}
        with processes(installed, tmp_path, cache) as both:
            both.write(20)
            both.reader.tell(job="stays", seconds=1.5 * TRUST_SECONDS)
            assert both.reader.hear("result") is True
            both.read()
            old = found.master()
            old.pause()
            eventually(lambda: found.master() is not old, "another master")
            both.write(50)
            old.resume()
            both.write(50)
            found.settle()
            both.write(50)
            _, late = both.end()
    assert both.stale == 0
    assert max(late) < TRUST_SECONDS

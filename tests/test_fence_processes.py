"""The fence between processes: nothing stale, one computation, and what that costs in Redis."""

import signal
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from redis import Redis
from redis_server import RedisServer

from tests.baked import BakedProject, eventually
from tests.fence_traffic import READERS, READERS_AND_WAYS, SEED, WAYS, WORKER, Scene, play
from tests.workers import Worker, working

LEASE_SECONDS: Final = 3.0


class StartWorker:
    """Starts workers; they end with the stack."""

    def __init__(self, installed: BakedProject, folder: Path) -> None:
        self._project, self._folder = installed, folder
        self._stack = ExitStack()

    def __call__(self) -> Worker:
        return self._stack.enter_context(working(self._project, WORKER, self._folder))

    def close(self) -> None:
        """End what was started."""
        self._stack.close()


@pytest.fixture(scope="module")
def start_worker(
    installed: BakedProject, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartWorker]:
    """Lend what starts workers; they end with this module."""
    start = StartWorker(installed, tmp_path_factory.mktemp("workers"))
    yield start
    start.close()


@pytest.fixture(scope="module")
def workers(start_worker: StartWorker) -> list[Worker]:
    """Start the four workers that all tests use."""
    return [start_worker() for _ in range(4)]


@pytest.fixture
def crew(workers: list[Worker], start_worker: StartWorker) -> Iterator[list[Worker]]:
    """Lend four idle workers. Whoever is still busy after the test is replaced."""
    yield workers
    for place, worker in enumerate(workers):
        if worker.busy:
            worker.process.kill()
            workers[place] = start_worker()


@pytest.fixture
def unlucky(start_worker: StartWorker) -> Iterator[Worker]:
    """Lend one worker more, to be stopped or killed."""
    worker = start_worker()
    yield worker
    worker.process.kill()


@pytest.fixture
def scene(redis_server: RedisServer) -> Iterator[Scene]:
    """Lend keys of this test's own, and remove them after it."""
    prefix = f"fence-{uuid.uuid4().hex}"
    server = redis_server
    names = ("host", "port", "db", "password")
    address = {name: getattr(server, name) for name in names}
    with Redis.from_url(server.url) as client:
        yield Scene(client, prefix, cache=address, address=address)
        for start in (prefix, f"beside-{prefix}"):
            cursor = None
            while cursor != 0:
                cursor, keys = client.scan(cursor or 0, match=f"{start}:*", count=5000)
                if keys:
                    client.unlink(*keys)


# --- P3: nothing stale -------------------------------------------------------------------------


@pytest.mark.parametrize("refreshed", [False, True], ids=["", "refreshed"])
@pytest.mark.parametrize("way", WAYS)
def test_p3_no_read_is_older_than_an_invalidation_that_had_returned(
    crew: list[Worker], scene: Scene, way: str, report: Callable[[str], None], *, refreshed: bool
) -> None:
    """However often the source changes while processes read or refresh, no read is stale."""
    count = play(crew, scene, way, refreshed=refreshed)
    line = f"P3 by {way}{' refreshed' * refreshed}, seed {SEED}: {dict(count)}"
    report(line)
    assert count["stale"] == 0, line
    assert count["reads"] >= 1400, line
    assert count["writes"] >= 100, line
    assert count["fills"] < count["reads"], line


@pytest.mark.parametrize("way", WAYS)
def test_p3_the_same_reads_are_stale_without_the_fence(
    crew: list[Worker], scene: Scene, way: str, report: Callable[[str], None]
) -> None:
    """The count above is no chance: where every fill is stored, it finds stale reads."""
    count = play(crew, scene, way, fenced=False, writes=40)
    line = f"P3 by {way} without the fence, seed {SEED}: {dict(count)}"
    report(line)
    assert count["stale"] > 0, line


@pytest.mark.parametrize(
    ("reader", "way"), [each for each in READERS_AND_WAYS if each[0] != READERS[0]]
)
def test_p3_no_read_of_get_or_set_is_older_than_an_invalidation_that_had_returned(
    crew: list[Worker], scene: Scene, reader: str, way: str, report: Callable[[str], None]
) -> None:
    """What code computes itself, one entry or many, is fenced as what a function returns."""
    count = play(crew, scene, way, reader=reader, writes=60)
    line = f"P3 of {reader} by {way}, seed {SEED}: {dict(count)}"
    report(line)
    assert count["stale"] == 0, line
    assert count["reads"] >= 800, line
    assert count["writes"] >= 60, line
    assert count["fills"] < count["reads"], line


@pytest.mark.parametrize("late", ["has a value", "fails"])
@pytest.mark.parametrize("standing", ["a record", "a lease"])
def test_p3_a_leader_that_lost_its_lease_touches_nothing(
    crew: list[Worker], unlucky: Worker, scene: Scene, late: str, standing: str
) -> None:
    """A process that stood still for longer than its lease leaves alone what others put there."""
    key = f"{scene.prefix}:family:item:1"
    work = {"value": 1, "gate": "late", "fails": late == "fails", "announced": True}
    scene.call(unlucky, work=work, times={"LEASE_MS": 500, "LEASE_RENEWAL_SECONDS": 0.1})
    assert unlucky.hear("event") == "computing"
    unlucky.signal(signal.SIGSTOP)
    eventually(lambda: not scene.client.exists(key), "its lease to end")

    newer, other = crew[:2]
    scene.call(newer, work={"value": 2, "gate": "newer", "announced": True})
    assert newer.hear("event") == "computing"
    if standing == "a record":
        scene.client.rpush(scene.beside("newer"), "go on")
        assert newer.hear("result")["values"] == [2]
    before = scene.client.get(key)
    assert before is not None

    unlucky.signal(signal.SIGCONT)
    scene.client.rpush(scene.beside("late"), "go on")
    result = unlucky.hear("result")
    assert (result["values"], len(result["errors"])) == (([], 1) if late == "fails" else ([1], 0))
    assert scene.client.get(key) == before

    if standing == "a lease":
        scene.client.rpush(scene.beside("newer"), "go on")
        assert newer.hear("result")["values"] == [2]
    scene.call(other)
    assert other.hear("result")["values"] == [2]
    assert scene.runs() == 2


# --- P4: one computation -----------------------------------------------------------------------


@pytest.mark.parametrize(("processes", "callers"), [(1, 500), (4, 125)])
def test_p4_a_crowd_waits_for_one_computation(
    crew: list[Worker], scene: Scene, processes: int, callers: int, report: Callable[[str], None]
) -> None:
    """Of 500 callers of a cold key one computes, and all have the value soon after."""
    seconds = 2.0
    since = time.monotonic()
    for worker in crew[:processes]:
        scene.call(worker, callers=callers, since=since, work={"value": 7, "seconds": seconds})
    results = [worker.hear("result") for worker in crew[:processes]]
    slowest = max(result["seconds"] for result in results)
    report(f"P4, {processes} x {callers} cold callers: {slowest / seconds:.2f} of its duration")
    assert [result["errors"] for result in results] == [[]] * processes
    assert [result["values"] for result in results] == [[7] * callers] * processes
    assert scene.runs() == 1
    assert slowest < 1.5 * seconds


def test_p4_a_killed_leader_holds_up_the_others_for_its_lease(
    crew: list[Worker], unlucky: Worker, scene: Scene, report: Callable[[str], None]
) -> None:
    """However long the function of a killed process would have taken, the others go on soon."""
    scene.call(unlucky, work={"seconds": 40, "announced": True})
    assert unlucky.hear("event") == "computing"
    before = scene.commands()["get"]
    for worker in crew[:3]:
        scene.call(worker, callers=2, work={"value": 7})
    eventually(lambda: scene.commands()["get"] >= before + 12, "all to look what stands there")
    unlucky.signal(signal.SIGKILL)
    killed = time.monotonic()
    results = [worker.hear("result") for worker in crew[:3]]
    held_up = time.monotonic() - killed
    report(f"P4, after a leader was killed: {held_up:.2f} s")
    assert [result["values"] for result in results] == [[7, 7]] * 3
    assert scene.runs() == 2
    assert held_up < 2 * LEASE_SECONDS


def test_p4_a_leader_keeps_its_lease_while_it_computes(crew: list[Worker], scene: Scene) -> None:
    """A function that takes three times as long as a lease runs once."""
    for worker in crew[:3]:
        times = {"LEASE_MS": 1200, "LEASE_RENEWAL_SECONDS": 0.2}
        scene.call(worker, callers=2, work={"value": 7, "seconds": 3.6}, times=times)
    results = [worker.hear("result") for worker in crew[:3]]
    assert [result["values"] for result in results] == [[7, 7]] * 3
    assert scene.runs() == 1


# --- what it costs -----------------------------------------------------------------------------


def test_a_hit_costs_one_command_and_a_miss_three(
    crew: list[Worker], scene: Scene, report: Callable[[str], None]
) -> None:
    """A hit is one GET; a miss is a look, a lease, and a script that stores."""
    worker = crew[0]
    scene.call(worker, item=2)  # loads the script
    worker.hear("result")
    spent = []
    for _ in range(2):
        before = scene.commands()
        scene.call(worker)
        worker.hear("result")
        spent.append(scene.commands() - before)
    miss, hit = spent
    report(f"Redis commands: a miss {dict(miss)}, a hit {dict(hit)}")
    assert scene.runs() == 1
    assert hit == {"get": 1}
    # The script compares and stores: two commands, counted besides the one that runs it.
    assert miss.total() - 2 * miss["evalsha"] <= 3


def test_waiting_costs_few_commands(
    crew: list[Worker], scene: Scene, report: Callable[[str], None]
) -> None:
    """Fifteen callers in three processes wait a second for at most 150 commands in all."""
    before = scene.commands()
    for worker in crew[:3]:
        scene.call(worker, callers=5, work={"value": 7, "seconds": 1})
    results = [worker.hear("result") for worker in crew[:3]]
    spent = scene.commands() - before
    report(f"Redis commands: {spent.total()} for 15 waiters in 3 processes, {dict(spent)}")
    assert [result["values"] for result in results] == [[7] * 5] * 3
    assert scene.runs() == 1
    assert spent.total() <= 150


@pytest.fixture
def crowded(crew: list[Worker], scene: Scene) -> Scene:
    """Fill 5,000 entries with one tag, and put 195,000 others beside them."""
    for number, worker in enumerate(crew):
        first = number * 1250
        scene.begin(worker, "fill", first=first, last=first + 1250, tag="number:1")
    for start in range(0, 195_000, 5000):
        items = range(start, start + 5000)
        scene.client.mset({f"{scene.prefix}:other:item:{item}": b"{}" for item in items})
    for worker in crew:
        worker.hear("result")
    return scene


def pings(client: "Redis", going_on: Callable[[], bool]) -> list[float]:
    """Return how many milliseconds each PING took while something went on."""
    took = []
    while going_on():
        began = time.perf_counter()
        client.ping()
        took.append((time.perf_counter() - began) * 1000)
    return took


def in_words(took: list[float]) -> str:
    """Return the most telling figures."""
    p99 = statistics.quantiles(took, n=100, method="inclusive")[98]
    return f"p99 {p99:.2f} ms, longest {max(took):.2f} ms of {len(took)}"


def test_invalidating_many_entries_lets_other_clients_in(
    crew: list[Worker], crowded: Scene, report: Callable[[str], None]
) -> None:
    """Of 200,000 entries, 5,000 go by two commands for a tag, or by a walk; nobody waits long."""
    worker, other = crew[:2]
    until = time.monotonic() + 1
    quiet = pings(crowded.client, lambda: time.monotonic() < until)
    report(f"PING beside nothing: {in_words(quiet)}")

    for way, often in (("tag", 500), ("pattern", 1)):
        before = crowded.commands()
        crowded.begin(worker, "invalidate", way=way, often=often)
        took = pings(crowded.client, worker.said.empty)
        each = worker.hear("result")
        spent = crowded.commands() - before
        report(f"PING beside a {way}: {in_words(took)}; it took {each:.2f} ms, {dict(spent)}")
        assert max(took) < 100 + max(quiet)  # the goal is 10 ms; a noisy machine has its own
        if way == "tag":
            # One for the tag, one for all tags, which derived ones are compared with.
            assert spent == {"set": 2 * often}
            crowded.begin(other, "fill", first=0, last=100, tag="number:1")
            other.hear("result")
            assert {crowded.runs(item) for item in range(100)} == {2}

    family, others = f"{crowded.prefix}:family:*", f"{crowded.prefix}:other:*"
    assert not list(crowded.client.scan_iter(match=family, count=5000))
    assert sum(1 for _ in crowded.client.scan_iter(match=others, count=5000)) == 195_000

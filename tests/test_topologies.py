"""Sentinel sets and clusters for the tests: they fail over, heal, and move slots."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Final

import pytest
from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import AuthenticationError

from tests.baked import eventually
from tests.servers import SERVERS, Login, Server, each_server
from tests.topologies import Cluster, cluster, sentinel_set

LOGIN: Final = Login("secret", "cache")
Report = Callable[[str], None]


def role(server: Server) -> str:
    """Return what a server takes itself for, `master` or `slave`."""
    return str(server.ask("ROLE")[0])


def store(server: Server, *, replicas: int) -> None:
    """Store what is looked for later; WAIT is for the writes of its own connection."""
    with server.client(single_connection_client=True) as client:
        client.set("key", "value")
        assert client.wait(replicas, 5000) == replicas


@each_server
def test_sentinels_replace_a_master_that_was_killed(executable: str, report: Report) -> None:
    """The new master has the data of the old one, which follows it when it comes back."""
    with sentinel_set(executable=executable) as found:
        old = found.master()
        store(old, replicas=2)
        began = time.monotonic()
        new = found.fail_over()
        report(f"A failover of Sentinel: {time.monotonic() - began:.1f} s")
        assert new is not old
        assert new.ask("GET", "key") == "value"
        old.start()
        found.settle()
        assert found.master() is new
        assert (role(new), role(old), old.ask("GET", "key")) == ("master", "slave", "value")


def test_sentinels_with_logins_replace_a_master_that_hangs() -> None:
    """Sentinels log in to the servers and to each other, and nobody else gets in."""
    with sentinel_set(login=LOGIN, sentinel_login=Login("other", "watcher")) as found:
        for server in (found.master(), found.sentinels[0]):
            with (
                server.client(username=None, password=None) as client,
                pytest.raises(AuthenticationError),
            ):
                client.ping()
        old = found.master()
        old.pause()
        new = found.master()
        assert new is not old
        old.resume()
        found.settle()
        assert (role(new), role(old)) == ("master", "slave")


@pytest.fixture(scope="module", params=SERVERS)
def found(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Lend a cluster of each kind of server, the first without a login, the others with one."""
    login = None if request.param == next(iter(SERVERS)) else LOGIN
    with cluster(executable=SERVERS[request.param], login=login) as found:
        yield found


def test_a_replica_replaces_a_master_of_the_cluster(found: Cluster, report: Report) -> None:
    """The replica has the data of its master, which follows it when it comes back."""
    slot = key_slot(b"key")
    old = found.owner(slot)
    replica = found.replica(old)
    store(old, replicas=1)
    began = time.monotonic()
    assert found.fail_over(old) is replica
    report(f"A failover of a cluster: {time.monotonic() - began:.1f} s")
    assert found.owner(slot) is replica
    assert replica.ask("GET", "key") == "value"
    old.start()
    found.settle()
    assert found.replica(replica) is old
    assert len(found.masters()) == 3


def test_slots_move_while_traffic_runs(found: Cluster, report: Report) -> None:
    """Who writes and reads keys of these slots all the while is never wrong, and all keys move."""
    slots = range(30)
    source, target = found.owner(slots[0]), found.masters()[-1]
    assert source is not target
    names = (f"moved:{number}" for number in range(20_000))
    keys = [name for name in names if key_slot(name.encode()) in slots]

    def keys_of(node: Server) -> int:
        return sum(node.ask("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in slots)

    with traffic(found, keys) as rounds:
        before = len(rounds)
        found.move(slots, target)
        during = len(rounds) - before
    report(f"Moving {len(slots)} slots with {len(keys)} keys: {during} rounds of traffic meanwhile")
    found.settle()
    assert {found.owner(slot).port for slot in slots} == {target.port}
    assert (keys_of(source), keys_of(target)) == (0, len(keys))
    assert during > 1


@contextmanager
def traffic(found: Cluster, keys: list[str]) -> Iterator[list[int]]:
    """Write and read all these keys, round after round; fail if a value is not the last one."""
    over = Event()
    rounds: list[int] = []
    login = found.nodes[0].login
    client = RedisCluster(
        *found.nodes[0].address,
        username=login and login.username,
        password=login and login.password,
        decode_responses=True,
    )

    def run() -> None:
        while not over.is_set():
            value = str(len(rounds))
            for key in keys:
                client.set(key, value)
            assert {client.get(key) for key in keys} == {value}
            rounds.append(1)

    with client, ThreadPoolExecutor() as pool:
        running = pool.submit(run)
        try:
            eventually(lambda: running.done() or bool(rounds), "the first round")
            yield rounds
        finally:
            over.set()
        running.result()

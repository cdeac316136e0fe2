"""Traffic for the tests of the fence between processes: who reads, who writes, what is counted."""

import os
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.workers import Worker

if TYPE_CHECKING:
    from redis import Redis

WORKER: Final = Path(__file__).with_name("fence_worker.py")
SEED: Final = os.environ.get("TEST_SEED") or secrets.token_hex(4)
WAYS: Final = (
    *("delete", "set", "exact key", "pattern", "tag", "clear"),
    *("decorator", "decorator with a tag"),
)
"""Ways to invalidate."""
READERS: Final = ("a function", "get_or_set", "get_or_set_many")
READERS_AND_WAYS: Final = [
    (reader, way)
    for reader in READERS
    for way in WAYS
    if not (reader == "get_or_set_many" and "tag" in way)  # which has no tags
]
NOT_OF_THE_CACHE: Final = (
    *("auth", "client", "hello", "select"),  # of every new connection
    *("blpop", "incr", "incrby", "info", "ping", "rpush"),  # of the tests themselves
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Keys of one test: those of the cache, and those beside it, which `client` sees."""

    client: "Redis"
    prefix: str
    cache: dict[str, Any]
    """Where the cache is, in the words of `RedisBackend`."""
    address: dict[str, Any]
    """Where the client is, in those of `Redis`: the same server, or another one."""

    def beside(self, name: str) -> str:
        """Return a key that is none of the cache's."""
        return f"beside-{self.prefix}:{name}"

    def begin(self, worker: Worker, job: str, **details: object) -> None:
        """Let a worker do something."""
        where = {"cache": self.cache, "beside": self.address, "prefix": self.prefix}
        worker.tell(job=job, **where, **details)

    def call(self, worker: Worker, *, callers: int = 1, item: int = 1, **details: object) -> None:
        """Let a worker call the cached function; `work` and `times` are details."""
        details = {"work": {}, "since": time.monotonic(), **details}
        self.begin(worker, "call", callers=callers, item=item, **details)

    def runs(self, item: int = 1) -> int:
        """Return how many times the function has run."""
        return int(self.client.get(self.beside(f"runs:{item}")) or 0)

    def commands(self) -> Counter[str]:
        """Return how many commands of the cache the server has carried out, those of scripts too.

        See https://redis.io/docs/latest/commands/info/ on `commandstats`.
        """
        found = self.client.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in found.items()}
        return Counter(
            {name: n for name, n in calls.items() if name.split("|")[0] not in NOT_OF_THE_CACHE}
        )


def play(  # noqa: PLR0913 - what there is to choose
    crew: list[Worker],
    scene: Scene,
    way: str,
    *,
    reader: str = READERS[0],
    fenced: bool = True,
    refreshed: bool = False,
    writes: int = 100,
) -> Counter[str]:
    """Let three processes of eight tasks read while one of them writes; return what they count."""
    scene.client.mset({scene.beside("source"): 0, scene.beside("returned"): 0})
    players = crew[:3]
    for number, worker in enumerate(players):
        scene.begin(
            worker,
            "read_and_write",
            way=way,
            reader=reader,
            fenced=fenced,
            refreshed=refreshed,
            seed=f"{SEED} {number}",
            readers=8,
            writes=0 if number else writes,
            reads=15 * writes if fenced else 10 * writes,
        )
    count: Counter[str] = Counter()
    for worker in players:
        count.update(worker.hear("result"))
    count["fills"] = int(scene.client.get(scene.beside("fills")) or 0)
    return count

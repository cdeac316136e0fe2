"""The soak: several processes use one cache for a while, and all that can go wrong with Redis does.

Three processes of an installed project read, write, invalidate and are cancelled (`soak_worker`),
each through a fault proxy of its own, in front of a Redis that is stopped, started and paused. Now
everything is well, now one process or all of them are harmed. From time to time all of them rest:
they close their caches, which they use again afterwards. What must not happen is counted:

wrong values            a value that is that of another key, is damaged, or never was
stale within a process  a value that is older than an invalidation by the same process that had
                        returned before the read began, be it delivered or not
stale between processes a value that is older than another process's invalidation that had been
                        delivered before the read began. A read does not count during which its
                        own process could not ask Redis, or held back an invalidation: it is cut
                        off from what others do, and shares what its process computes. What it
                        leaves in Redis does count, whoever reads that. The first process has a
                        near cache: there what was delivered a second before the read counts.
errors                  exceptions that are not those of the cached functions
swallowed cancellations calls that were cancelled, and returned
endless calls           calls that take more than twenty seconds
complaints              what asyncio or the interpreter logs: exceptions nobody retrieved, warnings
connections beyond the  more connections than `REDIS_MAX_CONNECTIONS`, after a turn of the loop in
limit                   which those that are being closed can close
tasks left,             what is left of them when the cache is closed
connections left

Memory has to stay what it was after the first rest, but for bounded caches of functions, which are
emptied before it is counted. The faults are drawn from a seed, but not when
which call meets them.
"""

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fault_proxy import Fault, FaultProxy
from redis_server import RedisServer

from tests.baked import BakedProject, eventually
from tests.workers import Worker, working

MUST_NOT_BE: Final = (
    *("wrong values", "stale within a process", "stale between processes", "errors"),
    *("swallowed cancellations", "endless calls", "complaints"),
    *("connections beyond the limit", "tasks left", "connections left"),
)
PROCESSES: Final = 3
MAX_CONNECTIONS: Final = 4
ROUND_SECONDS: Final = 20
"""How long they work before they rest."""
FEWEST_ROUNDS: Final = 3

_WORKER: Final = Path(__file__).with_name("soak_worker.py")
_TRUTH_BYTES: Final = 3 * 8 * 1024


# --- harm ----------------------------------------------------------------------------------------

Harm = Callable[[RedisServer, Sequence[FaultProxy]], AbstractContextManager[None]]


@contextmanager
def _stopped(server: RedisServer, _: Sequence[FaultProxy]) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def _paused(server: RedisServer, _: Sequence[FaultProxy]) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


def _each(*deeds: Callable[[FaultProxy], None]) -> Harm:
    @contextmanager
    def harm(_: RedisServer, proxies: Sequence[FaultProxy]) -> Iterator[None]:
        for proxy in proxies:
            for deed in deeds:
                deed(proxy)
        try:
            yield
        finally:
            for proxy in proxies:
                proxy.heal()

    return harm


def _messages(*faults: Fault) -> Harm:
    return _each(lambda proxy: proxy.inject(*map(replace, faults)))


_BROKEN: Final = (
    Fault("garbage", chance=0.02),
    Fault("noise", chance=0.02),
    Fault("duplicate", chance=0.02),
    Fault("cut", chance=0.02, after=7),
    Fault("reset", chance=0.02, after=20),
    Fault("cut", chance=0.02, after=9, to="request"),
)
_SLOW: Final = (
    Fault("delay", chance=0.2, seconds=0.2),
    Fault("trickle", chance=0.1, rate=20_000),
    Fault("stall", chance=0.01),
    Fault("stall", chance=0.01, to="request"),
)
HARMS: Final[dict[str, Harm]] = {
    "stopped": _stopped,
    "paused": _paused,
    "refused": _each(FaultProxy.refuse, FaultProxy.drop),
    "no new ones": _each(FaultProxy.refuse),
    "reset": _each(FaultProxy.drop),
    "silent": _each(FaultProxy.silence),
    "ignored": _each(FaultProxy.ignore, FaultProxy.drop),
    "slow": _messages(*_SLOW),
    "broken": _messages(*_BROKEN),
    "doubled": _messages(Fault("duplicate", chance=0.04)),
    # Once: after a second one the replies could be in step again, with one of them another's.
    "shifted": _messages(Fault("shift", chance=0.02, times=1)),
    "both": _messages(*_SLOW, *_BROKEN),
}


def _shuffled(chance: random.Random) -> Iterator[str]:
    """Yield the names of harms for ever, each of them once before any comes again."""
    while True:
        yield from chance.sample(list(HARMS), len(HARMS))


# --- what was found ------------------------------------------------------------------------------


@dataclass(slots=True)
class Findings:
    """What the processes have counted so far."""

    counts: Counter[str] = field(default_factory=Counter)
    highest: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    """How many blocks of memory they had when they rested, one after the other."""
    peaks: list[int] = field(default_factory=list)
    """How much memory they had at most until then."""

    @property
    def growth(self) -> tuple[float, float]:
        """By what part the blocks and the peak of the memory have grown since the first rest."""
        return self.blocks[-1] / self.blocks[0] - 1, self.peaks[-1] / self.peaks[0] - 1

    def add(self, answers: Iterable[dict[str, Any]]) -> None:
        """Put in the place of what was known what the processes say now."""
        answers = list(answers)
        self.counts = sum((Counter(answer["counts"]) for answer in answers), Counter())
        self.highest = Counter()
        for answer in answers:
            self.highest |= Counter(answer["highest"])
        self.examples = [
            f"{what}: {example}"
            for answer in answers
            for what in MUST_NOT_BE
            for example in answer["examples"].get(what, ())
        ]
        self.blocks.append(sum(answer["blocks"] for answer in answers))
        self.peaks.append(sum(answer["peak"] for answer in answers))

    def __str__(self) -> str:
        """Say it in a line."""
        wrong = ", ".join(f"{what} {self.counts[what]}" for what in MUST_NOT_BE)
        blocks, peak = self.growth
        highest = ", ".join(f"{what} {number:.3g}" for what, number in self.highest.items())
        rest = {what: n for what, n in self.counts.items() if what not in MUST_NOT_BE}
        return (
            f"{wrong}; memory {blocks:+.2%} in blocks, {peak:+.1%} at its peak; at most {highest}; "
            f"{rest}"
        )


# --- the soak ------------------------------------------------------------------------------------


def soak(  # noqa: PLR0913 - the details of a soak
    project: BakedProject,
    server: RedisServer,
    folder: Path,
    *,
    seconds: float,
    seed: str,
    bugs: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> Findings:
    """Let the processes use a cache for so many seconds, and harm them; return what they found."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    harms, findings = _shuffled(chance), Findings()
    rounds = max(FEWEST_ROUNDS, round(seconds / ROUND_SECONDS))
    truth = folder / "truth"
    truth.write_bytes(bytes(_TRUTH_BYTES))
    settings = {
        "CACHE_BACKEND": "redis",
        "CACHE_KEY_PREFIX": f"soak-{uuid.uuid4().hex}",
        "REDIS_HOST": FaultProxy.host,
        "REDIS_DB": str(server.db),
        "REDIS_PASSWORD": server.password or "",
        "REDIS_MAX_CONNECTIONS": str(MAX_CONNECTIONS),
    }
    with ExitStack() as stack:
        proxies, workers = [], []
        for number in range(PROCESSES):
            proxy = FaultProxy(server.host, server.port, seed=chance.getrandbits(32))
            proxies.append(stack.enter_context(proxy))
            worker = stack.enter_context(working(project, _WORKER, folder))
            workers.append(worker)
            worker.tell(
                job="begin",
                settings=settings
                | {"REDIS_PORT": str(proxy.port), "CACHE_NEAR_SIZE": "0" if number else "60"},
                bugs=bugs,
                truth=str(truth),
                number=number,
                processes=PROCESSES,
                seed=f"{seed} {number}",
            )
            worker.hear("result")
        began = time.monotonic()
        for number in range(1, rounds + 1):
            _all(workers, "go")
            while time.monotonic() < began + seconds * number / rounds:
                harmed = proxies if chance.random() < 0.5 else [chance.choice(proxies)]
                with HARMS[next(harms)](server, harmed):
                    _let_work(workers, chance.uniform(0.3, 1.2))
                _let_work(workers, chance.uniform(0.4, 1))
            findings.add(_all(workers, "rest"))
            findings.counts["messages harmed"] = sum(proxy.done.total() for proxy in proxies)
            say(f"{time.monotonic() - began:.0f} s: {findings}")
            if not bugs:
                eventually(lambda: not any(proxy.open for proxy in proxies), "connections to close")
    return findings


def _all(workers: list[Worker], job: str) -> list[dict[str, Any]]:
    """Have all do the same at once; return their answers."""
    for worker in workers:
        worker.tell(job=job)
    return [worker.hear("result") for worker in workers]


def _let_work(workers: list[Worker], seconds: float) -> None:
    time.sleep(seconds)
    for worker in workers:
        assert worker.process.poll() is None, worker.log.read_text()

"""The soak: several processes use one cache for a while, and all that can go wrong with Redis does.

Three processes of an installed project read, write, invalidate and are cancelled (`soak_worker`),
each through a fault proxy of its own, in front of a Redis that is stopped, started and paused. Now
everything is well, now one process or all of them are harmed. From time to time all of them rest:
they close their caches, which they use again afterwards. What must not happen is counted:

wrong values            a value that is that of another key, is damaged, or never was
stale within a process  a value that is older than an invalidation by the same process that had
                        returned before the read began, be it delivered or not
stale between processes a value that is older than another process's invalidation that had been
                        delivered before the read began. Reads do not count during which their own
                        process could not ask Redis, or held back an invalidation: who cannot ask
                        shares computations with others of its process, and what these have not
                        heard of he does not hear of. What such a read leaves in Redis counts.
errors                  exceptions that are not those of the cached functions
swallowed cancellations calls that were cancelled, and returned
endless calls           calls that take more than twenty seconds
complaints              what asyncio or the interpreter logs: exceptions nobody retrieved, warnings
connections beyond the  more connections than `REDIS_MAX_CONNECTIONS`, after a turn of the loop in
limit                   which those that are being closed can close
tasks left,             what is left of them when the cache is closed
connections left

Memory has to stay what it was after the first rest. The faults are drawn from a seed, but not when
which call meets them.
"""

import json
import queue
import random
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from cache.fault_proxy import Fault, FaultProxy
from redis_server import RedisServer

from tests.baked import BakedProject, environment, eventually

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
_PATIENCE: Final = 60.0  # seconds in which a worker has to answer


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


# --- the processes -------------------------------------------------------------------------------


class _Worker:
    """One of the processes. It ends with the stack."""

    def __init__(
        self,
        stack: ExitStack,
        project: BakedProject,
        log: Path,
        settings: dict[str, str],
        details: dict[str, object],
    ) -> None:
        self._log = log
        self._said: queue.Queue[str] = queue.Queue()
        self._process = stack.enter_context(
            subprocess.Popen(
                [project.path / ".venv/bin/python", "-P", _WORKER, json.dumps(details)],
                cwd=project.path,
                env=environment(**settings, PYTHONPATH=f"{project.path}:{_WORKER.parent}"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stack.enter_context(log.open("wb")),
                text=True,
            )
        )
        listener = threading.Thread(target=self._listen)
        listener.start()
        stack.callback(listener.join)
        stack.callback(self._process.kill)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(line)
        self._said.put("")

    def tell(self, order: str) -> None:
        """Give it an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Wait for its answer."""
        try:
            line = self._said.get(timeout=_PATIENCE)
        except queue.Empty:
            line = ""
        assert line, f"a process of the soak does not answer:\n{self._log.read_text()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def assert_alive(self) -> None:
        """Fail with its log if it has ended."""
        assert self._process.poll() is None, self._log.read_text()


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
    with ExitStack() as stack:
        proxies = [
            stack.enter_context(FaultProxy(server.host, server.port, seed=chance.getrandbits(32)))
            for _ in range(PROCESSES)
        ]
        workers = _started(stack, project, folder, server, proxies, seed=seed, bugs=bugs)
        began = time.monotonic()
        for number in range(1, rounds + 1):
            for worker in workers:
                worker.tell("go")
            while time.monotonic() < began + seconds * number / rounds:
                harmed = proxies if chance.random() < 0.5 else [chance.choice(proxies)]
                with HARMS[next(harms)](server, harmed):
                    _let_work(workers, chance.uniform(0.3, 1.2))
                _let_work(workers, chance.uniform(0.4, 1))
            for worker in workers:
                worker.tell("rest")
            findings.add([worker.hear() for worker in workers])
            findings.counts["messages harmed"] = sum(proxy.done.total() for proxy in proxies)
            say(f"{time.monotonic() - began:.0f} s: {findings}")
            if not bugs:
                eventually(lambda: not any(proxy.open for proxy in proxies), "connections to close")
    return findings


def _started(  # noqa: PLR0913 - the details of a soak
    stack: ExitStack,
    project: BakedProject,
    folder: Path,
    server: RedisServer,
    proxies: Sequence[FaultProxy],
    *,
    seed: str,
    bugs: Sequence[str],
) -> list[_Worker]:
    """Start a process behind each of the proxies; all share one file with the truth."""
    truth = folder / "truth"
    truth.write_bytes(bytes(_TRUTH_BYTES))
    settings = {
        "CACHE_BACKEND": "redis",
        "CACHE_KEY_PREFIX": f"soak-{uuid.uuid4().hex}",
        "PYTHONWARNINGS": "always",
        "REDIS_HOST": FaultProxy.host,
        "REDIS_DB": str(server.db),
        "REDIS_PASSWORD": server.password or "",
        "REDIS_MAX_CONNECTIONS": str(MAX_CONNECTIONS),
    }
    workers = []
    for number, proxy in enumerate(proxies):
        details = {"path": str(truth), "number": number, "processes": len(proxies), "bugs": bugs}
        details["seed"] = f"{seed} {number}"
        log = folder / f"worker-{number}.log"
        settings["REDIS_PORT"] = str(proxy.port)
        workers.append(_Worker(stack, project, log, settings, details))
    for worker in workers:
        worker.hear()
    return workers


def _let_work(workers: list[_Worker], seconds: float) -> None:
    time.sleep(seconds)
    for worker in workers:
        worker.assert_alive()

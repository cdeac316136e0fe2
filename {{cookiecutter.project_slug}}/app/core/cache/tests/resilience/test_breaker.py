"""The circuit breaker: what opens it and what does not, and how it closes (promise P5)."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ...errors import UnavailableError
from ...resilience.breaker import Breaker, Use
from ...resilience.outage import Outage
from ..faults import eventually
from ..package import NAME

FOREVER = 60.0
"""A suspension that no test can wait for."""


class Patient:
    """A server as a breaker sees it: well or not, and probed."""

    def __init__(self, on_opening: Callable[[], None] | None = None) -> None:
        self.well = False
        self.probes = 0
        self.steps: list[Callable[[], Awaitable[None]]] = []
        outage = Outage("the server", logging.getLogger(__name__))
        self.breaker = Breaker(outage, self.probe, self.steps, on_opening)

    async def probe(self) -> None:
        self.probes += 1
        if not self.well:
            raise OSError("refused")

    def does(self, outcomes: str, use: Use = Use.READ) -> None:
        """Have operations fail, `F`, or succeed, `S`."""
        for outcome in outcomes:
            if outcome == "F":
                self.breaker.failed(OSError("refused"), use)
            else:
                self.breaker.worked(use)

    def admits(self, use: Use = Use.READ) -> bool:
        """Whether an operation may be tried now."""
        try:
            self.breaker.admit(use)
        except UnavailableError:
            return False
        return True


@pytest.fixture
async def patient() -> AsyncIterator[Patient]:
    """Lend a server that is unwell, but of which its breaker does not know that yet."""
    patient = Patient()
    yield patient
    await patient.breaker.stop()


async def test_p5_three_failures_in_a_row_open_it(patient: Patient) -> None:
    """Whatever was done in vain; a success in between begins a new row."""
    patient.does("FFSFFSFF")
    assert patient.admits()
    patient.does("F", Use.STORE)
    assert not any(patient.admits(use) for use in Use)


@pytest.mark.parametrize(("outcomes", "opens"), [("FFS", True), ("FSS", False), ("FSSS", False)])
async def test_p5_a_high_failure_rate_opens_it(
    patient: Patient, outcomes: str, *, opens: bool
) -> None:
    """Without three in a row; one failure of three or four operations may go on for ever."""
    for _ in range(300):
        patient.does(outcomes)
        if not patient.admits():
            break
    assert patient.admits() is not opens


async def test_p5_one_probe_stands_for_all(patient: Patient) -> None:
    """It runs in the background: nobody who is turned away waits for it."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def probe() -> None:
        begun.set()
        await go_on.wait()

    patient.probe = probe  # type: ignore[method-assign]
    patient.breaker = Breaker(Outage("the server", logging.getLogger(__name__)), patient.probe)
    patient.does("FFF")
    await begun.wait()
    tasks = len(asyncio.all_tasks())
    for _ in range(1000):
        assert not patient.admits()
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == tasks
    go_on.set()
    await eventually(patient.admits)


@pytest.mark.parametrize("traffic", [True, False])
async def test_p5_it_closes_by_itself(patient: Patient, *, traffic: bool) -> None:
    """Whether or not somebody asks for that; a probe that fails keeps it open."""
    patient.does("FFF")
    await eventually(lambda: patient.probes == 2 and not (traffic and patient.admits()))
    assert patient.breaker.is_open
    patient.well = True
    await eventually(lambda: patient.admits() if traffic else not patient.breaker.is_open)
    assert patient.probes == 3


async def test_p5_it_opens_again(patient: Patient) -> None:
    """After it has closed, three failures in a row are needed anew."""
    for _ in range(2):
        patient.well = False
        patient.does("FF")
        assert patient.admits()
        patient.does("F")
        patient.well = True
        await eventually(patient.admits)


async def test_p5_recovery_comes_before_the_first_who_is_let_in(patient: Patient) -> None:
    """Its steps get past the breaker, in turn, and nobody else does until the last has ended."""
    steps: list[int] = []
    go_on = asyncio.Event()

    async def first() -> None:
        assert patient.admits()
        await go_on.wait()
        steps.append(1)

    async def second() -> None:
        assert patient.admits()
        steps.append(2)

    patient.steps += [first, second]
    patient.well = True
    patient.does("FFF")
    await eventually(lambda: patient.probes)
    for _ in range(10):
        await asyncio.sleep(0)
        assert not patient.admits()
    go_on.set()
    await eventually(patient.admits)
    assert steps == [1, 2]


async def test_p5_threads_open_it_once() -> None:
    """Loops of several threads that lose the server together have one probe and one line of log."""
    openings: list[int] = []
    patient = Patient(lambda: openings.append(1))
    everyone = asyncio.Barrier(4)
    home = asyncio.get_running_loop()

    async def lose_it() -> None:
        asyncio.run_coroutine_threadsafe(_pass(everyone), home).result(10)
        for _ in range(100):
            patient.does("F")
            await asyncio.sleep(0)
        await patient.breaker.stop()

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, lose_it()) for _ in range(4)))
    assert openings == [1]


async def _pass(barrier: asyncio.Barrier) -> None:
    await barrier.wait()


async def test_p5_stores_may_rest_alone(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads and removals go on, and stores are tried again after a while, or if one worked."""
    for rest in (0.02, FOREVER):
        monkeypatch.setattr(f"{NAME}.resilience.breaker.SUSPENSION_SECONDS", rest)
        patient.breaker.suspend(OSError("full"), Use.STORE)
        assert [patient.admits(use) for use in Use] == [True, False, True]
        if rest == FOREVER:
            patient.does("S", Use.STORE)
        await eventually(lambda: patient.admits(Use.STORE))


async def test_p5_it_tells_what_was_dropped(
    patient: Patient, caplog: pytest.LogCaptureFixture
) -> None:
    """In the line at the end of an outage: what failed, and what was not even tried."""
    patient.does("FFF")
    for use, times in ((Use.STORE, 7), (Use.REMOVE, 2), (Use.READ, 40)):
        assert [patient.admits(use) for _ in range(times)] == [False] * times
    patient.well = True
    await eventually(lambda: not patient.breaker.is_open)
    start, end = [record.getMessage() for record in caplog.records]
    assert start == "the server fails, going on without it: OSError: refused"
    assert re.fullmatch(
        r"the server works again after 0\.\d s; without it meanwhile: "
        r"43 reads, 7 stores, 2 removals",
        end,
    )

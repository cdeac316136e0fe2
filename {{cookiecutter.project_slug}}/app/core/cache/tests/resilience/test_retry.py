"""Work in the background that is tried until it succeeds, whatever happens to the loop that started it."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

import pytest

from ...resilience.retry import (
    FIRST_PAUSE_SECONDS,
    JITTER,
    LONGEST_PAUSE_SECONDS,
    BackgroundRetry,
)
from ..faults import eventually, soon
from ..package import ROOT, program

NEVER: Final = 3600.0
"""A pause that is over after the test, in seconds."""


class Work:
    """Work that fails so many times, and counts its tries."""

    def __init__(self, failures: float = 0) -> None:
        self.failures = failures
        self.tries = 0
        self.done = asyncio.Event()

    async def __call__(self) -> None:
        self.tries += 1
        if self.tries <= self.failures:
            raise OSError("not yet")
        self.done.set()


@pytest.fixture
async def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note for how long timers are set in this loop, and let them go off at once."""
    loop = asyncio.get_running_loop()
    noted: list[float] = []

    def call_later(delay: float, callback: Callable[..., object], *args: Any, **_: Any) -> Any:
        noted.append(delay)
        return loop.call_at(loop.time(), callback, *args)

    monkeypatch.setattr(loop, "call_later", call_later)
    return noted


async def test_an_errand_has_nothing_of_the_request_that_sent_it() -> None:
    """Not the id that its log lines would have: it goes on after that request, and for all."""
    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[str] = []
    done = asyncio.Event()

    async def work() -> None:
        seen.append(request.get())
        if len(seen) < 2:
            raise OSError("not yet")
        done.set()

    request.set("7")
    retry = BackgroundRetry(work, initial_delay=0.0, max_delay=0.001)
    retry.start()
    await soon(done.wait())
    assert seen == ["none", "none"]
    assert request.get() == "7"


async def test_p5_pauses_grow_to_a_second(pauses: list[float]) -> None:
    """The first is a tenth of it, each twice as long as the one before, more or less a quarter."""
    work = Work(failures=9)
    BackgroundRetry(work).start()
    await soon(work.done.wait())
    expected = [min(FIRST_PAUSE_SECONDS * 2**n, LONGEST_PAUSE_SECONDS) for n in range(10)]
    assert expected[0] == 0.1
    assert expected[-1] == 1.0
    for pause, middle in zip(pauses, expected, strict=True):
        assert (1 - JITTER) * middle <= pause <= (1 + JITTER) * middle


async def test_p5_pauses_differ(pauses: list[float]) -> None:
    """Processes that lost a server together do not come back to it together."""
    works = [Work() for _ in range(50)]
    for work in works:
        BackgroundRetry(work, initial_delay=1.0).start()
    await soon(asyncio.gather(*(work.done.wait() for work in works)))
    assert len(set(pauses)) > 40
    assert max(pauses) - min(pauses) > JITTER


async def test_an_errand_begins_anew_after_a_success(pauses: list[float]) -> None:
    """It can be sent again, and its first pause is short then."""
    work = Work(failures=9)
    retry = BackgroundRetry(work)
    for tries in (10, 11):
        work.done.clear()
        retry.start()
        await soon(work.done.wait())
        assert work.tries == tries
        await asyncio.sleep(0)
    assert pauses[-1] < 2 * FIRST_PAUSE_SECONDS


async def test_an_errand_is_one_however_often_it_is_sent() -> None:
    """Not only before its try, but during it, too."""
    started, go_on = asyncio.Event(), asyncio.Event()
    tries: list[int] = []

    async def work() -> None:
        tries.append(1)
        started.set()
        await go_on.wait()

    retry = BackgroundRetry(work, initial_delay=0.001)
    for _ in range(100):
        retry.start()
    await soon(started.wait())
    before = len(asyncio.all_tasks())
    for _ in range(100):
        retry.start()
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before
    go_on.set()
    await eventually(lambda: len(asyncio.all_tasks()) == before - 1)
    assert tries == [1]


def never_timed(loop: asyncio.AbstractEventLoop) -> None:
    """Let no timer of a loop go off."""
    call_at = loop.call_at

    def call_later(_: float, callback: Callable[..., object], *args: Any, **__: Any) -> Any:
        return call_at(loop.time() + NEVER, callback, *args)

    loop.call_later = call_later  # type: ignore[assignment]


def test_an_errand_is_sent_again_after_its_loop_has_ended() -> None:
    """Whether it waited there for its next try, or was in the middle of it."""
    tries: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        tries.append(asyncio.get_running_loop())
        await asyncio.Event().wait()

    retry = BackgroundRetry(work, initial_delay=0.001)

    async def send(*, and_wait: bool) -> None:
        before = len(tries)
        retry.start()
        if and_wait:
            await eventually(lambda: len(tries) > before)

    for and_wait in (False, True, False, True):
        with asyncio.Runner() as runner:
            if not and_wait:
                never_timed(runner.get_loop())
            runner.run(send(and_wait=and_wait))
    assert len(tries) == len(set(tries)) == 2


def test_an_errand_leaves_a_loop_that_rests() -> None:
    """Another one has it then, and the first does not do it a second time when it goes on."""
    tries: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        tries.append(asyncio.get_running_loop())

    retry = BackgroundRetry(work, initial_delay=0.01)

    async def send() -> None:
        retry.start()

    async def wait() -> None:
        retry.start()
        await eventually(lambda: tries)

    async def go_on() -> None:
        later = asyncio.Event()  # than the timer of before, which goes off first
        asyncio.get_running_loop().call_later(0.02, later.set)
        await later.wait()

    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(send())
        other.run(wait())
        one.run(go_on())
        assert tries == [other.get_loop()]


async def test_a_loop_that_leaves_keeps_no_task() -> None:
    """Who waits for that is not held up by the work."""
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    before = asyncio.all_tasks()
    retry = BackgroundRetry(work, initial_delay=0.001)
    retry.start()
    await soon(begun.wait())
    await soon(retry.stop())
    assert asyncio.all_tasks() == before


async def test_a_loop_that_leaves_keeps_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for its next try is not tried any more."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_later = loop.call_later

    def noted(*arguments: Any, **options: Any) -> asyncio.TimerHandle:
        timers.append(call_later(*arguments, **options))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", noted)
    retry = BackgroundRetry(Work())
    retry.start()
    await retry.stop()
    assert [timer.cancelled() for timer in timers] == [True]


async def test_an_errand_may_leave_in_the_middle_of_its_work(pauses: list[float]) -> None:
    """It does not wait for itself, and is not tried again."""
    left: asyncio.Future[asyncio.Task[Any] | None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await retry.stop()
        left.set_result(asyncio.current_task())
        raise OSError("after that")

    retry = BackgroundRetry(work)
    retry.start()
    task = await soon(left)
    assert task is not None
    await asyncio.wait([task])
    assert len(pauses) == 1


async def test_another_loop_does_not_end_it() -> None:
    """Who leaves takes along what is under way in his own loop only."""
    begun, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go_on.wait()
        finished.set()

    retry = BackgroundRetry(work, initial_delay=0.001)
    retry.start()
    await asyncio.to_thread(asyncio.run, retry.stop())
    await soon(begun.wait())
    await asyncio.to_thread(asyncio.run, retry.stop())
    go_on.set()
    await soon(finished.wait())


FORK: Final = """
import asyncio, os, sys
from {package}.resilience.retry import BackgroundRetry

async def work():
    done.set_result(os.getpid())

async def send():
    global done
    done = asyncio.get_running_loop().create_future()
    retry.start()
    return await done

async def fork():
    retry.start()
    child = os.fork()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0 if asyncio.run(asyncio.wait_for(send(), 60)) == os.getpid() else 1)

retry = BackgroundRetry(work, initial_delay=0.01)
asyncio.run(fork())
"""


def test_a_fork_sends_it_from_a_loop_of_its_own() -> None:
    """What was under way in its parent is none of its business."""
    command = [sys.executable, "-c", program(FORK)]
    assert subprocess.run(command, cwd=ROOT, timeout=120, check=False).returncode == 0

"""The fence in every order of its steps, over a model of the server (promises P3 and P4).

The real `Fence` runs; only the server is a model, for a real one cannot be told in which order to
serve. Each of its commands, each look at the source and the invalidation are steps; a schedule says
who takes the next one, and all schedules are tried, by running the scenario again for each.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from ...backends import MemoryBackend
from ...base import CacheBackend, Nonces, new_nonce
from ...coherence import leases
from ...coherence.call import Cached, Call, Computed
from ...coherence.fence import Fence
from ...coherence.fills import Result
from ...coherence.leases import Leases, is_lease
from ...coherence.single_flight import InFlight
from ...manager import CacheManager
from ...resilience.outage import Outage

KEY, TAG = "key", "tag"
Scenario = Callable[["Schedule"], Coroutine[Any, Any, None]]


class Schedule:
    """Lets one step happen at a time, in the order that `choices` say; the first for the rest."""

    def __init__(self, choices: list[int]) -> None:
        self.choices = choices
        self.options: list[int] = []
        self._ready: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def step(self, enabled: Callable[[], bool] = lambda: True) -> None:
        """Wait until it is the caller's turn; `enabled` says when that may be."""
        future = asyncio.get_running_loop().create_future()
        self._ready.append((enabled, future))
        await future

    async def run(self, *actors: Awaitable[None]) -> None:
        """Run the actors to their end, one step after another."""
        tasks = [asyncio.ensure_future(actor) for actor in actors]
        while not all(task.done() for task in tasks):
            await self._settle()
            enabled = [each for each in self._ready if each[0]()]
            if not enabled:
                assert all(task.done() for task in tasks), "nobody can go on"
                break
            number = len(self.options)
            choice = self.choices[number] if number < len(self.choices) else 0
            self.options.append(len(enabled))
            self._ready.remove(enabled[choice])
            enabled[choice][1].set_result(None)
        await self._settle()
        for task in tasks:
            task.result()

    async def _settle(self) -> None:
        """Let everybody come to his next step: until nobody else has anything to do."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        while True:
            await asyncio.sleep(0)
            if not ready:
                return


def all_schedules(scenario: Scenario) -> int:
    """Run a scenario in every order, and return in how many."""
    choices: list[int] = []
    runs = 0
    with asyncio.Runner() as runner:
        while True:
            schedule = Schedule(choices)
            runner.run(scenario(schedule))
            runs += 1
            taken = (choices + [0] * len(schedule.options))[: len(schedule.options)]
            while taken and taken[-1] + 1 >= schedule.options[len(taken) - 1]:
                taken.pop()
            if not taken:
                return runs
            choices = [*taken[:-1], taken[-1] + 1]


class Server(MemoryBackend):
    """The server, as one process sees it: the same memory for all, a step for each command."""

    def __init__(self, memory: MemoryBackend, schedule: Schedule) -> None:
        super().__init__()
        self._memory, self._schedule = memory, schedule

    async def look(
        self, key: str, tags: Any = (), deadline: float | None = None
    ) -> tuple[bytes | None, Nonces]:
        await self._schedule.step()
        return await self._memory.look(key, tags, deadline)

    async def acquire(self, key: str, data: bytes, ms: int) -> bytes | None:
        await self._schedule.step()
        return await self._memory.acquire(key, data, ms)

    async def replace(self, key: str, over: bytes, data: bytes, ms: int) -> bool:
        await self._schedule.step()
        return await self._memory.replace(key, over, data, ms)

    async def release(self, key: str, over: bytes) -> bool:
        await self._schedule.step()
        return await self._memory.release(key, over)

    async def ttl_ms(self, key: str) -> int | None:
        await self._schedule.step()
        return await self._memory.ttl_ms(key)

    async def nonces(self, tags: Any, ms: int) -> Nonces:
        await self._schedule.step()
        return await self._memory.nonces(tags, ms)


class Unfenced(Server):
    """A server that stores whatever comes: the fence switched off."""

    async def replace(self, key: str, over: bytes, data: bytes, ms: int) -> bool:
        await self._schedule.step()
        return await self._memory.set_bytes(key, data)


class Steps(Leases):
    """While a process waits for another one's lease, it takes a step when that is gone."""

    memory: MemoryBackend
    schedule: Schedule

    async def wait(self, key: str, lease: bytes) -> bool:
        await self.schedule.step(lambda: self.memory._live(key) != lease)
        return True


class Process(Fence):
    """A process."""

    steps = Steps

    def __init__(self, backend: CacheBackend, memory: MemoryBackend, schedule: Schedule) -> None:
        journal = CacheManager(backend).invalidations.pending  # in which nothing comes
        outage = Outage("the model", logging.getLogger(__name__))
        super().__init__(backend, outage, journal)
        self.leases = self.fills.leases = steps = self.steps(backend, self.looks, journal)
        steps.memory, steps.schedule = memory, schedule


class World:
    """A source, the server's memory, and processes."""

    def __init__(self, schedule: Schedule, server: type[Server] = Server) -> None:
        self.schedule = schedule
        self.source = "old"
        self.computed = 0
        self.invalidated = False
        self.memory = MemoryBackend()
        self.memory._put(TAG, new_nonce(), 60)  # to make it is no step of interest
        self._server = server

    def process(self, kind: type[Process] = Process) -> Process:
        """Start a process."""
        return kind(self._server(self.memory, self.schedule), self.memory, self.schedule)

    async def read(self, process: Process, tags: tuple[str, ...] = ()) -> str:
        """Read the key in a process."""
        return str((await process.run(KEY, tags, Reading(self))).value)

    async def write(self, how: str) -> None:
        """Change the source, and then invalidate."""
        await self.schedule.step()
        self.source = "new"
        await self.schedule.step()
        if how == "tag":
            await self.memory.set_bytes(TAG, new_nonce())
        elif how == "set":
            await self.memory.set_bytes(KEY, b"new||")
        else:
            await self.memory.delete(KEY)
        self.invalidated = True

    async def expire(self) -> None:
        """Let a lease end before its time: its leader was too slow, or the server evicted it."""
        await self.schedule.step(lambda: self.invalidated or is_lease(self.memory._live(KEY)))
        if is_lease(self.memory._live(KEY)):
            await self.memory.delete(KEY)


class Reading(Call):
    """One read of the source, in a step of its own."""

    in_background = is_private = has_refused = False
    owner: object = None

    def __init__(self, world: World) -> None:
        self._world = world

    def is_answer(self, error: BaseException) -> bool:
        return False

    def failed(self, value: Any) -> bool:
        return value is None

    def note(self, outcome: object) -> None:
        assert outcome is None, "nothing is in the background here"

    def read(self, data: bytes, nonces: Nonces) -> Cached | None:
        value, _, kept = data.partition(b"|")
        now = b",".join(nonce or b"" for nonce in nonces)
        return Cached(value.decode()) if kept in (b"|", now + b"|") else None

    async def compute(self, nonces: Nonces) -> Computed:
        world = self._world
        await world.schedule.step()
        world.computed += 1
        value = world.source
        joined = b",".join(nonce or b"" for nonce in nonces)
        return Computed(value, b"%b|%b|" % (value.encode(), joined), 60_000)


class Failing(Reading):
    """One that fails."""

    async def compute(self, nonces: Nonces) -> Computed:
        await self._world.schedule.step()
        raise LookupError("no database")


WAYS = ("delete", "tag", "set")


def tags_for(how: str) -> tuple[str, ...]:
    return (TAG,) if how == "tag" else ()


def two_fillers(how: str, one_process: bool, server: type[Server] = Server) -> Scenario:
    """Two fillers and one invalidator, and then a reader in each process."""

    async def scenario(schedule: Schedule) -> None:
        world = World(schedule, server)
        first = world.process()
        second = first if one_process else world.process()

        async def fill(process: Process) -> None:
            began_after = world.invalidated
            value = await world.read(process, tags_for(how))
            assert value == "new" or not began_after

        await schedule.run(fill(first), fill(second), world.write(how))
        for process in (first, second, world.process()):
            await schedule.run(check_new(world, process, how))

    return scenario


async def check_new(world: World, process: Process, how: str) -> None:
    assert await world.read(process, tags_for(how)) == "new"


@pytest.mark.slow
@pytest.mark.parametrize("one_process", [True, False], ids=["one process", "two processes"])
@pytest.mark.parametrize("how", WAYS)
def test_p3_no_order_of_two_fillers_leaves_an_old_value(how: str, one_process: bool) -> None:
    """Whatever the order, who reads after the invalidation gets the new value."""
    assert all_schedules(two_fillers(how, one_process)) > 100


@pytest.mark.parametrize("how", ["delete", "set"])
def test_p3_the_test_fails_without_the_fence(how: str) -> None:
    """A server that stores without comparing leaves an old value in some order."""
    with pytest.raises(AssertionError, match="old"):
        all_schedules(two_fillers(how, one_process=False, server=Unfenced))


def late_reader(how: str, same_process: bool, expiring: bool) -> Scenario:
    """A filler, an invalidator, and a reader who starts after the invalidation has returned."""

    async def scenario(schedule: Schedule) -> None:
        world = World(schedule)
        first = world.process()
        other = first if same_process else world.process()

        async def fill() -> None:
            await world.read(first, tags_for(how))

        async def read_late() -> None:
            await schedule.step(lambda: world.invalidated)
            assert await world.read(other, tags_for(how)) == "new"

        actors = [fill(), world.write(how), read_late()]
        if expiring:
            actors.append(world.expire())
        await schedule.run(*actors)
        await schedule.run(check_new(world, world.process(), how))

    return scenario


@pytest.mark.slow
@pytest.mark.parametrize("expiring", [False, True], ids=["", "a lease may end early"])
@pytest.mark.parametrize("same_process", [True, False], ids=["one process", "two processes"])
@pytest.mark.parametrize("how", WAYS)
def test_p3_who_starts_after_the_invalidation_gets_the_new_value(
    how: str, same_process: bool, expiring: bool
) -> None:
    """Also while a fill is in flight, in its own process and in another."""
    assert all_schedules(late_reader(how, same_process, expiring)) > 10


def failing_refresh(how: str, one_process: bool, server: type[Server] = Server) -> Scenario:
    """An entry, a refresh of it that fails, an invalidator, and who comes after that."""

    async def scenario(schedule: Schedule) -> None:
        world = World(schedule, server)
        first = world.process()
        other = first if one_process else world.process()
        nonces = (await world.memory.look(KEY, tags_for(how)))[1]
        world.memory._put(KEY, b"old|%b|" % b",".join(nonce or b"" for nonce in nonces), 60)

        async def refresh() -> None:
            with pytest.raises(LookupError):
                await first.renew_now(KEY, tags_for(how), Failing(world))

        async def read_late() -> None:
            await schedule.step(lambda: world.invalidated)
            with suppress(LookupError):  # who waits for a failing refresh may fail with it
                await check_new(world, other, how)

        await schedule.run(refresh(), world.write(how), read_late())
        await schedule.run(check_new(world, world.process(), how))

    return scenario


@pytest.fixture
def _records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the bytes of the model count as records, each of which there is once."""
    monkeypatch.setattr(leases, "names_its_key", lambda _: True)


@pytest.mark.slow
@pytest.mark.usefixtures("_records")
@pytest.mark.parametrize("one_process", [True, False], ids=["one process", "two processes"])
@pytest.mark.parametrize("how", WAYS)
def test_p3_what_a_failing_refresh_puts_back_is_not_old(how: str, one_process: bool) -> None:
    """Whatever the order: its lease stood there all the while."""
    assert all_schedules(failing_refresh(how, one_process)) > 50


@pytest.mark.usefixtures("_records")
@pytest.mark.parametrize("one_process", [True, False], ids=["one process", "two processes"])
def test_p3_putting_back_fails_without_the_fence(one_process: bool) -> None:
    """A server that stores without comparing brings back an old value in some order."""
    with pytest.raises(AssertionError, match="old"):
        all_schedules(failing_refresh("delete", one_process, Unfenced))


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("tags", [(), (TAG,)], ids=["", "tagged"])
def test_p4_the_function_runs_once_in_every_order(processes: int, tags: tuple[str, ...]) -> None:
    """However three readers of one process, or two of two, meet."""

    async def scenario(schedule: Schedule) -> None:
        world = World(schedule)
        fences = [world.process() for _ in range(processes)]
        values: list[str] = []

        async def read(process: Process) -> None:
            values.append(await world.read(process, tags))

        readers = 3 if processes == 1 else 2
        await schedule.run(*(read(fences[number % processes]) for number in range(readers)))
        assert values == ["old"] * readers
        assert world.computed == 1

    assert all_schedules(scenario) > 10


def test_the_explorer_tries_every_order() -> None:
    """Two actors of two steps each have six orders."""
    seen = set()

    async def scenario(schedule: Schedule) -> None:
        order: list[str] = []

        async def actor(name: str) -> None:
            for _ in range(2):
                await schedule.step()
                order.append(name)

        await schedule.run(actor("a"), actor("b"))
        seen.add("".join(order))

    assert all_schedules(scenario) == 6
    assert len(seen) == 6


class Impatient(Steps):
    """A process that waits for another one's lease for a step, and then has waited long enough."""

    async def wait(self, key: str, lease: bytes) -> bool:
        await self.schedule.step()
        raise TimeoutError


class ImpatientProcess(Process):
    """One that has no patience with its own flights either."""

    steps = Impatient

    async def _follow(self, flight: InFlight, call: Call, *_: Any, **__: Any) -> Result:
        await self.leases.schedule.step()  # type: ignore[attr-defined]
        return await self._overdue(flight, call)


def impatient(how: str, one_process: bool) -> Scenario:
    """A filler, an invalidator, and who comes after that, all without patience."""

    async def scenario(schedule: Schedule) -> None:
        world = World(schedule)
        first = world.process(ImpatientProcess)
        second = first if one_process else world.process(ImpatientProcess)

        async def fill() -> None:
            await world.read(first, tags_for(how))

        async def read_late() -> None:
            await schedule.step(lambda: world.invalidated)
            assert await world.read(second, tags_for(how)) == "new"

        await schedule.run(fill(), read_late(), world.write(how))
        for process in (first, second, world.process()):
            await schedule.run(check_new(world, process, how))

    return scenario


@pytest.mark.parametrize("one_process", [True, False], ids=["one process", "two processes"])
@pytest.mark.parametrize("how", WAYS)
def test_p3_who_has_lost_patience_stores_nothing_old(how: str, one_process: bool) -> None:
    """Whatever the order: his record takes the place of a lease that stood there all the while."""
    assert all_schedules(impatient(how, one_process)) > 50


def test_p3_nor_does_who_lost_it_before_the_lease_was_there() -> None:
    """He follows a flight that has not taken off: nothing stood at the key while he computed."""

    async def scenario(schedule: Schedule) -> None:
        world = World(schedule)
        process = world.process(ImpatientProcess)

        async def fill() -> None:
            await world.read(process)

        await schedule.run(fill(), fill(), world.write("delete"))
        await schedule.run(check_new(world, world.process(), "delete"))

    assert all_schedules(scenario) > 50

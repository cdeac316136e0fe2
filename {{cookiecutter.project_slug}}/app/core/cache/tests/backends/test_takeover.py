"""Another master takes over: what the last one was told in the end is told to it as well.

Redis replicates asynchronously, and sentinels that replace a master on demand let it go on for a
while as if nothing had happened. Here one Redis plays all parts, behind proxies: two of them are the
masters, and three the sentinels, whose answers are put in. What the second master has not got is put
back before anybody asks it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, cast

import pytest
from redis import Redis

from ... import CacheManager, MemoryBackend, RedisBackend
from ...backends.wire.pipeline import LARGE_BYTES
from ...coherence.pending import (
    REPEATED_SECONDS,
    SLOTS,
    InvalidationEvent,
    PendingInvalidations,
)
from ...keys.patterns import KeyPattern
from ...testing.redis_server import RedisServer
from ..coherence.pending_scenes import KINDS, OF_ALL_NUMBERS, WAYS, Entries
from ..conftest import redis_backend
from ..faults import PATIENT, eventually, swept
from ..package import NAME
from ..proxy.fault_proxy import Direction, Fault, FaultProxy

LOGGER: Final = logging.getLogger(NAME)
NUMBERS: Final = [1, 2]


class Sentinel(FaultProxy):
    """A proxy that names a master, and counts who asked for it."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.asked = 0
        self.named: FaultProxy | None = None

    def choose(self, direction: Direction, command: bytes) -> Fault | None:
        if command != b"SENTINEL" or direction == "request" or self.named is None:
            return super().choose(direction, command)
        self.asked += 1
        host, port = self.named.host.encode(), str(self.named.port).encode()
        lines = (b"*2", b"$%d" % len(host), host, b"$%d" % len(port), port, b"")
        return Fault("garbage", junk=b"\r\n".join(lines))


@dataclass
class Scene:
    """Two masters, three sentinels, and a manager that knows the sentinels only."""

    first: FaultProxy
    second: FaultProxy
    sentinels: list[Sentinel]
    manager: CacheManager
    redis: Redis
    was: dict[bytes, bytes] = field(default_factory=dict)
    """What stood below the prefix when the second one began to miss what the first one did."""

    def name(self, master: FaultProxy, most: int = 3) -> None:
        """Let so many sentinels name this one."""
        for sentinel in self.sentinels[:most]:
            sentinel.named = master

    def part(self) -> None:
        """From now on the second master gets nothing of what the first one does."""
        keys = self.redis.scan_iter(f"{self.manager.key_prefix}:*")
        self.was = {key: self.redis.dump(key) or b"" for key in keys}

    def replace(self) -> None:
        """Let the second one be the master, although the first goes on, and have that noticed."""
        for key in self.redis.scan_iter(f"{self.manager.key_prefix}:*"):
            self.redis.unlink(key)
        for key, data in self.was.items():
            self.redis.restore(key, 0, data)
        self.name(self.second)
        topology: Any = cast("RedisBackend", self.manager.backend)._topology
        topology._server.renew()  # as when a sentinel was asked

    def end(self) -> None:
        """Let it be the master, and end the first one, as sentinels do to make a replica of it."""
        self.replace()
        self.first.refuse()
        self.first.drop()

    async def is_well(self) -> bool:
        """Whether the master answers, and has been told everything."""
        return await self.manager.health_check() and not self.manager.invalidations.pending.is_open


@pytest.fixture
def proxies(redis_server: RedisServer) -> Iterator[tuple[FaultProxy, ...]]:
    """Lend two masters."""
    with ExitStack() as stack:
        made = [FaultProxy(redis_server.host, redis_server.port) for _ in range(2)]
        yield tuple(stack.enter_context(proxy) for proxy in made)


@pytest.fixture
def sentinels(redis_server: RedisServer) -> Iterator[list[Sentinel]]:
    """Lend three sentinels."""
    with ExitStack() as stack:
        made = [Sentinel(redis_server.host, redis_server.port) for _ in range(3)]
        yield [stack.enter_context(proxy) for proxy in made]


@pytest.fixture
async def scene(
    proxies: tuple[FaultProxy, ...],
    sentinels: list[Sentinel],
    redis_server: RedisServer,
    redis_client: Redis,
) -> AsyncIterator[Scene]:
    """Lend a scene in which the first one is the master."""
    manager = CacheManager(
        redis_backend(
            redis_server,
            sentinels=[(sentinel.host, sentinel.port) for sentinel in sentinels],
            sentinel_master="the-master",
            sentinel_password=redis_server.password,
            **PATIENT,
        )
    )
    first, second = proxies
    scene = Scene(first, second, sentinels, manager, redis_client)
    scene.name(scene.first)
    yield scene
    await swept(redis_server, [manager])


@pytest.mark.parametrize("way", WAYS)
async def test_p3_p6_what_was_invalidated_lately_is_invalidated_at_the_next_master(
    scene: Scene, way: str
) -> None:
    """Before it is asked for anything, by those who wait for an answer just then, too."""
    entries = Entries(scene.manager)
    invalidate, covered = WAYS[way]
    await entries.store(NUMBERS)
    scene.part()
    await invalidate(entries, 1)
    entries.source = "new"
    for kind in covered:
        assert "old" not in await entries.read(kind, 1)
    scene.replace()

    async def none_is_old() -> bool:
        for kind in covered:
            assert "old" not in await entries.read(kind, 1)
        return await scene.is_well()

    await eventually(none_is_old)
    assert await none_is_old()
    if way not in OF_ALL_NUMBERS:
        runs = entries.runs
        for kind in set(KINDS) - {"set"}:  # for what was set lately is removed there, too
            assert await entries.read(kind, 2) <= {"old", "exists"}
        assert entries.runs == runs


async def test_p5_p6_nothing_is_said_of_what_is_invalidated_once_more(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """It was not put off: the log tells of the takeover, and no listener is called."""
    events: list[object] = []
    scene.manager.on_event = events.append
    await scene.manager.set("key", "value")
    await scene.manager.delete("key")
    scene.part()
    scene.end()
    await eventually(scene.is_well)
    assert events == []
    begun, over = [record.getMessage() for record in caplog.records]
    assert "going on without it" in begun
    assert "works again" in over


async def read_until(scene: Scene, condition: Callable[[], bool]) -> None:
    """Read again and again until the condition holds."""

    async def read() -> bool:
        await scene.manager.get("key")
        return condition()

    await eventually(read)


async def test_p3_a_master_that_was_replaced_is_left(scene: Scene) -> None:
    """Although it goes on: a sentinel is asked from time to time, and then the others."""
    await scene.manager.set("key", "value")
    before = scene.second.connections
    scene.name(scene.second)
    await read_until(scene, lambda: scene.second.connections > before and not scene.first.open)
    await eventually(scene.is_well)
    assert await scene.manager.get("key") is None  # it was set lately, and is removed here
    assert await scene.manager.set("key", "newer")
    assert await scene.manager.get("key") == "newer"


async def test_p3_who_tries_again_is_not_let_in_earlier(scene: Scene) -> None:
    """A large value is asked for twice, where the first connection comes to nothing."""
    large = "old" * LARGE_BYTES
    await scene.manager.set("key", large)
    assert await scene.manager.get("key") == await scene.manager.get("key") == large
    scene.part()
    await scene.manager.delete("key")
    scene.replace()
    assert await scene.manager.get("key") is None
    await eventually(scene.is_well)
    assert await scene.manager.get("key") is None


async def test_p3_who_waited_when_the_master_was_replaced_is_not_let_in_earlier(
    scene: Scene,
) -> None:
    """He asks once more where the connection is left, but not before all is told."""
    await scene.manager.set("key", "old")
    scene.part()
    await scene.manager.delete("key")
    assert await scene.manager.get("key") is None
    scene.first.silence()
    waiting = asyncio.create_task(scene.manager.get("key"))
    await asyncio.sleep(0)
    scene.replace()
    assert await scene.manager.delete("other") is False
    assert await waiting is None
    await eventually(scene.is_well)
    assert await scene.manager.get("key") is None


async def test_p5_close_leaves_no_question_to_a_sentinel(scene: Scene) -> None:
    """One that hangs is asked in the background."""
    tasks = asyncio.all_tasks()
    await scene.manager.set("key", "value")
    before = [sentinel.connections for sentinel in scene.sentinels]
    for sentinel in scene.sentinels:
        sentinel.silence()
    await read_until(
        scene, lambda: [sentinel.connections for sentinel in scene.sentinels] != before
    )
    await scene.manager.close()
    assert asyncio.all_tasks() == tasks
    for sentinel in scene.sentinels:
        sentinel.heal()


async def test_p3_a_sentinel_that_is_alone_is_not_believed(scene: Scene) -> None:
    """It may be cut off from the others, with a master that nobody else follows."""
    await scene.manager.set("key", "value")
    scene.name(scene.second, most=1)
    alone, second = scene.sentinels[0], scene.second.connections
    asked = alone.asked
    await read_until(scene, lambda: alone.asked >= asked + 2)
    assert await scene.manager.get("key") == "value"
    assert scene.second.connections == second


async def test_p5_sentinels_that_are_away_are_no_reason_to_leave(scene: Scene) -> None:
    """The master answers, which is what counts."""
    await scene.manager.set("key", "value")
    before = Counter({id(sentinel): sentinel.connections for sentinel in scene.sentinels})
    for sentinel in scene.sentinels:
        sentinel.silence()

    def were_asked() -> bool:
        return sum(sentinel.connections for sentinel in scene.sentinels) >= before.total() + 2

    await read_until(scene, were_asked)
    assert await scene.manager.get("key") == "value"
    for sentinel in scene.sentinels:
        sentinel.heal()


# --- the journal -------------------------------------------------------------------------------

EVERYTHING: Final = KeyPattern(("app:", ""))


@dataclass
class Told:
    """What a journal delivers, and what it tells of that."""

    told: list[Any] = field(default_factory=list)
    events: list[InvalidationEvent] = field(default_factory=list)

    async def take(self, patterns: Collection[KeyPattern]) -> None:
        """Take what is delivered."""
        self.told += patterns


@pytest.fixture
def told() -> Told:
    """Lend what notes what is delivered."""
    return Told()


@pytest.fixture
def journal(told: Told) -> PendingInvalidations:
    """Lend a journal of a backend that can be taken over."""
    journal = PendingInvalidations(
        told.take, EVERYTHING, logger=LOGGER, listener=told.events.append
    )
    journal.is_repeated = True
    return journal


def exact(key: str) -> KeyPattern:
    """Return the pattern of one key."""
    return KeyPattern((key,))


def delivered(journal: PendingInvalidations, patterns: Collection[KeyPattern]) -> None:
    """Say that something was delivered."""
    journal.confirm(journal.sequence(patterns), patterns)


async def again(journal: PendingInvalidations) -> None:
    """Have repeated what is to be, at once."""
    journal.repeat()
    await journal.deliver()
    await journal.close()


async def test_p6_what_is_repeated_is_covered_until_then(
    journal: PendingInvalidations, told: Told
) -> None:
    """And once it is delivered it is not covered any more."""
    delivered(journal, [exact("app:key"), KeyPattern(("app:a", "")), exact("app:~tag:tag")])
    assert not journal.covers("app:key")
    journal.repeat()
    assert journal.covers("app:key")
    assert journal.covers("app:abc")
    assert journal.covers("app:other", "app:~tag:tag")
    assert not journal.covers("app:other", "app:~tag:other")
    await again(journal)
    assert told.told == [exact("app:key"), exact("app:~tag:tag"), KeyPattern(("app:a", ""))]
    assert not journal.is_open


async def test_p6_what_is_under_way_meanwhile_is_repeated(
    journal: PendingInvalidations, told: Told
) -> None:
    """It may have got to the server that was there before, and only there."""
    before = journal.sequence([exact("app:key")])
    journal.repeat()
    journal.confirm(before, [exact("app:key")])
    assert journal.covers("app:key")
    await again(journal)
    assert told.told == [exact("app:key")]


async def test_p6_what_is_delivered_late_meanwhile_is_repeated(
    journal: PendingInvalidations, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That, too, may have got to the server that was there before."""

    async def take(patterns: Collection[KeyPattern]) -> None:
        told.told += patterns
        if len(told.told) == 1:
            journal.repeat()

    monkeypatch.setattr(journal, "_deliver", take)
    journal.add([exact("app:key")])
    await journal.deliver()
    assert told.told == [exact("app:key")] * 2
    await journal.close()


async def test_p6_the_tag_of_all_is_renewed_before_others() -> None:
    """As it was the first time, whatever came in between."""
    renewed: list[list[str]] = []

    class Backend(MemoryBackend):
        async def invalidate_tag_keys(self, tags: Sequence[str], ms: int) -> bool:
            renewed.append([*tags])
            return await super().invalidate_tag_keys(tags, ms)

        def on_takeover(self, _step: Callable[[], None], /) -> bool:
            return True

    manager = CacheManager(Backend(key_prefix="app"))
    for tag in ("first", "second"):
        await manager.invalidate_tags(tag)
    await again(manager.invalidations.pending)
    assert renewed == [
        ["app:~tags", "app:~tag:first"],
        ["app:~tags", "app:~tag:second"],
        ["app:~tags", "app:~tag:first", "app:~tag:second"],
    ]


async def test_p6_what_was_long_ago_is_not_repeated(
    journal: PendingInvalidations, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the last one, that is: who was idle since has told nothing else."""
    now = 1000.0
    monkeypatch.setattr(f"{NAME}.coherence.pending.time.monotonic", lambda: now)
    delivered(journal, [exact("app:new"), exact("app:old")])
    now += REPEATED_SECONDS - 1
    delivered(journal, [exact("app:new")])
    now += 2
    delivered(journal, [exact("app:newest")])
    now += 1000
    monkeypatch.undo()
    await again(journal)
    assert told.told == [exact("app:new"), exact("app:newest")]


async def test_p6_too_many_to_repeat_are_everything(
    journal: PendingInvalidations, told: Told
) -> None:
    """As with those that could not be delivered."""
    for number in range(SLOTS + 10):
        delivered(journal, [exact(f"app:{number}")])
    await again(journal)
    assert told.told == [EVERYTHING]


async def test_p6_what_is_put_off_meanwhile_is_told(
    journal: PendingInvalidations, told: Told
) -> None:
    """A listener hears of that, and only of that."""
    delivered(journal, [exact("app:key")])
    journal.repeat()
    journal.add([exact("app:other")])
    await journal.deliver()
    assert told.told == [exact("app:key"), exact("app:other")]
    assert told.events == [InvalidationEvent("deferred", 1), InvalidationEvent("delivered", 1)]
    await journal.close()


async def test_p6_without_another_server_nothing_is_remembered(
    journal: PendingInvalidations,
) -> None:
    """One server has no replica that could take over."""
    journal.is_repeated = False
    delivered(journal, [exact("app:key")])
    journal.repeat()
    await asyncio.sleep(0)
    assert not journal.is_open

"""The connection that all reads of an event loop share: to each his own reply, on every loop."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NoConnectionError
from redis.exceptions import ResponseError

from app.core.cache.backends.wire import pipeline
from app.core.cache.backends.wire.connections import Connector
from app.core.cache.backends.wire.multiplexed import MultiplexedConnection
from app.core.cache.backends.wire.pipeline import LARGE_BYTES
from app.core.cache.backends.wire.requests import BrokenConnectionError, Get, Sealed
from app.core.cache.backends.wire.tracking import InvalidationTracker
from app.core.cache.base import UnansweredError
from app.core.cache.stored.record import Record, is_record_of, start_of_record
from tests.cache.fault_proxy import Fault, FaultProxy, Kind
from tests.cache.faults import eventually, hold_up, soon
from tests.redis_server import RedisServer

LOOPS: Final = ["asyncio", "uvloop"] if find_spec("uvloop") else ["asyncio"]

SOON: Final = 0.3
"""A deadline that passes, in seconds."""
FOREVER: Final = 60.0
"""One that no test can wait for."""

Command = tuple[Any, ...]


@pytest.fixture(scope="module", params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run these tests on the loop that the tests have, and on the one that the service has."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """Lend a proxy in front of Redis."""
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


@dataclass
class Caller:
    """Who asks over a connection, and notes when that fails."""

    multiplexed: MultiplexedConnection
    failures: list[Exception]
    large: list[bytes]
    """The keys of large answers."""
    worked: list[str]
    """How often looks were answered."""

    async def ask(self, *commands: Command, within: float = FOREVER) -> list[Any]:
        """Ask these commands in one request."""
        deadline = asyncio.get_running_loop().time() + within
        return await self.multiplexed.ask(Sealed(commands), deadline)

    def look(self, key: str, since: object = None) -> "asyncio.Future[Any]":
        """Look what stands at a key."""
        answer = self.multiplexed.read_nowait(get_of(key), since)
        assert answer is not None
        return answer


@asynccontextmanager
async def line_to(
    server: RedisServer, host: str, port: int, budget: float = FOREVER
) -> AsyncIterator[Caller]:
    """Lend a connection to this port, behind which is this server, not yet open."""
    connector = Connector(password=server.password, db=server.db, timeout=FOREVER)
    caller = caller_over(lambda: connector.connect(host, port), budget)
    try:
        yield caller
    finally:
        await caller.multiplexed.close()


def caller_over(connect: Callable[[], Awaitable[Any]], budget: float = FOREVER) -> Caller:
    """Make a connection whose connection is opened like this."""
    failures: list[Exception] = []
    tracker = InvalidationTracker(None, failures.append)
    large: list[bytes] = []
    worked: list[str] = []

    def has_worked() -> None:
        worked.append("at once")

    multiplexed = MultiplexedConnection(
        connect, failures.append, has_worked, large.append, tracker, budget=budget
    )
    return Caller(multiplexed, failures, large, worked)


@pytest.fixture
async def caller(proxy: FaultProxy, redis_server: RedisServer) -> AsyncIterator[Caller]:
    """Lend a connection through the proxy."""
    async with line_to(redis_server, proxy.host, proxy.port) as caller:
        yield caller


class Noting:
    """A transport that notes how often it is written to, and what it raises then."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self.transport = transport
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.transport.write(data)


async def all_of(*questions: Awaitable[Any]) -> list[Any]:
    """Await all questions at once; errors are results."""
    return await soon(asyncio.gather(*questions, return_exceptions=True))


async def test_each_caller_gets_his_own_reply(caller: Caller) -> None:
    """However many ask at once, and however many commands a question has."""
    asked = [[("ECHO", f"{n}-{m}") for m in range(n % 4 + 1)] for n in range(1000)]
    replies = await asyncio.gather(*(caller.ask(*commands) for commands in asked))
    assert replies == [[text.encode() for _, text in commands] for commands in asked]
    assert caller.failures == []


async def test_questions_of_one_turn_leave_together(caller: Caller) -> None:
    """The others than the first of them; many leave by and by, so that the server can begin."""
    await caller.ask(("PING",))
    transport = caller.multiplexed._transport
    assert transport is not None
    caller.multiplexed._transport = noting = Noting(transport)  # type: ignore[assignment]
    await asyncio.gather(*(caller.ask(("ECHO", str(n))) for n in range(30)))
    assert noting.writes <= 2
    await asyncio.gather(*(caller.ask(("ECHO", str(n))) for n in range(1000)))
    assert noting.writes <= 2 + 2 + 1000 / 32


async def test_callers_share_one_connection(caller: Caller, proxy: FaultProxy) -> None:
    """It is opened for the first of them, and once."""
    assert proxy.connections == 0
    await asyncio.gather(*(caller.ask(("PING",)) for _ in range(100)))
    await caller.ask(("PING",))
    assert proxy.connections == 1


async def test_p5_a_cancelled_caller_disturbs_nobody(caller: Caller) -> None:
    """Whenever it is: nobody else gets the reply that was on its way to him."""
    for turns in range(12):
        tasks = [asyncio.create_task(caller.ask(("ECHO", str(n)))) for n in range(100)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        for number, reply in enumerate(await all_of(*tasks)):
            if not isinstance(reply, asyncio.CancelledError):
                assert reply == [str(number).encode()]
            else:
                assert number % 3 == 0
    assert caller.failures == []
    assert not caller.multiplexed.is_over


async def test_an_error_is_a_reply(caller: Caller) -> None:
    """It belongs to its question, and harms no other."""
    first, second = await all_of(caller.ask(("ECHO",), ("ECHO", "1")), caller.ask(("ECHO", "2")))
    assert isinstance(first[0], ResponseError)
    assert [first[1], *second] == [b"1", b"2"]
    assert not caller.multiplexed.is_over


async def test_messages_that_nobody_asked_for_are_no_replies(
    caller: Caller, redis_client: Redis
) -> None:
    """The server may tell that a key has changed between two replies."""
    key = f"test-{uuid.uuid4().hex}"
    try:
        for value in (b"1", b"2", b"3"):
            redis_client.set(key, value)
            replies = await caller.ask(("CLIENT", "CACHING", "YES"), ("GET", key), ("ECHO", value))
            assert replies == [b"OK", value, value]
            replies = await caller.ask(("SET", key, "0"), ("ECHO", value))  # with a message of it
            assert replies == [b"OK", value]
    finally:
        redis_client.unlink(key)


@pytest.mark.parametrize("size", [0, 65_534, 65_536, 8_000_000])
async def test_a_reply_may_have_any_size(caller: Caller, size: int) -> None:
    """That of no byte, and one of many pieces; what follows it is not lost."""
    replies = await caller.ask(("ECHO", b"x" * size), ("ECHO", "end"))
    assert replies == [b"x" * size, b"end"]


@pytest.mark.parametrize("kind", ["cut", "reset", "garbage", "noise"])
async def test_p5_a_reply_that_makes_no_sense_ends_the_connection(
    caller: Caller, proxy: FaultProxy, kind: Kind
) -> None:
    """Who waits is told that another try may have an answer; the failure counts once."""
    await caller.ask(("PING",))
    proxy.inject(Fault(kind, command=b"ECHO", after=3, times=1))
    replies = await all_of(*(caller.ask(("ECHO", str(n))) for n in range(10)))
    assert [type(reply) for reply in replies] == [BrokenConnectionError] * 10
    assert len(caller.failures) == 1
    assert caller.multiplexed.is_over
    await eventually(lambda: proxy.open == 0)


async def test_p5_an_answer_without_a_question_ends_the_connection(
    caller: Caller, proxy: FaultProxy
) -> None:
    """Nobody will ever get it; where nobody waits, that is no failure."""
    await caller.ask(("PING",))
    proxy.inject(Fault("duplicate", command=b"PING", times=1))
    assert await caller.ask(("ECHO", "1")) == [b"1"]
    await eventually(lambda: caller.multiplexed.is_over)
    assert caller.failures == []
    await eventually(lambda: proxy.open == 0)


async def test_p5_a_connection_that_dies_unused_is_no_failure(
    caller: Caller, proxy: FaultProxy
) -> None:
    """It is noticed without a question."""
    await caller.ask(("PING",))
    proxy.drop()
    await eventually(lambda: caller.multiplexed.is_over)
    assert caller.failures == []


async def test_p5_a_late_reply_fails_all_who_wait(caller: Caller, proxy: FaultProxy) -> None:
    """At the time of the first of them, and it counts once; what comes later reaches nobody."""
    await caller.ask(("PING",))
    proxy.silence()
    first, *others = (("ECHO", str(number)) for number in range(10))
    replies = await all_of(caller.ask(first, within=SOON), *map(caller.ask, others))
    assert [type(reply) for reply in replies] == [TimeoutError] * 10
    assert [type(failure) for failure in caller.failures] == [TimeoutError]
    assert caller.multiplexed.is_over
    proxy.heal()
    await eventually(lambda: proxy.open == 0)


@pytest.mark.parametrize(
    ("lose", "within", "error"),
    [(FaultProxy.refuse, FOREVER, NoConnectionError), (FaultProxy.ignore, SOON, TimeoutError)],
)
async def test_p5_a_connection_that_cannot_be_opened_fails_all_who_wait(
    caller: Caller,
    proxy: FaultProxy,
    lose: Callable[[FaultProxy], None],
    within: float,
    error: type[Exception],
) -> None:
    """Whether it is refused, or not even that; it counts once, and leaves no task."""
    before = asyncio.all_tasks()
    lose(proxy)
    replies = await all_of(*(caller.ask(("PING",), within=within) for _ in range(10)))
    assert [type(reply) for reply in replies] == [error] * 10
    assert len(caller.failures) == 1
    assert caller.multiplexed.is_over
    await eventually(lambda: asyncio.all_tasks() == before)


async def test_p5_time_that_this_process_took_is_not_the_servers(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those who were to be asked or answered while the loop was held up, nobody is failed."""
    monkeypatch.setattr(pipeline, "STALL_GRACE_SECONDS", 1.0)  # so that Redis may be slow here
    async with line_to(redis_server, redis_server.host, redis_server.port) as caller:
        await caller.ask(("PING",))
        questions = [caller.ask(("ECHO", str(n)), within=0.01) for n in range(100)]
        answers = asyncio.gather(*questions)
        await asyncio.sleep(0)
        hold_up(1.1)
        assert await answers == [[str(number).encode()] for number in range(100)]
        assert caller.failures == []


async def test_p5_a_busy_process_gives_up_in_the_end(caller: Caller, proxy: FaultProxy) -> None:
    """Although every timer of its loop goes off late."""
    await caller.ask(("PING",))
    proxy.silence()
    question = asyncio.create_task(caller.ask(("PING",), within=SOON))
    turns = 0
    while not question.done():
        hold_up(0.7 * SOON)
        await asyncio.sleep(0)
        turns += 1
        assert turns < 10
    assert isinstance((await all_of(question))[0], TimeoutError)


async def test_p5_who_has_no_time_left_is_failed_at_once(caller: Caller, proxy: FaultProxy) -> None:
    """However often he asks, on every loop: what a timer that is due can do differs."""
    await caller.ask(("PING",))
    proxy.silence()
    replies = await all_of(*(caller.ask(("PING",), within=0.0) for _ in range(3)))
    assert [type(reply) for reply in replies] == [TimeoutError] * 3


async def test_p5_who_has_less_time_left_than_the_first_is_failed_before_him(
    caller: Caller, proxy: FaultProxy
) -> None:
    """A second try, for one; the first goes on waiting."""
    await caller.ask(("PING",))
    proxy.silence()
    first = asyncio.create_task(caller.ask(("ECHO", "1")))
    await asyncio.sleep(0)
    assert isinstance((await all_of(caller.ask(("PING",), within=SOON)))[0], TimeoutError)
    proxy.heal()
    assert await first == [b"1"]


async def test_p5_a_write_that_raises_ends_the_connection(caller: Caller) -> None:
    """Whatever it raises, on whatever Python; another try may have an answer."""
    await caller.ask(("PING",))
    caller.multiplexed._transport = Raising()  # type: ignore[assignment]
    replies = await all_of(*(caller.ask(("PING",)) for _ in range(3)))
    assert [type(reply) for reply in replies] == [BrokenConnectionError] * 3
    assert caller.multiplexed.is_over


class Raising:
    """A transport that was closed at the wrong moment."""

    def write(self, data: bytes) -> None:
        raise TypeError("NoneType")


async def test_p5_a_connection_that_is_lost_when_it_is_open_fails_all_who_wait(
    proxy: FaultProxy, redis_server: RedisServer
) -> None:
    """It counts once, and leaves no task with an error that nobody saw."""
    unseen: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    connector = Connector(password=redis_server.password, db=redis_server.db, timeout=FOREVER)

    async def dial_and_drop() -> Any:
        connection = await connector.connect(proxy.host, proxy.port)
        connection.drop()
        return connection

    caller = caller_over(dial_and_drop)
    replies = await all_of(*(caller.ask(("PING",)) for _ in range(3)))
    assert [type(reply) for reply in replies] == [ConnectionError] * 3
    assert len(caller.failures) == 1
    await caller.multiplexed.close()
    assert unseen == []


async def test_p3_replies_that_are_one_late_tell_nothing(caller: Caller, proxy: FaultProxy) -> None:
    """Each request sees whether its replies are in step: they may be from before an invalidation."""
    await caller.ask(("PING",))
    proxy.inject(Fault("shift", command=b"ECHO", times=1))
    with pytest.raises(BrokenConnectionError):
        await caller.ask(("ECHO", "old"))
    assert len(caller.failures) == 1
    await eventually(lambda: proxy.open == 0)


async def test_close_ends_what_is_under_way(
    caller: Caller, proxy: FaultProxy, redis_client: Redis
) -> None:
    """Who waits is told, and the server has no such client any more."""
    [number] = await caller.ask(("CLIENT", "ID"))
    waiting = asyncio.create_task(caller.ask(("PING",)))
    await asyncio.sleep(0)
    await caller.multiplexed.close()
    assert isinstance((await all_of(waiting))[0], BrokenConnectionError)
    await eventually(
        lambda: str(number) not in {client["id"] for client in redis_client.client_list()}
    )
    assert caller.failures == []


async def test_close_ends_a_connection_that_is_being_opened(
    caller: Caller, proxy: FaultProxy
) -> None:
    """Nothing of it is left."""
    before = asyncio.all_tasks()
    proxy.ignore()
    waiting = asyncio.create_task(caller.ask(("PING",)))
    await eventually(lambda: len(asyncio.all_tasks()) == len(before) + 2)
    await caller.multiplexed.close()
    assert asyncio.all_tasks() == before
    assert isinstance((await all_of(waiting))[0], BrokenConnectionError)


# --- looks ---------------------------------------------------------------------------------------


@pytest.fixture
def keys(redis_client: Redis, prefix: str) -> list[str]:
    """Lend keys, of which every third has a record and the next one something else."""
    keys = [f"{prefix}:{number}" for number in range(30)]
    for key in keys[::3]:
        redis_client.set(key, record(key))
    for key in keys[1::3]:
        redis_client.set(key, f"by hand {key}")
    return keys


@pytest.fixture
def prefix(redis_client: Redis) -> Iterator[str]:
    """Lend a prefix, and remove what is below it."""
    prefix = f"test-{uuid.uuid4().hex}"
    yield prefix
    for key in redis_client.scan_iter(f"{prefix}:*"):
        redis_client.unlink(key)


def get_of(key: str) -> Get:
    """Return the GET of a key."""
    return Get.of(key.encode(), start_of_record(key), b"cache/2 ")


def record(key: str) -> bytes:
    """Return a record of this key."""
    return Record(b"value", key.encode()).to_bytes(key)


async def test_a_look_gets_what_stands_there(
    caller: Caller, redis_client: Redis, keys: list[str]
) -> None:
    """Among questions, each its own; there is none before the connection is open, and after its end."""
    assert caller.multiplexed.read_nowait(get_of("key"), None) is None
    await caller.ask(("PING",))
    looks = [caller.look(key) for key in keys]
    question = asyncio.create_task(caller.ask(("ECHO", "between")))
    looks += [caller.look(key) for key in keys]
    assert await all_of(*looks) == [redis_client.get(key) for key in keys] * 2
    assert await question == [b"between"]
    assert caller.worked
    await caller.multiplexed.close()
    assert caller.multiplexed.read_nowait(get_of("key"), None) is None


async def test_looks_of_one_turn_leave_together(caller: Caller, prefix: str) -> None:
    """Like questions."""
    await caller.ask(("PING",))
    transport = caller.multiplexed._transport
    assert transport is not None
    caller.multiplexed._transport = noting = Noting(transport)  # type: ignore[assignment]
    await all_of(*(caller.look(f"{prefix}:{n}") for n in range(30)))
    assert noting.writes <= 2
    await all_of(*(caller.look(f"{prefix}:{n}") for n in range(1000)))
    assert noting.writes <= 2 + 2 + 1000 / 32


async def test_an_error_is_what_a_look_gets(
    caller: Caller, redis_client: Redis, prefix: str
) -> None:
    """Whoever gets it asks once more; it does not say that anything works."""
    await caller.ask(("PING",))
    redis_client.rpush(f"{prefix}:list", "item")
    assert isinstance(await caller.look(f"{prefix}:list"), ResponseError)
    assert caller.worked == []
    assert await caller.look(f"{prefix}:none") is None
    assert caller.worked == ["at once"]


async def test_a_large_answer_is_noted(caller: Caller, redis_client: Redis, prefix: str) -> None:
    """Its key goes another way next time."""
    await caller.ask(("PING",))
    for size in (LARGE_BYTES, LARGE_BYTES + 1):
        redis_client.set(f"{prefix}:{size}", "x" * size)
        assert len(await caller.look(f"{prefix}:{size}")) == size
    assert caller.large == [f"{prefix}:{LARGE_BYTES + 1}".encode()]


async def test_p5_a_cancelled_look_disturbs_nobody(caller: Caller, keys: list[str]) -> None:
    """The reply is dropped when it comes."""
    await caller.ask(("PING",))
    looks = [caller.look(key) for key in keys]
    for look in looks[1::3]:
        look.cancel()
    found = await all_of(*looks[::3])
    for key, data in zip(keys[::3], found, strict=True):
        assert is_record_of(key, data)
    assert await all_of(*looks[2::3]) == [None] * 10
    assert not caller.multiplexed.is_over


async def test_p9_a_record_of_another_key_is_no_answer(
    caller: Caller, redis_client: Redis, prefix: str
) -> None:
    """Whoever gets it may ask again, in the time that he has left; it disturbs nobody else."""
    await caller.ask(("PING",))
    redis_client.set(f"{prefix}:moved", record(f"{prefix}:other"))
    looks = [caller.look(f"{prefix}:{name}") for name in ("none", "moved", "more")]
    question = asyncio.create_task(caller.ask(("ECHO", "after it")))
    none, moved, more = await all_of(*looks)
    assert (none, more) == (None, None)
    assert isinstance(moved, UnansweredError)
    assert 0 < moved.deadline - asyncio.get_running_loop().time() <= FOREVER
    assert await question == [b"after it"]
    assert caller.failures == []
    assert not caller.multiplexed.is_over


async def test_p9_a_connection_that_is_out_of_step_is_found_by_who_asks_again(
    caller: Caller, redis_client: Redis, prefix: str, proxy: FaultProxy
) -> None:
    """A GET that gets another key's record is asked again by a request, which sees it."""
    keys = [f"{prefix}:{name}" for name in ("one", "other")]
    for key in keys:
        redis_client.set(key, record(key))
    await caller.ask(("PING",))
    proxy.inject(Fault("shift", command=b"GET", times=1))
    assert await caller.look(keys[0], None) == record_at(redis_client, keys[0])
    with pytest.raises(UnansweredError):
        await caller.look(keys[1], None)
    with pytest.raises(BrokenConnectionError):
        await caller.ask(("GET", keys[1]))
    assert len(caller.failures) == 1
    assert caller.multiplexed.is_over


def record_at(client: Redis, key: str) -> object:
    """Return what stands at a key."""
    return client.get(key)


async def test_p5_a_late_reply_fails_all_looks(
    proxy: FaultProxy, redis_server: RedisServer
) -> None:
    """At the end of the budget; there is no time to ask again."""
    async with line_to(redis_server, proxy.host, proxy.port, budget=SOON) as caller:
        await caller.ask(("PING",))
        proxy.silence()
        looks = await all_of(*(caller.look(str(number)) for number in range(10)))
        assert [type(look) for look in looks] == [TimeoutError] * 10
        assert [type(failure) for failure in caller.failures] == [TimeoutError]
        proxy.heal()


@pytest.mark.parametrize("when", ["after an invalidation", "a second later"])
async def test_p3_a_look_proves_that_replies_are_in_step(
    caller: Caller, redis_client: Redis, proxy: FaultProxy, prefix: str, when: str
) -> None:
    """Else it could get what was read before an invalidation, and that for long."""
    key = f"{prefix}:key"
    redis_client.set(key, record(key))
    await caller.ask(("PING",))
    proxy.inject(Fault("shift", command=b"GET", times=1))
    assert await caller.look(key) == await caller.look(key)
    if "second" in when:
        caller.multiplexed._proven_until -= 1.1
    with pytest.raises(UnansweredError):
        await caller.look(key, since=object() if "invalidation" in when else None)
    assert len(caller.failures) == 1

"""The connection that all reads of an event loop share: to each his own reply, on every loop."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import pytest
from hiredis import pack_command
from redis import Redis
from redis.exceptions import ConnectionError as NoConnectionError
from redis.exceptions import ResponseError

from app.core.cache.backends import line as line_module
from app.core.cache.backends.connections import Dialler
from app.core.cache.backends.line import BrokenLineError, Line
from app.core.cache.backends.messages import Messages
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
    """Who asks over a line, and notes when that fails."""

    line: Line
    failures: list[Exception]

    async def ask(
        self, *commands: Command, within: float = FOREVER, since: object = None
    ) -> list[Any]:
        """Ask these commands in one question."""
        packed = b"".join(map(pack_command, commands))
        deadline = asyncio.get_running_loop().time() + within
        return await self.line.ask(packed, len(commands), deadline, since=since)


@asynccontextmanager
async def line_to(server: RedisServer, host: str, port: int) -> AsyncIterator[Caller]:
    """Lend a line to this port, behind which is this server, not yet open."""
    dialler = Dialler(password=server.password, db=server.db, timeout=FOREVER)
    caller = caller_over(lambda: dialler.dial(host, port))
    try:
        yield caller
    finally:
        await caller.line.close()


def caller_over(connect: Callable[[], Awaitable[Any]]) -> Caller:
    """Make a line whose connection is opened like this."""
    failures: list[Exception] = []
    messages = Messages(None, failures.append)
    return Caller(Line(connect, failures.append, messages, budget=FOREVER), failures)


@pytest.fixture
async def caller(proxy: FaultProxy, redis_server: RedisServer) -> AsyncIterator[Caller]:
    """Lend a line through the proxy."""
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


async def test_questions_of_one_turn_leave_in_one_write(caller: Caller) -> None:
    """A thousand callers cost no more system calls than one."""
    await caller.ask(("PING",))
    transport = caller.line._transport
    assert transport is not None
    caller.line._transport = noting = Noting(transport)  # type: ignore[assignment]
    await asyncio.gather(*(caller.ask(("ECHO", str(n))) for n in range(1000)))
    assert noting.writes <= 2  # that of the first, and that of the others


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
    assert not caller.line.is_over


async def test_an_error_is_a_reply(caller: Caller) -> None:
    """It belongs to its question, and harms no other."""
    first, second = await all_of(caller.ask(("ECHO",), ("ECHO", "1")), caller.ask(("ECHO", "2")))
    assert isinstance(first[0], ResponseError)
    assert [first[1], *second] == [b"1", b"2"]
    assert not caller.line.is_over


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
    assert [type(reply) for reply in replies] == [BrokenLineError] * 10
    assert len(caller.failures) == 1
    assert caller.line.is_over
    await eventually(lambda: proxy.open == 0)


async def test_p5_an_answer_without_a_question_ends_the_connection(
    caller: Caller, proxy: FaultProxy
) -> None:
    """Nobody will ever get it; where nobody waits, that is no failure."""
    await caller.ask(("PING",))
    proxy.inject(Fault("duplicate", command=b"ECHO", times=1))
    assert await caller.ask(("ECHO", "1")) == [b"1"]
    await eventually(lambda: caller.line.is_over)
    assert caller.failures == []
    await eventually(lambda: proxy.open == 0)


async def test_p5_a_connection_that_dies_unused_is_no_failure(
    caller: Caller, proxy: FaultProxy
) -> None:
    """It is noticed without a question."""
    await caller.ask(("PING",))
    proxy.drop()
    await eventually(lambda: caller.line.is_over)
    assert caller.failures == []


async def test_p5_a_late_reply_fails_all_who_wait(caller: Caller, proxy: FaultProxy) -> None:
    """At the time of the first of them, and it counts once; what comes later reaches nobody."""
    await caller.ask(("PING",))
    proxy.silence()
    first, *others = (("ECHO", str(number)) for number in range(10))
    replies = await all_of(caller.ask(first, within=SOON), *map(caller.ask, others))
    assert [type(reply) for reply in replies] == [TimeoutError] * 10
    assert [type(failure) for failure in caller.failures] == [TimeoutError]
    assert caller.line.is_over
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
    assert caller.line.is_over
    await eventually(lambda: asyncio.all_tasks() == before)


async def test_p5_time_that_this_process_took_is_not_the_servers(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those who were to be asked or answered while the loop was held up, nobody is failed."""
    monkeypatch.setattr(line_module, "STALLED_SECONDS", 1.0)  # so that Redis may be slow here
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
    caller.line._transport = Raising()  # type: ignore[assignment]
    replies = await all_of(*(caller.ask(("PING",)) for _ in range(3)))
    assert [type(reply) for reply in replies] == [BrokenLineError] * 3
    assert caller.line.is_over


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
    dialler = Dialler(password=redis_server.password, db=redis_server.db, timeout=FOREVER)

    async def dial_and_drop() -> Any:
        connection = await dialler.dial(proxy.host, proxy.port)
        connection.drop()
        return connection

    caller = caller_over(dial_and_drop)
    replies = await all_of(*(caller.ask(("PING",)) for _ in range(3)))
    assert [type(reply) for reply in replies] == [ConnectionError] * 3
    assert len(caller.failures) == 1
    await caller.line.close()
    assert unseen == []


async def test_p3_replies_that_are_one_late_tell_nothing_after_an_invalidation(
    caller: Caller, proxy: FaultProxy
) -> None:
    """What was asked before it was read before it, too, and only the order tells which is which."""
    await caller.ask(("PING",))
    proxy.inject(Fault("shift", command=b"ECHO", times=1))
    assert await caller.ask(("ECHO", "old")) == [b"old"]
    assert await caller.ask(("ECHO", "new")) == [b"old"]
    with pytest.raises(BrokenLineError):
        await caller.ask(("ECHO", "new"), since=object())
    assert len(caller.failures) == 1
    await eventually(lambda: proxy.open == 0)


async def test_p3_replies_are_not_late_for_long(caller: Caller, proxy: FaultProxy) -> None:
    """Once a second it is seen whether they are in step, whatever is asked."""
    await caller.ask(("PING",))
    proxy.inject(Fault("shift", command=b"ECHO", times=1))
    assert await caller.ask(("ECHO", "old")) == [b"old"]
    assert await caller.ask(("ECHO", "new")) == [b"old"]
    with pytest.raises(BrokenLineError):
        await caller.ask(("ECHO", "new"), within=FOREVER + 1.1)


async def test_close_ends_what_is_under_way(
    caller: Caller, proxy: FaultProxy, redis_client: Redis
) -> None:
    """Who waits is told, and the server has no such client any more."""
    [number] = await caller.ask(("CLIENT", "ID"))
    waiting = asyncio.create_task(caller.ask(("PING",)))
    await asyncio.sleep(0)
    await caller.line.close()
    assert isinstance((await all_of(waiting))[0], BrokenLineError)
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
    await caller.line.close()
    assert asyncio.all_tasks() == before
    assert isinstance((await all_of(waiting))[0], BrokenLineError)

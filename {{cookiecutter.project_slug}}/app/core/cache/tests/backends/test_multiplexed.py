"""The connection that all reads of an event loop share: to each his own reply, on every loop."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NoConnectionError
from redis.exceptions import ResponseError

from ...backends.wire import pipeline
from ...backends.wire.connections import Connector
from ...backends.wire.requests import BrokenConnectionError
from ...testing.redis_server import RedisServer
from ..faults import eventually, hold_up, soon
from ..proxy.fault_proxy import Fault, FaultProxy, Kind
from .callers import (
    FOREVER,
    LOOPS,
    SOON,
    Caller,
    Noting,
    all_of,
    caller_over,
    line_to,
)


@pytest.fixture(scope="module", params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run these tests on the loop that the tests have, and on the one that the service has."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


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


async def test_p5_a_connection_that_is_ended_while_it_is_opened_is_closed(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    """By what the connecting has found, for one: nobody else would ever close it."""
    connector = Connector(password=redis_server.password, db=redis_server.db, timeout=FOREVER)
    opened: list[str] = []

    async def connect() -> Any:
        connection = await connector.connect(redis_server.host, redis_server.port)
        await connection.send_command("CLIENT", "ID")
        opened.append(str(await connection.read_response()))
        asking.multiplexed.end(BrokenConnectionError("another generation"))
        return connection

    asking = caller_over(connect)
    with pytest.raises(BrokenConnectionError):
        await soon(asking.ask(("PING",)))
    await eventually(lambda: not {*opened} & {each["id"] for each in redis_client.client_list()})
    assert len(opened) == 1


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

"""The pool: nobody is refused a connection, nobody gets another one's reply."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from hiredis import pack_command
from redis import Redis
from redis.exceptions import ConnectionError as NoConnectionError

from ...backends.wire.connections import Connector
from ...backends.wire.pipeline import Pipeline
from ...backends.wire.pool import Pool
from ...backends.wire.requests import Sealed
from ...testing.redis_server import RedisServer
from ..faults import (
    WITHIN,
    eventually,
    soon,
)
from ..proxy.fault_proxy import Fault, FaultProxy


@pytest.fixture
async def pool(redis_server: RedisServer) -> AsyncIterator[Pool]:
    """Lend a pool of two connections."""
    pool = pool_at(redis_server, redis_server.host, redis_server.port, 2)
    yield pool
    pool.end()


def pool_at(server: RedisServer, host: str, port: int, size: int) -> Pool:
    """Make a pool of connections to this port, behind which is this server."""
    connector = Connector(password=server.password, db=server.db, timeout=WITHIN)
    return Pool(lambda: Pipeline(lambda: connector.connect(host, port), lambda _: None), size)


async def lent(pool: Pool) -> Pipeline:
    """Wait for a connection."""
    async with asyncio.timeout(WITHIN):
        await pool.turns.acquire()
    return pool.acquire()


async def ask(pipeline: Pipeline, *command: Any, within: float = WITHIN) -> Any:
    """Send a command; return the reply."""
    deadline = asyncio.get_running_loop().time() + within
    return (await pipeline.ask(Sealed([command]), deadline))[0]


async def number_of(pipeline: Pipeline) -> str:
    """Return the number that Redis gave a connection."""
    return str(await ask(pipeline, "CLIENT", "ID"))


async def test_who_waits_for_a_connection_waits_in_line(pool: Pool) -> None:
    """Connections are given to those who came first, and there are no more than it may have."""
    first, second = await lent(pool), await lent(pool)
    served: list[int] = []

    async def caller(number: int) -> None:
        connection = await lent(pool)
        served.append(number)
        await asyncio.sleep(0)
        pool.release(connection)

    callers = [asyncio.create_task(caller(number)) for number in range(20)]
    await asyncio.sleep(0)
    assert served == []
    pool.release(first)
    pool.release(second)
    await soon(asyncio.gather(*callers))
    assert served == list(range(20))


@pytest.mark.parametrize("its_turn", [False, True])
async def test_p5_who_stops_waiting_loses_nobody_a_turn(pool: Pool, *, its_turn: bool) -> None:
    """Even if it was his turn at that moment."""
    connections = [await lent(pool), await lent(pool)]
    waiting = [asyncio.create_task(lent(pool)) for _ in range(3)]
    await asyncio.sleep(0)
    if its_turn:
        pool.release(connections.pop())
    waiting[0].cancel()
    for connection in connections:
        pool.release(connection)
    for caller in waiting[1:]:
        pool.release(await caller)
    assert waiting[0].cancelled()
    for _ in range(10):  # both are free
        one, other = await lent(pool), await lent(pool)
        pool.release(one)
        pool.release(other)


async def test_a_connection_is_used_again(pool: Pool) -> None:
    """The one that was used last, so that the others may rest."""
    one, other = await lent(pool), await lent(pool)
    pool.release(one)
    pool.release(other)
    assert [await lent(pool), await lent(pool)] == [other, one]
    pool.release(one)
    pool.release(other)


async def test_p5_a_connection_that_waits_for_a_reply_is_not_lent(
    pool: Pool, ours: Callable[[], set[str]]
) -> None:
    """It is closed, and the next caller has a new one."""
    connection = await lent(pool)
    number = await number_of(connection)
    asking = asyncio.create_task(ask(connection, "ECHO", "late"))
    await asyncio.sleep(0)
    asking.cancel()
    pool.release(connection)
    await eventually(lambda: number not in ours())
    connection = await lent(pool)
    assert await number_of(connection) in ours() - {number}
    pool.release(connection)


async def test_p5_a_connection_with_a_reply_that_nobody_waits_for_is_not_lent(
    proxy: FaultProxy, redis_server: RedisServer
) -> None:
    """Nobody gets the answer to another one's request."""
    pool = pool_at(redis_server, proxy.host, proxy.port, 1)
    connection = await lent(pool)
    number = await number_of(connection)
    proxy.inject(Fault("duplicate", command=b"PING", times=1))
    await ask(connection, "ECHO", "1")
    pool.release(connection)
    await eventually(lambda: connection.is_over)
    connection = await lent(pool)
    assert await number_of(connection) != number
    pool.release(connection)
    pool.end()


async def test_p5_a_connection_that_was_closed_by_the_server_is_not_lent(
    pool: Pool, redis_client: Redis
) -> None:
    """That is noticed at once."""
    connection = await lent(pool)
    number = await number_of(connection)
    pool.release(connection)
    redis_client.client_kill_filter(_id=number)
    await eventually(lambda: connection.is_over)
    connection = await lent(pool)
    assert await number_of(connection) != number
    pool.release(connection)


async def test_p5_a_connection_that_cannot_be_opened_takes_no_place(
    proxy: FaultProxy, redis_server: RedisServer
) -> None:
    """Neither if it is refused, nor if nobody waits for it to be opened."""
    pool = pool_at(redis_server, proxy.host, proxy.port, 1)

    async def use(within: float = WITHIN) -> None:
        connection = await lent(pool)
        try:
            await ask(connection, "PING", within=within)
        finally:
            pool.release(connection)

    proxy.refuse()
    for _ in range(3):
        with pytest.raises(NoConnectionError):
            await use()
    proxy.ignore()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await use(0.05)
    proxy.heal()
    await use()
    pool.end()


async def test_a_closed_pool_closes_what_comes_back(
    pool: Pool, ours: Callable[[], set[str]]
) -> None:
    """What is lent when it is closed goes on until then."""
    connection, other = await lent(pool), await lent(pool)
    number = await number_of(connection)
    await number_of(other)
    pool.release(other)
    pool.end()
    await eventually(lambda: ours() == {number})
    pool.release(connection)
    await eventually(lambda: not ours())


async def test_p5_what_a_dropped_connection_has_not_sent_is_never_sent() -> None:
    """An old value would otherwise arrive after a newer one, when the other side reads again."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.setblocking(False)
        dialling = asyncio.create_task(Connector(timeout=WITHIN).connect(*listener.getsockname()))
        peer, _ = await loop.sock_accept(listener)
    with peer:
        assert b"HELLO" in await loop.sock_recv(peer, 1000)
        await loop.sock_sendall(peer, b"%1\r\n+proto\r\n:3\r\n")
        connection = await dialling
        command: Any = ("SET", "key", "old" * 100_000)
        await connection.send_packed_command(pack_command(command))
        connection.unanswered = True
        connection.drop()
        await asyncio.sleep(0)  # in which the socket is closed
        assert await arriving(peer) < 300_000


async def arriving(peer: socket.socket) -> int:
    """Read to the end; return how many bytes there were."""
    arrived = 0
    with suppress(ConnectionResetError):
        while data := await soon(asyncio.get_running_loop().sock_recv(peer, 1000)):
            arrived += len(data)
    return arrived

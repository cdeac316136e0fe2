"""The fault proxy of these tests does the harm that it says, where it says, and no other."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import ConnectionError as NoConnectionError

from ...testing.redis_server import RedisServer
from ..proxy.fault_proxy import Fault, FaultProxy, Kind, message_end

JUNK: Final = b"\x00garbage\r\n"
NOT_NOW: Final = 0.3  # seconds for which a test waits for what must not come
WITHIN: Final = 10.0  # seconds for what must come


class Wire:
    """A connection through the proxy on which each byte is seen."""

    def __init__(self, proxy: FaultProxy, server: RedisServer, timeout: float = WITHIN) -> None:
        self.socket = socket.create_connection((proxy.host, proxy.port), timeout)
        if server.password:
            self.send("AUTH", server.password)
            assert self.take(5) == b"+OK\r\n"
        self.send("SELECT", str(server.db))
        assert self.take(5) == b"+OK\r\n"

    def send(self, *command: str) -> None:
        """Send a command."""
        parts = [f"${len(part.encode())}\r\n{part}\r\n" for part in command]
        self.socket.sendall(f"*{len(parts)}\r\n{''.join(parts)}".encode())

    def take(self, size: int) -> bytes:
        """Return so many bytes, or what there is before the end."""
        taken = b""
        while len(taken) < size and (data := self.socket.recv(size - len(taken))):
            taken += data
        return taken

    def is_silent(self) -> bool:
        """Whether nothing comes, not even the end."""
        self.socket.settimeout(NOT_NOW)
        try:
            self.socket.recv(1)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(WITHIN)
        return False


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """Lend a proxy in front of the Redis of the tests."""
    with FaultProxy(redis_server.host, redis_server.port, seed=1) as proxy:
        yield proxy


@pytest.fixture
def wire(proxy: FaultProxy, redis_server: RedisServer) -> Iterator[Callable[[], Wire]]:
    """Lend what connects to the proxy."""
    with ExitStack() as stack:

        def connect() -> Wire:
            wire = Wire(proxy, redis_server)
            stack.enter_context(wire.socket)
            return wire

        yield connect


@pytest.fixture
def client(proxy: FaultProxy, redis_server: RedisServer) -> Iterator[Redis]:
    """Lend redis-py through the proxy, already connected."""
    with Redis.from_url(behind(proxy, redis_server)) as client:
        client.ping()
        yield client


def behind(proxy: FaultProxy, server: RedisServer) -> str:
    """Return the address of the server through the proxy."""
    return replace(server, host=proxy.host, port=proxy.port).url


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_without_a_fault_everything_passes(proxy: FaultProxy, client: Redis) -> None:
    """Large values, any bytes, long pipelines, and replies of every shape."""
    data = bytes(range(256)) * 8192
    assert client.echo(data) == data
    with client.pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.echo(f"\r\n${number}\r\n")
        assert pipe.execute() == [b"\r\n$%d\r\n" % number for number in range(2000)]
    assert len(client.command_list()) > 100
    assert proxy.done == {}


async def test_it_serves_the_loop_of_a_test(proxy: FaultProxy, redis_server: RedisServer) -> None:
    """It has a loop of its own, so it can be told something in the middle of a coroutine."""
    async with AsyncRedis.from_url(behind(proxy, redis_server)) as client:
        assert await client.echo("1") == b"1"
        proxy.refuse()
        proxy.drop()
        with pytest.raises(NoConnectionError):
            await client.echo("2")
        proxy.heal()
        assert await client.echo("3") == b"3"


def test_nothing_waits_for_more(proxy: FaultProxy, wire: Callable[[], Wire]) -> None:
    """Each message is sent at once, though the one before it is not acknowledged yet."""
    one = wire()
    start = time.monotonic()
    for _ in range(100):
        one.socket.sendall(b"*2\r\n$4\r\nECHO\r\n$1\r\na\r\n" * 3)
        assert one.take(21) == b"$1\r\na\r\n" * 3
    # Otherwise each round would wait for the client's late acknowledgement: 40 ms on Linux.
    assert time.monotonic() - start < 2
    assert proxy.connections == 1


def test_connections_are_counted(proxy: FaultProxy, wire: Callable[[], Wire]) -> None:
    """Those that there are, and those that there have been."""
    one, other = wire(), wire()
    eventually(lambda: proxy.open == proxy.connections == 2)
    one.socket.close()
    eventually(lambda: proxy.open == 1)
    other.socket.close()
    eventually(lambda: proxy.open == 0)
    assert proxy.connections == 2


def test_a_refusing_port_is_closed(proxy: FaultProxy, wire: Callable[[], Wire]) -> None:
    """New connections are refused, older ones go on, and afterwards the port is the same."""
    older = wire()
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        wire()
    older.send("ECHO", "on")
    assert older.take(8) == b"$2\r\non\r\n"
    proxy.heal()
    newer = wire()
    newer.send("ECHO", "on")
    assert newer.take(8) == b"$2\r\non\r\n"


def test_a_refusing_port_stays_its_own(proxy: FaultProxy) -> None:
    """Nobody else can take it meanwhile."""
    proxy.refuse()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((proxy.host, proxy.port))


def test_a_silent_proxy_passes_nothing(proxy: FaultProxy, wire: Callable[[], Wire]) -> None:
    """It accepts and answers nobody, on older connections neither; what was held back comes late."""
    older = wire()
    proxy.silence()
    older.send("ECHO", "on")
    assert older.is_silent()
    # Not by `wire`, which may have to wait for the answer to a password.
    with socket.create_connection((proxy.host, proxy.port), WITHIN) as newer:
        newer.sendall(b"PING\r\n")
        newer.settimeout(NOT_NOW)
        with pytest.raises(TimeoutError):
            newer.recv(1)
        proxy.heal()
        newer.settimeout(WITHIN)
        assert newer.recv(1) in {b"+", b"-"}
    assert older.take(8) == b"$2\r\non\r\n"


def test_a_silent_proxy_passes_no_reply_on(
    proxy: FaultProxy, wire: Callable[[], Wire], redis_server: RedisServer
) -> None:
    """A reply that Redis gives during the silence waits, as one that it gave before would not."""
    older = wire()
    with Redis.from_url(redis_server.url) as direct:
        direct.unlink("test-fault-proxy")
        older.send("BLPOP", "test-fault-proxy", "30")
        eventually(lambda: direct.info("clients")["blocked_clients"] == 1)
        proxy.silence()
        direct.rpush("test-fault-proxy", "value")
        assert older.is_silent()
        proxy.heal()
        assert older.take(4) == b"*2\r\n"
        direct.unlink("test-fault-proxy")


def test_an_ignored_connect_gets_no_answer(proxy: FaultProxy, wire: Callable[[], Wire]) -> None:
    """It neither succeeds nor fails; older connections go on."""
    older = wire()
    proxy.ignore()
    for _ in range(3):
        with socket.socket() as asking:
            asking.settimeout(NOT_NOW)
            with pytest.raises(TimeoutError):
                asking.connect((proxy.host, proxy.port))
    older.send("ECHO", "on")
    assert older.take(8) == b"$2\r\non\r\n"
    proxy.heal()
    assert wire().socket.getpeername() == (proxy.host, proxy.port)


def test_dropped_connections_are_reset(proxy: FaultProxy, wire: Callable[[], Wire]) -> None:
    """Those that exist, at once; new ones are welcome."""
    older = [wire() for _ in range(3)]
    eventually(lambda: proxy.open == 3)
    proxy.drop()
    assert proxy.open == 0
    for each in older:
        with pytest.raises(ConnectionResetError):
            each.take(1)
    wire().send("PING")


def test_a_delay_is_not_added_up(proxy: FaultProxy, client: Redis) -> None:
    """Each reply is late by as much, however many of them come one after another."""
    proxy.inject(Fault("delay", seconds=0.3))
    with client.pipeline(transaction=False) as pipe:
        for number in range(100):
            pipe.echo(str(number))
        start = time.monotonic()
        assert len(pipe.execute()) == 100
    assert 0.3 <= time.monotonic() - start < 10
    assert proxy.done == {"delay": 100}


def test_a_trickle_takes_its_time(proxy: FaultProxy, client: Redis) -> None:
    """Every byte comes, so many a second."""
    proxy.inject(Fault("trickle", rate=100_000))
    start = time.monotonic()
    assert client.echo("x" * 50_000) == b"x" * 50_000
    assert 0.4 <= time.monotonic() - start < 10


def test_a_stalled_reply_stays_a_part(proxy: FaultProxy, wire: Callable[[], Wire]) -> None:
    """So many bytes come and no more, and no reply after it; other connections go on."""
    stalled, other = wire(), wire()
    proxy.inject(Fault("stall", after=6, times=1))
    stalled.send("ECHO", "stalled")
    stalled.send("PING")
    assert stalled.take(6) == b"$7\r\nst"
    assert stalled.is_silent()
    other.send("ECHO", "on")
    assert other.take(8) == b"$2\r\non\r\n"
    stalled.socket.close()
    eventually(lambda: proxy.open == 1)


@pytest.mark.parametrize("after", [5, -3])
def test_a_short_reply_is_followed_by_the_next(
    proxy: FaultProxy, wire: Callable[[], Wire], after: int
) -> None:
    """Its beginning comes, and the connection goes on."""
    asking = wire()
    proxy.inject(Fault("short", times=1, after=after))
    asking.send("ECHO", "on")
    asking.send("ECHO", "by")
    assert asking.take(5 + 8) == b"$2\r\no" + b"$2\r\nby\r\n"


def test_a_cut_reply_ends_the_connection(proxy: FaultProxy, wire: Callable[[], Wire]) -> None:
    """After so many bytes, in good order, and more requests than one under way."""
    one = wire()
    proxy.inject(Fault("cut", after=6))
    one.socket.sendall(b"*2\r\n$4\r\nECHO\r\n$3\r\ncut\r\n" * 100)
    assert one.take(1000) == b"$3\r\ncu"
    assert proxy.done == {"cut": 1}


def test_a_reset_is_one(proxy: FaultProxy, wire: Callable[[], Wire]) -> None:
    """After so many bytes the client's next read fails."""
    one = wire()
    proxy.inject(Fault("reset", after=6))
    one.send("ECHO", "reset")
    assert one.take(6) == b"$5\r\nre"
    with pytest.raises(ConnectionResetError):
        one.take(1)
    assert proxy.done == {"reset": 1}


@pytest.mark.parametrize(
    ("kind", "second"),
    [
        ("garbage", JUNK),
        ("noise", JUNK + b"$1\r\nb\r\n"),
        ("duplicate", b"$1\r\nb\r\n$1\r\nb\r\n"),
    ],
)
def test_one_reply_in_a_pipeline_is_hit(
    proxy: FaultProxy, wire: Callable[[], Wire], kind: Kind, second: bytes
) -> None:
    """And its neighbours are not."""
    one = wire()
    proxy.inject(Fault(kind, command=b"ECHO", times=1))
    one.socket.sendall(
        b"PING\r\n*2\r\n$4\r\necho\r\n$1\r\nb\r\n*2\r\n$4\r\nECHO\r\n$1\r\nc\r\nPING\r\n"
    )
    expected = b"+PONG\r\n" + second + b"$1\r\nc\r\n+PONG\r\n"
    assert one.take(len(expected)) == expected
    assert proxy.done == {kind: 1}


def test_a_shift_goes_on(proxy: FaultProxy, wire: Callable[[], Wire]) -> None:
    """Each question has one answer, and from then on it is the one to the question before."""
    one, other = wire(), wire()
    proxy.inject(Fault("shift", times=1))
    for letter, answer in ("aa", "ba", "cb", "dc"):
        one.send("ECHO", letter)
        assert one.take(7) == b"$1\r\n%b\r\n" % answer.encode()
    other.send("ECHO", "e")
    assert other.take(7) == b"$1\r\ne\r\n"
    assert proxy.done == {"shift": 1}


def test_a_push_is_no_reply(proxy: FaultProxy, wire: Callable[[], Wire]) -> None:
    """What Redis sends unasked does not shift which reply is to which command."""
    one = wire()
    one.send("HELLO", "3")
    assert one.take(1) == b"%"
    one.send("CLIENT", "TRACKING", "ON")
    one.send("SET", "test-fault-proxy", "1", "EX", "10")
    one.send("GET", "test-fault-proxy")
    proxy.inject(Fault("duplicate", command=b"PING"))
    one.send("UNLINK", "test-fault-proxy")
    one.send("PING")
    one.send("ECHO", "end")
    seen = b""
    while not seen.endswith(b"$3\r\nend\r\n"):
        seen += one.take(1)
    assert b">2\r\n$10\r\ninvalidate" in seen
    assert seen.count(b"+PONG\r\n") == 2
    assert proxy.done == {"duplicate": 1}


@pytest.mark.parametrize("kind", ["cut", "reset", "stall"])
def test_half_a_request_is_none(
    proxy: FaultProxy, wire: Callable[[], Wire], redis_server: RedisServer, kind: Kind
) -> None:
    """Redis has got a part of it, does nothing, and the client gets no answer."""
    key = "test-fault-proxy"
    one = wire()
    one.send("CLIENT", "SETNAME", "half-a-request")
    assert one.take(5) == b"+OK\r\n"
    with Redis.from_url(redis_server.url) as direct:
        proxy.inject(Fault(kind, to="request", command=b"SET", after=20))
        one.send("SET", key, "1")
        if kind == "reset":
            with pytest.raises(ConnectionResetError):
                one.take(1)
        elif kind == "cut":
            assert one.take(1) == b""
        else:
            eventually(lambda: waiting_bytes(direct, "half-a-request") > 0)
            assert one.is_silent()
        one.socket.close()
        eventually(lambda: proxy.open == 0)
        assert direct.exists(key) == 0
    assert proxy.done == {kind: 1}


def waiting_bytes(direct: Redis, name: str) -> int:
    """Return how many bytes of requests Redis has got from a client and has not read yet."""
    return sum(int(each["qbuf"]) for each in direct.client_list() if each["name"] == name)


def test_a_duplicated_request_is_done_twice(
    proxy: FaultProxy, wire: Callable[[], Wire], redis_server: RedisServer
) -> None:
    """And has two replies."""
    one = wire()
    proxy.inject(Fault("duplicate", to="request", command=b"INCR"))
    one.send("INCR", "test-fault-proxy")
    assert one.take(8) == b":1\r\n:2\r\n"
    one.send("UNLINK", "test-fault-proxy")
    assert one.take(4) == b":1\r\n"


def test_healing_ends_every_fault(proxy: FaultProxy, client: Redis) -> None:
    """What was injected is done no more."""
    proxy.inject(Fault("garbage", junk=b"+instead\r\n"))
    assert client.echo("1") == b"instead"
    proxy.heal()
    assert client.echo("2") == b"2"
    assert proxy.done == {"garbage": 1}


def test_chance_hits_its_part(proxy: FaultProxy, client: Redis) -> None:
    """Of many replies about as many as were asked for are hit, and the counts are true."""
    proxy.inject(
        Fault("garbage", chance=0.03, command=b"ECHO", junk=b"+instead\r\n"),
        Fault("noise", chance=0.03, command=b"GET", junk=b""),
        Fault("delay", chance=0.05, seconds=0.0),
    )
    with client.pipeline(transaction=False) as pipe:
        for number in range(10_000):
            pipe.echo(str(number))
        replies = pipe.execute()
    assert replies.count(b"instead") == proxy.done["garbage"]
    assert 200 < proxy.done["garbage"] < 400
    assert 350 < proxy.done["delay"] < 650
    assert proxy.done["noise"] == 0


def test_a_seed_repeats_the_faults(redis_server: RedisServer) -> None:
    """Two proxies of one seed hit the same replies, one of another seed hits others."""

    def hit(seed: int) -> list[int]:
        with (
            FaultProxy(redis_server.host, redis_server.port, seed=seed) as proxy,
            Redis.from_url(behind(proxy, redis_server)) as client,
            client.pipeline(transaction=False) as pipe,
        ):
            client.ping()
            proxy.inject(Fault("garbage", chance=0.1, junk=b"+instead\r\n"))
            for number in range(200):
                pipe.echo(str(number))
            replies = pipe.execute()
        return [number for number, reply in enumerate(replies) if reply == b"instead"]

    assert hit(1) == hit(1) != hit(2)


def test_a_server_that_is_away_resets(closed: FaultProxy) -> None:
    """Who connects while Redis itself refuses loses the connection at once."""
    address = closed.host, closed.port
    with pytest.raises(ConnectionResetError), socket.create_connection(address, WITHIN) as one:
        one.recv(1)


@pytest.fixture
def closed() -> Iterator[FaultProxy]:
    """Lend a proxy in front of a port that refuses connections: taken, but nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with FaultProxy("127.0.0.1", taken.getsockname()[1]) as proxy:
            yield proxy


MESSAGES: Final = [
    *(b"+OK\r\n", b"-ERR no\r\n", b":1\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(12\r\n"),
    *(b"$0\r\n\r\n", b"$4\r\na\r\nb\r\n", b"$-1\r\n", b"=5\r\ntxt:a\r\n", b"!3\r\nERR\r\n"),
    *(b"*0\r\n", b"*-1\r\n", b"*2\r\n$1\r\na\r\n:1\r\n", b"~1\r\n+a\r\n", b">1\r\n+a\r\n"),
    *(b"%1\r\n+a\r\n*2\r\n:1\r\n%1\r\n$1\r\nb\r\n_\r\n", b"PING\r\n"),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_ends_where_it_ends(message: bytes) -> None:
    """Not before its last byte, and not behind it."""
    assert [message_end(message[:size]) for size in range(len(message))] == [None] * len(message)
    assert message_end(message + b"+next\r\n") == message_end(message) == len(message)

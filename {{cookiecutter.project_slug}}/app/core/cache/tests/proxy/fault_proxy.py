"""A proxy in front of a Redis that does harm where a test wants it.

    with FaultProxy(server.host, server.port, seed=1) as proxy:
        backend = RedisBackend(host=proxy.host, port=proxy.port)
        proxy.inject(Fault("duplicate", chance=0.03, command=b"GET"), Fault("reset", chance=0.01))
        ...
        proxy.silence()  # or refuse(), ignore(), drop()
        ...
        proxy.heal()

It listens on a free port of loopback, in a thread with an event loop of its own, so that a busy
test does not slow it. What is asked of it has happened when the method returns.

It knows where a message of RESP ends, so that a fault hits one reply or one request, in the middle
of a pipeline too (https://redis.io/docs/latest/develop/reference/protocol-spec/).
"""

import asyncio
import functools
import math
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Concatenate, Final, Literal, NamedTuple, ParamSpec, Self

_SECONDS: Final = 30.0  # in which what is asked of the proxy has to happen
_NO_ANSWER: Final = 0.1  # seconds without one after which a `connect` is taken to get none
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time
_TEXTS: Final = b"$=!"
_VALUES_EACH: Final = {b"*": 1, b"~": 1, b">": 1, b"%": 2}  # an entry of a map is two

P = ParamSpec("P")
Kind = Literal[
    "delay", "trickle", "short", "stall", "cut", "reset", "garbage", "noise", "duplicate", "shift"
]
Direction = Literal["request", "reply"]


@dataclass(slots=True)
class Fault:
    """Harm that is done to single messages.

    delay      it comes `seconds` late
    trickle    it comes at `rate` bytes a second
    short      `after` bytes of it come, or all but the last -`after`, and then the next one
    stall      `after` bytes of it come, and then nothing more in this direction of the connection
    cut        `after` bytes of it come, and then the end of the connection
    reset      the same, but the client sees a reset
    garbage    `junk` comes in its place
    noise      `junk` comes before it
    duplicate  it comes twice, at once
    shift      it comes again in place of the next one, that in place of the one after it, and so on

    It hits replies, or with `to="request"` what the client sends: one that is cut is half a request.
    With a `command` it hits requests of that name, or the replies to them. Each of these is hit with
    this `chance`, until so many `times` are over.
    """

    kind: Kind
    chance: float = 1.0
    times: float = math.inf
    command: bytes = b""
    to: Direction = "reply"
    after: int = 0
    seconds: float = 0.0
    rate: float = math.inf
    junk: bytes = b"\x00garbage\r\n"


def _in_its_loop(
    method: Callable[Concatenate["FaultProxy", P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate["FaultProxy", P], None]:
    """Run a method in the proxy's own loop, and return when it is done."""

    @functools.wraps(method)
    def run(self: "FaultProxy", /, *args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run_coroutine_threadsafe(method(self, *args, **kwargs), self.loop).result(_SECONDS)

    return run


class FaultProxy:
    """Passes everything between clients and the Redis at `host` and `port`, or not.

    A message has one fault at most, the first that hits it. Whether one does is asked of
    `Random(seed)`, in the order of the messages.
    """

    host: Final = "127.0.0.1"

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self.port = 0
        self.connections = 0
        """How many connections there have been."""
        self.done: Counter[Kind] = Counter()
        """How many messages were harmed, by the kind of the fault."""
        self.passing = asyncio.Event()
        self.loop = asyncio.new_event_loop()
        self._server = host, port
        self._faults: tuple[Fault, ...] = ()
        self._random = Random(seed)
        self._open: dict[asyncio.Task[None], socket.socket] = {}
        self._listener: socket.socket | None = None
        self._fillers: list[socket.socket] = []
        # Holds the port while nobody listens there; it is never listened on itself.
        self._reserved = _socket()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._reserved.bind((self.host, 0))
        self.port = self._reserved.getsockname()[1]
        self._thread.start()
        self.heal()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self.drop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        self._reserved.close()

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._open)

    @_in_its_loop
    async def heal(self) -> None:
        """Do no harm any more. What was held back passes."""
        self._faults = ()
        self.passing.set()
        self._welcome()

    @_in_its_loop
    async def inject(self, *faults: Fault) -> None:
        """Do these faults from now on, and no others."""
        self._faults = faults

    @_in_its_loop
    async def silence(self) -> None:
        """Accept connections and pass nothing, in either direction, on those that exist as well."""
        self.passing.clear()
        self._welcome()

    @_in_its_loop
    async def refuse(self) -> None:
        """Close the port. The connections that exist go on; see `drop`."""
        self._unlisten()

    @_in_its_loop
    async def ignore(self) -> None:
        """Let no `connect` come to an end, be it well or badly.

        The queue of a listening socket is filled. Linux does not answer who asks for a place in it.
        """
        self._listen(0)
        for _ in range(10):
            self._fillers.append(_socket())
            asking = self.loop.sock_connect(self._fillers[-1], (self.host, self.port))
            try:
                await asyncio.wait_for(asking, _NO_ANSWER)
            except TimeoutError:
                return
        raise RuntimeError("this system answers however full the queue of a port is")

    @_in_its_loop
    async def drop(self) -> None:
        """Reset the connections that exist."""
        tasks = list(self._open)
        for task in tasks:
            _reset_on_close(self._open[task])
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def choose(self, direction: Direction, command: bytes) -> Fault | None:
        """Return what is to be done to a message."""
        for fault in self._faults:
            meant = fault.to == direction and fault.command in {b"", command} and fault.times > 0
            if meant and self._random.random() < fault.chance:
                fault.times -= 1
                return fault
        return None

    def _welcome(self) -> None:
        if self._listener is None or self._fillers:
            listener = self._listen(1000)
            self.loop.add_reader(listener, self._accept, listener)

    def _listen(self, backlog: int) -> socket.socket:
        self._unlisten()
        self._listener = _socket()
        self._listener.bind((self.host, self.port))
        self._listener.listen(backlog)
        return self._listener

    def _unlisten(self) -> None:
        if self._listener is not None:
            self.loop.remove_reader(self._listener)
            self._listener.close()
        for filler in self._fillers:
            filler.close()
        self._listener, self._fillers = None, []

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            client, _ = listener.accept()
            client.setblocking(False)
            self.connections += 1
            task = self.loop.create_task(self._serve(client))
            self._open[task] = client
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task).close()

    async def _serve(self, client: socket.socket) -> None:
        asked: deque[bytes] = deque()
        writers: list[asyncio.StreamWriter] = []
        try:
            from_client, to_client = await asyncio.open_connection(sock=client)
            writers.append(to_client)
            from_server, to_server = await asyncio.open_connection(*self._server)
            writers.append(to_server)
            async with asyncio.TaskGroup() as group:
                for way in (
                    _Way(self, "request", from_client, to_server, asked),
                    _Way(self, "reply", from_server, to_client, asked),
                ):
                    group.create_task(way.read())
                    group.create_task(way.write())
        except* EOFError:
            pass
        except* OSError:
            _reset_on_close(client)
        finally:
            for writer in writers:
                writer.transport.abort()


class _Message(NamedTuple):
    data: bytes
    arrived: float
    fault: Fault | None


class _Way:
    """One direction of a connection; `asked` are the commands whose replies are to come."""

    def __init__(
        self,
        proxy: FaultProxy,
        direction: Direction,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        asked: deque[bytes],
    ) -> None:
        target.transport.set_write_buffer_limits(0)  # then `drain` waits for the last byte
        self._proxy, self._direction = proxy, direction
        self._source, self._target = source, target
        self._asked = asked
        self._shifted = b""
        self._queue: asyncio.Queue[_Message | None] = asyncio.Queue()

    async def read(self) -> None:
        """Take messages in, and note when they came, until the end."""
        buffer = bytearray()
        while data := await self._source.read(65536):
            buffer += data
            while end := message_end(buffer):
                message = bytes(buffer[:end])
                del buffer[:end]
                self._take(message, self._proxy.choose(self._direction, self._command_of(message)))
        self._take(bytes(buffer), None)
        self._queue.put_nowait(None)

    def _take(self, data: bytes, fault: Fault | None) -> None:
        self._queue.put_nowait(_Message(data, self._proxy.loop.time(), fault))

    def _command_of(self, message: bytes) -> bytes:
        """Return the name of a request, or of the one that a reply is to."""
        if self._direction == "reply":
            unasked = message.startswith(b">") or not self._asked
            return b"" if unasked else self._asked.popleft()
        command = message.split(b"\r\n", 3)[2] if message.startswith(b"*") else message.split()[0]
        self._asked.append(command.upper())
        return self._asked[-1]

    async def write(self) -> None:
        """Hand messages on, with their faults. Raises `EOFError` or `OSError` at the end."""
        while message := await self._queue.get():
            if message.fault is not None:
                self._proxy.done[message.fault.kind] += 1
                await self._harm(message, message.fault)
            elif self._shifted:
                shifted, self._shifted = self._shifted, message.data
                await self._pass(shifted)
            else:
                await self._pass(message.data)
        await self._end()

    async def _harm(self, message: _Message, fault: Fault) -> None:
        match fault.kind:
            case "delay":
                await asyncio.sleep(message.arrived + fault.seconds - self._proxy.loop.time())
                await self._pass(message.data)
            case "trickle":
                await self._pass(message.data, fault.rate)
            case "short":
                await self._pass(message.data[: fault.after])
            case "garbage":
                await self._pass(fault.junk)
            case "noise":
                await self._pass(fault.junk + message.data)
            case "duplicate":
                await self._pass(message.data * 2)
            case "shift":
                await self._pass(message.data)
                self._shifted = message.data
            case "stall" | "cut" | "reset":
                await self._pass(message.data[: fault.after])
                while fault.kind == "stall" and await self._queue.get():
                    pass
                if fault.kind == "reset":
                    raise ConnectionResetError
                await self._end()

    async def _pass(self, data: bytes, rate: float = math.inf) -> None:
        step = len(data) if rate == math.inf else max(1, int(rate / 100))
        for start in range(0, len(data), step or 1):
            await self._proxy.passing.wait()
            self._target.write(data[start : start + step])
            await self._target.drain()
            if rate != math.inf:
                await asyncio.sleep(step / rate)

    async def _end(self) -> None:
        await self._proxy.passing.wait()
        self._target.write_eof()
        raise EOFError


def message_end(data: bytes | bytearray, start: int = 0) -> int | None:
    """Return where the message of RESP ends that begins at `start`; `None` if it is not whole.

    What is neither a text of a given length nor an array, set, push or map is a line.
    """
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return None
    kind, count, end = bytes(data[start : start + 1]), data[start + 1 : line_end], line_end + 2
    if kind in _TEXTS and int(count) >= 0:
        end += int(count) + 2
        return end if end <= len(data) else None
    for _ in range(int(count) * _VALUES_EACH[kind] if kind in _VALUES_EACH else 0):
        after = message_end(data, end)
        if after is None:
            return None
        end = after
    return end


def _socket() -> socket.socket:
    """Return a socket that shares its port with the others of a proxy."""
    # Only where it is told the protocol does asyncio send each message at once (TCP_NODELAY).
    made = socket.socket(proto=socket.IPPROTO_TCP)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return made


def _reset_on_close(client: socket.socket) -> None:
    with suppress(OSError):  # it may be closed already
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

"""A Redis for tests that was found or started, and what is common to all ways to one."""

import random
import socket
import textwrap
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

LOOPBACK: Final = "127.0.0.1"
NOTHING_ON_DISK: Final = ("--save", "", "--appendonly", "no")
SECONDS: Final = 30.0
"""How long a server may take to start or to stop."""


class NoRedisError(RuntimeError):
    """No Redis could be had; the message says why and what to do."""


class Control(Protocol):
    """What can be done to a server that we started."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A Redis that answers. `start` and `resume` return when it answers again."""

    host: str
    port: int
    db: int = 0
    password: str | None = field(default=None, repr=False)
    origin: str = ""
    """Where it came from, in words."""
    control: Control | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The address as redis-py's `from_url` takes it, the password included."""
        auth = f":{quote(self.password, safe='')}@" if self.password else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis://{auth}{host}:{self.port}/{self.db}"

    @property
    def controllable(self) -> bool:
        """Whether `stop`, `start`, `pause` and `resume` work here."""
        return self.control is not None

    def stop(self) -> None:
        """End the server; its port then refuses connections and its data are lost."""
        self._ours().stop()

    def start(self) -> None:
        """Start it again after `stop`, empty, on the same port."""
        self._ours().start()
        wait_for(self)

    def pause(self) -> None:
        """Make it hang: it accepts connections and answers nothing."""
        self._ours().pause()

    def resume(self) -> None:
        """Let it go on after `pause`, with its data."""
        self._ours().resume()
        wait_for(self)

    def _ours(self) -> Control:
        if self.control is None:
            raise RuntimeError(
                f"The Redis of TEST_REDIS_URL ({self.host}:{self.port}) is not ours to stop: "
                "unset TEST_REDIS_URL for the tests that do."
            )
        return self.control


def answers(server: RedisServer) -> bool:
    """Whether the server answers PING now. One try: redis-py's own retries would take seconds."""
    client = Redis(
        host=server.host,
        port=server.port,
        db=server.db,
        password=server.password,
        socket_timeout=1,
        socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 0),
    )
    with client:
        try:
            return bool(client.ping())
        except (RedisError, OSError):
            return False


def wait_for(server: RedisServer) -> None:
    """Return when the server answers. Raises `TimeoutError` if it does not."""
    deadline = time.monotonic() + SECONDS
    while not answers(server):
        if time.monotonic() > deadline:
            where = f"{server.host}:{server.port}"
            raise TimeoutError(f"no Redis answered PING on {where} within {SECONDS:g} seconds")
        time.sleep(0.05)


def free_port() -> int:
    """Find a free port below the range from which systems serve outgoing connections.

    With a port of that range, a client that tries to reach a stopped server could be given the very
    port and connect to itself, and then keep the server from coming back.
    """
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise NoRedisError("no free port between 20000 and 29999")


def one_line(error: BaseException) -> str:
    """Return what an exception explains in one short line; what is longer ends after a word."""
    told = str(getattr(error, "explanation", None) or error)  # Docker's, without the address
    return textwrap.shorten(told, 100, placeholder=" ...")

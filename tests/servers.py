"""Redis and Valkey as processes on loopback: which servers there are, and one under control.

The servers are the `redis-server` and the `valkey-server` on the PATH, and those of
`TEST_REDIS_SERVERS`, which holds paths of executables as PATH holds folders; `.ci/servers` prints
such a line. A server is named after its version, `redis-7.0.15` or `valkey-9.1.2`.

`TEST_REDIS_INSIST` holds the beginnings of names that must be among them: `redis-7 redis-8 valkey`.
"""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.retry import Retry

from tests.baked import eventually
from tests.certificates import Certificates

LOOPBACK: Final = "127.0.0.1"
_VERSION: Final = re.compile(r"^(\w+) server v=([\d.]+)")


def executables() -> dict[str, str]:
    """Find the servers that are there, by name; the first is taken where any will do."""
    on_path = (shutil.which("redis-server"), shutil.which("valkey-server"))
    given = os.environ.get("TEST_REDIS_SERVERS", "").strip().split(os.pathsep)
    found = {_name(path): path for path in (*on_path, *given) if path}
    for wanted in os.environ.get("TEST_REDIS_INSIST", "").split():
        if not any(name.startswith(wanted) for name in found):
            raise LookupError(f"{wanted} of TEST_REDIS_INSIST is not there; there is {[*found]}.")
    if not found:
        raise LookupError(
            "No server for the tests: install redis-server or set TEST_REDIS_SERVERS."
        )
    return found


def _name(executable: str) -> str:
    said = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True)
    match = _VERSION.match(said.stdout)
    if match is None:
        raise LookupError(f"{executable} of TEST_REDIS_SERVERS is no Redis: {said.stdout!r}")
    return f"{match[1].lower()}-{match[2]}"


SERVERS: Final = executables()
each_server: Final = pytest.mark.parametrize("executable", SERVERS.values(), ids=SERVERS)
"""Runs a test on each of them."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who is let in. With a user name, nobody else is."""

    password: str
    username: str = "default"

    @property
    def lines(self) -> tuple[str, ...]:
        """What a server's configuration says of it."""
        if self.username == "default":
            return (f"requirepass {self.password}",)
        user = f"user {self.username} on >{self.password} ~* &* +@all"
        return user, "user default off"


class Server:
    """One server on a port of its own, and on a Unix socket. It keeps its port and its settings.

    `lines` are lines of its configuration file; a later one overrides an earlier one. With lines
    that begin with `sentinel` it is a sentinel.
    """

    def __init__(
        self,
        folder: Path,
        *lines: str,
        executable: str | None = None,
        port: int | None = None,
        login: Login | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        sentinel = any(line.startswith("sentinel ") for line in lines)
        self.port = port or free_ports(1)[0]
        self.login = login
        self.certificates = certificates
        self._folder = folder / str(self.port)
        self._folder.mkdir()
        self.socket = self._folder / "redis.sock"
        self._log = self._folder / "log"
        configuration = self._folder / "redis.conf"
        configuration.write_text("\n".join([*self._lines(sentinel=sentinel), *lines, ""]))
        self._command = [executable or next(iter(SERVERS.values())), str(configuration)]
        self._command += ["--sentinel"] * sentinel
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    def __repr__(self) -> str:
        """Say which one it is in the messages of tests."""
        return f"the server on port {self.port}"

    def _lines(self, *, sentinel: bool) -> Iterator[str]:
        yield f"bind {LOOPBACK}"
        yield f"{'tls-port' if self.certificates else 'port'} {self.port}"
        yield f"dir {self._folder}"
        yield f"unixsocket {self.socket}"
        if not sentinel:
            yield from ('save ""', "appendonly no", "rdb-del-sync-files yes")
            yield "repl-diskless-sync-delay 0"
        if self.login:
            yield from self.login.lines
        if self.certificates:
            yield "port 0"
            yield f"tls-ca-cert-file {self.certificates.authority}"
            yield f"tls-cert-file {self.certificates.server.certificate}"
            yield f"tls-key-file {self.certificates.server.key}"
            yield from ("tls-replication yes", "tls-cluster yes")

    @property
    def address(self) -> tuple[str, int]:
        """Its host and port."""
        return LOOPBACK, self.port

    @property
    def awake(self) -> bool:
        """Whether it was started, has not ended, and is not paused."""
        return self._process is not None and self._process.poll() is None and not self._paused

    def start(self) -> None:
        """Start it, empty, after `kill`, and wait until it answers."""
        assert self._process is None, f"{self} runs: kill() it before you start() it again"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        eventually(lambda: not self.awake or self.answers(), f"{self} to answer")
        assert self.awake, f"{self} has ended:\n{self.log()}"

    def kill(self) -> None:
        """End it at once, even if it is paused, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process, self._paused = None, False

    def pause(self) -> None:
        """Make it hang: it accepts connections and answers nothing."""
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let it go on after `pause`, with its data."""
        self._signal(signal.SIGCONT)
        self._paused = False
        eventually(self.answers, f"{self} to answer")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, f"{self} does not run: start() it first"
        self._process.send_signal(number)

    def client(self, **changes: object) -> "Redis":
        """Make a plain client, which fails instead of trying again; close it."""
        options: dict[str, Any] = {
            "host": LOOPBACK,
            "port": self.port,
            "decode_responses": True,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": 5,
        }
        if self.login:
            options |= {"username": self.login.username, "password": self.login.password}
        if self.certificates:
            options |= {
                "ssl": True,
                "ssl_check_hostname": False,
                "ssl_ca_certs": str(self.certificates.authority),
                "ssl_certfile": str(self.certificates.client.certificate),
                "ssl_keyfile": str(self.certificates.client.key),
            }
        options.update(changes)
        return Redis(**options)

    def ask(self, *command: str | int) -> Any:  # noqa: ANN401 - the command knows
        """Send it one command."""
        with self.client() as client:
            return client.execute_command(*command)

    def answers(self) -> bool:
        """Whether it answers now, if only with a refusal."""
        try:
            with self.client(socket_timeout=0.5) as client:
                client.ping()
        except (AuthenticationError, ResponseError):
            return True
        except (RedisError, OSError):
            return False
        return True

    def log(self) -> str:
        """Read the end of what it wrote."""
        return self._log.read_text(errors="replace")[-2000:]


@contextmanager
def folder_of_servers() -> Iterator[Path]:
    """Lend a folder. Its path is short, for that of a Unix socket is limited."""
    with tempfile.TemporaryDirectory(prefix="servers-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def started(*servers: Server) -> Iterator[None]:
    """Start servers, and kill them at the end whatever became of them."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.kill()


@contextmanager
def one_server(
    *lines: str,
    executable: str | None = None,
    login: Login | None = None,
    certificates: Certificates | None = None,
) -> Iterator[Server]:
    """Lend a server. With certificates it speaks TLS only, and wants a client's certificate."""
    with folder_of_servers() as folder:
        server = Server(
            folder, *lines, executable=executable, login=login, certificates=certificates
        )
        with started(server):
            yield server


def free_ports(count: int) -> list[int]:
    """Find free ports below the range from which systems serve outgoing connections.

    With a port of that range, a client that tries to reach a stopped server could be given the very
    port and connect to itself, and then keep the server from coming back.
    """
    found: list[int] = []
    for port in random.sample(range(20_000, 30_000), 100 + count):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise LookupError("There are not enough free ports between 20000 and 29999.")

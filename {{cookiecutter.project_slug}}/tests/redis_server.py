"""Find a Redis for the tests, and stop, start, pause and resume it.

The order, and what `TEST_REDIS` insists on:

    url         TEST_REDIS_URL=redis://[:password@]host[:port][/db], a server of yours
    container   Docker, with the image TEST_REDIS_IMAGE or else `REDIS_IMAGE`
    process     redis-server or valkey-server from the PATH, or, for root on Debian, from apt-get

Whatever was started listens on 127.0.0.1 only, keeps nothing on disk, keeps its port when it is
stopped and started again, and is gone when the tests are over.
"""

import gc
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, unquote, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

REDIS_IMAGE: Final = "redis:8.2.2-alpine"
"""The image of the tests and of compose.yaml. Change both together: a test compares them."""

_LOOPBACK: Final = "127.0.0.1"
_NOTHING_ON_DISK: Final = ("--save", "", "--appendonly", "no")
_SECONDS: Final = 30.0
"""How long a server may take to start or to stop."""

logger = logging.getLogger(__name__)


class NoRedisError(RuntimeError):
    """No Redis could be had; the message says why and what to do."""


class _Control(Protocol):
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
    control: _Control | None = field(default=None, repr=False)

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
        _wait_for(self)

    def pause(self) -> None:
        """Make it hang: it accepts connections and answers nothing."""
        self._ours().pause()

    def resume(self) -> None:
        """Let it go on after `pause`, with its data."""
        self._ours().resume()
        _wait_for(self)

    def _ours(self) -> _Control:
        if self.control is None:
            raise RuntimeError(
                f"The Redis of TEST_REDIS_URL ({self.host}:{self.port}) is not ours to stop: "
                "unset TEST_REDIS_URL for the tests that do."
            )
        return self.control


@contextmanager
def redis_server(report: Callable[[str], None] = print) -> Iterator[RedisServer]:
    """Lend a Redis, and `report` in one line which. Raises `NoRedisError` if there is none."""
    with ExitStack() as stack:
        server = _first(_wanted(), stack)
        line = f"Redis for the tests: {server.origin}, on {server.host}:{server.port}"
        logger.info(line)
        report(line)
        yield server


def _wanted() -> tuple[str, ...]:
    """Tell the ways to try, in order. A URL that was given is never passed over."""
    insisted = os.environ.get("TEST_REDIS", "")
    if insisted:
        if insisted not in _WAYS:
            allowed = ", ".join(_WAYS)
            raise NoRedisError(f"TEST_REDIS is {insisted!r}; allowed are {allowed}, or unset.")
        return (insisted,)
    return ("url",) if os.environ.get("TEST_REDIS_URL") else ("container", "process")


def _first(wanted: tuple[str, ...], stack: ExitStack) -> RedisServer:
    """Take the first way that leads to a server; what it started ends with the stack."""
    refusals: list[str] = []
    for name in wanted:
        with ExitStack() as attempt:
            try:
                server = _WAYS[name](attempt)
            except NoRedisError as error:
                refusals.append(f"{name}: {error}")
            else:
                stack.push(attempt.pop_all())
                passed_over = f" ({'; '.join(refusals)})" if refusals else ""
                return replace(server, origin=server.origin + passed_over)
    raise NoRedisError(
        f"No Redis for the tests ({'; '.join(refusals)}). "
        "Start Docker, install redis-server, or set TEST_REDIS_URL=redis://host:port/db."
    )


# --- url ---------------------------------------------------------------------------------------


def _from_url(_: ExitStack) -> RedisServer:
    server = _parse(os.environ.get("TEST_REDIS_URL", ""))
    if not _answers(server):
        raise NoRedisError(
            f"the Redis of TEST_REDIS_URL does not answer on {server.host}:{server.port}"
        )
    return server


def _parse(url: str) -> RedisServer:
    """Read a URL. It may hold a password, so no message repeats it."""
    form = "redis://[:password@]host[:port][/db]"
    if not url:
        raise NoRedisError(f"TEST_REDIS_URL is not set; its form is {form}")
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
        db = int(parts.path.strip("/") or 0)
    except ValueError:
        raise NoRedisError(
            f"TEST_REDIS_URL has a wrong port or database; its form is {form}"
        ) from None
    if parts.scheme != "redis" or not parts.hostname or parts.username or parts.query:
        raise NoRedisError(f"TEST_REDIS_URL has another form than {form}")
    password = unquote(parts.password) if parts.password else None
    return RedisServer(parts.hostname, port, db, password, origin="the one of TEST_REDIS_URL")


# --- container ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Container:
    """A container of Docker's Python client, of which these methods are used."""

    container: Any

    def start(self) -> None:
        self.container.start()

    def stop(self) -> None:
        self.container.stop(timeout=int(_SECONDS))

    def pause(self) -> None:
        self.container.pause()

    def resume(self) -> None:
        self.container.unpause()


def _from_container(stack: ExitStack) -> RedisServer:
    try:
        # Imported here, so that the other ways work without testcontainers.
        errors = import_module("docker.errors")
        redis = import_module("testcontainers.community.redis")
        strategies = import_module("testcontainers.core.wait_strategies")
    except ImportError as error:
        raise NoRedisError(f"testcontainers is not installed ({error})") from None

    image = os.environ.get("TEST_REDIS_IMAGE") or REDIS_IMAGE
    port = _free_port()
    ready = strategies.LogMessageWaitStrategy("Ready to accept connections")
    ready.with_startup_timeout(int(_SECONDS)).with_poll_interval(0.1)
    try:
        container = redis.RedisContainer(image).waiting_for(ready)
        container.with_command(["redis-server", *_NOTHING_ON_DISK, "--protected-mode", "no"])
        # Not `with_bind_ports`, which would publish on every interface of this machine.
        container.ports[str(container.port)] = (_LOOPBACK, port)
        stack.enter_context(container)
        control = _Container(container.get_wrapped_container())
        server = RedisServer(_LOOPBACK, port, origin=f"a container of {image}", control=control)
        _wait_for(server)
    except (errors.DockerException, OSError, RuntimeError) as error:
        reason = _one_line(error)
    else:
        return server
    _collect_sockets()
    raise NoRedisError(f"Docker cannot run {image} ({reason})")


def _collect_sockets() -> None:
    """Drop the socket that Docker's client leaves open when no engine answers.

    Otherwise it would warn from whatever test runs when the garbage is collected.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


# --- process -----------------------------------------------------------------------------------


class _Process:
    """A server of our own on a fixed port, in a folder that goes with it."""

    def __init__(self, executable: str, port: int, folder: Path) -> None:
        self._log = folder / "redis.log"
        self._command = [executable, "--bind", _LOOPBACK, "--port", str(port), *_NOTHING_ON_DISK]
        self._command += ["--dir", str(folder), "--logfile", str(self._log), "--daemonize", "no"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is None:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)  # a paused process would not see the next signal
        self._process.terminate()
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("Redis is stopped: start() it before you pause or resume it.")
        self._process.send_signal(number)

    def log(self) -> str:
        """Read the end of what the server wrote."""
        return self._log.read_text(errors="replace")[-500:] if self._log.exists() else "no log"


def _from_process(stack: ExitStack) -> RedisServer:
    executable = _executable() or (_install() and _executable())
    if not executable:
        raise NoRedisError("neither redis-server nor valkey-server is on the PATH")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="redis-for-tests-")))
    port = _free_port()
    process = _Process(executable, port, folder)
    stack.callback(process.stop)
    server = RedisServer(_LOOPBACK, port, origin=f"a process of {executable}", control=process)
    try:
        server.start()
    except (OSError, TimeoutError) as error:
        raise NoRedisError(
            f"{executable} does not start ({_one_line(error)}; {process.log()})"
        ) from None
    return server


def _executable() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


def _install() -> bool:
    """Try Debian's package, where that needs no password: as root, in a container or in CI."""
    executable = shutil.which("apt-get")
    if executable is None or os.geteuid() != 0:
        return False
    apt_get = (executable, "-qq", "-o", "Dpkg::Use-Pty=0")
    steps = (["update"], ["install", "-y", "--no-install-recommends", "redis-server"])
    runs = (
        subprocess.run([*apt_get, *step], stdin=subprocess.DEVNULL, check=False) for step in steps
    )
    return all(run.returncode == 0 for run in runs)


# --- common ------------------------------------------------------------------------------------


def _answers(server: RedisServer) -> bool:
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


def _wait_for(server: RedisServer) -> None:
    deadline = time.monotonic() + _SECONDS
    while not _answers(server):
        if time.monotonic() > deadline:
            where = f"{server.host}:{server.port}"
            raise TimeoutError(f"no Redis answered PING on {where} within {_SECONDS:g} seconds")
        time.sleep(0.05)


def _free_port() -> int:
    """Find a free port below the range from which systems serve outgoing connections.

    With a port of that range, a client that tries to reach a stopped server could be given the very
    port and connect to itself, and then keep the server from coming back.
    """
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind((_LOOPBACK, port))
            except OSError:
                continue
            return port
    raise NoRedisError("no free port between 20000 and 29999")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


_WAYS: Final[dict[str, Callable[[ExitStack], RedisServer]]] = {
    "url": _from_url,
    "container": _from_container,
    "process": _from_process,
}

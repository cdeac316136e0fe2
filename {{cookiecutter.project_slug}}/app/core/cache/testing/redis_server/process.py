"""A Redis that is a process of ours."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from .server import (
    LOOPBACK,
    NOTHING_ON_DISK,
    SECONDS,
    NoRedisError,
    RedisServer,
    free_port,
    one_line,
)


class _Process:
    """A server of our own on a fixed port, in a folder that goes with it."""

    def __init__(self, executable: str, port: int, folder: Path) -> None:
        self._log = folder / "redis.log"
        self._command = [executable, "--bind", LOOPBACK, "--port", str(port), *NOTHING_ON_DISK]
        self._command += ["--dir", str(folder), "--logfile", str(self._log), "--daemonize", "no"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is None:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)  # noqa: S603 - ours

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)  # a paused process would not see the next signal
        self._process.terminate()
        try:
            self._process.wait(SECONDS)
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


def from_process(stack: ExitStack) -> RedisServer:
    """Start a server of the PATH that ends with `stack`. Raises `NoRedisError` if there is none."""
    executable = _executable() or (_install() and _executable())
    if not executable:
        raise NoRedisError("neither redis-server nor valkey-server is on the PATH")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="redis-for-tests-")))
    port = free_port()
    process = _Process(executable, port, folder)
    stack.callback(process.stop)
    server = RedisServer(LOOPBACK, port, origin=f"a process of {executable}", control=process)
    try:
        server.start()
    except (OSError, TimeoutError) as error:
        raise NoRedisError(
            f"{executable} does not start ({one_line(error)}; {process.log()})"
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
        subprocess.run([*apt_get, *step], stdin=subprocess.DEVNULL, check=False)  # noqa: S603 - the two above
        for step in steps
    )
    return all(run.returncode == 0 for run in runs)

"""An origin of HTTP, served by uvicorn, nginx in front of it, and the programs that this needs."""

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from redis_server import RedisServer

from tests.baked import BakedProject, environment, eventually, redis_settings
from tests.servers import LOOPBACK, free_ports

_SYSTEM: Final = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
"""Debian's nginx is not on the PATH of all users."""


def program(*names: str) -> str:
    """Return the path of a program that has one of these names; fail if there is none."""
    for name in names:
        found = shutil.which(name, path=_SYSTEM)
        if found:
            return found
    pytest.fail(
        f"There is no {names[0]} on the PATH, which this test needs: install it, or have "
        "`bash .ci/packages` install all that the tests need, as root on Debian or Ubuntu.",
        pytrace=False,
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """A request to the origin, and its answer. Names of headers are in lower case."""

    method: str
    path: str
    asked: dict[str, str] = field(repr=False)
    status: int
    answered: dict[str, str]
    size: int
    """The bytes of the body."""


@dataclass(frozen=True, slots=True)
class Origin:
    """An application with `CacheMiddleware`: see `http_worker`."""

    url: str
    log: Path

    def seen(self, path: str) -> list[Seen]:
        """Return the requests for a path so far."""
        lines = (Seen(**json.loads(line)) for line in self.log.read_text().splitlines())
        return [each for each in lines if each.path == path]


@dataclass(frozen=True, slots=True)
class Proxy:
    """An nginx with a cache. With `guessing`, it stores what does not say how long it is fresh."""

    url: str
    guessing: str


@contextmanager
def _running(command: list[str], folder: Path, url: str, **more: Any) -> Iterator[None]:  # noqa: ANN401 - options of `Popen`
    """Run a server in a folder until the end; it has to answer before that."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **more
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx2.get(url).is_success
        except httpx2.TransportError:
            return False

    try:
        eventually(answers, f"{command[0]} to answer")
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
    assert "Traceback" not in log.read_text(), log.read_text()


@contextmanager
def origin(project: BakedProject, redis: RedisServer, folder: Path) -> Iterator[Origin]:
    """Lend an origin that keeps its entries in a Redis."""
    port, log = free_ports(1)[0], folder / "seen"
    log.touch()
    path = os.pathsep.join([str(project.path), str(Path(__file__).parent)])
    settings = redis_settings(redis, folder.name) | {"SEEN": str(log), "PYTHONPATH": path}
    command = [".venv/bin/uvicorn", "http_worker:app", "--no-access-log"]
    command += ["--host", LOOPBACK, "--port", str(port)]
    url = f"http://{LOOPBACK}:{port}"
    with _running(
        command,
        folder,
        f"{url}/kinds",
        cwd=project.path,
        env=environment(CACHE_BACKEND="redis", CACHE_OPERATION_TIMEOUT="5", **settings),
    ):
        yield Origin(url, log)


@contextmanager
def proxy(behind: Origin, folder: Path) -> Iterator[Proxy]:
    """Lend an nginx in front of an origin."""
    strict, guessing = (f"{LOOPBACK}:{port}" for port in free_ports(2))
    caches = {"strict": (strict, ""), "guessing": (guessing, "proxy_cache_valid 200 404 1m;")}
    stores = "".join(
        f"proxy_cache_path {folder}/{name} keys_zone={name}:1m use_temp_path=off;"
        for name in caches
    )
    servers = "".join(
        _SERVER.format(address=address, name=name, more=more, origin=behind.url)
        for name, (address, more) in caches.items()
    )
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"{user} daemon off; pid {folder}/nginx.pid; events {{ }}\n"
        f"http {{ access_log off; {temporary} {stores} {servers} }}\n"
    )
    command = [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(configuration)]
    with _running(command, folder, f"http://{strict}/kinds"):
        yield Proxy(f"http://{strict}", f"http://{guessing}")


_SERVER: Final = """
server {{
    listen {address};
    location / {{
        proxy_pass {origin};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_cache {name};
        proxy_cache_revalidate on;
        proxy_cache_background_update on;
        {more}
        add_header X-Proxy $upstream_cache_status always;
    }}
}}
"""

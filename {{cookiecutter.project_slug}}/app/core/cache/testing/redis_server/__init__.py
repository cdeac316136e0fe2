"""Find a Redis for the tests, and stop, start, pause and resume it.

The order, and what `TEST_REDIS` insists on:

    url         TEST_REDIS_URL=redis://[:password@]host[:port][/db], a server of yours
    container   Docker, with the image TEST_REDIS_IMAGE or else `REDIS_IMAGE`
    process     redis-server or valkey-server from the PATH, or, for root on Debian, from apt-get

Whatever was started listens on 127.0.0.1 only, keeps nothing on disk, keeps its port when it is
stopped and started again, and is gone when the tests are over.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final
from urllib.parse import unquote, urlsplit

from .container import REDIS_IMAGE, from_container
from .process import from_process
from .server import NoRedisError, RedisServer, answers

__all__ = ["REDIS_IMAGE", "NoRedisError", "RedisServer", "redis_server"]

logger = logging.getLogger(__name__)


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


def from_url(_: ExitStack) -> RedisServer:
    server = _parse(os.environ.get("TEST_REDIS_URL", ""))
    if not answers(server):
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


_WAYS: Final[dict[str, Callable[[ExitStack], RedisServer]]] = {
    "url": from_url,
    "container": from_container,
    "process": from_process,
}

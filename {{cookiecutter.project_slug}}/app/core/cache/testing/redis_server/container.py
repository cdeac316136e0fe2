"""A Redis in a container."""

import gc
import os
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from .server import (
    LOOPBACK,
    NOTHING_ON_DISK,
    SECONDS,
    NoRedisError,
    RedisServer,
    free_port,
    one_line,
    wait_for,
)

REDIS_IMAGE: Final = "redis:8.2.2-alpine"
"""The image of the tests and of compose.yaml. Change both together: a test compares them."""


@dataclass(frozen=True, slots=True)
class _Container:
    """A container of Docker's Python client, of which these methods are used."""

    container: Any

    def start(self) -> None:
        self.container.start()

    def stop(self) -> None:
        self.container.stop(timeout=int(SECONDS))

    def pause(self) -> None:
        self.container.pause()

    def resume(self) -> None:
        self.container.unpause()


def from_container(stack: ExitStack) -> RedisServer:
    """Start a container that ends with `stack`. Raises `NoRedisError` where none can run."""
    try:
        # Imported here, so that the other ways work without testcontainers.
        errors = import_module("docker.errors")
        redis = import_module("testcontainers.community.redis")
        strategies = import_module("testcontainers.core.wait_strategies")
    except ImportError as error:
        raise NoRedisError(f"testcontainers is not installed ({error})") from None

    image = os.environ.get("TEST_REDIS_IMAGE") or REDIS_IMAGE
    port = free_port()
    ready = strategies.LogMessageWaitStrategy("Ready to accept connections")
    ready.with_startup_timeout(int(SECONDS)).with_poll_interval(0.1)
    try:
        container = redis.RedisContainer(image).waiting_for(ready)
        container.with_command(["redis-server", *NOTHING_ON_DISK, "--protected-mode", "no"])
        # Not `with_bind_ports`, which would publish on every interface of this machine.
        container.ports[str(container.port)] = (LOOPBACK, port)
        stack.enter_context(container)
        control = _Container(container.get_wrapped_container())
        server = RedisServer(LOOPBACK, port, origin=f"a container of {image}", control=control)
        wait_for(server)
    except (errors.DockerException, OSError, RuntimeError) as error:
        reason = one_line(error)
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

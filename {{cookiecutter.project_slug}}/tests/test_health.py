"""`app/api/health.py`: with a cache that works, and with a Redis that does not answer."""

import socket
import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from app.api.health import READY_WITHIN
from tests.conftest import StartService

OK = {"status": "ok", "cache": "up"}
DEGRADED = {"status": "degraded", "cache": "down"}


@pytest.fixture(params=["refuses", "hangs"])
def dead_redis(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """Hold a port where Redis should be: one that refuses connections, or never answers them."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "hangs":
            server.listen()
        yield server


def environment_of(server: socket.socket) -> dict[str, str]:
    host, port = server.getsockname()
    return {"CACHE_BACKEND": "redis", "REDIS_HOST": host, "REDIS_PORT": str(port)}


def test_live_says_ok(client: TestClient) -> None:
    """A process that answers is alive."""
    response = client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_says_ok_with_the_memory_backend(client: TestClient) -> None:
    """The memory backend is always up."""
    response = client.get("/health/ready")
    assert (response.status_code, response.json()) == (200, OK)


def test_ready_says_ok_with_redis(
    start_service: StartService, redis_environment: dict[str, str]
) -> None:
    """A Redis that answers is up."""
    response = start_service(**redis_environment).get("/health/ready")
    assert (response.status_code, response.json()) == (200, OK)


def test_ready_stays_200_and_says_degraded_in_time_when_redis_is_dead(
    start_service: StartService, dead_redis: socket.socket
) -> None:
    """Without Redis the service is ready, says that it is degraded, and says so in time."""
    client = start_service(**environment_of(dead_redis))
    for _ in range(3):
        began = time.monotonic()
        response = client.get("/health/ready")
        assert (response.status_code, response.json()) == (200, DEGRADED)
        assert time.monotonic() - began < 2 * READY_WITHIN  # one for a machine under load


def test_live_never_touches_redis(start_service: StartService) -> None:
    """Neither the start nor `/health/live` connects to Redis; `/health/ready` does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        client = start_service(**environment_of(server))
        assert client.get("/health/live").status_code == 200
        with pytest.raises(BlockingIOError):
            server.accept()
        client.get("/health/ready")
        connection, _ = server.accept()
        connection.close()

# % if cookiecutter.example_resource
"""`app/api/users.py` over HTTP, in processes of their own, on a real Redis and without one."""

import socket

import pytest
from redis import Redis

from app.core.cache.testing.redis_server import RedisServer
from tests.conftest import StartService

ADA = {"name": "Ada", "email": "ada@example.com"}
HIT = "; hit; ttl="
STORED = "; fwd=miss; stored"


def test_a_read_is_a_miss_then_a_hit_then_fresh_after_a_write(
    start_service: StartService, redis_environment: dict[str, str]
) -> None:
    """Reads are stored and served from Redis until a write, and fresh after it."""
    client = start_service(**redis_environment)
    path = f"/users/{client.post('/users', json=ADA).json()['id']}"
    for url in (path, "/users"):
        miss, hit = client.get(url), client.get(url)
        assert STORED in miss.headers["Cache-Status"]
        assert HIT in hit.headers["Cache-Status"]
        assert hit.content == miss.content

    client.put(path, json={**ADA, "name": "Ada L."})
    fresh = client.get(path)
    assert fresh.json()["name"] == "Ada L."
    assert STORED in fresh.headers["Cache-Status"]

    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.get("/users").json() == []


def test_processes_share_their_cache(
    start_service: StartService, redis_environment: dict[str, str]
) -> None:
    """What one process stored is a hit in another, and a write in one is seen by both."""
    one, two = start_service(**redis_environment), start_service(**redis_environment)
    path = f"/users/{one.post('/users', json=ADA).json()['id']}"
    one.get(path)
    assert HIT in two.get(path).headers["Cache-Status"]
    two.put(path, json={**ADA, "name": "Ada L."})
    assert one.get(path).json()["name"] == "Ada L."


def test_every_key_is_below_the_prefix(
    start_service: StartService, redis_environment: dict[str, str], redis_server: RedisServer
) -> None:
    """The service's keys begin with `CACHE_KEY_PREFIX` and the resource's name."""
    client = start_service(**redis_environment)
    prefix = redis_environment["CACHE_KEY_PREFIX"]
    with Redis.from_url(redis_server.url, decode_responses=True) as redis:
        before = set(redis.scan_iter())
        client.get("/users")
        assert list(redis.scan_iter(f"{prefix}:users:list_users:*"))
        client.post("/users", json=ADA)
        assert all(key.startswith(f"{prefix}:") for key in set(redis.scan_iter()) - before)


@pytest.mark.parametrize("status", [201, 409])
def test_a_write_does_not_walk_the_keys(
    start_service: StartService,
    redis_environment: dict[str, str],
    redis_server: RedisServer,
    status: int,
) -> None:
    """However many keys Redis holds, a write, a refused one too, takes one round trip."""
    client = start_service(**redis_environment)
    client.get("/users")
    if status == 409:
        client.post("/users", json=ADA)
    with Redis.from_url(redis_server.url) as redis:
        before = redis.info("commandstats")
        assert client.post("/users", json=ADA).status_code == status
        after = redis.info("commandstats")
    assert after.get("cmdstat_scan") == before.get("cmdstat_scan")
    assert after.get("cmdstat_unlink") == before.get("cmdstat_unlink")


def test_without_redis_every_request_is_answered(start_service: StartService) -> None:
    """With no Redis where it should be, the database answers alone: slower, never wrong."""
    with socket.socket() as closed:  # bound and not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        host, port = closed.getsockname()
        client = start_service(CACHE_BACKEND="redis", REDIS_HOST=host, REDIS_PORT=str(port))
        path = f"/users/{client.post('/users', json=ADA).json()['id']}"
        for _ in range(2):
            response = client.get(path)
            assert (response.status_code, response.json()["name"]) == (200, "Ada")
            assert response.headers["Cache-Status"].endswith("; fwd=miss; detail=unavailable")
        client.put(path, json={**ADA, "name": "Ada L."})
        assert client.get(path).json()["name"] == "Ada L."
        assert client.delete(path).status_code == 204
        assert client.get("/health/ready").json() == {"status": "degraded", "cache": "down"}
# % else
# Not chosen.
# % endif

"""The rendered service, installed: its own checks are green, and it serves from a real Redis."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from redis_server import RedisServer

from tests.baked import BakedProject, environment, eventually, free_port

pytestmark = pytest.mark.usefixtures("redis_server")

ADA = {"name": "Ada", "email": "ada@example.com"}
GRACE = {"name": "Grace", "email": "grace@example.com"}
UP = {"status": "ok", "cache": "up"}
DOWN = {"status": "degraded", "cache": "down"}


@pytest.fixture(scope="module", params=["with the example", "without the example"])
def project(request: pytest.FixtureRequest) -> BakedProject:
    """Return an installed project of either kind."""
    name = "installed" if request.param == "with the example" else "installed_without_example"
    project: BakedProject = request.getfixturevalue(name)
    return project


def test_its_own_tests_pass(installed: BakedProject, report: Callable[[str], None]) -> None:
    """The service's `make test` is green."""
    output = installed.run("make", "test")
    report(f"The service's own tests: {output.splitlines()[-1].strip('= ')}")


def test_its_own_tests_pass_without_the_example(
    installed_without_example: BakedProject, report: Callable[[str], None]
) -> None:
    """So are those of a service without the example; those of its cache are the same files."""
    output = installed_without_example.run("uv", "run", "pytest", "--ignore", "tests/cache")
    report(f"Without the example: {output.splitlines()[-1].strip('= ')}")


def test_its_own_linter_and_type_checker_are_silent(project: BakedProject) -> None:
    """The service's `make lint`, which checks format, rules and types, is green."""
    assert "no issues found" in project.run("make", "lint")


@pytest.fixture(scope="module")
def service(
    installed: BakedProject, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    """Start the service as its users do, with Redis, and return a client for it."""
    port = free_port()
    folder = tmp_path_factory.mktemp("service")
    settings = {
        "CACHE_BACKEND": "redis",
        "DATABASE_URL": f"sqlite+aiosqlite:///{folder}/app.db",
        "REDIS_HOST": redis_server.host,
        "REDIS_PORT": str(redis_server.port),
        "REDIS_DB": str(redis_server.db),
        "REDIS_PASSWORD": redis_server.password or "",
        "REDIS_TIMEOUT": "1",
    }
    log = folder / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [".venv/bin/fastapi", "run", "--host", "127.0.0.1", "--port", str(port)],
            cwd=installed.path,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            eventually(lambda: alive(client, process, log), "the service to answer")
            yield client
    finally:
        process.terminate()
        process.wait(30)
    assert "Application shutdown complete" in log.read_text()


def alive(client: httpx2.Client, process: subprocess.Popen[bytes], log: Path) -> bool:
    """Tell whether the service answers; fail with its log if it has ended."""
    assert process.poll() is None, log.read_text()
    try:
        return client.get("/health/live").is_success
    except httpx2.TransportError:
        return False


@pytest.fixture
def user(service: httpx2.Client) -> Iterator[str]:
    """Create a user for one test and return the path of it."""
    created = service.post("/users", json=ADA)
    assert created.status_code == 201
    path = f"/users/{created.json()['id']}"
    yield path
    assert service.delete(path).status_code == 204


def status(response: httpx2.Response) -> str:
    """Return what the response says about the cache, its own status being 200."""
    assert response.status_code == 200, response.text
    _, *said = response.headers.get("Cache-Status", "").split("; ")
    return "; ".join(each for each in said if not each.startswith("ttl="))


def hits(service: httpx2.Client, path: str) -> bool:
    """Tell whether a read is served from the cache."""
    return status(service.get(path)) == "hit"


def test_a_second_read_is_a_hit(service: httpx2.Client, user: str) -> None:
    """The first read misses and is stored, and the second one is the same and a hit."""
    first = service.get(user)
    second = service.get(user)
    assert status(first) == "fwd=miss; stored"
    assert status(second) == "hit"
    assert second.content == first.content
    assert second.headers["Content-Type"] == first.headers["Content-Type"]


def test_a_read_after_a_write_is_fresh(service: httpx2.Client, user: str) -> None:
    """What a write has changed is seen by the next read of it and of the list."""
    for path in (user, "/users"):
        service.get(path)
        assert hits(service, path)
    assert service.put(user, json=GRACE).status_code == 200
    read = service.get(user)
    assert status(read) == "fwd=miss; stored"
    assert read.json()["name"] == "Grace"
    assert [each["name"] for each in service.get("/users").json()] == ["Grace"]


def test_it_outlives_redis(service: httpx2.Client, user: str, redis_server: RedisServer) -> None:
    """Without Redis it serves and says that it is degraded; with Redis again, hits resume."""
    service.get(user)
    assert hits(service, user)
    assert service.get("/health/ready").json() == UP

    redis_server.stop()
    try:
        for _ in range(3):
            assert status(service.get(user)) != "hit"
        assert service.put(user, json=GRACE).status_code == 200
        assert service.get(user).json()["name"] == "Grace"
        assert service.get("/health/live").status_code == 200
        ready = service.get("/health/ready")
        assert (ready.status_code, ready.json()) == (200, DOWN)
    finally:
        redis_server.start()

    eventually(lambda: hits(service, user), "hits to resume")
    assert service.get(user).json()["name"] == "Grace"
    assert service.get("/health/ready").json() == UP


def test_it_outlives_a_redis_that_hangs(
    service: httpx2.Client, user: str, redis_server: RedisServer
) -> None:
    """While Redis takes connections and answers nothing, reads and both health checks answer."""
    redis_server.pause()
    try:
        assert service.get(user).json()["name"] == "Ada"
        assert service.get("/health/live").status_code == 200
        ready = service.get("/health/ready")
        assert (ready.status_code, ready.json()) == (200, DOWN)
    finally:
        redis_server.resume()
    eventually(lambda: hits(service, user), "hits to resume")

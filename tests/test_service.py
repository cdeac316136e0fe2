"""The rendered service, installed: its own checks are green, and it serves from a real Redis."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from redis_server import RedisServer

from tests.baked import BakedProject, environment, eventually, free_port, migrate

pytestmark = pytest.mark.usefixtures("redis_server")

ADA = {"name": "Ada", "email": "ada@example.com"}
GRACE = {"name": "Grace", "email": "grace@example.com"}
CACHE_TESTS = "app/core/cache/tests/"
HEART = ("test_decorators.py", "test_fastapi.py", "backends/test_contract.py", "http/test_route.py")
"""Of these: what `make test` has time for."""
UP = {"status": "ok", "cache": "up"}
DOWN = {"status": "degraded", "cache": "down"}


@pytest.fixture(scope="module", params=["with the example", "without the example"])
def project(request: pytest.FixtureRequest) -> BakedProject:
    """Return an installed project of either kind."""
    name = "installed" if request.param == "with the example" else "installed_without_example"
    project: BakedProject = request.getfixturevalue(name)
    return project


@contextmanager
def settings_of_somebody_else(project: BakedProject) -> Iterator[dict[str, str]]:
    """Put settings that are wrong, or odd, into a .env file; lend them for the environment."""
    odd = {
        **dict.fromkeys(("LOG_LEVEL", "LOG_FORMAT", "CACHE_LOCK_TIMEOUT", "CACHE_AUDIT"), "silly"),
        "CACHE_ENABLED": "false",
        "CACHE_PUBLISH_SECONDS": "999",
        "REDIS_URL": "http://x",
        "CACHE_BACKEND": "none",
        "CACHE_PAGE": "silly",
        "APP_NAME": "Odd",
        "cache_control": "x",
        "DATABASE_URL": "silly",
        "REDIS_SSL": "1",
        "CACHE_REDIS_PORT": "tcp://x",
    }
    file = project.path / ".env"
    file.write_text("".join(f"{name}={value}\n" for name, value in odd.items()))
    try:
        yield {**odd, "PROMETHEUS_MULTIPROC_DIR": str(file / "none")}
    finally:
        file.unlink()


def test_its_own_tests_pass(installed: BakedProject, report: Callable[[str], None]) -> None:
    """The service's `make test` is green, whatever is set in the environment and in a .env file."""
    with settings_of_somebody_else(installed) as odd:
        output = installed.run("make", "test", **odd)
    report(f"The service's own tests: {output.splitlines()[-1].strip('= ')}")


@pytest.mark.slow
def test_its_own_tests_pass_without_the_example(
    installed_without_example: BakedProject, report: Callable[[str], None]
) -> None:
    """So are those of a service without the example."""
    with settings_of_somebody_else(installed_without_example) as odd:
        output = installed_without_example.run("uv", "run", "pytest", **odd)
    report(f"Without the example: {output.splitlines()[-1].strip('= ')}")


def test_its_own_linter_and_type_checker_are_silent(project: BakedProject) -> None:
    """The service's `make lint`, which checks format, rules and types, is green."""
    assert "no issues found" in project.run("make", "lint")


def test_the_heart_of_its_cache_passes(
    installed: BakedProject, report: Callable[[str], None]
) -> None:
    """The contract of the backends, the decorators and endpoints, on memory and on a real Redis."""
    output = installed.run("uv", "run", "pytest", "-q", *(CACHE_TESTS + file for file in HEART))
    report(f"The heart of its cache: {output.splitlines()[-1].strip('= ')}")


@pytest.mark.alone
def test_the_tests_of_its_cache_pass(
    installed: BakedProject, report: Callable[[str], None]
) -> None:
    """The service's `make test-cache` is green, and no test of the service is among them."""
    output = installed.run("make", "test-cache")
    assert "testpaths" not in output
    report(f"The tests of its cache: {output.splitlines()[-1].strip('= ')}")


def test_the_tests_of_its_cache_are_linted_and_typed(installed: BakedProject) -> None:
    """By the same rules, which the service's `make lint` does not apply to them."""
    files = [
        file for file in installed.files() if file.startswith(CACHE_TESTS) and file.endswith(".py")
    ]
    installed.run("uv", "run", "ruff", "format", "--check", *files)
    installed.run("uv", "run", "ruff", "check", *files)
    assert f"no issues found in {len(files)} source files" in installed.run(
        "uv", "run", "mypy", *files
    )
    assert CACHE_TESTS not in installed.run("uv", "run", "ruff", "check", "--show-files")


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
    migrate(installed, folder)
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

"""The image: built from the generated Dockerfile, started without any right, and stopped.

It needs a Docker engine. Without one, these tests fail where `TEST_REDIS=container` insists on it,
as CI does; elsewhere the summary of the run says that they were not run, and why.
"""

import shutil
import stat
import subprocess
import threading
import time
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests import engine
from tests.baked import UV, Bake, BakedProject, eventually, run
from tests.certificates import make_certificates
from tests.engine import Container

engine.need_engine()
pytestmark = pytest.mark.slow

SLOW = '''
import anyio
from fastapi import APIRouter

router = APIRouter()


@router.get("/slow")
async def slow() -> str:
    """Take two seconds."""
    print("slow has begun", flush=True)
    await anyio.sleep(2)
    return "done"
'''
DATA = "--tmpfs=/data:uid=10001,mode=700"
"""A volume that goes with its container."""


@pytest.fixture(scope="module")
def project(bake: Bake) -> BakedProject:
    """Return a locked project that has an endpoint that takes a while."""
    project = bake()
    (project.path / "app/api/slow.py").write_text(SLOW)
    with (project.path / "app/api/router.py").open("a") as router:
        router.write("\nfrom app.api import slow\n\nrouter.include_router(slow.router)\n")
    project.run(UV, "lock", "--quiet")
    return project


@pytest.fixture(scope="module")
def image(project: BakedProject) -> Iterator[str]:
    """Return the name of its image."""
    yield from built(project)


@pytest.fixture(scope="module")
def image_without_example(bake: Bake) -> Iterator[str]:
    """Return the name of the image of a service without the example, and without a lock."""
    yield from built(bake(example_resource="no"))


def built(project: BakedProject) -> Iterator[str]:
    """Lend an image of a project."""
    tag = f"test-{uuid.uuid4().hex}"
    engine.build(project, tag)
    yield tag
    engine.docker("rmi", "--force", tag)


@contextmanager
def client(container: Container) -> Iterator[httpx2.Client]:
    """Lend a client of a container, when it answers."""

    def answers(client: httpx2.Client) -> bool:
        assert container.state()["Running"], container.logs()
        try:
            return client.get("/health/live").is_success
        except httpx2.TransportError:
            return False

    with httpx2.Client(base_url=f"http://127.0.0.1:{container.port()}", timeout=30) as client:
        eventually(lambda: answers(client), "the container to answer", seconds=60)
        yield client


def test_it_works_without_rights(image: str) -> None:
    """Read-only, without capabilities and not as root, it writes, serves hits and is healthy."""
    with engine.container(image, DATA, migrated=True) as container, client(container) as http:
        created = http.post("/users", json={"name": "Ada", "email": "ada@example.com"})
        assert created.status_code == 201
        said = [http.get("/users/1").headers["Cache-Status"] for _ in range(2)]
        assert "stored" in said[0]
        assert "; hit" in said[1]
        status = container.sh("cat /proc/1/status")
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        assert "Uid:\t10001\t10001" in status
        assert container.sh("touch /srv/app/x 2>&1").splitlines()[-1] != "0"
        eventually(
            lambda: container.state()["Health"]["Status"] == "healthy", "it to be healthy", 60
        )


def test_it_works_without_a_volume_where_there_is_no_example(image_without_example: str) -> None:
    """What has no database writes nothing at all, and needs no lock to be built."""
    with engine.container(image_without_example) as container, client(container) as http:
        assert http.get("/health/ready").json() == {"status": "ok", "cache": "up"}


def test_a_request_in_flight_is_finished_when_it_is_stopped(image: str) -> None:
    """SIGTERM drains: the answer arrives, the exit code is 0, and Docker did not have to kill."""
    answers: list[httpx2.Response] = []
    with engine.container(image, DATA, migrated=True) as container, client(container) as http:
        request = threading.Thread(target=lambda: answers.append(http.get("/slow")))
        request.start()
        eventually(lambda: "slow has begun" in container.logs(), "the request to be in flight")
        began = time.monotonic()
        engine.docker("stop", container.name)
        took = time.monotonic() - began
        request.join(30)
        assert [(answer.status_code, answer.json()) for answer in answers] == [(200, "done")]
        assert container.state()["ExitCode"] == 0, container.logs()
        assert took < 10
        assert "Traceback" not in container.logs()


@pytest.mark.parametrize("volume", [(), ("--tmpfs=/data:uid=0,mode=755",)], ids=["none", "root's"])
def test_it_says_in_one_line_that_it_needs_a_volume(image: str, volume: tuple[str, ...]) -> None:
    """Without a folder that it may write, the start ends with one line that says what to do."""
    done = subprocess.run(
        ["docker", "run", "--rm", *engine.HARDENED, *volume, image],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert "mount a volume" in line
    assert "/data" in line


def test_another_database_needs_no_volume(image: str) -> None:
    """It is asked for only where the database is in it."""
    elsewhere = "--env=DATABASE_URL=sqlite+aiosqlite:////tmp/app.db"
    started = engine.container(image, "--tmpfs=/tmp", elsewhere, migrated=True)
    with started as container, client(container) as http:
        assert http.get("/users").json() == []


def test_it_holds_the_service_and_nothing_else(image: str, project: BakedProject) -> None:
    """No tests, no tools of developers and no uv; what it needs has the versions of the lock."""
    run_in = ("run", "--rm", "--entrypoint", "sh", image, "-c")
    for_migrations = ["migrations", "pyproject.toml"]
    assert engine.docker(*run_in, "ls -A /srv").split() == [".venv", "app", *for_migrations]
    assert engine.docker(*run_in, "command -v uv || echo none").strip() == "none"
    found = engine.docker(*run_in, "ls .venv/lib/python3*/site-packages")
    installed = {
        line.removesuffix(".dist-info").replace("_", "-")
        for line in found.split()
        if line.endswith(".dist-info")
    }
    lock = tomllib.loads(project.read("uv.lock"))["package"]
    locked = {f"{each['name']}-{each['version']}" for each in lock}
    assert installed <= locked
    assert not [each for each in installed if each.startswith(("mypy-", "pytest-", "ruff-"))]


def test_a_lock_that_does_not_fit_stops_the_build(project: BakedProject, tmp_path: Path) -> None:
    """A uv.lock of another pyproject.toml is an error, not a reason to resolve anew."""
    stale = BakedProject(tmp_path / "stale")
    shutil.copytree(project.path, stale.path)
    text = project.read("pyproject.toml")
    (stale.path / "pyproject.toml").write_text(
        text.replace("dependencies = [", 'dependencies = [\n    "itsdangerous>=2",', 1)
    )
    with pytest.raises(AssertionError, match="needs to be updated"):
        engine.build(stale, "test-stale")


@pytest.fixture(scope="module")
def composed(project: BakedProject, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Let compose use the images of this machine; return the variables that it needs."""
    engine.compose_override(project, engine.redis_image())
    return engine.plugin(tmp_path_factory.mktemp("docker"))


def test_make_image_starts_it_with_redis(
    project: BakedProject, composed: Mapping[str, str]
) -> None:
    """`make image`, which CI runs, builds, starts both, sees the cache up, and stops both."""
    output = run("make", "image", cwd=project.path, **composed)
    assert '"cache":"up"' in output
    theirs = f"--filter=label=com.docker.compose.project={project.path.name}-image"
    for what in (
        ("container", "ls", "--all"),
        ("volume", "ls"),
        ("image", "ls"),
        ("network", "ls"),
    ):
        assert engine.docker(*what, "--quiet", theirs) == ""
    password = project.path / ".env"
    assert len(password.read_text().partition("REDIS_PASSWORD=")[2].strip()) == 64
    assert stat.S_IMODE(password.stat().st_mode) == 0o600


def test_the_production_example_speaks_tls(
    project: BakedProject, image: str, composed: Mapping[str, str], tmp_path: Path
) -> None:
    """Service and Redis of compose.production.yaml reach each other by TLS, and by nothing else."""
    made = make_certificates(tmp_path)
    tls = tmp_path / "tls"
    tls.mkdir()
    for source, name in (
        (made.authority, "ca.crt"),
        (made.server.certificate, "redis.crt"),
        (made.server.key, "redis.key"),
    ):
        shutil.copy(source, tls / name)
        (tls / name).chmod(0o644)  # user 999 of the container is nobody here
    files = ["compose.yaml", "compose.production.yaml"]
    if engine.PYTHON_IMAGE:
        files.append("compose.override.yaml")
    compose = ["docker", "compose", "--project-name", f"test-{uuid.uuid4().hex}"]
    compose += [f"--file={file}" for file in files]
    variables = {
        **composed,
        "PORT": "0",
        "REDIS_PASSWORD": uuid.uuid4().hex,
        "SERVICE_IMAGE": image,
        "TLS_FOLDER": str(tls),
    }

    def call(*arguments: str) -> str:
        return run(*compose, *arguments, cwd=project.path, **variables)

    ask = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8000/health/ready').read())"
    try:
        call("up", "--no-build", "--detach", "--wait", "--wait-timeout", "120")
        assert '"cache":"up"' in call("exec", "-T", "service", "python", "-c", ask)
        with pytest.raises(AssertionError, match="exited with 1"):
            call("exec", "-T", "redis", "redis-cli", "ping")
        command = ("redis-cli", "--tls", "--cacert", "/tls/ca.crt", "config", "get")
        told = call(
            "exec", "-T", "redis", *command, "maxmemory", "maxmemory-policy", "port"
        ).split()
        settings = dict(zip(told[::2], told[1::2], strict=True))
        bound = str(256 * 2**20)
        assert settings == {"maxmemory": bound, "maxmemory-policy": "allkeys-lru", "port": "0"}
    finally:
        call("down", "--volumes")

"""`make dev` of a service, and the uv that its Makefile uses."""

import json
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Event, Thread

import httpx2
import pytest

from tests.baked import (
    ROOT,
    TEMPLATE,
    Bake,
    BakedProject,
    environment,
    eventually,
    free_port,
    run,
    serving,
)

DEV = ("make", "dev")
NEEDS_UV = {"dev", "test", "test-cache", "lint", "format"}
PINNED = re.compile(r"\b(?:uv==|UV_VERSION := )([\d.]+)")


@pytest.fixture(scope="module", params=["with the example", "without the example"])
def project(request: pytest.FixtureRequest) -> BakedProject:
    """Return an installed project of either kind."""
    name = "installed" if request.param == "with the example" else "installed_without_example"
    project: BakedProject = request.getfixturevalue(name)
    return project


@pytest.fixture(scope="module")
def port() -> int:
    """Return the port of the service, 8000 being perhaps in use."""
    return free_port()


@pytest.fixture(scope="module")
def dev(
    project: BakedProject, port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Run `make dev` as in a terminal, and return the file that has what it prints."""
    folder = tmp_path_factory.mktemp("dev")
    database = f"sqlite+aiosqlite:///{folder}/app.db"
    with developing(
        DEV, project.path, folder / "output", PORT=str(port), DATABASE_URL=database
    ) as output:
        yield output


@contextmanager
def developing(
    command: Sequence[str | Path], folder: Path, output: Path, **variables: str
) -> Iterator[Path]:
    """Run `make dev`, or what does the same, until the context ends; return its output's file."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def is_up() -> bool:
        assert process.poll() is None, output.read_text()
        return bool(re.search("curl -i|README.md|see the log above", output.read_text()))

    try:
        eventually(is_up, "make dev to serve", seconds=120)
        yield output
    finally:
        if process.poll() is None:
            # Ctrl-C reaches every process of a terminal.
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)
    assert "Traceback" not in output.read_text()


def test_the_hint_stands_last_and_works(dev: Path, port: int, project: BakedProject) -> None:
    """Its command shows a hit; without the example it says that nothing is cached."""
    last = dev.read_text().rstrip().splitlines()[-1].strip()
    if last.startswith("README.md"):
        assert "No route that can be asked by its path alone is cached yet." in dev.read_text()
        _, title, _ = last.split('"')
        assert f"\n## {title}\n" in (project.path / "README.md").read_text()
        assert not (project.path / "app" / "api" / "users.py").exists()
        return
    command = shlex.split(last)
    assert command == ["curl", "-i", f"http://127.0.0.1:{port}/users"]
    answer = run(*command, "--silent", cwd=dev.parent).lower()
    assert " 200 " in answer.splitlines()[0]
    assert re.search("cache-status: .*; hit; ttl=", answer)


ROUTES = """
from asyncio import sleep
from typing import Annotated
from fastapi import APIRouter, Body, Cookie, Depends, Header
from fastapi.responses import StreamingResponse
from fastapi.security import APIKeyCookie, HTTPBearer
from app.core.cache import cache_response, get_cache_manager

router = APIRouter()
cached = cache_response(get_cache_manager(), "tried")
bearer, key = HTTPBearer(auto_error=False), APIKeyCookie(name="session", auto_error=False)

@router.get("/not-cached")
async def not_cached() -> int: return 1

@router.get("/events")
async def events() -> StreamingResponse:
    async def endless():
        while True:
            yield b"more"
            await sleep(0.001)
    return StreamingResponse(endless())

@router.get("/fails")
@cached
async def fails() -> int: raise ValueError("always")

@router.post("/written")
async def written() -> int: return 1

@router.get("/bearer")
@cached
async def by_bearer(user: Annotated[object, Depends(bearer)]) -> int: return 1

@router.get("/key")
@cached
async def by_key(user: Annotated[str | None, Depends(key)]) -> int: return 1

@router.get("/query")
@cached
async def by_query(page: int) -> int: return 1

@router.get("/header")
@cached
async def by_header(x_user: Annotated[str, Header()]) -> int: return 1

@router.get("/cookie")
@cached
async def by_cookie(session: Annotated[str, Cookie()]) -> int: return 1

@router.get("/body")
@cached
async def by_body(name: Annotated[str, Body()]) -> int: return 1

@router.get("/path/{number}")
@cached
async def by_path(number: int) -> int: return 1
"""
OPTIONAL = """
@router.get("/optional")
@cached
async def optional(page: int = 1, x_user: Annotated[str, Header()] = "") -> int: return page
"""


@pytest.mark.parametrize("more", ["", OPTIONAL], ids=["nothing", "optional"])
def test_only_what_can_be_tried_is_offered(
    more: str, bake: Bake, installed: BakedProject, tmp_path: Path
) -> None:
    """A route that asks for more than its path is not, nor is one whose answer is not stored."""
    project = bake(example_resource="no")
    script = runpy.run_path(str(project.path / "scripts" / "dev.py"))
    (project.path / "app" / "api" / "tried.py").write_text(ROUTES + more)
    with (project.path / "app" / "api" / "router.py").open("a") as file:
        file.write("\nfrom app.api.tried import router as tried\n\nrouter.include_router(tried)\n")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(installed.path / ".venv/bin/uvicorn"), "app.main:app", "--port", str(port)]
    with serving(
        [*command, "--app-dir", str(project.path)], tmp_path, url, "/health/live"
    ) as client:
        assert script["is_up"](port)
        said, headers = script["hint"](port), client.get("/optional").headers
    assert f"\nDocs:  {url}/\n" in said
    if more:
        assert said.endswith(f"\n  curl -i {url}/optional\n")
        assert "; hit; ttl=" in headers["Cache-Status"]
    else:
        assert said.endswith(f"\n{script['NOT_CACHED']}\n")
    assert not script["is_up"](port)


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
PLAIN: dict[str, object] = {"get": {}}
ANSWERS = {
    "nothing": b"",
    "no HTTP": b"silly\r\n\r\n",
    "an error": b"HTTP/1.1 500 No\r\n\r\n",
    "a redirect": b"HTTP/1.1 307 Go\r\nLocation: /openapi.json\r\n\r\n",
    "no text": HEAD + b"\xff\xfe\xff",
    "no JSON": HEAD + b"<html>",
    "deep JSON": HEAD + b"[" * 200_000,
    "a list": HEAD + b"[]",
    "a name": HEAD + b'{"name": "openapi.json"}',
    "a list of paths": HEAD + b'{"paths": ["/a"]}',
    "no methods": HEAD + b'{"paths": {"/a": 1}}',
    "no parameters": HEAD + b'{"paths": {"/a": {"get": {"parameters": [1]}}}}',
    "odd paths": HEAD + json.dumps({"paths": {"": PLAIN, "/a b": PLAIN, "/é": PLAIN}}).encode(),
    "too much": HEAD + b" " * 2_000_000 + b'{"paths": {}}',
    "what does not end": None,
    "what does not begin": None,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_any_answer_to_the_hint_is_survived(
    answer: bytes | None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint has no routes then, and comes in time."""
    script = runpy.run_path(str(TEMPLATE / "scripts" / "dev.py"))
    for name, value in (("ALL_SECONDS", 2.0), ("EACH_SECONDS", 0.5), ("MOST_BYTES", 1_000_000)):
        monkeypatch.setitem(script["ask"].__globals__, name, value)

    class Answer(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            with suppress(OSError):
                if answer is not None:
                    self.request.sendall(answer)
                elif "end" in request.node.name:
                    self.request.sendall(HEAD)
                    while not over.wait(0.01):
                        self.request.sendall(b" ")
                else:
                    over.wait()

    over = Event()
    with ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            begin = time.monotonic()
            said = script["hint"](server.server_address[1])
            assert time.monotonic() - begin < 10
        finally:
            over.set()
            server.shutdown()
    assert said.endswith(f"\n{script['NOT_CACHED']}\n")


GUARD = """
from fastapi import HTTPException
def guard() -> None: raise HTTPException(401)
"""
ANY_NAME = """
from typing import Any
from app.core.cache import cache_response, get_cache_manager
@router.get("/{name}")
@cache_response(get_cache_manager(), "any")
async def by_name(name: str) -> dict[str, Any]: return {"name": name}
"""


@pytest.fixture
def any_name(bake: Bake) -> BakedProject:
    """Return a project without OpenAPI, whose route for any name answers in its place."""
    project = bake(example_resource="no")
    (project.path / "app" / "guard.py").write_text(GUARD)
    with (project.path / "app" / "api" / "router.py").open("a") as file:
        file.write(ANY_NAME)
    main = project.path / "app" / "main.py"
    main.write_text(main.read_text().replace("Service(title", "Service(openapi_url=None, title"))
    return project


@pytest.mark.parametrize(
    ("written", "variables", "status"),
    [
        ("", {}, 200),
        ("CACHE_PAGE=", {"CACHE_PAGE": ""}, 200),
        ("CACHE_PAGE=off", {}, None),
        ("CACHE_PAGE=off", {"CACHE_PAGE": "local"}, 200),
        ("CACHE_PAGE=app.guard:guard", {}, 401),
        ("CACHE_PAGE=app.guard:guard", {"cache_page": "off"}, None),
    ],
)
def test_what_is_set_of_the_page_wins(
    any_name: BakedProject,
    installed: BakedProject,
    written: str,
    variables: dict[str, str],
    status: int | None,
) -> None:
    """Only where nothing is set the page is local. It is offered if it is there."""
    (any_name.path / ".env").write_text(written)
    port = free_port()
    url = f"http://127.0.0.1:{port}/cache"
    python = installed.path / ".venv" / "bin" / "python"
    command = (python, any_name.path / "scripts" / "dev.py", "--port", str(port))
    folder = any_name.path.parent
    with developing(command, folder, folder / "output", **variables) as output:
        assert (f"Cache: {url}\n" in output.read_text()) == (status is not None)
        answer = httpx2.get(url)
        assert answer.status_code == (status or 200)
        assert ("<html" in answer.text) == (status == 200)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"LOG_FORMAT=JSON\nCACHE_PUBLISH_SECONDS=x", ("LOG_FORMAT: ", "CACHE_PUBLISH_SECONDS: ")),
        ("APP_NAME=Café".encode("latin-1"), ("utf-8",)),
    ],
    ids=["wrong", "in Latin-1"],
)
def test_a_wrong_setting_is_told_in_one_line(
    bake: Bake, installed: BakedProject, written: bytes, told: tuple[str, ...]
) -> None:
    """It says that settings are wrong, and which; the database is not asked."""
    project = bake()
    (project.path / ".env").write_bytes(written)
    done = subprocess.run(
        [installed.path / ".venv/bin/python", "scripts/dev.py", "--port", str(free_port())],
        cwd=project.path,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    (line,) = done.stderr.splitlines()
    assert "settings, of the environment or of .env" in line
    assert all(each in line for each in told)
    assert (done.returncode, done.stdout) == (1, "")


def test_the_pages_of_the_hint_are_there(dev: Path, port: int) -> None:
    """The docs, to which `/` leads, and the page of the cache."""
    with httpx2.Client(follow_redirects=True) as client:
        for path, text in (("/", "swagger"), ("/cache", "cache")):
            url = f"http://127.0.0.1:{port}{path}"
            assert f" {url}\n" in dev.read_text()
            assert text in client.get(url).raise_for_status().text.lower()


@pytest.mark.usefixtures("dev")
def test_a_redis_that_is_away_is_told(installed: BakedProject, tmp_path: Path) -> None:
    """Not that no route is cached."""
    away = {"CACHE_BACKEND": "redis", "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(free_port())}
    database = f"sqlite+aiosqlite:///{tmp_path}/app.db"
    more = {**away, "PORT": str(free_port()), "DATABASE_URL": database}
    with developing(DEV, installed.path, tmp_path / "output", **more) as output:
        said = output.read_text()
    assert "The Redis of the cache is away" in said
    assert "No route that can be asked" not in said


def test_a_port_that_is_taken_is_told_in_one_line(project: BakedProject, port: int) -> None:
    """The line says which port, and what to do."""
    done = subprocess.run(
        DEV,
        cwd=project.path,
        env=environment(PORT=str(port)),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode != 0
    first, *rest = done.stderr.splitlines()
    assert first.startswith(f"Port {port} of 127.0.0.1 cannot be used (")
    assert first.endswith("Try: make dev PORT=8001")
    assert (done.stdout, [line[:4] for line in rest]) == ("", ["make"])


@pytest.fixture
def no_uv(tmp_path: Path) -> str:
    """Return a PATH with what a Makefile needs, and without uv."""
    for name in ("awk", "make", "rm", "sh"):
        found = shutil.which(name)
        assert found, f"{name} is not on the PATH"
        (tmp_path / name).symlink_to(found)
    return str(tmp_path)


def test_a_missing_uv_is_installed(bake: Bake, no_uv: str) -> None:
    """It comes into the folder, in the version that the Makefile names."""
    project = bake()
    command = ["make", "uv", f"PYTHON={sys.executable}"]
    subprocess.run(command, cwd=project.path, env=environment() | {"PATH": no_uv}, check=True)
    (version,) = PINNED.findall(project.read("Makefile"))
    assert project.run(".tools/bin/uv", "--version").split()[1] == version
    assert ".tools/" in project.read(".gitignore").splitlines()


def test_a_python_that_is_too_old_is_told(bake: Bake, no_uv: str) -> None:
    """One line says so, and nothing is left."""
    project = bake()
    done = subprocess.run(
        ["make", "uv", "PYTHON=false"],
        cwd=project.path,
        env=environment() | {"PATH": no_uv},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.startswith("Python 3.11 or newer is needed, and 'false' is not")
    assert not (project.path / ".tools").exists()


def test_every_target_uses_one_uv(bake: Bake, no_uv: str) -> None:
    """Where uv is not on the PATH, none looks for it there."""
    project = bake()
    uv = project.path / ".tools" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.touch(0o755)
    targets = re.findall(r"^  make ([a-z-]+) ", project.run("make", "help"), re.MULTILINE)
    assert set(targets) >= NEEDS_UV
    for target in targets:
        command = ("make", "--dry-run", target)
        said = run(*command, cwd=project.path, PATH=no_uv)
        assert not re.search(r"(?<![\w./])uvx? ", said), said
        assert ".tools/bin/uv " in said or target not in NEEDS_UV, said


def test_one_uv_is_pinned(bake: Bake) -> None:
    """Makefile, image and CI of a service have the version that the template itself uses."""
    project = bake()
    files = ("Makefile", "Dockerfile", ".github/workflows/ci.yml")
    pinned = {file: PINNED.findall(project.read(file)) for file in files}
    assert pinned == dict.fromkeys(files, PINNED.findall((ROOT / "Makefile").read_text()))

"""The cache folder alone, copied into an application that has another name and another shape."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from adoption.copies import files_of
from redis import Redis
from redis_server import RedisServer

from tests.baked import (
    CACHE,
    NEEDS,
    TEMPLATE,
    Bake,
    copy_cache,
    environment,
    eventually,
    free_port,
    redis_settings,
)

IN_OPTIONAL_ROOMS = {
    "ops": {"opentelemetry", "prometheus_client", "rich", "typer"},
    "testing": {"pytest"},
    "tests": {
        "httpx2",
        "hypothesis",
        "opentelemetry",
        "prometheus_client",
        "pytest",
        "typer",
        "uvicorn",
    },
}
"""What only a room needs that may be deleted."""
BROUGHT_BY_THEM = {
    *("annotated_types", "anyio", "hiredis", "pydantic", "pydantic_core", "starlette"),
    "typing_extensions",
}
PREFIX = "adopted"

APPLICATION = '''
"""A shop that had no cache."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from .platform.storage.caching import (
    CachedRoute,
    CacheStatusMiddleware,
    cache_response,
    get_cache_manager,
    invalidate_cache,
)


class Article(BaseModel):
    number: int
    price: int


prices = {1: 100}
cache = get_cache_manager()
app = FastAPI()
app.add_middleware(CacheStatusMiddleware)
app.router.route_class = CachedRoute


@app.get("/articles/{number}")
@cache_response(cache, key_prefix="articles")
async def read(number: int) -> Article:
    return Article(number=number, price=prices[number])


@app.get("/articles/{number}/label")
@cache_response(cache, key_prefix="articles")
async def label(number: int) -> JSONResponse:
    return JSONResponse({"label": f"No. {number}: {prices[number]}"}, headers={"X-Shop": "1"})


@app.put("/articles/{number}")
@invalidate_cache(cache, keys=["articles*"])
def write(number: int, price: int) -> Article:
    prices[number] = price
    return Article(number=number, price=price)
'''


@pytest.fixture(scope="module")
def shop(
    adopter: Path, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    """Start the application with the copied folder; return a client for it."""
    root = tmp_path_factory.mktemp("shop")
    package = root / "acme" / "shop"
    copy_cache(package / "platform" / "storage" / "caching")
    (package / "main.py").write_text(APPLICATION)
    port = free_port()
    settings = redis_settings(redis_server, PREFIX) | {"PYTHONWARNINGS": "error"}
    process = subprocess.Popen(
        [adopter, "-m", "uvicorn", "acme.shop.main:app", "--port", str(port)],
        cwd=root,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
    )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
            eventually(lambda: answers(client, process), "the shop to answer")
            yield client
    finally:
        process.terminate()
        process.wait(30)
        with Redis.from_url(redis_server.url) as redis:
            for key in redis.scan_iter(f"{PREFIX}:*"):
                redis.unlink(key)


def answers(client: httpx2.Client, process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the application answers; fail if it has ended."""
    assert process.poll() is None
    try:
        return client.get("/openapi.json").is_success
    except httpx2.TransportError:
        return False


def test_the_copied_folder_caches_and_invalidates(
    shop: httpx2.Client, redis_server: RedisServer
) -> None:
    """Misses, hits, a write and a fresh read, with real Redis and string annotations."""
    for path in ("/articles/1", "/articles/1/label"):
        miss, hit = shop.get(path), shop.get(path)
        assert miss.headers["Cache-Status"] == "app; fwd=miss; stored"
        assert hit.headers["Cache-Status"] == "app; hit"
        assert hit.content == miss.content
        assert hit.headers.get("X-Shop") == miss.headers.get("X-Shop")
    with Redis.from_url(redis_server.url) as redis:
        assert len(list(redis.scan_iter(f"{PREFIX}:articles:*"))) == 2
        assert shop.put("/articles/1?price=120").json() == {"number": 1, "price": 120}
        assert list(redis.scan_iter(f"{PREFIX}:articles:*")) == []
    assert shop.get("/articles/1").json()["price"] == 120
    assert shop.get("/articles/1/label").json() == {"label": "No. 1: 120"}


def test_the_folder_needs_nothing_of_the_application() -> None:
    """It imports itself by relative names, and else only what it says that it needs."""
    allowed = {need.partition("[")[0].replace("-", "_") for need in NEEDS} | BROUGHT_BY_THEM
    for file in CACHE.rglob("*.py"):
        room = file.relative_to(CACHE).parts[0]
        also = allowed | IN_OPTIONAL_ROOMS.get(room, set())
        for node in ast.walk(ast.parse(file.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                assert top in also or top in sys.stdlib_module_names, f"{file}: {name}"


def test_rendering_leaves_the_folder_as_it_is(bake: Bake) -> None:
    """What a service gets is, byte for byte, what stands in the template."""
    project = bake(example_resource="no")
    files = [CACHE / file for file in files_of(CACHE)]
    assert files
    for file in files:
        rendered = project.path / file.relative_to(TEMPLATE)
        assert rendered.read_bytes() == file.read_bytes()

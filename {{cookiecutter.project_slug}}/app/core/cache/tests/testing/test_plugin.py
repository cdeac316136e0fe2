"""The test kit as a plugin of pytest, in a folder that was copied under another package path."""

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

from ...testing.redis_server import RedisServer
from ..package import FOLDER, copy_to
from ..processes import ALONE, PYTEST

APPLICATION: Final = """
from fastapi import FastAPI

from .lib.caching import CacheStatusMiddleware, cache_response, get_cache_manager, invalidate_cache

cache = get_cache_manager()
prices = {1: 100}
app = FastAPI()
app.add_middleware(CacheStatusMiddleware)


@app.get("/prices/{number}")
@cache_response(cache, "prices", tags=["price:{number}"], stale=60)
async def price(number: int) -> int:
    return prices[number]


@app.put("/prices/{number}")
@invalidate_cache(cache, tags=["price:{number}"])
async def change(number: int, price: int) -> int:
    prices[number] = price
    return price


@app.put("/forgets/{number}")
async def forget(number: int, price: int) -> None:
    prices[number] = price
"""
CONFTEST: Final = """
import pytest
from fastapi.testclient import TestClient

from acme.main import app

pytest_plugins = ["acme.lib.caching.testing"]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def client(cache):
    return TestClient(app)
"""
TESTS: Final = """
import pytest
from fastapi.testclient import TestClient

from acme.lib.caching import MemoryBackend, get_cache_manager
from acme.lib.caching.testing import CacheBackendContract, assert_one_computation_of
from acme.main import app, price


class TestMemory(CacheBackendContract):
    def make_backend(self):
        return MemoryBackend()


def test_a_client(client, assert_same_on_hit, assert_fresh_after, assert_one_computation):
    assert_one_computation(client, "/prices/1")
    change = {"method": "PUT", "url": "/prices/1", "params": {"price": 7}}
    assert assert_fresh_after(client, change, "/prices/1").json() == 7
    get_cache_manager().clear_sync()
    assert_same_on_hit(client, "/prices/1")


@pytest.mark.anyio
async def test_a_function(cache, cache_clock, cache_faults):
    assert await assert_one_computation_of(price, 1) == 7
    cache_clock.advance(1000)
    assert await assert_one_computation_of(price, 1) == 7
    cache_faults.raises()
    assert await price(1) == 7


def test_redis(redis_cache, assert_same_on_hit):
    assert_same_on_hit(TestClient(app), "/prices/1")


def test_wrong(client, assert_fresh_after):
    forget = {"method": "PUT", "url": "/forgets/1", "params": {"price": 8}}
    assert_fresh_after(client, forget, "/prices/1")
"""


def run(folder: Path, **environment: str) -> str:
    """Run these tests with warnings as errors; return what pytest says."""
    copy_to(folder / "acme" / "lib" / "caching")
    (folder / "acme" / "main.py").write_text(APPLICATION)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_prices.py").write_text(TESTS)
    done = subprocess.run(
        [*PYTEST, "-W", "error"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), **ALONE, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_it_works_under_any_package_path(redis_server: RedisServer, tmp_path: Path) -> None:
    """All that is right passes, and what is wrong fails with its message."""
    says = run(tmp_path, TEST_REDIS_URL=redis_server.url)
    assert "1 failed, 22 passed" in says, says
    assert "GET /prices/1 still says 200 '7' after the write ('app; hit'). Let the write" in says


def test_it_says_that_it_needs_a_redis(tmp_path: Path) -> None:
    """In one line, and what to set; the other tests run."""
    says = run(tmp_path)
    assert "1 failed, 21 passed, 1 error" in says, says
    assert "redis_cache needs a Redis, and TEST_REDIS_URL is not set: set TEST_REDIS_URL=" in says


def test_no_other_file_of_the_cache_imports_it() -> None:
    """So that it may be deleted, and pytest is not needed where the service runs."""
    kit, tests = FOLDER / "testing", FOLDER / "tests"
    files = [file for file in FOLDER.rglob("*.py") if not {kit, tests} & {*file.parents}]
    assert files
    texts = {file: file.read_text() for file in files}
    assert [file for file, text in texts.items() if "pytest" in text or ".testing" in text] == []

"""The memory backend, where redis-py and hiredis are not installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from .package import NAME, ROOT

# As if they were not installed: the environment of a test has them.
MISSING = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
USE = """
import asyncio
from {package} import (
    CacheFactory, CacheManager, CachedRoute, CacheSettings, CacheStatusMiddleware, MemoryBackend,
    cache_response, get_cache_manager, invalidate_cache,
)

cache = get_cache_manager()
runs = []

@cache_response(cache, "f")
async def f(a: int) -> int:
    runs.append(a)
    return a

async def main():
    assert await f(1) == await f(1) == 1
    assert await cache.set("key", [1]) and await cache.get("key") == [1]
    assert await cache.clear() and await cache.health_check()
    await cache.close()

asyncio.run(main())
assert runs == [1] and isinstance(cache.backend, MemoryBackend)
assert not {{"redis", "hiredis"}} & {{name.partition(".")[0] for name in sys.modules}}
print("works")
"""
ASK = """
from {package} import CacheConfigError, CacheFactory, CacheSettings

for ask in (
    lambda: CacheFactory.create_cache_manager(CacheSettings(cache_backend="redis")),
    lambda: __import__("{package}", fromlist=["RedisBackend"]).RedisBackend,
):
    try:
        ask()
    except CacheConfigError as error:
        print(error)
"""


def run(program: str, folder: Path, *missing: str) -> str:
    """Run a program that has this package, but not those that are missing; return its output."""
    program = MISSING.format(missing=missing) + program.format(package=NAME)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"],
        cwd=folder,
        env={"CACHE_BACKEND": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_memory_imports_neither(tmp_path: Path) -> None:
    """All but the Redis backend is there, and works."""
    assert run(USE, tmp_path, "redis", "hiredis").strip() == "works"
    assert run(USE, tmp_path).strip() == "works"  # neither does it where they are installed


@pytest.mark.parametrize(("missing", "floor"), [("redis", "8.0"), ("hiredis", "3.2")])
def test_redis_without_its_packages_is_told(missing: str, floor: str, tmp_path: Path) -> None:
    """When it is asked for, with what to install; not when the package is imported."""
    lines = run(ASK, tmp_path, missing).splitlines()
    assert len(lines) == 2
    for line in lines:
        assert f"{missing} {floor} or newer, and it is not installed" in line
        assert f"pip install '{missing}>={floor}'" in line

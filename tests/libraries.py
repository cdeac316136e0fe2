"""The libraries that `docs/migrate` has notes for, and what a test has to know of them."""

from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from tests.baked import ROOT, UV, run

PAGES: Final = ROOT / "docs" / "migrate"

OUR_IMPORTS: Final = """
from contextvars import ContextVar
from typing import Annotated, Any

from app.core.cache import *
from fastapi import Depends, FastAPI, Request

app, manager = FastAPI(), CacheManager(MemoryBackend())
client_id = current_user = tenant = ContextVar("tenant", default="a")
is_there = keep = bool


def lifetime(result: Any) -> int:
    return 60


@cache_response(manager, key_prefix="read_user")
async def read_user(user_id: int) -> dict[str, int]:
    return {"id": user_id}
"""


ASKED_TWICE: Final = """
import asyncio
import threading

from app.core.cache import *

manager, runs = CacheManager(MemoryBackend()), []


async def main():
{body}
    print(*runs)


asyncio.run(main())
"""


class Difference(NamedTuple):
    """Calls of their function and of ours, which note in `runs` that they have run."""

    says: str
    """What the page says."""
    body: str
    runs: str


DIFFERENCES: Final = {
    "fastapi-cache2": Difference(
        "the same by place and by name",
        """
    FastAPICache.init(InMemoryBackend())

    @cache(expire=60)
    async def theirs(number):
        runs.append("theirs")

    @cache_response(manager, "numbers")
    async def ours(number: int) -> None:
        runs.append("ours")

    for function in (theirs, ours):
        await function(1)
        await function(number=1)
        """,
        "theirs theirs ours",
    ),
    "fastapi-cachex": Difference(
        "Ours runs a plain `def` in a thread, theirs on the event loop.",
        """
    here = threading.get_ident()

    @cached(ttl=60, manager=fastapi_cachex.CacheManager(fastapi_cachex.backends.MemoryBackend()))
    def theirs():
        runs.append(threading.get_ident() == here)

    @cache_response(manager, "numbers")
    def ours() -> None:
        runs.append(threading.get_ident() == here)

    for function in (theirs, ours):
        await function()
        """,
        "True False",
    ),
    "cashews": Difference(
        'Their key is text: `1` and `"1"` are the same.',
        """
    cache.setup("mem://")

    @cache(ttl="1h")
    async def theirs(number):
        runs.append("theirs")

    @cache_response(manager, "numbers")
    async def ours(number: int | str) -> None:
        runs.append("ours")

    for function in (theirs, ours):
        await function(1)
        await function("1")
        """,
        "theirs ours ours",
    ),
    "aiocache": Difference(
        "A `None` is never a hit in theirs; in ours it is.",
        """
    @cached()
    async def theirs():
        runs.append("theirs")

    @cache_response(manager, "numbers")
    async def ours() -> None:
        runs.append("ours")

    for function in (theirs, ours):
        await function()
        await function()
        """,
        "theirs theirs ours",
    ),
}
"""Differences that nobody would find by reading his own code."""


class Library(NamedTuple):
    """Another library, with the groups of dependencies in which it runs."""

    page: str
    package: str
    imports: str
    group: str = "peers"
    beside: str = "peers"
    """Where it runs beside the cache module."""
    invalidates_late: bool = False
    """Whether its invalidation comes after the response to the write."""
    headers: frozenset[str] = frozenset()
    """Which headers only one of the two sends on a hit."""


LIBRARIES: Final = (
    Library(
        "fastapi-cache2",
        "fastapi_cache",
        "from fastapi_cache import *\nfrom fastapi_cache.coder import *\n"
        "from fastapi_cache.decorator import cache\n"
        "from fastapi_cache.backends.inmemory import InMemoryBackend\n"
        "from fastapi_cache.backends.redis import RedisBackend",
        group="fastapi-cache2",
        beside="fastapi-cache2-beside",
        headers=frozenset({"x-fastapi-cache", "cache-status"}),
    ),
    Library(
        "fastapi-cachex",
        "fastapi_cachex",
        "from fastapi_cachex import *\nfrom fastapi_cachex.backends import *",
        headers=frozenset({"age", "cache-status"}),
    ),
    Library(
        "cashews",
        "cashews",
        "from cashews import *\nfrom cashews.contrib.fastapi import *\n"
        "from cashews.serialize import register_type",
    ),
    Library(
        "aiocache",
        "aiocache",
        "from aiocache import *\nfrom aiocache.lock import *\nfrom aiocache.plugins import *\n"
        "from aiocache.serializers import JsonSerializer, PickleSerializer\n"
        "@cached()\nasync def read_user(user_id): ...",
    ),
    Library(
        "fastapi-redis-sdk",
        "redis_fastapi",
        "from redis_fastapi import *",
        invalidates_late=True,
        headers=frozenset({"x-redis-cache", "cache-status"}),
    ),
)


@cache
def python_of(group: str) -> Path:
    """Return the interpreter of an environment with a group of dependencies."""
    command = (UV, "run", "--quiet", "--only-group", group, "python", "-c")
    where = {"UV_PROJECT_ENVIRONMENT": str(ROOT / ".build" / group)}
    return Path(run(*command, "import sys; print(sys.executable)", cwd=ROOT, **where).strip())

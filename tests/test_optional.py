"""What is optional can be deleted: the rest of the cache works, and says what is missing."""

import json
import re
import shutil
from pathlib import Path
from typing import Final

import pytest
from redis_server import RedisServer
from size import OPTIONAL, optional_sizes

from tests.baked import CACHE, copy_cache, redis_settings, run

PREFIX: Final = "without-a-part"

ASK: Final = {
    "backends/near.py": {"CACHE_NEAR_SIZE": "10"},
    "backends/topologies/sentinel.py": {
        "REDIS_SENTINELS": "localhost:26379",
        "REDIS_SENTINEL_MASTER": "mymaster",
    },
    "backends/topologies/cluster.py": {"REDIS_CLUSTER": "true"},
    "http/middleware.py": "CacheMiddleware",
    "http/route.py": "CachedRoute",
    "http/status.py": "CacheStatusMiddleware",
}
"""What needs the first file of each group: settings, or a name of the package."""
UNASKED: Final = ["ops/", "testing/"]
"""Rooms that nothing in the package needs."""

PROGRAM: Final = '''
"""Use the copy of the cache in memory and in Redis; print which parts it lacks."""

import asyncio
import json
import os
import sys

from fastapi import FastAPI, Response

from acme.caching import CacheConfigError, CacheFactory, CacheManager, cache_response
from acme import caching


async def use(cache: CacheManager) -> None:
    calls, requests = [], []

    @cache_response(cache, "data")
    async def cached(number: int) -> int:
        calls.append(number)
        return number

    app = FastAPI()

    @app.get("/")
    @cache_response(cache, "endpoint")
    async def endpoint(response: Response) -> list[int]:
        response.headers["X-Own"] = "yes"
        requests.append(2)
        return [2]

    assert await cache.health_check()
    for _ in range(3):
        assert await cached(1) == 1
        assert await get(app) == [200, b"[2]", b"yes"]
    assert (calls, requests) == ([1], [2])
    assert await cache.clear()
    await cache.close()


async def get(app: FastAPI) -> list[object]:
    sent = []

    async def receive() -> object:
        return {"type": "http.request", "body": b""}

    async def send(message: object) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    await app(scope, receive, send)
    start, body = sent
    return [start["status"], body["body"], dict(start["headers"]).get(b"x-own")]


def lacks(asked: str | dict[str, str]) -> str | None:
    """Return what the cache says that it lacks, if anything."""
    before = dict(os.environ)
    try:
        if isinstance(asked, str):
            getattr(caching, asked)
        else:
            os.environ.update(asked)
            CacheFactory.create_cache_manager()
    except CacheConfigError as error:
        return str(error)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return None


for backend in ("memory", "redis"):
    os.environ["CACHE_BACKEND"] = backend
    asyncio.run(use(CacheFactory.create_cache_manager()))
asked = json.loads(sys.argv[1])
os.environ["REDIS_DB"] = "0"
print(json.dumps({file: lacks(what) for file, what in asked.items()}))
'''

DELETED: Final[dict[str, tuple[str, ...]]] = {
    "nothing": (),
    **{group[0]: group for group in OPTIONAL},
    "http": ("http",),
    "all": tuple(file for group in OPTIONAL for file in group),
}
"""What is deleted: files, or a whole folder."""


@pytest.mark.parametrize("name", DELETED)
def test_the_rest_works_and_names_what_is_missing(
    name: str, adopter: Path, redis_server: RedisServer, tmp_path: Path
) -> None:
    """A cached call and an endpoint, in memory and in Redis; `CacheConfigError` for the rest."""
    folder = tmp_path / "acme" / "caching"
    copy_cache(folder)
    for file in DELETED[name]:
        path = folder / file
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tmp_path / "program.py").write_text(PROGRAM)
    output = run(
        *(adopter, "-W", "error", "program.py", json.dumps(ASK)),
        cwd=tmp_path,
        **redis_settings(redis_server, PREFIX),
    )
    lacks = json.loads(output)
    assert lacks.keys() == ASK.keys()
    for file, says in lacks.items():
        if file.startswith(DELETED[name]):
            assert says is not None, f"{file} is not missed"
            assert file in says
        else:
            assert says is None, says


def test_each_optional_part_is_asked_for() -> None:
    """No group of files is left out above."""
    assert [*ASK, *UNASKED] == [group[0] for group in OPTIONAL]


def test_the_readme_says_what_may_be_deleted() -> None:
    """A row for each group: its files, what is lost, and about how many lines of code that is."""
    readme = (CACHE / "README.md").read_text()
    rows = re.findall(r"^\| (`.+?`) \| .+ \| (\d+) \|$", readme, re.MULTILINE)
    files = {tuple(re.findall(r"`(.+?)`", names)): int(lines) for names, lines in rows}
    told = {names: lines for names, lines in files.items() if names[0].endswith((".py", "/"))}
    why = f"scripts/size.py --write corrects the lines; the table has to be:\n{table()}"
    assert told == rounded_sizes(), why


def rounded_sizes() -> dict[tuple[str, ...], int]:
    """Return the lines of code of each group, to the next ten."""
    return {files: round(lines, -1) for files, lines in optional_sizes().items()}


def table() -> str:
    """Return the rows of the README's table, without what is lost."""
    rows = ["| file | what you lose | lines of code |", "|---|---|---|"]
    for files, lines in rounded_sizes().items():
        names = ", ".join(f"`{file}`" for file in files)
        rows.append(f"| {names} | … | {lines} |")
    return "\n".join(rows)

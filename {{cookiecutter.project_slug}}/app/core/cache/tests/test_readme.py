"""The documentation of the cache folder: its examples run as they stand, and it leaves nothing out."""

import ast
import inspect
import re
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from redis import Redis

from .. import CacheFactory, CacheSettings, cache_response, invalidate_cache
from ..testing.redis_server import RedisServer
from .internals import without_shared_manager
from .package import FOLDER, as_here, cache

PAGES = [FOLDER / "README.md", FOLDER / "ARCHITECTURE.md", *sorted(FOLDER.glob("docs/*.md"))]
TEXTS = {page: as_here(page.read_text()) for page in PAGES}
README = TEXTS[FOLDER / "README.md"]
EXAMPLES = [
    example
    for text in TEXTS.values()
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
]


class Database:
    """The database of the examples."""

    def __init__(self) -> None:
        self.reads = 0

    async def get_user(self, user_id: str) -> dict[str, Any]:
        self.reads += 1
        return {"id": user_id, "reads": self.reads}

    async def update_user(self, user_id: str, data: dict[str, Any]) -> dict[str, Any]:
        return {"id": user_id, **data}


@pytest.fixture
async def scope(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run every example in one scope, with the settings of a real Redis; lend the scope."""
    monkeypatch.setenv("CACHE_BACKEND", "redis")
    monkeypatch.setenv("REDIS_HOST", redis_server.host)
    monkeypatch.setenv("REDIS_PORT", str(redis_server.port))
    monkeypatch.setenv("REDIS_DB", str(redis_server.db))
    monkeypatch.setenv("REDIS_PASSWORD", redis_server.password or "")
    monkeypatch.setenv("CACHE_KEY_PREFIX", "test-readme")
    without_shared_manager(monkeypatch)
    scope: dict[str, Any] = {"database": Database(), "app": FastAPI()}
    try:
        for example in EXAMPLES:
            await run(example, scope)
        yield scope
    finally:
        await CacheFactory.get_cache_manager().clear()
        await CacheFactory.close_cache_manager()


async def run(example: str, scope: dict[str, Any]) -> None:
    """Run an example that may await at its top level."""
    code = compile(example, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = FunctionType(code, scope)()
    if inspect.iscoroutine(result):
        await result


async def test_the_examples_do_what_they_say(scope: dict[str, Any], redis_client: Redis) -> None:
    """Set, get, exists, delete, clear and health check; a hit; a write and a fresh read."""
    assert scope["user_data"] == {"name": "John", "email": "john@example.com"}
    assert scope["exists"] is True
    assert scope["is_healthy"] is True
    assert list(redis_client.scan_iter("test-readme:user:*")) == []

    read, write, database = scope["get_user_data"], scope["update_user_profile"], scope["database"]
    miss, hit = await read("7"), await read("7")
    assert isinstance(hit, JSONResponse)
    assert (database.reads, hit.body) == (1, miss.body)
    assert (await write("7", {"name": "Jane"})).body == b'{"id":"7","name":"Jane"}'
    await read("7")
    assert database.reads == 2


async def test_the_first_example_does_what_it_says(scope: dict[str, Any]) -> None:
    """A miss, a hit, a write, and a fresh read."""
    read, write, database = scope["read_user"], scope["update_user"], scope["database"]
    before = database.reads
    assert await read("8") == await read("8")
    assert database.reads == before + 1
    await write("8", {})
    await read("8")
    assert database.reads == before + 2


def test_every_public_name_is_told() -> None:
    """In the README, or on a page."""
    told = "".join(TEXTS.values())
    assert [name for name in cache.__all__ if name not in told] == []


def test_the_table_of_settings_is_complete() -> None:
    """It has each of them once, and no other one."""
    table = README.partition("| variable | unset |")[2].partition("\n\n")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    names = re.findall(r"`([A-Z_]+)`", " ".join(first))
    assert sorted(names) == sorted(name.upper() for name in CacheSettings.model_fields)


@pytest.mark.parametrize("decorator", [cache_response, invalidate_cache])
def test_the_tables_of_parameters_are_complete(decorator: Any) -> None:
    """They have each parameter once, and no other one."""
    rows = README.partition(f"`{decorator.__name__}(cache_manager, ")[2].partition("|---")[2]
    names = re.findall(r"^\| `(\w+)` \|", rows.partition("\n\n")[0], re.MULTILINE)
    assert sorted(["cache_manager", *names]) == sorted(inspect.signature(decorator).parameters)


def test_the_readme_is_short() -> None:
    """It has at most 200 lines."""
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file that is there, and to a page from the README."""
    links = re.findall(r"\]\(([^)#]+)", TEXTS[page])
    assert [link for link in links if not (page.parent / link).exists()] == []
    if page.parent != FOLDER:
        assert f"](docs/{page.name})" in README


def test_the_tests_that_prove_a_promise_are_there() -> None:
    """Each promise, P1 to P9, names some."""
    rows = re.findall(r"^\| P(\d) .*\|(.*)\|$", README, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 10))
    for _, proofs in rows:
        files = re.findall(r"`([\w/]+\.py)`", proofs)
        assert files
        assert [file for file in files if not (FOLDER / "tests" / file).exists()] == []

"""The README of the cache folder: its examples run as they stand, and it leaves nothing out."""

import ast
import inspect
import re
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from fastapi.responses import JSONResponse
from redis import Redis

import app.core.cache
from app.core.cache import CacheFactory, CacheSettings
from tests.redis_server import RedisServer

README = (Path(app.core.cache.__file__).parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


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
    monkeypatch.setattr(CacheFactory, "_manager", None)
    scope: dict[str, Any] = {"database": Database()}
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


def test_every_public_name_and_setting_stands_in_it() -> None:
    """What can be imported and what can be set is told."""
    names = [*app.core.cache.__all__, *(name.upper() for name in CacheSettings.model_fields)]
    assert [name for name in names if name not in README] == []

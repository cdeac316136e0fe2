"""`docs/testing.md`: the tests that it shows pass, on an application that is right."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Header
from pydantic import BaseModel

from ... import CacheMiddleware, cache_response, invalidate_cache
from ..package import FOLDER, as_here
from .shop import manager

PAGE = FOLDER / "docs" / "testing.md"

SCOPE: dict[str, Any] = {}
for block in re.findall(r"```python\n(.*?)```", as_here(PAGE.read_text()), re.DOTALL):
    exec(block, SCOPE)
SHOWN = [name for name in SCOPE if name.startswith("test_")]

names: dict[str, str] = {}


@pytest.fixture(autouse=True)
def bob() -> None:
    """Have one user, by the same name in each test."""
    names["1"] = "Bob"


@asynccontextmanager
async def warmed(_: FastAPI) -> AsyncIterator[None]:
    """Fill the cache at start, as some applications do."""
    await read("1")
    yield


users = FastAPI(lifespan=warmed)
users.add_middleware(CacheMiddleware)


class User(BaseModel):
    """What a client sends."""

    name: str


@users.get("/users/{user_id}")
@cache_response(manager, "documents-users", tags=["user:{user_id}"])
async def read(user_id: str) -> str:
    return names[user_id]


@users.put("/users/{user_id}")
@invalidate_cache(manager, tags=["user:{user_id}"])
async def write(user_id: str, user: User) -> None:
    names[user_id] = user.name


@users.get("/me")
@cache_response(manager, "documents-me")
async def me(authorization: Annotated[str, Header()]) -> str:
    return authorization


# What the page shows are tests of this file, with the fixtures that it shows.
SCOPE["app"] = users
globals().update({name: SCOPE[name] for name in (*SHOWN, "client", "cache_redis_url")})


def test_the_page_shows_something() -> None:
    """Five tests, and a contract that can be run."""
    assert len(SHOWN) == 5
    SCOPE["TestMine"]().test_set_replaces()


def test_the_page_names_what_there_is() -> None:
    """Each public name of the kit, and each fixture."""
    from ... import testing  # noqa: PLC0415 - the plugin is imported by pytest

    text = PAGE.read_text()
    fixtures = [name for name in vars(testing) if re.fullmatch(r"(redis_)?cache(_\w+)?", name)]
    assert len(fixtures) == 6
    assert [
        name for name in (*testing.__all__, *fixtures) if not re.search(rf"\b{name}\b", text)
    ] == []

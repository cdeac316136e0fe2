"""An application that uses what the cache offers, for type checkers: nothing in it is untyped."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, assert_type

from app.core.cache import (
    CacheEvent,
    CacheFactory,
    CacheManager,
    CacheMiddleware,
    CacheSettings,
    MemoryBackend,
    Removal,
    cache_response,
    get_cache_manager,
    invalidate_cache,
)
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel

cache = get_cache_manager()
SECONDS: list[tuple[str, float]] = []


class User(BaseModel):
    """A user."""

    id: int
    name: str


class MissingUserError(Exception):
    """There is no such user."""


class Page(BaseModel):
    """Some users."""

    users: list[User]


def lifetime(user: User, user_id: int) -> str | int:
    """Return how long a user is kept."""
    return "1h" if user.id == user_id else 60


@cache_response(
    cache,
    "users",
    expire=lifetime,
    tags=["user:{user_id}"],
    stale="10m",
    early_refresh=1.0,
    cache_status={404},
    exceptions={MissingUserError: "5s"},
    store_if=lambda user: user is not None,
)
async def read_user(user_id: int) -> User:
    """Return a user."""
    if user_id < 0:
        raise MissingUserError
    if user_id == 0:
        raise HTTPException(404)
    return User(id=user_id, name="Ada")


@cache_response(cache, "pages", expire=timedelta(minutes=1), exceptions=(MissingUserError,))
def read_page(number: int, *, size: int = 10) -> Page:
    """Return a page, by a plain function."""
    return Page(users=[User(id=number * size, name="Ada")])


@invalidate_cache(cache, tags=["user:{user_id}"])
async def rename_user(user_id: int, name: str) -> User:
    """Change a user."""
    return User(id=user_id, name=name)


class Repository:
    """Has cached methods."""

    def __cache_key__(self) -> str:
        """Return what tells it from others."""
        return "repository"

    @cache_response(cache, "repository")
    async def count(self, team: str) -> int:
        """Return how many there are."""
        return len(team)


async def by_hand(own: CacheManager) -> None:
    """Use the methods of a manager, and of decorated functions."""
    assert_type(await read_user(1), User)
    assert_type(await read_page(1, size=5), Page)
    assert_type(await rename_user(1, "Bob"), User)
    assert_type(await read_user.refresh(1), User)
    assert_type(await read_user.invalidate(1), Removal)
    assert_type(await read_user.invalidate_all(), Removal)
    assert_type(await read_user.set(User(id=1, name="Ada"), 1), bool)
    assert_type(read_user.cache_key(1), str)
    repository = Repository()
    assert_type(await repository.count("one"), int)
    assert_type(await repository.count.invalidate("one"), Removal)

    async def load() -> dict[str, int]:
        return {"one": 1}

    def load_plain() -> Page:
        return Page(users=[])

    assert_type(await own.get_or_set("one", load, "1m", tags=["all"]), dict[str, int])
    assert_type(await own.get_or_set("page", load_plain, 1.5), Page)
    assert_type(await own.set("key", 1, "1h30m", tags=["all"]), bool)
    assert_type(await own.set_many({"a": 1, "b": 2}, 60, tags=["all"]), bool)
    assert_type(await own.add("key", 1), bool)
    assert_type(await own.incr("count", 2, "1d"), int | None)
    assert_type(await own.touch("key", timedelta(hours=1)), bool)
    assert_type(await own.ttl("key"), float | None)
    assert_type(own.keys("user:*"), AsyncIterator[str])
    assert_type([key async for key in own.keys("*")], list[str])
    removed = await own.invalidate("user:*")
    assert_type(removed.number, int | None)
    assert_type(await own.clear(), bool)
    with own.disabled():
        assert_type(await own.exists("key"), bool)


async def several() -> None:
    """Have caches with other settings side by side."""
    settings = CacheSettings(cache_backend="memory", cache_key_prefix="other")
    async with CacheFactory.create_cache_manager(settings) as other:
        assert_type(other, CacheManager)
        await by_hand(other)
    async with CacheManager(MemoryBackend(), default_ttl=60) as memory:
        end = memory.observe(heard)
        end()


def heard(event: CacheEvent) -> None:
    """Hear of an event."""
    SECONDS.append((event.kind, event.seconds))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    """Warm the cache, and close it at the end."""
    await read_user.refresh(1)
    yield
    await CacheFactory.close_cache_manager()


app = FastAPI(lifespan=lifespan)
app.add_middleware(CacheMiddleware)


@app.get("/users/{user_id}")
@cache_response(cache, "endpoint", cache_control="no-cache", method="GET")
async def endpoint(user_id: int) -> User:
    """Return a user."""
    return await read_user(user_id)


@app.get("/visits")
async def visits(own: Annotated[CacheManager, Depends(get_cache_manager)]) -> int | None:
    """Count."""
    return await own.incr("visits")

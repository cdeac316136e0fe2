"""The folder of the cache works in applications of other shapes, and leaves their files alone."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.baked import UV, copy_cache, environment, run
from tests.clones import Files, write

DRIVER: Final = '''
"""Ask the application of a module; print the status, `Cache-Status` and body of each answer."""

import asyncio
import importlib
import json
import sys

async def ask(app, method, path):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    path, _, query = path.partition("?")
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(),
        "headers": [], "query_string": query.encode(), "root_path": "", "scheme": "http",
        "http_version": "1.1", "server": ("testserver", 80), "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    headers = dict(sent[0]["headers"])
    body = b"".join(message.get("body", b"") for message in sent[1:])
    status = headers.get(b"cache-status", b"").decode().partition("; ")[2].partition("; ttl")[0]
    return [sent[0]["status"], status, json.loads(body)]


async def main():
    app = importlib.import_module(sys.argv[1]).app
    return [await ask(app, *line.split()) for line in sys.argv[2:]]


print(json.dumps(asyncio.run(main())))
'''
READ: Final = """

class Item(BaseModel):
    number: int
    price: int


prices = {1: 100}
cache = get_cache_manager()
app = FastAPI()
app.add_middleware(CacheStatusMiddleware)


@app.get("/items/{number}")
@cache_response(cache, key_prefix="items", tags=["item:{number}"])
async def read(number: int) -> Item:
    return Item(number=number, price=prices[number])


@app.put("/items/{number}")
@invalidate_cache(cache, tags=["item:{number}"])
def write(number: int, price: int) -> Item:
    prices[number] = price
    return Item(number=number, price=price)
"""
NAMES: Final = "CacheStatusMiddleware, cache_response, get_cache_manager, invalidate_cache"
DATABASE: Final = f'''
"""A shop with synchronous SQLAlchemy, whose endpoints are plain functions."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from .cache import {NAMES}


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "items"
    number: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int]


class Item(BaseModel):
    number: int
    price: int


engine = create_engine(
    "sqlite://", poolclass=StaticPool, connect_args={{"check_same_thread": False}}
)
Base.metadata.create_all(engine)
with Session(engine) as first:
    first.add(Row(number=1, price=100))
    first.commit()


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session)]
cache = get_cache_manager()
app = FastAPI()
app.add_middleware(CacheStatusMiddleware)


@app.get("/items/{{number}}", response_model=Item)
@cache_response(cache, key_prefix="items", tags=["item:{{number}}"], ignore=("session",))
def read(number: int, session: SessionDep) -> Item:
    return Item.model_validate(session.get_one(Row, number), from_attributes=True)


@app.put("/items/{{number}}")
@invalidate_cache(cache, tags=["item:{{number}}"])
def write(number: int, price: int, session: SessionDep) -> Item:
    row = session.get_one(Row, number)
    row.price = price
    session.commit()
    return Item(number=number, price=price)
'''


@dataclass(frozen=True, slots=True)
class Layout:
    """An application: its files, where the folder goes, its module, and what is on the path."""

    files: Files
    folder: str
    module: str
    path: str = "."


def importing(package: str, before: str = "") -> str:
    """Return an application that takes the cache from a package."""
    head = "from fastapi import FastAPI\nfrom pydantic import BaseModel\n\n"
    return f"{before}{head}from {package} import {NAMES}\n{READ}"


CONFIG: Final = """
from pydantic_settings import BaseSettings, SettingsConfigDict

class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore")
    title: str = "none"
    redis_host: str = "none"
"""
ASSERTED: Final = """
from .core.config import Settings
from .core.cache import CacheFactory
assert (Settings().title, Settings().redis_host) == ("The shop", "for-the-queue")
assert CacheFactory.get_cache_key_prefix() == "shop"
"""
LAYOUTS: Final = {
    "src": Layout(
        {"src/shop/__init__.py": "", "src/shop/main.py": importing("shop.cache")},
        *("src/shop/cache", "shop.main", "src"),
    ),
    "one file": Layout({"main.py": importing("cache")}, "cache", "main"),
    "deep": Layout(
        {"a/b/c/d/main.py": importing(".e.f.caching")}, "a/b/c/d/e/f/caching", "a.b.c.d.main"
    ),
    "a config.py of its own": Layout(
        {
            "app/__init__.py": "",
            "app/core/__init__.py": "from .config import Settings",
            "app/core/config.py": CONFIG,
            "app/main.py": importing(".core.cache", ASSERTED),
            ".env": "TITLE=The shop\nREDIS_HOST=for-the-queue\nCACHE_BACKEND=memory\n"
            "CACHE_KEY_PREFIX=shop\n",
        },
        *("app/core/cache", "app.main"),
    ),
    "synchronous SQLAlchemy": Layout({"shop/main.py": DATABASE}, "shop/cache", "shop.main"),
}


@pytest.fixture(scope="module")
def python(adopter: Path) -> Path:
    """Return an interpreter that has SQLAlchemy, too."""
    run(UV, "pip", "install", "--quiet", "--python", adopter, "sqlalchemy", cwd=adopter.parent)
    return adopter


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_folder_works_in(layout: Layout, python: Path, tmp_path: Path) -> None:
    """A miss, a hit, a write and a fresh read, without a warning; its own files stay."""
    write(tmp_path, layout.files)
    copy_cache(tmp_path / layout.folder)
    before = {name: (tmp_path / name).read_text() for name in layout.files}
    (tmp_path / "driver.py").write_text(DRIVER)
    requests = ("GET /items/1", "GET /items/1", "PUT /items/1?price=120", "GET /items/1")
    said = run(
        *(python, "-W", "error", "driver.py", layout.module, *requests),
        cwd=tmp_path,
        **environment(PYTHONPATH=layout.path),
    )
    old, new = {"number": 1, "price": 100}, {"number": 1, "price": 120}
    assert json.loads(said) == [
        [200, "fwd=miss; stored", old],
        [200, "hit", old],
        [200, "", new],
        [200, "fwd=miss; stored", new],
    ]
    assert {name: (tmp_path / name).read_text() for name in layout.files} == before

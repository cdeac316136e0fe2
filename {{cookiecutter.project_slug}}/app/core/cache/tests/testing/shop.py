"""An application that is cached rightly, and others that are wrong on purpose.

The decorators take the manager at import, as those of an application do; here it is shared.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.testclient import TestClient

from ... import (
    CacheManager,
    CacheMiddleware,
    CacheStatusMiddleware,
    MemoryBackend,
    cache_response,
    invalidate_cache,
)

manager = CacheManager(MemoryBackend())
rows: dict[str, str] = {}
"""The database: what is committed."""
counter = itertools.count(1)
app = FastAPI()
app.add_middleware(CacheMiddleware)


@contextmanager
def client_of(application: FastAPI = app) -> Iterator[TestClient]:
    """Lend a client of a started application, with an empty database."""
    rows.clear()
    rows["1"] = "Ada"
    with TestClient(application) as client:
        yield client


class NotCommitted:
    """A write that is committed when its dependency ends, after the response."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}


def session() -> Iterator[NotCommitted]:
    """Lend one."""
    made = NotCommitted()
    yield made
    rows.update(made.rows)


Session = Annotated[NotCommitted, Depends(session)]


@app.get("/rows/{row}")
@cache_response(manager, "shop-rows", tags=["row:{row}"])
async def read(row: str) -> dict[str, str]:
    return {"name": rows[row]}


@app.put("/rows/{row}")
@invalidate_cache(manager, tags=["row:{row}"])
async def write(row: str, name: str) -> dict[str, str]:
    rows[row] = name
    return {"name": name}


@app.put("/forgets/{row}")
async def write_and_forget(row: str, name: str) -> None:
    rows[row] = name


@app.put("/too-early/{row}")
@invalidate_cache(manager, tags=["row:{row}"])
async def write_too_late(row: str, name: str, session: Session) -> None:
    session.rows[row] = name


@app.put("/twice/{row}")
async def write_twice(row: str, name: str) -> None:
    """Invalidate between two commits, so that the half of it stays."""
    rows[row] = name[:1]
    await manager.invalidate_tags(f"row:{row}")
    await read(row)
    rows[row] = name


@app.put("/fails/{row}")
@invalidate_cache(manager, tags=["row:{row}"])
async def write_that_fails(row: str, name: str, response: Response) -> str:
    response.status_code = 409
    return "taken"


@app.get("/uncached")
async def uncached() -> int:
    return next(counter)


@app.get("/not-stored")
@cache_response(manager, "shop-not-stored")
async def not_stored(request: Request) -> str:
    return str(request.headers.get("x-user"))


@app.get("/counted")
@cache_response(manager, "shop-counted")
async def counted() -> int:
    return next(counter)


@app.get("/me")
@cache_response(manager, "shop-me")
async def me(x_user: Annotated[str, Header()]) -> str:
    return x_user


@app.get("/leaks")
@cache_response(manager, "shop-leaks", shared=True, ignore=("request",))
async def leaks(request: Request) -> str:
    return request.headers["x-user"]


@app.get("/for-everybody")
@cache_response(manager, "shop-for-everybody")
async def for_everybody() -> str:
    return "hello"


@cache_response(manager, "shop-computed")
async def computed(number: int) -> int:
    return number * next(counter)


@cache_response(manager, "shop-apart")
async def computed_apart(what: object) -> int:
    return next(counter)


@cache_response(manager, "shop-raising")
async def raising() -> int:
    raise ValueError("no such number")


class Numbering:
    """A middleware that adds a header, and more to a body, and differs each time."""

    def __init__(self, app: Any, *, name: bytes = b"x-request-id", status: bool = False) -> None:
        self.app, self.name, self.status = app, name, status

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def numbered(message: Any) -> None:
            if message["type"] == "http.response.start":
                number = next(counter)
                message["headers"] = [*message["headers"], (self.name, b"%d" % number)]
                message["status"] = 200 + number % 2 if self.status else message["status"]
            await send(message)

        await self.app(scope, receive, numbered)


def around(**options: Any) -> FastAPI:
    """Return an application that has something around the right one."""
    outer = FastAPI()
    outer.add_middleware(Numbering, **options)
    outer.mount("/", app)
    return outer


plain = FastAPI()
plain.get("/rows/{row}")(read)
"""An application without a middleware of the cache."""

status_only = FastAPI()
status_only.add_middleware(CacheStatusMiddleware)
status_only.get("/rows/{row}")(read)

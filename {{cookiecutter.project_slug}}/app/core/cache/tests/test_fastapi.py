"""The decorators and the `Cache-Status` header in a FastAPI application."""

from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field

from .. import (
    CacheManager,
    CacheStatusMiddleware,
    MemoryBackend,
    cache_response,
    invalidate_cache,
)


class Item(BaseModel):
    """What the example stores."""

    id: int
    name: str = Field(serialization_alias="label")


class Session:
    """Stands for what has no identity, as a database session."""


SessionDep = Annotated[Session, Depends(Session)]
STATUS = "cache-status"


@pytest.fixture
def client() -> Iterator[TestClient]:
    """Talk to an application with cached and uncached routes."""
    app = FastAPI()
    app.add_middleware(CacheStatusMiddleware)
    cache = CacheManager(MemoryBackend())
    names = {1: "one"}

    @app.get("/items/{item_id}")
    @cache_response(cache, key_prefix="items", ignore=("session",))
    async def read_item(
        item_id: int, session: SessionDep, full: Annotated[bool, Query()] = False
    ) -> Item:
        """Read one item."""
        if item_id not in names:
            raise HTTPException(404)
        return Item(id=item_id, name=names[item_id])

    @app.put("/items/{item_id}")
    @invalidate_cache(cache, keys=["items*"])
    async def write_item(item_id: int, name: str) -> Item:
        names[item_id] = name
        return Item(id=item_id, name=name)

    @app.get("/sync")
    @cache_response(cache, key_prefix="sync")
    def read_sync() -> dict[str, int]:
        return {"value": 1}

    @app.get("/response")
    @cache_response(cache, key_prefix="response")
    async def read_response() -> JSONResponse:
        return JSONResponse({"value": 1}, headers={"X-Own": "yes"})

    @app.get("/error")
    @cache_response(cache, key_prefix="error")
    async def read_error() -> JSONResponse:
        return JSONResponse({}, 503)

    @app.get("/session")
    @cache_response(cache, key_prefix="session")
    async def read_session(session: Annotated[object, Depends(Session)]) -> int:
        return 1

    @app.get("/plain")
    async def read_plain() -> int:
        return 1

    with TestClient(app) as client:
        yield client


def test_a_miss_then_a_hit(client: TestClient) -> None:
    """Both with the same bytes; arguments are parsed and checked as without the decorator."""
    miss, hit = client.get("/items/1"), client.get("/items/1")
    assert (miss.headers[STATUS], hit.headers[STATUS]) == ("app; fwd=miss; stored", "app; hit")
    assert miss.content == hit.content == b'{"id":1,"label":"one"}'
    assert client.get("/items/1?full=true").headers[STATUS] == "app; fwd=miss; stored"
    assert client.get("/items/x").status_code == 422


def test_a_write_then_a_fresh_read(client: TestClient) -> None:
    """The read after the write does not see the value from before."""
    client.get("/items/1")
    assert client.put("/items/1?name=two").json() == {"id": 1, "label": "two"}
    fresh = client.get("/items/1")
    assert (fresh.json()["label"], fresh.headers[STATUS]) == ("two", "app; fwd=miss; stored")


def test_an_error_is_not_a_hit(client: TestClient) -> None:
    """Raised or returned, it is made anew each time."""
    for _ in range(2):
        assert client.get("/items/7").status_code == 404
        response = client.get("/error")
        assert (response.status_code, response.headers[STATUS]) == (503, "app; fwd=miss")


def test_plain_functions_and_responses(client: TestClient) -> None:
    """Both are hits the second time, headers included."""
    for path in ("/sync", "/response"):
        miss, hit = client.get(path), client.get(path)
        assert (hit.headers[STATUS], hit.content) == ("app; hit", miss.content)
        assert hit.headers.get("x-own") == miss.headers.get("x-own")


def test_the_header_stands_where_a_cache_took_part(client: TestClient) -> None:
    """A bypass is told, and a route without a cached function has no such header."""
    assert client.get("/session").headers[STATUS] == "app; fwd=bypass"
    assert STATUS not in client.get("/plain").headers
    assert STATUS not in client.put("/items/1?name=x").headers


def test_the_schema_is_that_of_the_functions(client: TestClient) -> None:
    """Names, docstrings, parameters and models are seen through the decorators."""
    schema = client.get("/openapi.json").json()
    operation = schema["paths"]["/items/{item_id}"]["get"]
    assert operation["summary"] == "Read Item"
    assert operation["description"] == "Read one item."
    assert [each["name"] for each in operation["parameters"]] == ["item_id", "full"]
    assert schema["components"]["schemas"]["Item"]["required"] == ["id", "label"]

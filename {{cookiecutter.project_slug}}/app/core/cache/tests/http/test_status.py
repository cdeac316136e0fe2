"""The `Cache-Status` header: whose it is, and which call it tells of."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from ... import CacheManager, CacheStatusMiddleware, MemoryBackend, cache_response


def test_the_header_is_added_under_its_name_for_the_last_function() -> None:
    """What a cache before this one wrote stays, and the endpoint counts, not what it called."""
    app = FastAPI()
    app.add_middleware(CacheStatusMiddleware, name="shop")
    cache = CacheManager(MemoryBackend())

    @cache_response(cache, "inner")
    async def inner() -> int:
        return 1

    @app.get("/")
    @cache_response(cache, "outer")
    async def outer(number: int) -> JSONResponse:
        return JSONResponse(await inner(), headers={"Cache-Status": "upstream; hit"})

    with TestClient(app) as client:
        client.get("/?number=1")  # now `inner` is a hit
        headers = client.get("/?number=2").headers
    assert headers.get_list("cache-status") == ["upstream; hit", "shop; fwd=miss; stored"]


def test_only_cached_endpoints_have_the_header() -> None:
    """What an endpoint without `cache_response` calls says nothing about its response."""
    app = FastAPI()
    app.add_middleware(CacheStatusMiddleware)
    cache = CacheManager(MemoryBackend())

    @cache_response(cache, "inner")
    async def inner() -> int:
        number: int = await cache.get_or_set("number", lambda: 1)
        return number

    @app.get("/")
    async def outer() -> int:
        return await inner()

    with TestClient(app) as client:
        assert [client.get("/").headers.get("cache-status") for _ in range(2)] == [None, None]

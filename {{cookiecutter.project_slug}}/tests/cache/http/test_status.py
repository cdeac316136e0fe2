"""The `Cache-Status` header: whose it is, and which call it tells of."""

from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from app.core.cache import CacheManager, CacheStatusMiddleware, MemoryBackend, cache_response
from app.core.cache.coherence import Outcome, note


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


async def test_a_request_leaves_nothing_behind() -> None:
    """What a cached function does after it belongs to what goes on around it."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        note(Outcome.BYPASS)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def outer(scope: Any, receive: Any, send_outer: Any) -> None:
        await CacheStatusMiddleware(inner, "inner")(scope, receive, send)
        note(Outcome.HIT)
        await send_outer({"type": "http.response.start", "status": 200, "headers": []})

    application: Any = CacheStatusMiddleware(outer, "outer")
    await application({"type": "http"}, send, send)
    assert [message["headers"] for message in sent] == [
        [(b"cache-status", b"inner; fwd=bypass")],
        [(b"cache-status", b"outer; hit")],
    ]

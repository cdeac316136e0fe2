"""An application with the page of a cache, and a client on the same machine."""

from typing import Any

import httpx2
from fastapi import FastAPI

from ... import CacheManager, CacheMiddleware
from ...ops.page import cache_page

WRITES = {"X-Cache-Page": "1", "Content-Type": "application/json"}
"""What a request needs that changes something."""
LOCAL = ("127.0.0.1", 50000)


def application(manager: CacheManager | None, prefix: str = "/cache", **options: Any) -> FastAPI:
    """Return an application with the page, for this machine unless told otherwise."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware)
    app.include_router(cache_page(manager, **options or {"local_only": True}), prefix=prefix)
    return app


def client_of(
    app: FastAPI,
    *,
    client: tuple[str, int] | None = LOCAL,
    base: str = "http://localhost:8000",
    raises: bool = True,
) -> httpx2.AsyncClient:
    """Return a client of an application; `client` is its address."""
    transport = httpx2.ASGITransport(app, raise_app_exceptions=raises, client=client)  # type: ignore[arg-type] # there may be none
    return httpx2.AsyncClient(transport=transport, base_url=base)


async def ask(app: FastAPI, path: str, **params: Any) -> Any:
    """Return the JSON of a page of this application."""
    async with client_of(app) as client:
        reply = await client.get(path, params=params)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def invalidate(app: FastAPI, body: Any, **headers: str) -> httpx2.Response:
    """Send what the page sends to invalidate something."""
    async with client_of(app) as client:
        return await client.post("/cache/invalidate", json=body, headers={**WRITES, **headers})

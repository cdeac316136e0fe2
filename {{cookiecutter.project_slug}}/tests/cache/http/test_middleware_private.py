"""What `CacheMiddleware` tells proxies of responses that are not for everybody."""

from contextvars import ContextVar

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from app.core.cache import CacheManager, CacheMiddleware, MemoryBackend, cache_response

user: ContextVar[str] = ContextVar("user", default="nobody")


@pytest.mark.parametrize("status", [404, 410, 400, 500])
def test_p8_an_error_is_for_who_asked(status: int) -> None:
    """It is not stored, so nobody knows for whom it is; some caches keep those of a few statuses."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware)

    @app.get("/")
    @cache_response(CacheManager(MemoryBackend()), "it", vary=[user])
    async def endpoint() -> str:
        raise HTTPException(status)

    with TestClient(app) as client:
        answer = client.get("/")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (status, "private, no-cache")

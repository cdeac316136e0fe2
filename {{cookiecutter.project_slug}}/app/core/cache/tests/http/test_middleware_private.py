"""What `CacheMiddleware` tells proxies of responses that are not for everybody."""

from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.testclient import TestClient

from ... import CacheManager, CacheMiddleware, MemoryBackend, cache_response

user: ContextVar[str] = ContextVar("user", default="nobody")


def checked(x_user: Annotated[str, Header()]) -> None:
    if x_user != "ada":
        raise HTTPException(403)


def negotiated(accept_language: Annotated[str, Header()]) -> str:
    return accept_language


@pytest.mark.parametrize(
    ("gate", "private", "vary"),
    [
        (checked, True, "x-user"),
        (negotiated, False, "accept-language"),
        (HTTPBearer(), True, "authorization"),
        (APIKeyCookie(name="session"), True, "cookie"),
    ],
    ids=["header", "language", "bearer", "cookie"],
)
def test_p8_what_is_shared_behind_a_gate_passes_no_other(
    gate: Any, vary: str, *, private: bool
) -> None:
    """The answer is the same for all who get one, but a proxy does not know whom to refuse it."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware)

    @app.get("/", dependencies=[Depends(gate)])
    @cache_response(CacheManager(MemoryBackend()), "it", shared=True)
    async def endpoint() -> str:
        return "for those who are let in"

    known = {
        "Accept-Language": "de",
        "X-User": "ada",
        "Authorization": "Bearer ada",
        "Cookie": "session=ada",
    }
    with TestClient(app) as client:
        for _ in range(3):
            headers = client.get("/", headers=known).headers
            assert ("private" in headers["Cache-Control"]) is private
            assert headers["Vary"] == vary
        assert "; hit" in headers["Cache-Status"]


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

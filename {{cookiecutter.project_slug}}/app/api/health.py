"""Whether the service is alive, and whether its cache works."""

from typing import Final, Literal

import anyio
from fastapi import APIRouter
from pydantic import BaseModel

from app.core.cache import CacheFactory

READY_WITHIN: Final = 1.0
"""Seconds after which a cache that has not answered counts as down."""

router = APIRouter(prefix="/health", tags=["health"])


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The service takes requests. Without its cache it is slower, not broken."""

    status: Literal["ok", "degraded"]
    cache: Literal["up", "down"]


@router.get("/live")
async def live() -> Liveness:
    """Answer without asking anything else. Whoever restarts the service on failure asks here."""
    return Liveness()


@router.get("/ready")
async def ready() -> Readiness:
    """Answer within `READY_WITHIN`, always with 200: a cache that is down stops no request."""
    up = False
    with anyio.move_on_after(READY_WITHIN):
        up = await CacheFactory.health_check_cache()
    return Readiness(status="ok" if up else "degraded", cache="up" if up else "down")

"""The way from `/` to the docs page."""

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home(request: Request) -> RedirectResponse:
    """Lead to the docs page, behind a proxy that strips a prefix, too."""
    prefix = request.scope.get("root_path", "").rstrip("/")
    return RedirectResponse(f"{prefix}/docs", headers={"Cache-Control": "no-store"})

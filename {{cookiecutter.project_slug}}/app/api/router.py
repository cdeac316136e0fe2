"""All routes of the service."""

from fastapi import APIRouter

# % if cookiecutter.example_resource
from app.api import health, home, metrics
from app.api.users import router as users

# % else
from app.api import health, home, metrics

# % endif
router = APIRouter()
router.include_router(home.router)
router.include_router(health.router)
router.include_router(metrics.router)
# % if cookiecutter.example_resource
router.include_router(users)
# % endif

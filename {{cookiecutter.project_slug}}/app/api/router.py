"""All routes of the service."""

from fastapi import APIRouter

# % if cookiecutter.example_resource
from app.api import health, users

# % else
from app.api import health

# % endif
router = APIRouter()
router.include_router(health.router)
# % if cookiecutter.example_resource
router.include_router(users.router)
# % endif

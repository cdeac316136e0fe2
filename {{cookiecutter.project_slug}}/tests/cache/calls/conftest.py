"""What tests of cached calls share."""

import pytest
from fastapi import FastAPI

from app.core.cache import CachedRoute, CacheStatusMiddleware


@pytest.fixture(params=["plain", "cached"])
def app(request: pytest.FixtureRequest) -> FastAPI:
    """Lend an application with plain routes, and one with those that send again what was sent."""
    app = FastAPI()
    app.add_middleware(CacheStatusMiddleware)
    if request.param == "cached":
        app.router.route_class = CachedRoute
    return app

"""The application: `app` for servers, `create_app` for everybody else."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from app.api.router import router
from app.core.cache import CacheFactory, CacheStatusMiddleware, get_cache_manager
from app.core.config import Settings
# % if cookiecutter.example_resource
from app.core.database import open_database
# % endif
from app.core.logging import configure_logging


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make an application. Nothing is opened before it starts, and all is closed when it stops."""
    settings = settings or Settings()
    configure_logging(settings.log_level)
    get_cache_manager()  # reads its settings, so that a wrong one is an error now, not later

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(CacheFactory.close_cache_manager)
            # % if cookiecutter.example_resource
            url = settings.database_url.get_secret_value()
            app.state.sessions = await stack.enter_async_context(open_database(url))
            # % endif
            yield

    app = FastAPI(title=settings.app_name, lifespan=lifespan)
    app.add_middleware(CacheStatusMiddleware)
    app.include_router(router)
    return app


app = create_app()

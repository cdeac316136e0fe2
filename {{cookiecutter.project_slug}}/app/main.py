"""The application: `app` for servers, `create_app` for everybody else."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from app.core.cache import CacheFactory, CacheMiddleware, get_cache_manager
from app.core.cache.ops import audit_cache
from app.core.config import Settings
# % if cookiecutter.example_resource
from app.core.database import open_database
# % endif
from app.core.logging import configure_logging
from app.core.request_id import RequestIdMiddleware

logger = logging.getLogger(__name__)


class Service(FastAPI):
    """An application whose requests have an id, those that end in an exception too."""

    def build_middleware_stack(self) -> ASGIApp:
        """Put `RequestIdMiddleware` around all, which `add_middleware` cannot do."""
        return RequestIdMiddleware(super().build_middleware_stack())


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make an application. Nothing is opened before it starts, and all is closed when it stops."""
    settings = settings or Settings()
    configure_logging(settings.log_level, settings.log_format)
    make_cache(settings.cache_key_prefix)
    # Their modules use the cache, which is made now.
    from app.api.cache import page_router  # noqa: PLC0415
    from app.api.router import router  # noqa: PLC0415

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(CacheFactory.close_cache_manager)
            # % if cookiecutter.example_resource
            url = settings.database_url.get_secret_value()
            app.state.sessions = await stack.enter_async_context(open_database(url))
            # % endif
            yield

    app = Service(title=settings.app_name, lifespan=lifespan)
    app.add_middleware(CacheMiddleware)  # before all others, so that it is the innermost
    # Before routes such as `/{name}`, as FastAPI's own pages are.
    app.include_router(page_router(settings.cache_page, settings.cache_publish_seconds))
    app.include_router(router)
    audit_cache(app, level=settings.cache_audit)
    return app


def make_cache(key_prefix: str) -> None:
    """Make the cache that all share. A wrong setting of it is an error now, and not later."""
    os.environ["CACHE_KEY_PREFIX"] = key_prefix  # it reads its settings itself
    made = get_cache_manager().key_prefix
    if made != key_prefix:
        logger.warning(
            "The keys of the cache begin with %r and not with %r, because get_cache_manager() was "
            "called before create_app(). Call it in modules of app.api, which are imported later.",
            made,
            key_prefix,
        )


app = create_app()

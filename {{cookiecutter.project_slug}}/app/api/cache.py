"""The page of the cache, `/cache`, for those whom `CACHE_PAGE` names."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Final

from fastapi import APIRouter, Depends

from app.core.cache import get_cache_manager
from app.core.cache.ops.counters import publishing
from app.core.cache.ops.page import cache_page

PATH: Final = "/cache"


def page_router(setting: str, publish_seconds: float) -> APIRouter:
    """Make the router of the page. With "off" it has no route, and nothing is counted.

    With "local" it answers to this machine only. All else names a dependency, `package.module:name`,
    which raises for whoever may not see the page. Raises `ValueError` if there is none by that name.

    While the service runs, each process publishes its counters every `publish_seconds`; 0: it does not.
    """
    if setting == "off":
        return APIRouter()

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        if publish_seconds:
            async with publishing(get_cache_manager(), every=publish_seconds):
                yield
        else:
            yield

    router = APIRouter(lifespan=lifespan)
    if setting == "local":
        page = cache_page(local_only=True)
    else:
        page = cache_page(dependencies=[Depends(dependency_named(setting))])
    router.include_router(page, prefix=PATH)
    return router


def dependency_named(name: str) -> Callable[..., Any]:
    """Import the dependency that guards the page."""
    module, _, attribute = name.partition(":")
    what = f"CACHE_PAGE={name!r} must be off, local, or package.module:name of a dependency"
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise ValueError(what)
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{what}; it cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(  # noqa: TRY004 - the value of the setting is wrong
            f"{what}; this is a {type(found).__name__}, which cannot be called"
        )
    dependency: Callable[..., Any] = found
    return dependency

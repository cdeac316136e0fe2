"""What an audit finds of decorated functions at their routes (promise P10): wrong, then mended."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.routing import Mount, Route

from ... import (
    CacheManager,
    CacheMiddleware,
    MemoryBackend,
    cache_response,
    invalidate_cache,
)
from ..naming import named
from .audited import around, findings, the_finding

Wrong = Callable[[FastAPI, CacheManager], None]
"""Adds to an application what is wrong."""


# A decorator above that of the route.


def above_a_route(app: FastAPI, manager: CacheManager) -> None:
    @cache_response(manager, "own")
    @app.get("/it")
    async def read_it() -> int:
        return 1


def above_with_something_between(app: FastAPI, manager: CacheManager) -> None:
    @cache_response(manager, "own")
    @around
    @app.get("/it")
    async def read_it() -> int:
        return 1


def above_a_route_of_a_router(app: FastAPI, manager: CacheManager) -> None:
    router = APIRouter()

    @cache_response(manager, "own")
    @router.get("/it")
    def read_it() -> int:
        return 1

    app.include_router(router, prefix="/in")


def invalidation_above(app: FastAPI, manager: CacheManager) -> None:
    @invalidate_cache(manager, keys="own:*")
    @app.post("/it")
    async def read_it() -> int:
        return 1


def invalidation_above_a_cached_route(app: FastAPI, manager: CacheManager) -> None:
    @invalidate_cache(manager, keys="own:*")
    @app.get("/it")
    @cache_response(manager, "own")
    async def read_it() -> int:
        return 1


def above_one_of_two_routes(app: FastAPI, manager: CacheManager) -> None:
    @cache_response(manager, "own")
    @app.get("/it")
    @app.get("/same")
    async def read_it() -> int:
        return 1


def above_a_route_of_starlette(app: FastAPI, manager: CacheManager) -> None:
    async def read_it(request: Request) -> Response:
        return Response()

    app.router.routes.append(Mount("/in", routes=[Route("/it", read_it)]))
    cache_response(manager, "own")(read_it)


@pytest.mark.parametrize(
    "wrong",
    [
        above_a_route,
        above_with_something_between,
        above_a_route_of_a_router,
        invalidation_above,
        invalidation_above_a_cached_route,
        above_a_route_of_starlette,
    ],
)
def test_p10_a_decorator_above_the_route_is_found(wrong: Wrong, memory: CacheManager) -> None:
    """Also when what it made was forgotten, and when something is in between."""
    app = FastAPI()
    wrong(app, memory)
    found = the_finding(app, "misplaced", "below the decorator of the route", "read_it")
    assert "read_it)" in found.where
    name = "invalidate_cache" if "invalidation" in wrong.__name__ else "cache_response"
    assert name in found.what
    assert name in found.mend


def test_p10_a_decorator_above_two_routes_is_found_at_each(memory: CacheManager) -> None:
    """FastAPI calls it for neither."""
    app = FastAPI()
    above_one_of_two_routes(app, memory)
    assert [each.kind for each in findings(app)] == ["misplaced"] * 2


def test_p10_two_decorators_above_the_route_are_one_finding(memory: CacheManager) -> None:
    """It names both."""
    app = FastAPI()

    @invalidate_cache(memory, keys="own:*")
    @cache_response(memory, "own")
    @app.get("/it")
    async def read_it() -> int:
        return 1

    the_finding(app, "misplaced", "cache_response and invalidate_cache", "read_it")


def test_p10_a_decorator_below_the_route_is_right(memory: CacheManager) -> None:
    """On any router, below others, and on two routes."""
    app, router = FastAPI(), APIRouter()

    @app.get("/it")
    @router.get("/other")
    @around
    @invalidate_cache(memory, keys="own:*")
    @cache_response(memory, "own")
    async def read_it() -> int:
        return 1

    app.include_router(router)
    assert findings(app) == []


def read_twice() -> int:
    """Return a number; one route calls it cached, another one as it is."""
    return 1


def test_p10_one_route_cached_and_another_one_not_may_be_meant(memory: CacheManager) -> None:
    """The name of the function leads to what has no decorator."""
    app = FastAPI()
    app.get("/fresh")(read_twice)
    app.get("/cached")(cache_response(memory, "own")(read_twice))

    def local() -> int:
        return 1

    app.get("/local")(local)
    app.get("/cached/local")(cache_response(memory, "local")(local))
    by_hand: Any = cache_response(memory, "hand")(read_twice)
    assert findings(app) == []
    assert by_hand is not read_twice


# Methods.


@pytest.mark.parametrize("options", [{}, {"method": "GET"}], ids=named)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_p10_a_cached_write_method_is_found(
    method: str, options: dict[str, Any], memory: CacheManager
) -> None:
    """And names the decorator that is for it; a method that is named is right."""
    app = FastAPI()

    @app.api_route("/it", methods=[method])
    @cache_response(memory, "own", **options)
    async def write_it() -> int:
        return 1

    found = the_finding(app, "method", "write_it", "invalidate_cache", f"method={method!r}")
    assert found.where.startswith(f"{method} /it (")
    assert found.mend.index("take cache_response off") < found.mend.index("only if")

    right = FastAPI()

    @right.api_route("/it", methods=[method])
    @cache_response(memory, "other", method=method)
    async def search_it() -> int:
        return 1

    assert findings(right) == []


def test_p10_a_method_that_no_route_takes_is_found(memory: CacheManager) -> None:
    """For which it was named; at each of its routes."""
    app = FastAPI()

    @app.get("/it")
    @app.delete("/it")
    @cache_response(memory, "own", method="POST")
    async def read_it() -> int:
        return 1

    assert [each.kind for each in findings(app)] == ["method", "method"]


@pytest.mark.parametrize("methods", [["GET"], ["GET", "POST"], ["HEAD"]], ids=named)
def test_p10_one_route_with_the_method_is_enough(methods: list[str], memory: CacheManager) -> None:
    """The others run each time, and may be meant so; a dependency has no method."""
    app = FastAPI()

    @app.api_route("/it", methods=methods)
    @app.post("/other")
    @cache_response(memory, "own")
    async def read_it() -> int:
        return 1

    @cache_response(memory, "setting")
    async def setting() -> int:
        return 1

    @app.post("/third")
    async def third(value: Annotated[int, Depends(setting)]) -> int:
        return value

    assert findings(app) == []


# Lifetimes.

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("options", "is_wrong"),
    [
        ({"tags": ["a"], "expire": 31 * 86400}, True),
        ({"tags": ["a"], "expire": timedelta(days=365)}, True),
        ({"tags": ["a"], "expire": 20 * DAY, "stale": 11 * DAY}, True),
        ({"tags": [lambda value: ["a"]], "expire": 31 * DAY}, True),
        ({"tags": ["a"], "expire": 30 * DAY}, False),
        ({"tags": ["a"], "expire": 20 * DAY, "stale": 10 * DAY}, False),
        ({"expire": 365 * DAY}, False),
    ],
    ids=named,
)
def test_p10_an_entry_that_outlives_its_tags_is_found(
    options: dict[str, Any], is_wrong: bool, memory: CacheManager
) -> None:
    """By `expire`, or with `stale`; without tags there is nothing to outlive."""
    app = FastAPI()

    @app.get("/it")
    @cache_response(memory, "own", **options)
    async def read_it() -> int:
        return 1

    if is_wrong:
        the_finding(app, "lifetime", "read_it", "expire=2592000")
    else:
        assert findings(app) == []


@pytest.mark.parametrize("invalidates", [True, False])
def test_p10_the_tags_of_unsafe_methods_count(invalidates: bool, memory: CacheManager) -> None:
    """With that option of the middleware each endpoint has some."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware, invalidate_unsafe=invalidates)

    @app.get("/it")
    @cache_response(memory, "own", expire=365 * DAY)
    async def read_it() -> int:
        return 1

    assert [each.kind for each in findings(app)] == ["lifetime"] * invalidates


def test_p10_the_default_lifetime_counts() -> None:
    """That of the manager."""
    app, manager = FastAPI(), CacheManager(MemoryBackend(), default_ttl=40 * 86400)

    @app.get("/it")
    @cache_response(manager, "own", tags=["a"])
    async def read_it() -> int:
        return 1

    the_finding(app, "lifetime", "read_it")

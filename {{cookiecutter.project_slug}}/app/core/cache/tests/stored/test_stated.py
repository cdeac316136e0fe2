"""What a response says holds for its entry, in every way in which it is stored (P1, P8)."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.templating import Jinja2Templates

from ... import (
    CachedRoute,
    CacheManager,
    CacheStatusMiddleware,
    cache_response,
)
from ..coherence.test_freshness import elapse
from ..endpoints import get
from ..internals import lifetime

SHORT = timedelta(milliseconds=150)
HIT, STORED, NOT_STORED = "app; hit", "app; fwd=miss; stored", "app; fwd=miss"


async def statuses(app: FastAPI, count: int = 2, path: str = "/it") -> list[str]:
    """Return what the cache did for each of some requests."""
    return [(await get(app, path)).headers["cache-status"] for _ in range(count)]


class Brief(JSONResponse):
    """A response class that says how long its answers are fresh."""

    def init_headers(self, headers: Any = None) -> None:
        super().init_headers(headers)
        self.headers["Cache-Control"] = "max-age=30"


def returned() -> JSONResponse:
    return JSONResponse([1], headers={"Cache-Control": "max-age=30"})


def injected(response: Response) -> list[int]:
    response.headers["Cache-Control"] = "public, s-maxage=30, max-age=600"
    return [1]


def expiring(response: Response) -> list[int]:
    response.headers["Cache-Control"] = "max-age=30"
    response.headers["Expires"] = "Fri, 01 Jan 2100 00:00:00 GMT"
    return [1]


@pytest.mark.parametrize("function", [returned, injected, expiring])
@pytest.mark.parametrize("stale", [0, 60])
async def test_p8_an_entry_never_outlives_what_its_response_says(
    app: FastAPI, memory: CacheManager, function: Any, stale: int
) -> None:
    """Whatever `expire` is; stale it may be, unless it says how long for everybody."""
    cached = cache_response(memory, "it", expire=600, stale=stale)(function)
    app.get("/it")(cached)
    assert await statuses(app) == [STORED, HIT]
    key = cached.cache_key(**({} if function is returned else {"response": Response()}))
    allowed = 30 + (0 if function is injected else stale)
    assert allowed - 10 < lifetime(memory, key) <= allowed


async def test_p8_what_a_response_class_says_counts_as_well(memory: CacheManager) -> None:
    """An answer that says that it lives shorter than its entry is not stored."""
    app = FastAPI()
    app.add_middleware(CacheStatusMiddleware)
    app.router.route_class = CachedRoute

    @app.get("/it", response_class=Brief)
    @cache_response(memory, "it", expire=600)
    async def it() -> list[int]:
        return [1]

    assert await statuses(app) == [NOT_STORED, NOT_STORED]


class Own(Response):
    """A response class of somebody's own, which nobody names."""

    media_type = "text/plain"


async def test_p1_every_class_with_a_body_is_sent_again(
    our_manager: CacheManager, tmp_path: Any
) -> None:
    """Templates and classes of one's own, as they were sent, whatever the annotation says."""
    (tmp_path / "page.html").write_text("<p>{{ name }}</p>")
    templates = Jinja2Templates(tmp_path)
    app = FastAPI()
    app.add_middleware(CacheStatusMiddleware)
    app.router.route_class = CachedRoute

    @app.get("/template")
    @cache_response(our_manager, "template")
    async def template(request: Request) -> HTMLResponse:
        return templates.TemplateResponse(request, "page.html", {"name": "Ada"})

    @app.get("/own")
    @cache_response(our_manager, "own")
    async def own() -> Response:
        return Own("text", headers={"X-Own": "1", "Connection": "close"})

    for path in ("/template", "/own"):
        miss, hit = await get(app, path), await get(app, path)
        assert [miss.headers.pop("cache-status"), hit.headers.pop("cache-status")] == [STORED, HIT]
        assert (hit.status_code, hit.content) == (miss.status_code, miss.content)
        assert hit.headers.get("content-type") == miss.headers["content-type"]
        assert hit.headers.get("x-own") == miss.headers.get("x-own")
        assert "connection" not in hit.headers


async def test_p8_vary_of_what_the_key_holds_may_be_stored(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """A header that is named in `vary=`, and none that is not."""

    async def say(response: Response) -> int:
        response.headers["Vary"] = "Accept-Language"
        return 1

    app.get("/known")(cache_response(our_manager, "known", vary=("accept-language",))(say))
    app.get("/unknown")(cache_response(our_manager, "unknown")(say))
    assert await statuses(app, path="/known") == [STORED, HIT]
    assert await statuses(app, path="/unknown") == [NOT_STORED, NOT_STORED]


async def test_p5_a_failure_that_is_set_on_the_response_leaves_the_old_entry(
    app: FastAPI, memory: CacheManager
) -> None:
    """The stale answer is sent as it was: with its status, and without the failure's headers."""
    answers = iter([200, 503, 503])

    async def tags(response: Response) -> None:
        response.headers["X-Dependency"] = "1"

    @app.get("/it", dependencies=[Depends(tags)])
    @cache_response(memory, "it", SHORT, stale=600)
    async def it(response: Response) -> list[int]:
        status = next(answers)
        response.status_code = status
        response.headers["X-Status"] = str(status)
        return [status]

    first = await get(app)
    await elapse(SHORT.total_seconds())
    second = await get(app)
    assert (second.status_code, second.json()) == (first.status_code, first.json()) == (200, [200])
    assert second.headers["x-status"] == "200"
    assert second.headers["x-dependency"] == "1"


async def test_p8_what_is_handed_in_is_not_handed_on(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """A response that a dependency made, or that FastAPI fills in, is of this request."""

    async def made() -> Response:
        return JSONResponse("of this request")

    @app.get("/it")
    @cache_response(our_manager, "it", ignore=("made",))
    async def it(made: Annotated[Any, Depends(made)]) -> Response:
        await asyncio.sleep(0)
        response: Response = made
        return response

    assert await statuses(app) == [NOT_STORED, NOT_STORED]

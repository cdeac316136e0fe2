"""Endpoints whose raised `HTTPException` is stored: the application's handlers run as ever."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException as OfStarlette

from ... import CacheManager, cache_response
from ..endpoints import sent
from .clients import ALICE, BOB, HIT, STORED, ask, statuses

ENDPOINT: dict[str, Any] = {"cache_status": {404}}


def without_status(answers: list[Any]) -> list[Any]:
    """Return what the clients see, but for the header that the cache adds."""
    return [sent(each) for each in answers]


@pytest.mark.parametrize("cls", [HTTPException, OfStarlette])
@pytest.mark.parametrize("how", ["async", "plain"])
async def test_p1_a_hit_is_the_answer_of_the_miss(
    app: FastAPI, our_manager: CacheManager, cls: Any, how: str
) -> None:
    """Status, body and headers, also for HEAD."""
    runs: list[int] = []

    def plain(number: int) -> dict[str, int]:
        runs.append(number)
        raise cls(404, f"no {number}", {"X-A": "b", "Cache-Control": "max-age=60"})

    async def awaited(number: int) -> dict[str, int]:
        return plain(number)

    endpoint = cache_response(our_manager, "it", **ENDPOINT)(plain if how == "plain" else awaited)
    app.api_route("/{number}", methods=["GET", "HEAD"])(endpoint)
    answers = await ask(app, {"url": "/1"}, {"url": "/1"}, {"url": "/2"}, {"url": "/1"})
    assert without_status(answers)[0] == without_status(answers)[1] == without_status(answers)[3]
    assert answers[0].json() == {"detail": "no 1"}
    assert answers[0].headers["x-a"] == "b"
    assert [each.headers["cache-status"] for each in answers] == [STORED, HIT, STORED, HIT]
    (head,) = await ask(app, {"url": "/1", "method": "HEAD"})
    assert (head.status_code, head.headers["x-a"]) == (404, "b")
    assert head.headers["cache-status"] == HIT
    assert runs == [1, 2]


async def test_two_applications_have_their_own_handlers(our_manager: CacheManager) -> None:
    """One entry, two answers; a handler runs for each request, and sees an exception as it was."""
    seen: list[Any] = []

    @cache_response(our_manager, "it", **ENDPOINT)
    async def it() -> int:
        raise HTTPException(404, {"code": 7})

    def page(_: Request, error: Any) -> Response:
        seen.append((type(error), error.detail, error.headers))
        return PlainTextResponse(f"page {error.detail['code']}", error.status_code)

    async def problem(request: Request, error: Any) -> Response:
        seen.append((type(error), error.detail, error.headers))
        detail = [error.detail["code"], request.headers["authorization"]]
        return JSONResponse(detail, 499)

    one = FastAPI()
    one.add_exception_handler(404, page)
    other = FastAPI()
    other.add_exception_handler(HTTPException, problem)
    for each in (one, other):
        each.get("/")(it)
    for _ in range(2):
        (answer,) = await ask(one, {})
        assert (answer.status_code, answer.text) == (404, "page 7")
        answers = await ask(other, {"headers": ALICE}, {"headers": BOB})
        assert [each.json() for each in answers] == [[7, "alice"], [7, "bob"]]
        assert {each.status_code for each in answers} == {499}
    assert seen == [(HTTPException, {"code": 7}, None)] * 6


async def test_two_routes_of_one_function_share_it(app: FastAPI, our_manager: CacheManager) -> None:
    """However each renders what is returned."""

    @cache_response(our_manager, "it", **ENDPOINT)
    async def it() -> str:
        raise HTTPException(404)

    app.get("/a")(it)
    app.get("/b", response_class=PlainTextResponse, status_code=202)(it)
    assert await statuses(app, {"url": "/a"}, {"url": "/b"}, {"url": "/a"}) == [STORED, HIT, HIT]


async def test_p8_two_users_have_their_own(app: FastAPI, our_manager: CacheManager) -> None:
    """What is read of the request and is not in the key keeps the exception from being stored."""

    @app.get("/read")
    @cache_response(our_manager, "read", **ENDPOINT)
    async def read(request: Request) -> str:
        raise HTTPException(404, request.headers["authorization"])

    @app.get("/varied")
    @cache_response(our_manager, "varied", vary=("authorization",), **ENDPOINT)
    async def varied(request: Request) -> str:
        raise HTTPException(404, request.headers["authorization"], {"Vary": "Authorization"})

    for path, outcomes in (("/read", (None, None)), ("/varied", (STORED, HIT))):
        for outcome in outcomes:
            for headers, name in ((ALICE, "alice"), (BOB, "bob")):
                (answer,) = await ask(app, {"url": path, "headers": headers})
                assert answer.json() == {"detail": name}
                assert answer.headers.get("cache-status") == outcome


async def test_dependencies_run_on_a_hit_and_their_headers_are_not_sent(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """FastAPI sends none with an exception, on a miss neither; what the function set is not sent."""
    ended: list[str] = []

    async def dependency(response: Response) -> Any:
        response.headers["X-Dependency"] = "yes"
        response.set_cookie("session", "its own")
        try:
            yield
        except HTTPException as error:
            ended.append(error.detail)
            raise

    router = APIRouter(route_class=app.router.route_class, dependencies=[Depends(dependency)])

    @router.get("/")
    @cache_response(our_manager, "it", **ENDPOINT)
    async def it(response: Response) -> str:
        response.headers["X-Function"] = "yes"
        raise HTTPException(404)

    app.include_router(router)
    answers = await ask(app, {}, {}, {})
    assert [each.headers["cache-status"] for each in answers] == [STORED, HIT, HIT]
    assert {"x-dependency", "x-function", "set-cookie"}.isdisjoint(answers[1].headers)
    assert without_status(answers) == without_status(answers[:1]) * 3
    assert ended == ["Not Found"] * 3


async def test_one_that_scheduled_a_task_is_not_stored(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """And another one is."""

    @app.get("/")
    @cache_response(our_manager, "it", **ENDPOINT)
    async def it(tasks: BackgroundTasks, has_task: bool = False) -> str:
        if has_task:
            tasks.add_task(print)
        raise HTTPException(404)

    answers = await ask(app, *[{"url": "/?has_task=1"}] * 2, {}, {})
    assert {each.status_code for each in answers} == {404}
    assert [each.headers.get("cache-status") for each in answers] == [None, None, STORED, HIT]


async def test_a_cached_dependency_raises_it_too(app: FastAPI, our_manager: CacheManager) -> None:
    """Then the endpoint does not run."""
    runs: list[str] = []

    @cache_response(our_manager, "found", **ENDPOINT)
    async def found(name: str) -> str:
        runs.append(name)
        raise HTTPException(404, name)

    @app.get("/{name}")
    async def it(it: Annotated[str, Depends(found)]) -> str:
        return it

    answers = await ask(app, {"url": "/a"}, {"url": "/a"}, {"url": "/b"})
    assert [each.json()["detail"] for each in answers] == ["a", "a", "b"]
    assert runs == ["a", "b"]


async def test_many_at_once_run_it_once(app: FastAPI, our_manager: CacheManager) -> None:
    """Each has the same answer."""
    runs: list[int] = []

    @app.get("/")
    @cache_response(our_manager, "it", **ENDPOINT)
    async def it() -> str:
        runs.append(1)
        raise HTTPException(404, ["no"], {"X-A": "b"})

    answers = await ask(app, *[{} for _ in range(20)], at_once=True)
    assert without_status(answers) == without_status(answers[:1]) * 20
    assert runs == [1]

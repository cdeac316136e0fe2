"""One function on several routes: which of them it was is known by method and path (P8)."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request

from ... import CacheManager, MemoryBackend, cache_response
from ..endpoints import get

Read = Callable[[Request], str]
READS: dict[str, Read] = {
    "the name of the route": lambda request: str(request.scope["route"].name),
    "its path and methods": lambda request: str(
        (request.scope.get("route").path, request["route"].methods)  # type: ignore[union-attr]
    ),
    "its endpoint": lambda request: str(request["endpoint"].__name__),
}
ASKED = [("GET", "/a"), ("GET", "/b"), ("POST", "/b")]


async def runs_and_answers(read: Read, **options: Any) -> tuple[int, list[str]]:
    """Return how often a function ran that stands on three routes, and what two rounds got."""
    app = FastAPI()
    runs: list[int] = []

    @cache_response(CacheManager(MemoryBackend()), "it", **options)
    async def it(request: Request) -> str:
        runs.append(1)
        return read(request)

    def under(name: str) -> Any:
        async def endpoint(request: Request) -> str:
            return await it(request)

        endpoint.__name__ = name
        return endpoint

    for method, path in ASKED:
        app.add_api_route(path, under(f"{method} {path}"), methods=[method])
    answers = [(await get(app, path, method)).json() for method, path in ASKED * 2]
    return len(runs), answers


@pytest.mark.parametrize(
    "options",
    [{"ignore": ("request",)}, {"key": "x"}, {"key": "{request.url.path}"}],
    ids=["ignored", "a key", "the path"],
)
@pytest.mark.parametrize("read", READS)
async def test_p8_by_which_route_a_function_was_reached_is_not_for_the_others(
    read: str, options: dict[str, Any]
) -> None:
    """It is not stored where the key may be that of another route."""
    runs, answers = await runs_and_answers(READS[read], **options)
    assert len(set(answers)) == len(ASKED)
    assert answers[: len(ASKED)] == answers[len(ASKED) :]
    assert runs == 2 * len(ASKED)


@pytest.mark.parametrize("options", [{}, {"key": "{request.method}:{request.url.path}"}], ids=str)
@pytest.mark.parametrize("read", READS)
async def test_p1_by_which_route_a_function_was_reached_is_stored_with_method_and_path(
    read: str, options: dict[str, Any]
) -> None:
    """As they are in the key of the function."""
    runs, answers = await runs_and_answers(READS[read], **options)
    assert len(set(answers)) == len(ASKED)
    assert runs == len(ASKED)

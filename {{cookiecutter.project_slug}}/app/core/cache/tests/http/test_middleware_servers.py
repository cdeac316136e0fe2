"""`CacheMiddleware` under servers and in places that one does not think of first."""

import asyncio
import gc
import threading
import time
import weakref
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Response
from starlette.types import Receive, Scope, Send

from ... import CacheManager, CacheMiddleware, MemoryBackend, cache_response
from ..package import NAME
from .origin import STATUS, TIMES, ask

_CONTEXT = "effective_route_context"  # of newer versions of FastAPI


def application(manager: CacheManager, **options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(CacheMiddleware, name="t")

    @app.get("/it")
    @cache_response(manager, "it", **options)
    async def it() -> int:
        return 1

    return app


async def test_p5_a_server_may_have_headers_as_lists(exact: CacheManager) -> None:
    """ASGI says that a header is any iterable of two."""
    app = application(exact, vary=("accept",))

    async def with_lists(scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"] = [list(line) for line in scope["headers"]]
        await app(scope, receive, send)

    for _ in range(TIMES):
        answer = await ask(with_lists, headers={"accept": "a"})
        assert answer.body == b"1"
    assert answer.is_early


async def test_p1_middlewares_outside_find_the_route(exact: CacheManager) -> None:
    """Some measure by the path of the route, which is in the scope after the response."""
    app, router, scopes = FastAPI(), APIRouter(), []
    app.add_middleware(CacheMiddleware)

    @router.get("/it/{number}")
    @cache_response(exact, "it")
    async def it(number: int) -> int:
        return number

    app.include_router(router, prefix="/of")

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        scopes.append({name: scope.get(name) for name in ("route", "router", "path_params")})
        scopes[-1]["path"] = getattr(scope.get("fastapi", {}).get(_CONTEXT), "path", None)

    for _ in range(TIMES):
        answer = await ask(around, "/of/it/1")
    assert answer.is_early
    assert all(each == scopes[0] for each in scopes)


async def test_p1_a_head_of_its_own_after_the_get(exact: CacheManager) -> None:
    app = application(exact)

    @app.head("/it")
    async def head() -> Response:
        return Response(headers={"x-own": "1"})

    for _ in range(TIMES):
        answer = await ask(app, method="HEAD")
        assert (answer.says("x-own"), answer.says(STATUS)) == ("1", None)


async def test_p1_a_head_of_what_is_mounted_below(exact: CacheManager) -> None:
    """The GET comes first, and so does its HEAD."""
    app = application(exact)
    app.mount("/", Response(status_code=404))
    for _ in range(TIMES):
        assert (await ask(app, method="HEAD")).status == 200


async def test_p3_around_an_application_it_starts_and_invalidates(
    exact: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A server knows no application when it starts, nor at the beginning of a request."""
    app, runs = FastAPI(), []

    @app.get("/it")
    @cache_response(exact, "it")
    async def it() -> int:
        runs.append(1)
        return len(runs)

    @app.post("/it")
    async def change() -> None: ...

    around, sent = CacheMiddleware(app, invalidate_unsafe=True), []
    messages = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

    async def receive() -> Any:
        return messages.pop()

    async def send(message: Any) -> None:
        sent.append(message["type"])

    with caplog.at_level("INFO", NAME):
        await around({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    for expected in (b"1", b"2"):
        for _ in range(TIMES):
            assert (await ask(around)).body == expected
        assert (await ask(around, method="POST")).status == 200
    assert any("not the innermost" in each for each in caplog.messages)


@pytest.mark.parametrize("name", [5, b"t", None])
def test_a_name_that_is_no_text(name: Any) -> None:
    with pytest.raises(TypeError, match="name="):
        CacheMiddleware(FastAPI(), name=name)


async def test_p5_a_request_needs_no_garbage_collector() -> None:
    """A cycle in each request would cost routes that are not cached more than all the rest."""

    class State(dict[str, Any]):
        """A dictionary that can be referred to weakly."""

    async def is_left(app: FastAPI) -> bool:
        @app.get("/plain")
        async def plain() -> int:
            return 1

        await ask(app, "/plain")
        state = State()
        seen = weakref.ref(state)
        await ask(app, "/plain", state=state)
        del state
        return seen() is not None

    gc.disable()
    try:
        without, with_middleware = FastAPI(), application(CacheManager(MemoryBackend()))
        assert await is_left(with_middleware) == await is_left(without)
    finally:
        gc.enable()


def test_p1_threads_get_a_head_and_a_body_that_belong_together() -> None:
    """Each thread has an event loop; one of them invalidates."""
    manager, app, runs = CacheManager(MemoryBackend()), FastAPI(), []
    app.add_middleware(CacheMiddleware)

    @app.get("/it")
    @cache_response(manager, "it", tags=["all"])
    async def it() -> str:
        runs.append(1)
        return "y" * (len(runs) % 50)

    wrong: list[object] = []
    until = time.monotonic() + 2

    async def work(*, is_writer: bool) -> None:
        while time.monotonic() < until:
            if is_writer:
                await manager.invalidate_tags("all")
            for _ in range(5):
                answer = await ask(app, is_checked=False)
                if answer.says("content-length") != str(len(answer.body)):
                    wrong.append(answer)

    def run(*, is_writer: bool) -> None:
        asyncio.run(work(is_writer=is_writer))

    threads = [threading.Thread(target=run, kwargs={"is_writer": each}) for each in (True, False)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []

"""`app/core/request_id.py`: the id of a request, in its response, its log lines and beside the cache."""

import asyncio
import json
import logging
import re
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import pytest
from fastapi import FastAPI, Response, WebSocket
from fastapi.testclient import TestClient

from app.core import request_id
from app.core.cache import CacheManager, cache_response
from app.core.cache.calls import EXCHANGE
from app.core.config import Settings
from app.core.logging import configure_logging
from app.core.request_id import RequestIdMiddleware
from app.main import create_app

MADE = re.compile(r"[0-9a-f]{32}")
LOGGER = logging.getLogger("app.test")


@pytest.fixture
def app(settings: Settings, cache: CacheManager) -> FastAPI:
    """Make an application with a cached endpoint, and with some that are not."""
    app = create_app(settings)

    @app.get("/ids/squares/{number}")
    @cache_response(cache, "squares")
    async def square(number: int) -> int:
        LOGGER.warning("computing")
        return number * number

    @app.get("/ids/own")
    async def own(response: Response) -> None:
        response.headers["X-Request-ID"] = "of the application"

    @app.get("/ids/fails")
    async def fails() -> None:
        raise LookupError("nothing")

    @app.websocket("/ids/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json(RequestIdMiddleware.current())
        await websocket.close()

    return app


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    """Talk to it; an exception is a 500, as for others."""
    return TestClient(app, raise_server_exceptions=False)


def scope_of(path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """Return the scope of a GET, as a server makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }


async def asked(app: Any, scope: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """Ask an application in this task; return the headers of its response."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers: list[tuple[bytes, bytes]] = sent[0]["headers"]
    return headers


@pytest.mark.parametrize("sent", ["a", "9f" * 16, "A-Z.a_z~0+9/=:@", "x" * 128])
def test_the_id_of_the_client_is_taken(client: TestClient, sent: str) -> None:
    """As it is, so that it can be followed from service to service."""
    response = client.get("/health/live", headers={"X-Request-ID": sent})
    assert response.headers.get_list("X-Request-ID") == [sent]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b" ",
        b"two words",
        b"x" * 129,
        b"a,b",
        b'"',
        b"<b>",
        b"a\tb",
        b"a\x1b[2K",
        b"caf\xc3\xa9",
        b"%0a",
        b"a\n",
        b"a\r\nSet-Cookie: b",
        b"\xff",
    ],
)
async def test_what_is_no_id_is_not_taken(app: FastAPI, sent: bytes) -> None:
    """It would be in each line of the log, and in the response."""
    headers = await asked(app, scope_of("/health/live", (b"x-request-id", sent)))
    [made] = [value for name, value in headers if name == b"x-request-id"]
    assert MADE.fullmatch(made.decode())


def test_each_request_without_an_id_gets_one(client: TestClient) -> None:
    """No two get the same."""
    made = [client.get("/health/live").headers["X-Request-ID"] for _ in range(3)]
    assert len(set(made)) == 3
    assert all(map(MADE.fullmatch, made))


def test_the_first_of_several_ids_counts(client: TestClient) -> None:
    """There is one in the response."""
    headers = [("X-Request-ID", "first"), ("X-Request-ID", "second")]
    response = client.get("/health/live", headers=headers)
    assert response.headers.get_list("X-Request-ID") == ["first"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/ids/own", 200), ("/ids/nothing", 404), ("/ids/squares/x", 422), ("/ids/fails", 500)],
)
def test_each_response_has_the_id_of_its_request(
    client: TestClient, path: str, status: int
) -> None:
    """Errors, too, and those that are answered outside of all other middlewares."""
    response = client.get(path, headers={"X-Request-ID": "mine"})
    assert response.status_code == status
    assert response.headers.get_list("X-Request-ID") == ["mine"]


async def test_the_id_ends_with_the_request(app: FastAPI) -> None:
    """But not before a server has written about an exception that came out of it."""
    await asked(app, scope_of("/health/live"))
    assert RequestIdMiddleware.current() is None

    async def failing() -> str | None:
        with pytest.raises(LookupError):
            await asked(app, scope_of("/ids/fails", (b"x-request-id", b"mine")))
        return RequestIdMiddleware.current()

    assert await asyncio.create_task(failing()) == "mine"
    assert RequestIdMiddleware.current() is None


def test_websockets_and_the_lifespan_go_through(app: FastAPI) -> None:
    """Without an id."""
    with TestClient(app) as client, client.websocket_connect("/ids/socket") as socket:
        assert socket.receive_json() is None


async def test_a_websocket_has_no_id_of_an_earlier_request() -> None:
    """Servers may serve both in one context, if they come over one connection."""
    seen: list[str | None] = []

    async def app(*_: Any) -> None:
        seen.append(RequestIdMiddleware.current())

    RequestIdMiddleware._current.set("earlier")
    await RequestIdMiddleware(app)({"type": "websocket"}, asyncio.sleep, asyncio.sleep)  # type: ignore[arg-type]
    assert seen == [None]


async def test_the_scope_stays_as_it_is() -> None:
    """What a middleware outside adds there would make the endpoints of the cache private."""
    scope = scope_of("/", (b"x-request-id", b"mine"))
    before = {**scope, "headers": [*scope["headers"]], "state": {}}

    async def app(inner: Any, receive: Any, send: Any) -> None:
        assert inner is scope
        assert inner == before
        await send({"type": "http.response.start", "status": 200, "headers": []})

    assert await asked(RequestIdMiddleware(app), scope) == [(b"x-request-id", b"mine")]
    assert scope == before


async def test_a_message_that_is_sent_again_stays_as_it_is() -> None:
    """Caches send one message for many requests."""
    start: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)

    for sent in (b"one", b"two"):
        headers = await asked(RequestIdMiddleware(app), scope_of("/", (b"x-request-id", sent)))
        assert headers == [(b"x-request-id", sent)]
    assert start["headers"] == []


def test_a_hit_has_an_id_of_its_own(client: TestClient) -> None:
    """It is never stored: neither what was computed, nor a 304, nor a hit before routing has it."""
    seen = []
    for number, status in enumerate(("fwd=miss; stored", "hit", "hit", "hit")):
        response = client.get("/ids/squares/3", headers={"X-Request-ID": f"id-{number}"})
        assert status in response.headers["Cache-Status"]
        assert "private" not in response.headers["Cache-Control"]
        seen.append(response.headers.get_list("X-Request-ID"))
    for number in (4, 5):
        headers = {"X-Request-ID": f"id-{number}", "If-None-Match": response.headers["ETag"]}
        unmodified = client.get("/ids/squares/3", headers=headers)
        assert unmodified.status_code == 304
        seen.append(unmodified.headers.get_list("X-Request-ID"))
    assert seen == [[f"id-{number}"] for number in range(6)]


async def test_hits_are_answered_before_routing(app: FastAPI) -> None:
    """As they are without the middleware, whether the client sends an id or not."""
    scopes = [
        scope_of("/ids/squares/3", *[(b"x-request-id", b"a")] * (each % 2)) for each in range(4)
    ]
    for scope in scopes:
        await asked(app, scope)
    early = ["route" in scope and EXCHANGE not in scope for scope in scopes]
    assert early == [False, False, True, True]


def test_a_cached_function_may_use_threads() -> None:
    """The cache cannot watch those on Python 3.11, and counts all variables of modules as read."""
    assert not any(isinstance(each, ContextVar) for each in vars(request_id).values())


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_cached_function_may_log(
    client: TestClient,
    form: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The id in its lines decides nothing about its result, so that is stored, on any Python."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logging("INFO", form)
    for status in ("fwd=miss; stored", "hit"):
        response = client.get("/ids/squares/7", headers={"X-Request-ID": "mine"})
        assert status in response.headers["Cache-Status"]
    [line] = [each for each in capsys.readouterr().err.splitlines() if "computing" in each]
    if form == "json":
        assert json.loads(line)["request_id"] == "mine"
    else:
        assert line.endswith('app.test: computing request_id="mine"')

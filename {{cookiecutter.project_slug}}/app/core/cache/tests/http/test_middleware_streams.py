"""`CacheMiddleware` and responses that are sent in parts, or by the server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import FileResponse, Response, StreamingResponse
from starlette.types import Message, Scope

from ... import CacheManager, CacheMiddleware, MemoryBackend, cache_response

TAG = '"its-own"'
SAME, OTHER = ("if-none-match", TAG), ("if-match", '"another"')


async def answer(response: Response, method: str, *lines: tuple[str, str]) -> list[Message]:
    """Return what a server that sends files itself is told for a request."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware)

    @app.get("/")
    @cache_response(CacheManager(MemoryBackend()), "it")
    async def endpoint() -> Response:
        return response

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": "/",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in lines],
        "extensions": {"http.response.pathsend": {}},
    }
    await app(scope, receive, send)
    return sent


def streamed() -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"part"

    return StreamingResponse(parts(), headers={"ETag": TAG})


def of_file(tmp_path: Path) -> FileResponse:
    file = tmp_path / "file"
    file.write_bytes(b"part" * 3)
    return FileResponse(file, headers={"ETag": TAG})


@pytest.mark.parametrize(
    ("method", "line", "status"),
    [
        ("GET", SAME, 304),
        ("GET", OTHER, 412),
        ("HEAD", SAME, 304),
        ("HEAD", ("accept", "*/*"), 200),
    ],
)
@pytest.mark.parametrize("kind", ["stream", "file"])
async def test_nothing_of_a_body_follows_a_head(
    tmp_path: Path, kind: str, method: str, line: tuple[str, str], status: int
) -> None:
    """After a 304, a 412, or the answer to a HEAD nothing of a stream or a file is sent."""
    response = streamed() if kind == "stream" else of_file(tmp_path)
    start, *rest = await answer(response, method, line)
    assert (start["type"], start["status"]) == ("http.response.start", status)
    assert {each["type"] for each in rest} == {"http.response.body"}
    assert b"".join(each.get("body", b"") for each in rest) == b""
    assert [each.get("more_body", False) for each in rest].count(False) == 1
    assert not rest[-1].get("more_body", False)


@pytest.mark.parametrize("line", [("if-none-match", '"another"'), ("accept", "*/*")])
async def test_a_stream_is_sent_in_its_parts(line: tuple[str, str]) -> None:
    """It is sent as it comes."""
    start, *rest = await answer(streamed(), "GET", line)
    assert start["status"] == 200
    assert [each["body"] for each in rest] == [b"part"] * 3 + [b""]


async def test_a_file_is_left_to_a_server_that_sends_files(tmp_path: Path) -> None:
    """The server is told the headers, and then where the file is."""
    start, *rest = await answer(of_file(tmp_path), "GET")
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert rest == [{"type": "http.response.pathsend", "path": str(tmp_path / "file")}]

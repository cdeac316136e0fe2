"""A response that an endpoint returned, of any class that sends what it shows (promise P1)."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.requests import Request
from starlette.templating import Jinja2Templates

from ...stored import sent
from ...stored.sent import RenderedResponse


class Own(HTMLResponse):
    """A class of its own: it renders in its own way, and knows more than a response does."""

    media_type = "application/x-own"

    def __init__(self, content: str) -> None:
        self.title = "own"
        super().__init__(content, 203, {"X-Own": "yes"})

    def render(self, content: Any) -> bytes:
        return f"<{content}>".encode()


class Conditional(JSONResponse):
    """One that looks at the request when it sends."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.status_code = 304 if scope.get("headers") else 200
        await super().__call__(scope, receive, send)


def page(tmp_path: Path) -> Response:
    (tmp_path / "page.html").write_text("<b>{{ name }}</b>")
    request = Request({"type": "http", "headers": [], "extensions": {"http.response.debug": {}}})
    made: Response = Jinja2Templates(tmp_path).TemplateResponse(request, "page.html", {"name": "ü"})
    return made


def without_length(_: Path) -> Response:
    response = JSONResponse(1)
    del response.headers["content-length"]
    return response


async def messages(response: Response) -> list[dict[str, Any]]:
    """Return what a response sends to a client."""
    seen: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        seen.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is to be received")

    await response({"type": "http", "headers": []}, receive, send)
    return [message for message in seen if message["type"] != "http.response.debug"]


@pytest.mark.parametrize(
    "make",
    [page, lambda _: Own("ü"), lambda _: JSONResponse([1], 201), lambda _: Response(b"\x00\n")],
    ids=["template", "own", "json", "bytes"],
)
async def test_p1_it_is_sent_again_byte_by_byte(make: Any, tmp_path: Path) -> None:
    """After it was written down and read again; nothing of an injected response is added."""
    response = make(tmp_path)
    taken = sent.returned(response)
    assert taken is not None
    again = sent.restore(sent.describe(taken), taken.body)
    assert again == taken
    injected = Response(status_code=500, headers={"X-Injected": "yes"})
    assert await messages(sent.response_of(again, injected)) == await messages(response)


@pytest.mark.parametrize(
    "make",
    [
        lambda _: StreamingResponse(iter(["a"])),
        lambda _: FileResponse(__file__),
        lambda _: Conditional(1),
        lambda _: Response(status_code=204),
        lambda _: JSONResponse(1, headers={"content-length": "7"}),
        without_length,
    ],
    ids=["stream", "file", "conditional", "no body", "wrong length", "no length"],
)
def test_p1_what_it_sends_cannot_be_told(make: Any, tmp_path: Path) -> None:
    """Of a stream, of one that sends in a way of its own, of one that contradicts itself."""
    assert sent.returned(make(tmp_path)) is None


def test_what_is_about_a_connection_is_left_out() -> None:
    """It was about the one that it was sent over."""
    taken = sent.returned(JSONResponse(1, headers={"Connection": "close, x", "X": "1", "Y": "2"}))
    lines = (
        (b"y", b"2"),
        (b"content-length", b"1"),
        (b"content-type", b"application/json"),
    )
    assert taken == RenderedResponse(200, lines, b"1", is_whole=True)

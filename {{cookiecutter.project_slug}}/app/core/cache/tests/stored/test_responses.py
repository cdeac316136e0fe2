"""Responses as they are stored (promises P1, P8 and P9)."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.responses import JSONResponse, Response

from ... import CacheManager, MemoryBackend, cache_response
from ...stored.responses import why_not_stored
from ..forging import resealed


def two_lines() -> Response:
    response = JSONResponse({}, headers={"Cache-Control": "max-age=60"})
    response.headers.append("Cache-Control", "private")
    return response


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (two_lines, "its Cache-Control is 'private'"),
        (lambda: Response(status_code=199), "its status is 199"),
        (lambda: JSONResponse({}, 300), "its status is 300"),
        (lambda: JSONResponse({}, 299), None),
    ],
)
def test_p8_each_line_and_each_status_counts(make: Callable[[], Response], why: str | None) -> None:
    """A second line of a header as well as the first, and 2xx from end to end."""
    assert why_not_stored(make()) == why


def namesake() -> Response:
    cls: Any = type("JSONResponse", (JSONResponse,), {})
    own: Response = cls({})
    return own


def with_more() -> Response:
    response: Any = JSONResponse({})
    response.template = "page.html"
    own: Response = response
    return own


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (namesake, "only if the return annotation names the class"),
        (with_more, "attributes of its own, ['template']"),
    ],
)
async def test_p1_such_a_response_is_not_stored(
    make: Callable[[], Response], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One of another class under the same name, one that holds more: a warning says why."""

    @cache_response(CacheManager(MemoryBackend()), "page")
    async def page() -> Response:
        return make()

    assert await page() is not await page()
    [warning] = [record.getMessage() for record in caplog.records]
    assert "page is not stored: " in warning
    assert why in warning


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b" response ", b" code "),
        (b'.JSONResponse"', b'.FileResponse"'),
        (b'"class":', b'"clas":'),
        (b'"head":"200', b'"head":"x'),
        (b'"media_type"', b'"media"'),
        (b"content-length", b"\\u0000"),
        (b'"head":"', b'"head":["'),
        (b'"head":"200', b'"head":7,"more":"200'),
        (b'"head":"200', b'"head":"500'),
        (b'"head":"200', b'"head":"204'),
        (b'"head":"200', b'"head":"2_0'),
        (b"content-length", b"set-cookie"),
        (b'"media_type":"application/json"', b'"media_type":7'),
        (b"\n1", b"\n"),
    ],
)
async def test_p9_damage_in_a_response_is_a_miss(
    our_manager: CacheManager, old: bytes, new: bytes
) -> None:
    """The function runs again, and the caller sees no error."""
    results = iter([1, 2])

    @cache_response(our_manager, "data", key="one")
    async def function() -> JSONResponse:
        return JSONResponse(next(results))

    await function()
    key = f"{our_manager.key_prefix}:data:one"
    data = await our_manager.backend.get_bytes(key)
    assert data is not None
    assert old in data
    await our_manager.backend.set_bytes(key, resealed(data.replace(old, new)), expire=None)
    assert [(await function()).body, (await function()).body] == [b"2", b"2"]

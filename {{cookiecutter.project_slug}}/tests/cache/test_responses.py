"""Responses as they are stored (promises P1, P8 and P9)."""

import logging
from collections.abc import Callable

import pytest
from fastapi.responses import JSONResponse, Response

from app.core.cache import CacheManager, MemoryBackend, cache_response
from app.core.cache.responses import why_not_rebuilt, why_not_stored
from app.core.cache.classes import NO_CLASSES


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
def test_p8_who_may_have_a_response(make: Callable[[], Response], why: str | None) -> None:
    """Each line of a header counts, and the whole of 2xx is a success."""
    assert why_not_stored(make()) == why

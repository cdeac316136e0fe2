"""What an audit finds in results (promises P1, P10): no way back, as the annotation tells; then mended."""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    StreamingResponse,
)
from pydantic import EmailStr, Field, SecretStr

from ... import (
    CachedRoute,
    CacheManager,
    CacheMiddleware,
    cache_response,
)
from ..naming import named
from .audited import findings, the_finding
from .classes import (
    Abstract,
    Client,
    Colour,
    DataRow,
    Holding,
    Like,
    Mail,
    Model,
    Named,
    Pair,
    Plain,
    Point,
    Row,
    Secret,
    T,
    Text,
    Tree,
    Typed,
    UserId,
)

BAD: list[Any] = [
    Client,
    Row,
    DataRow,
    list[Row],
    dict[str, Client],
    Row | None,
    Row | Client,
    Pair[Client],
    Named,
    Typed,
    Holding,
    Secret,
    SecretStr,
    complex,
    re.Pattern,
    type[int],
    Text,
    Request,
    Sequence[Row],
    Annotated[Row, "x"],
    Exception,
    Callable[[], int],
]
GOOD: list[Any] = [
    None,
    int,
    str | None,
    Any,
    object,
    list[Model],
    dict[UUID, Decimal],
    Point,
    Pair[int],
    Tree,
    Colour,
    Plain,
    Mail,
    Path,
    bytes,
    Like,
    Abstract,
    UserId,
    T,
    EmailStr,
    Literal["a"],
    JSONResponse,
    HTMLResponse | RedirectResponse,
    Mapping[str, Any],
    Row | dict[str, Any],
    TypeVar("RowOrDict", bound=Row | dict[str, Any]),
    tuple[int, ...],
    Annotated[int, Field(gt=1)],
]


def endpoint(app: FastAPI, manager: CacheManager, annotation: Any, **options: Any) -> Any:
    """Add a cached endpoint with this return annotation; return it."""

    async def read_it(): ...  # type: ignore[no-untyped-def]

    read_it.__annotations__["return"] = annotation
    cached = cache_response(manager, "own", **options)(read_it)
    app.get("/it", response_model=None)(cached)
    return cached


@pytest.mark.parametrize("annotation", BAD, ids=named)
def test_p10_a_result_that_cannot_come_back_is_found(annotation: Any, memory: CacheManager) -> None:
    """Unless what was sent is stored."""
    app = FastAPI()
    endpoint(app, memory, annotation)
    found = the_finding(app, "result", "read_it", "CacheMiddleware")
    assert found.mend.index("plain data") < found.mend.index("CacheMiddleware")

    right = FastAPI()
    right.add_middleware(CacheMiddleware)
    endpoint(right, memory, annotation)
    assert findings(right) == []

    right = FastAPI()
    right.router.route_class = CachedRoute
    endpoint(right, memory, annotation)
    assert findings(right) == []


@pytest.mark.parametrize("annotation", GOOD, ids=named)
def test_p10_a_result_that_may_come_back_is_right(annotation: Any, memory: CacheManager) -> None:
    """And one of which nobody knows."""
    app = FastAPI()
    endpoint(app, memory, annotation)
    assert findings(app) == []


@pytest.mark.parametrize("has_middleware", [True, False])
@pytest.mark.parametrize(
    "annotation", [StreamingResponse, FileResponse, Iterator[int], AsyncIterator[bytes]], ids=named
)
def test_p10_a_stream_is_found(annotation: Any, has_middleware: bool, memory: CacheManager) -> None:
    """No middleware stores one."""
    app = FastAPI()
    if has_middleware:
        app.add_middleware(CacheMiddleware)
    endpoint(app, memory, annotation)
    the_finding(app, "result", "read_it", "take cache_response off")


@pytest.mark.parametrize(
    ("options", "is_wrong"),
    [({}, True), ({"cache_status": {404}}, True), ({"cache_status": {307}}, False)],
    ids=named,
)
def test_p10_a_redirect_without_its_status_is_found(
    options: dict[str, Any], is_wrong: bool, memory: CacheManager
) -> None:
    """A status other than 2xx is stored only if it is named."""
    app = FastAPI()
    endpoint(app, memory, RedirectResponse, **options)
    if is_wrong:
        the_finding(app, "result", "read_it", "cache_status={307}")
    else:
        assert findings(app) == []


@pytest.mark.parametrize(
    ("model", "is_wrong"), [(Secret, True), (list[Secret], True), (Mail, False)]
)
def test_p10_a_response_model_stands_for_a_missing_annotation(
    model: Any, is_wrong: bool, memory: CacheManager
) -> None:
    """Where there is one, that counts."""
    app, right = FastAPI(), FastAPI()

    async def read_it():  # type: ignore[no-untyped-def]
        return {}

    app.get("/it", response_model=model)(cache_response(memory, "own")(read_it))
    if is_wrong:
        found = the_finding(app, "result", "read_it")
        assert "response_model" in found.what
    else:
        assert findings(app) == []

    async def read_that() -> dict[str, Any]:
        return {}

    right.get("/it", response_model=model)(cache_response(memory, "other")(read_that))
    assert findings(right) == []


def test_p10_a_dependency_that_is_cached_is_looked_at(memory: CacheManager) -> None:
    """Its results are values, whatever is sent."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware)

    @cache_response(memory, "own")
    async def read_it() -> Client:
        return Client()

    @app.get("/it")
    async def ask(it: Annotated[Any, Depends(read_it)]) -> int:
        return 1

    the_finding(app, "result", "read_it")

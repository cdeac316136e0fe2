"""What an audit finds in parameters (promises P2, P10): no key, as annotations tell; then mended."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from fastapi import Depends, FastAPI, UploadFile
from pydantic import EmailStr

from ... import (
    CacheManager,
    cache_response,
    invalidate_cache,
)
from ..naming import named
from .audited import findings, the_finding
from .classes import (
    Abstract,
    Client,
    Colour,
    Holding,
    Keyed,
    Like,
    Mail,
    Model,
    Pair,
    Plain,
    T,
    Tree,
    Typed,
    UserId,
)


class Session:
    """A session of a database."""


async def session() -> AsyncIterator[Session]:
    yield Session()


def client() -> Client:
    return Client()


async def several() -> list[Client]:
    return [Client()]


async def holding() -> Holding | None:
    return None


async def keyed() -> Keyed:
    return Keyed()


async def model() -> Model:
    return Model()


async def untold():  # type: ignore[no-untyped-def]
    return 1


class Makes:
    """Makes a client."""

    def __call__(self) -> Iterator[Client]:
        yield Client()


@pytest.mark.parametrize("is_annotated", [True, False])
@pytest.mark.parametrize("make", [session, client, several, holding, Client, Makes()], ids=named)
def test_p10_an_argument_without_an_identity_is_found(
    make: Any, is_annotated: bool, memory: CacheManager
) -> None:
    """By what its dependency says that it makes."""
    app = FastAPI()

    async def read_it(it, number: int) -> int:  # type: ignore[no-untyped-def]
        return number

    if is_annotated:
        read_it.__annotations__["it"] = Annotated[Any, Depends(make)]
    else:
        read_it.__annotations__["number"] = Annotated[int, Depends(lambda: 1)]
        read_it.__defaults__ = (Depends(make), 1)
    app.get("/it")(cache_response(memory, "own")(read_it))
    found = the_finding(app, "parameter", "read_it", "__cache_key__", "it")
    assert "'it'" in found.what
    assert found.mend.index("__cache_key__") < found.mend.index("ignore=")

    right = FastAPI()
    right.get("/it")(cache_response(memory, "mended", ignore=("it",))(read_it))
    assert findings(right) == []


@pytest.mark.parametrize("make", [keyed, model, untold, Keyed], ids=named)
def test_p10_what_may_have_an_identity_is_right(make: Any, memory: CacheManager) -> None:
    """So is what nobody tells of."""
    app = FastAPI()

    @app.get("/it")
    @cache_response(memory, "own")
    async def read_it(it: Annotated[Any, Depends(make)]) -> int:
        return 1

    assert findings(app) == []


def containing(annotation: Any) -> Any:
    """Return a dependency that makes this."""

    async def make() -> Any: ...

    make.__annotations__["return"] = annotation
    return make


@pytest.mark.parametrize(
    ("annotation", "is_wrong"),
    [
        (dict[str, Client], True),
        (tuple[int, Client], True),
        (Mapping[str, Client], True),
        (Pair[Client], True),
        (Typed, True),
        (Client | Session, True),
        (list[Client | None], True),
        (Client | int, False),
        (Callable[[Client], int], False),
        (Pair[int], False),
        (Tree, False),
        (Plain, False),
        (Like, False),
        (Abstract, False),
        (list[Any], False),
        (Mail, False),
        (Literal["a", 1], False),
        (UserId, False),
        (T, False),
    ],
    ids=named,
)
def test_p10_what_an_argument_holds_is_looked_at(
    annotation: Any, is_wrong: bool, memory: CacheManager
) -> None:
    """A list of clients has an identity only if it is empty."""
    app = FastAPI()

    @app.get("/it")
    @cache_response(memory, "own")
    async def read_it(it: Annotated[Any, Depends(containing(annotation))]) -> int:
        return 1

    if is_wrong:
        the_finding(app, "parameter", "read_it")
    else:
        assert findings(app) == []


def test_p10_an_uploaded_file_is_found(memory: CacheManager) -> None:
    """It has no identity; its name would have one."""
    app = FastAPI()

    @app.post("/it")
    @cache_response(memory, "own", method="POST")
    async def read_it(file: UploadFile) -> int:
        return 1

    the_finding(app, "parameter", "read_it", "file")


class Service:
    """Its methods are endpoints."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def read_it(self) -> int:
        return 1


@pytest.mark.parametrize(("held", "is_wrong"), [(Client(), True), (None, True)], ids=named)
def test_p10_the_object_of_a_method_is_looked_at(
    held: Any, is_wrong: bool, memory: CacheManager
) -> None:
    """It is an argument."""
    app = FastAPI()

    class Own(Service):
        read_it = cache_response(memory, "own")(Service.read_it)  # type: ignore[assignment] # awaited

    class Telling(Own):
        def __cache_key__(self) -> str:
            return "one"

    app.get("/it")(Own(held).read_it)
    the_finding(app, "parameter", "read_it", "self")
    right = FastAPI()
    right.get("/it")(Telling(held).read_it)
    assert findings(right) == []


@pytest.mark.parametrize(
    ("options", "annotation", "is_wrong"),
    [
        ({"key": "{it}"}, Model, True),
        ({"key": "{it}"}, list[int], True),
        ({"key": "{it.client}"}, Holding, True),
        ({"tags": ["it:{it}"]}, Model, True),
        ({"key": "{it.name}"}, Model, False),
        ({"key": "{it}"}, Keyed, False),
        ({"key": "{it}"}, UUID, False),
        ({"key": "{it}"}, Colour, False),
        ({"key": "{it}"}, EmailStr, False),
        ({"key": "{it}"}, Any, False),
        ({"key": "{it}"}, Model | str, False),
        ({"tags": ["it:{it.name}", "all"]}, Model, False),
    ],
    ids=named,
)
def test_p10_a_field_without_a_text_is_found(
    options: dict[str, Any], annotation: Any, is_wrong: bool, memory: CacheManager
) -> None:
    """In a key and in a tag: then the call runs uncached."""
    app = FastAPI()

    async def read_it(it: Any) -> int:
        return 1

    read_it.__annotations__["it"] = Annotated[annotation, Depends(containing(annotation))]
    app.get("/it")(cache_response(memory, "own", **options)(read_it))
    if is_wrong:
        found = the_finding(app, "parameter", "read_it", "it")
        assert "runs uncached" in found.what
    else:
        assert findings(app) == []


@pytest.mark.parametrize("option", ["keys", "tags"])
def test_p10_an_invalidation_of_everything_is_found(option: str, memory: CacheManager) -> None:
    """An argument without a text makes one; with an attribute of it all is well."""
    app, right = FastAPI(), FastAPI()

    @cache_response(memory, "own", key="{name}", tags=["own:{name}"])
    async def read_it(name: str) -> int:
        return 1

    async def write_it(it: Model) -> int:
        return 1

    for each in (app, right):
        each.get("/{name}")(read_it)
        field = "{it}" if each is app else "{it.name}"
        invalidated: dict[str, Any] = {option: [f"own:{field}"]}
        each.put("/it")(invalidate_cache(memory, **invalidated)(write_it))
    found = the_finding(app, "parameter", "write_it", "it")
    assert "removed" in found.what
    assert findings(right) == []

"""A dependency that takes a request for one attribute of it takes nothing else of who asks (P8)."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request

from ... import CacheManager, MemoryBackend, cache_response
from ..endpoints import get


class Asker:
    """Knows who asks."""

    name: str = "nobody"


def decorated(function: Any) -> Any:
    """Have a method of a class read who asks, before it reads the application."""

    @functools.wraps(function)
    def read(self: Any, request: Request) -> Any:
        self.name = request.headers["x-who"]
        return function(self, request)

    return read


class DecoratedInit(Asker):
    """Reads in what is around `__init__`."""

    @decorated
    def __init__(self, request: Request) -> None:
        self.app = request.app


class DecoratedCall:
    """Reads in what is around `__call__`."""

    @decorated
    def __call__(self, request: Request) -> Asker:
        made = Asker()
        made.name = self.name if request.app else ""  # type: ignore[attr-defined]
        return made


class New(Asker):
    """Reads in `__new__`."""

    def __new__(cls, request: Request) -> Any:
        made = super().__new__(cls)
        made.name = request.headers["x-who"]
        return made

    def __init__(self, request: Request) -> None:
        self.app = request.app


class Meta(type):
    """Reads before there is an object."""

    def __call__(cls, request: Request) -> Any:
        made = super().__call__(request)
        made.name = request.headers["x-who"]
        return made


class OfMeta(Asker, metaclass=Meta):
    """Is made by more than its `__init__`."""

    def __init__(self, request: Request) -> None:
        self.app = request.app


def class_body(request: Request) -> Any:
    class Found(Asker):
        name = request.headers["x-who"]

    return Found()


def inner(request: Request) -> Any:
    def read() -> Any:
        found = Asker()
        found.name = request.headers["x-who"]
        return found

    return read()


def alias(request: Request) -> Any:
    other, found = request, Asker()
    found.name = other.headers["x-who"]
    return found


def plain(request: Request) -> Any:
    return request.app


@functools.wraps(plain)
def around(request: Request) -> Any:
    return request.app and alias(request)


def told_of(*args: Any, **kwargs: Any) -> Any:
    return alias(*args, **kwargs)


told_of.__signature__ = inspect.signature(alias)  # type: ignore[attr-defined]

READERS: dict[str, Callable[..., Any]] = {
    "a decorated __init__": DecoratedInit,
    "a decorated __call__": DecoratedCall(),
    "a partial of a decorated function": functools.partial(around),
    "__new__": New,
    "a metaclass": OfMeta,
    "a class body": class_body,
    "a function inside": inner,
    "another name": alias,
    "a signature that is another's": told_of,
}


class OfTheApp:
    """Reads the application alone."""

    def __init__(self, request: Request) -> None:
        self.request = request.app.title
        self.name = "app"


async def as_users(dependency: Any) -> tuple[list[str], list[int]]:
    """Return what two users get of a function that ignores a dependency, and its runs."""
    app = FastAPI()
    runs: list[int] = []
    manager = CacheManager(MemoryBackend())

    @app.get("/it")
    @cache_response(manager, "it", ignore=("asker",))
    async def it(asker: Annotated[Any, Depends(dependency)]) -> str:
        runs.append(1)
        return str(asker.name)

    names = ["alice", "bob"] * 2
    return [(await get(app, headers={"x-who": name})).json() for name in names], runs


@pytest.mark.parametrize("reader", READERS)
async def test_p8_a_dependency_that_reads_the_request_in_any_way_is_not_ignored(
    reader: str,
) -> None:
    """However the code is put together."""
    assert (await as_users(READERS[reader]))[0] == ["alice", "bob"] * 2


async def test_p8_a_dependency_that_reads_the_application_alone_is_ignored() -> None:
    """Also where it gives an attribute of its own the name of the parameter."""
    assert await as_users(OfTheApp) == (["app"] * 4, [1])

"""Cached methods: bound as any method is, and their entries with them."""

import functools
import inspect
import pickle
import sys
import types
from typing import Any, Protocol, assert_type, cast

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from ... import (
    CacheManager,
    MemoryBackend,
    Removal,
    cache_response,
    invalidate_cache,
)

memory = CacheManager(MemoryBackend())


class Repository:
    """Reads rows of a table."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.runs: list[int] = []

    def __cache_key__(self) -> str:
        """Return what tells repositories apart."""
        return self.table

    @cache_response(memory, "method")
    async def method(self, number: int) -> str:
        """Return a row."""
        runs.append(number)
        return f"{self.table} {number}"

    @cache_response(memory, "own", key="{self.table}:{number}")
    def own(self, number: int) -> str:
        """Return a row, with a key of its own."""
        runs.append(number)
        return f"{self.table} {number}"

    @cache_response(memory, "ignored", ignore=("self",))
    async def ignored(self, number: int, page: int = 1) -> int:
        """Return what does not depend on the table."""
        runs.append(number)
        return number

    @cache_response(memory, "class")
    @classmethod
    async def above(cls, number: int) -> str:
        """Return what depends on the class."""
        runs.append(number)
        return f"{cls.__name__} {number}"

    @classmethod
    @cache_response(memory, "class below")
    async def below(cls, number: int) -> str:
        """Return what depends on the class."""
        runs.append(number)
        return f"{cls.__name__} {number}"

    @cache_response(memory, "static above")
    @staticmethod
    async def static_above(number: int) -> str:
        """Return what depends on neither."""
        runs.append(number)
        return f"static {number}"

    @staticmethod
    @cache_response(memory, "static below")
    async def static_below(number: int) -> str:
        """Return what depends on neither."""
        runs.append(number)
        return f"static {number}"

    fifth = functools.partialmethod(method, 5)


class Sub(Repository):
    """A repository that overrides a method."""

    async def method(self, number: int) -> str:  # type: ignore[override] # it has no entries
        """Return what the base returns, and more."""
        return "sub " + await super().method(number)


runs: list[int] = []


@pytest.fixture(autouse=True)
async def _empty() -> None:
    await memory.clear()
    runs.clear()


def one() -> Repository:
    """Make a repository."""
    return Repository("one")


@pytest.mark.parametrize(
    ("of", "result"),
    [
        (lambda: one().method, "one 1"),
        (lambda: one().own, "one 1"),
        (lambda: one().ignored, 1),
        (lambda: Repository.above, "Repository 1"),
        (lambda: one().above, "Repository 1"),
        (lambda: Sub.above, "Sub 1"),
        (lambda: Repository.static_above, "static 1"),
        (lambda: one().static_above, "static 1"),
        (lambda: Repository.static_below, "static 1"),
        (lambda: one().static_below, "static 1"),
    ],
)
async def test_what_is_bound_has_its_entries_bound(of: Any, result: object) -> None:
    """`thing.method.invalidate(1)` is about the thing, and takes the arguments of the call."""
    assert [await of()(1), await of()(number=1), await of()(2)] == [result, result, await of()(2)]
    assert runs == [1, 2]
    key = of().cache_key(1)
    assert await memory.exists(key) is True
    assert await of().invalidate(number=1)
    assert [await memory.exists(key), await memory.exists(of().cache_key(2))] == [False, True]
    assert await of().refresh(1) == result
    assert runs == [1, 2, 1]
    with pytest.raises(TypeError, match="unexpected keyword argument 'nmber'"):
        await of().invalidate(nmber=1)
    with pytest.raises(TypeError, match="missing a required argument: 'number'"):
        of().cache_key()
    assert await of().invalidate_all()
    assert await memory.exists(key) is False


async def test_p2_two_objects_and_two_classes_have_entries_of_their_own() -> None:
    """Nobody gets what was read for another."""
    above, below = cast("Any", Repository).above, cast("Any", Repository).below
    above_in_sub, below_in_sub = cast("Any", Sub).above, cast("Any", Sub).below
    first, second = Repository("one"), Repository("two")
    for _ in range(2):
        assert [await first.method(1), await second.method(1)] == ["one 1", "two 1"]
        assert [await above(1), await above_in_sub(1)] == ["Repository 1", "Sub 1"]
        assert [await below(1), await below_in_sub(1)] == ["Repository 1", "Sub 1"]
    await second.method.invalidate(1)
    await above_in_sub.invalidate(1)
    assert await memory.exists(first.method.cache_key(1)) is True
    assert await memory.exists(above.cache_key(1)) is True


async def test_a_method_of_the_class_takes_the_object() -> None:
    """As any method does."""
    repository = one()
    assert Repository.method.cache_key(repository, 1) == repository.method.cache_key(1)
    assert Repository.ignored.cache_key(repository, 1) == repository.ignored.cache_key(1)
    assert await repository.method(1) == await Repository.method(repository, 1)
    assert await Repository.method.invalidate(repository, 1)
    await repository.method(1)
    assert runs == [1, 1]
    with pytest.raises(TypeError, match=r"it takes \(self, number: int\)"):
        await Repository.method.invalidate(1)


async def test_a_class_method_is_bound_where_the_decorator_is_above() -> None:
    """Below it is bound up to Python 3.12, and from 3.13 on the message names the order."""
    key = Repository.__dict__["below"].__func__.cache_key(Repository, 1)
    if sys.version_info < (3, 13):
        assert Repository.below.cache_key(1) == key
    else:
        with pytest.raises(TypeError, match="put @cache_response above @classmethod"):
            Repository.below.cache_key(1)


async def test_inheritance_and_partial_methods_go_on_working() -> None:
    """`super()` and `functools.partialmethod` find a method."""
    assert await Sub("sub").method(3) == "sub sub 3"
    assert [await one().fifth(), await one().method(5)] == ["one 5", "one 5"]
    assert runs == [3, 5]


async def test_a_method_is_a_function_for_all_who_look() -> None:
    """Frameworks look for the methods of a class, and at their signatures."""
    repository = one()
    for method in (Repository.method, Repository.above, Repository.static_above):
        assert inspect.isroutine(method)
        assert inspect.iscoroutinefunction(method)
    assert inspect.isfunction(Repository.method)
    assert inspect.ismethod(repository.method)
    assert dict(inspect.getmembers(Repository, inspect.isfunction))["method"] is Repository.method
    assert list(inspect.signature(Repository.method).parameters) == ["self", "number"]
    assert list(inspect.signature(repository.method).parameters) == ["number"]
    assert list(inspect.signature(Repository.above).parameters) == ["number"]
    assert inspect.getsource(Repository.method).count("Return a row.") == 1
    assert repository.method.__doc__ == Repository.method.__doc__ == "Return a row."
    assert repository.method.__name__ == "method"
    assert repository.method == repository.method
    assert repository.method != one().method
    assert hash(repository.method) == hash(repository.method)
    assert repr(Repository.method) == "<cached Repository.method>"
    assert "bound method Repository.method" in repr(repository.method)
    assert pickle.loads(pickle.dumps(Repository.method)) is Repository.method
    with pytest.raises(AttributeError):
        getattr(Repository.method, "nothing")  # noqa: B009 - mypy knows that it has none


async def test_a_function_stays_a_function() -> None:
    """What is defined in no class is what `def` makes, with attributes."""

    @cache_response(memory, "function")
    async def function() -> None: ...

    assert type(cast("object", function)) is types.FunctionType


async def test_a_class_based_view_is_found_by_its_endpoint() -> None:
    """As such views do it: by the functions of a class among the endpoints, given a new signature."""
    app = FastAPI()

    class View:
        def __cache_key__(self) -> str:
            return "view"

        @app.get("/{number}")
        @cache_response(memory, "view")
        async def read(self, number: int) -> int:
            runs.append(number)
            return number

    members = {member for _, member in inspect.getmembers(View, inspect.isfunction)}
    [(route, endpoint)] = [
        (route, vars(route)["endpoint"])
        for route in app.routes
        if isinstance(route, APIRoute) and route.endpoint in members
    ]
    assert endpoint is View.__dict__["read"]
    signature = inspect.signature(endpoint)
    app.router.routes.remove(route)
    first, *rest = signature.parameters.values()
    first = first.replace(kind=first.KEYWORD_ONLY, default=Depends(View))
    rest = [each.replace(kind=each.KEYWORD_ONLY) for each in rest]
    endpoint.__signature__ = signature.replace(parameters=[first, *rest])
    app.add_api_route("/{number}", endpoint)
    client = TestClient(app)
    assert [client.get("/1").json(), client.get("/1").json(), runs] == [1, 1, [1]]


async def test_a_write_may_be_a_method_of_any_kind() -> None:
    """`invalidate_cache` decorates what `cache_response` does."""

    class Writer:
        @invalidate_cache(memory, "class:*")
        async def method(self, number: int) -> int:
            return number

        @invalidate_cache(memory, "class:*")
        @classmethod
        async def of_class(cls, number: int) -> str:
            return cls.__name__

        @invalidate_cache(memory, "class:*")
        @staticmethod
        def static(number: int) -> int:
            return number

    above: Any = Repository.above
    writes: list[Any] = [Writer().method, Writer.of_class, Writer.static]
    for write, result in zip(writes, (1, "Writer", 1), strict=True):
        await above(1)
        assert await write(1) == result
        assert await memory.exists(above.cache_key(1)) is False


class Reads(Protocol):
    """What reads rows."""

    async def method(self, number: int, /) -> str:
        """Return a row."""


async def test_the_type_checker_binds_methods() -> None:
    """Without the object, and with the types of the rest."""
    repository = one()
    assert_type(await repository.method(1), str)
    assert_type(await repository.method.invalidate(1), Removal)
    assert_type(await repository.method.refresh(1), str)
    assert_type(await Repository.method(repository, 1), str)
    with pytest.raises(TypeError):
        await repository.method()  # type: ignore[call-arg]


async def test_a_request_in_a_method_is_found(caplog: pytest.LogCaptureFixture) -> None:
    """A method that is an endpoint is watched as a function is."""

    class View:
        @cache_response(memory, "me", ignore=("self",))
        async def me(self, request: Request) -> str:
            return request.headers["authorization"]

    for name in (b"alice", b"bob"):
        headers = [(b"authorization", name)]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
        assert await View().me(Request({**scope, "query_string": b""})) == name.decode()
    assert "the header 'authorization'" in caplog.text

"""What a function reads of context variables is seen while it runs, wherever the code stands (P8)."""

import asyncio
import decimal
import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, computed_field, field_serializer
from starlette.types import ASGIApp, Receive, Scope, Send

from ... import CachedRoute, CacheManager, cache_response
from ..endpoints import get
from ..faults import eventually
from ..package import NAME
from .asking import WAYS, as_users, plain, service, who

number: ContextVar[str] = ContextVar("number", default="none")
"""The number of a request, which decides about nothing but lines of the log."""


def function(way: str) -> Any:
    """Return a function that asks in this way."""
    work = WAYS[way]
    if work is plain:
        return plain

    async def read() -> str:
        return str(await work())

    return read


async def as_requests(app: FastAPI, names: str) -> list[Any]:
    """Return what these users get of an application."""
    return [(await get(app, "/it", headers={"x-who": name})).json() for name in names]


@pytest.mark.parametrize("way", WAYS)
async def test_p8_what_is_read_while_a_function_runs_is_not_shared(
    manager: CacheManager, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However the code comes to the variable; the log names it."""
    cached = cache_response(manager, "read")(function(way))
    assert await as_users(cached) == ["alice", "bob"] * 2
    assert "the context variable 'who'" in caplog.text


def others() -> tuple[ContextVar[Any], ...]:
    """Return the other variables of all modules: who copies the context may have read them all."""
    names = [vars(each) for each in [*sys.modules.values()] if isinstance(each, ModuleType)]
    found = {each for held in names for each in held.values() if type(each) is ContextVar}
    return tuple(found - {who})


@pytest.mark.parametrize("way", WAYS)
async def test_p8_what_is_read_and_in_the_key_is_stored(
    manager: CacheManager, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Named in `vary=`, as a variable or by a function, each value has an entry."""
    for varied in (who, who.get, lambda: {"who": who.get()}):
        runs = []
        read = function(way)

        async def counted() -> str:
            runs.append(1)  # noqa: B023 - it is called in this round
            found = read()  # noqa: B023 - the same
            return str(await found if asyncio.iscoroutine(found) else found)

        options: Any = {"vary": (varied,), "ignore": others()}
        cached = cache_response(manager, f"read{id(varied)}", **options)(counted)
        assert await as_users(cached) == ["alice", "bob"] * 2
        assert len(runs) == 2
    assert "is not stored" not in caplog.text


async def test_p8_what_comes_after_the_first_call_is_seen(manager: CacheManager) -> None:
    """A callback that was registered later."""
    callbacks: list[Callable[[], str]] = [lambda: "nobody"]

    async def read() -> str:
        return callbacks[-1]()

    cached = cache_response(manager, "read", shared=False)(read)
    assert await as_users(cached) == ["nobody"] * 4
    await cached.invalidate()
    callbacks.append(plain)
    assert await as_users(cached) == ["alice", "bob"] * 2


async def test_p8_an_exception_of_who_was_asked_is_nobody_elses(manager: CacheManager) -> None:
    """Two users at once: each gets his own."""
    both, runs = asyncio.Barrier(2), list[int]()

    @cache_response(manager, "failing")
    async def read() -> str:
        runs.append(1)
        if len(runs) == 1:  # until the other one waits for this run
            await eventually(lambda: manager.fence.flights.followers() == 1)
        raise LookupError(service().answered())

    async def ask(name: str) -> str:
        who.set(name)
        await both.wait()
        with pytest.raises(LookupError) as raised:
            await read()
        return str(raised.value.args[0])

    tasks = [asyncio.create_task(ask(name)) for name in ("alice", "bob")]
    assert [await task for task in tasks] == ["alice", "bob"]


async def test_p8_who_calls_a_cached_function_depends_on_what_that_reads(
    manager: CacheManager,
) -> None:
    """Also on a hit of the inner one, whose key alone reads the variable."""
    asked = cache_response(manager, "inner", vary=(who,))(service().awaited)
    inners = {"inner": asked}

    @cache_response(manager, "outer")
    async def outer() -> str:
        return str(await inners["in" + "ner"]())

    assert await as_users(asked) == ["alice", "bob"] * 2
    assert await as_users(outer) == ["alice", "bob"] * 2


class Numbering(logging.Filter):
    """Writes the number of the request into each line, as many applications do."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add it."""
        record.number = number.get()
        return True


def told(text: str) -> str:
    """Write a line of the log with the number of the request in it."""
    return f"{number.get()}: {text}"


async def test_a_line_of_the_log_keeps_nothing_from_the_cache(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Filters of `logging` may read what they like; other readers are named in `ignore=`."""
    caplog.set_level(logging.INFO, NAME)
    logger = logging.getLogger(__name__)
    logger.addFilter(Numbering())
    tellers, runs = {"told": told}, []

    @cache_response(manager, "read", ignore=("unused", number))
    async def read(item: int, unused: object = None) -> int:
        logger.info("reading")
        tellers["to" + "ld"]("read")
        runs.append(item)
        return item

    @cache_response(manager, "filtered")
    async def filtered(item: int) -> int:
        logger.info("reading")
        runs.append(item)
        return item

    for _ in range(2):
        number.set(str(len(runs)))
        assert (await read(1), await filtered(2)) == (1, 2)
    assert runs == [1, 2]
    assert "not stored" not in caplog.text


async def test_what_libraries_read_keeps_nothing_from_the_cache(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The standard library has variables of its own, and so have others."""
    runs = []

    @cache_response(manager, "read")
    async def read() -> str:
        runs.append(1)
        with decimal.localcontext() as context:
            context.prec = 5
            await asyncio.wait_for(asyncio.sleep(0), 1)
            return str(decimal.Decimal(1) / 3)

    assert [await read(), await read()] == ["0.33333", "0.33333"]
    assert runs == [1]
    assert "not stored" not in caplog.text


class Rendered(BaseModel):
    """Asks while it is rendered."""

    item: int

    @computed_field  # type: ignore[prop-decorator] # as Pydantic's documentation has it
    @property
    def by(self) -> str:
        """Who asks."""
        return who.get()


class Serialized(BaseModel):
    """Asks while a field is rendered."""

    by: str

    @field_serializer("by")
    def serialize(self, value: str) -> str:
        """Say who asks."""
        return who.get()


class Asking(JSONResponse):
    """Asks while it renders."""

    def render(self, content: Any) -> bytes:
        """Say who asks."""
        return super().render({"by": who.get()})


class Named:
    """A middleware that says who asks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take him from the header."""
        token = who.set(dict(scope["headers"]).get(b"x-who", b"nobody").decode())
        try:
            await self._app(scope, receive, send)
        finally:
            who.reset(token)


@pytest.mark.parametrize("how", ["computed", "serialized", "response class"])
@pytest.mark.parametrize("route_class", ["plain", "cached"])
async def test_p8_what_is_read_while_a_response_is_rendered_is_not_repeated(
    manager: CacheManager, how: str, route_class: str
) -> None:
    """On a `CachedRoute`, where a hit renders nothing; elsewhere each hit renders anew."""
    app = FastAPI()
    app.add_middleware(Named)
    if route_class == "cached":
        app.router.route_class = CachedRoute
    if how == "response class":

        @app.get("/it", response_class=Asking)
        @cache_response(manager, "it")
        async def of_class() -> dict[str, str]:
            return {}
    elif how == "computed":

        @app.get("/it")
        @cache_response(manager, "it")
        async def computed() -> Rendered:
            return Rendered(item=1)
    else:

        @app.get("/it", response_model=Serialized)
        @cache_response(manager, "it")
        async def serialized() -> dict[str, str]:
            return {"by": "nobody"}

    answers = await as_requests(app, "abab")
    assert [answer["by"] for answer in answers] == ["a", "b", "a", "b"]


def database() -> str:
    """Choose the database of who asks."""
    return f"database of {who.get()}"


async def test_p8_a_dependency_that_asks_is_not_ignored(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Its value is in no key, and nothing was taken from the request."""
    app = FastAPI()
    app.add_middleware(Named)

    @app.get("/it")
    @cache_response(manager, "it", ignore=("found",))
    async def endpoint(found: Annotated[str, Depends(database)]) -> str:
        return found

    assert await as_requests(app, "ab") == ["database of a", "database of b"]
    assert "the context variable 'who'" in caplog.text


@pytest.mark.parametrize("options", [{"ignore": (who,)}, {"shared": True}])
async def test_what_an_inner_function_ignores_is_nothing_to_the_outer_one(
    manager: CacheManager, options: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """On its misses as on its hits."""
    inner = cache_response(manager, "inner", **options)(service().awaited)
    inners, runs = {"inner": inner}, []

    @cache_response(manager, "outer")
    async def outer() -> str:
        runs.append(1)
        return str(await inners["in" + "ner"]())

    assert [await outer(), await outer()] == ["nobody"] * 2
    assert runs == [1]
    assert "not stored" not in caplog.text


async def test_p8_what_get_or_set_computes_is_seen_as_well(manager: CacheManager) -> None:
    """In a function that calls it: a plain factory runs in a thread."""
    numbers = iter(range(100))

    @cache_response(manager, "outer")
    async def outer() -> str:
        return str(await manager.get_or_set(f"inner:{next(numbers)}", plain))

    assert await as_users(outer) == ["alice", "bob"] * 2


async def test_p10_each_variable_is_named_once(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """With advice that is of use: `vary=` has no place beside `key=`."""
    variables = [ContextVar[str](f"variable_{number}", default="") for number in range(3)]
    held = {"variables": variables}

    @cache_response(manager, "read", key="{item}")
    async def read(item: int) -> str:
        return str(held["variab" + "les"][item].get())

    for item in (0, 1, 2) * 2:
        await read(item)
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(told) == 3
    for item, text in enumerate(told):
        assert f"'variable_{item}'" in text
        assert "let key= hold its value" in text
        assert "vary=" not in text

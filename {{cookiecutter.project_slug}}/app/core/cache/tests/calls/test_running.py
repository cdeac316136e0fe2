"""What is decorated, and is no plain `def`: wrappers, and functions that return awaitables."""

import asyncio
import functools
import gc
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Response
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from ... import CacheManager, cache_response, invalidate_cache
from ..faults import eventually
from ..naming import named

span: ContextVar[str] = ContextVar("span", default="")


async def base(number: int) -> str:
    """Return what the wrapper has left in the context."""
    await asyncio.sleep(0)
    asyncio.get_running_loop()
    return f"{span.get()} {number}"


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function as tracing decorators do."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        span.set("traced")
        return function(*args, **kwargs)

    return wrapper


def tasked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function by one that needs the event loop."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return asyncio.get_running_loop().create_task(function(*args, **kwargs))

    return wrapper


def hidden(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function by one that does not say so."""

    def wrapper(number: int) -> Any:
        return function(number)

    return wrapper


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function by one that may return a value."""

    @functools.wraps(function)
    def wrapper(number: int) -> Any:
        return f" {number}" if number > 1 else function(number)

    return wrapper


@pytest.mark.parametrize("wrap", [traced, tasked, hidden, timed, lambda f: traced(traced(f))])
async def test_a_plain_wrapper_around_a_coroutine_function_is_awaited(
    memory: CacheManager, wrap: Callable[..., Any]
) -> None:
    """The caller gets the value, on a miss and on a hit, whatever the wrapper shows of itself."""
    wrapper = wrap(base)
    read = cache_response(memory, "read")(wrapper)
    write = invalidate_cache(memory, "read*")(wrapper)
    for number in (1, 2):
        first = await read(number)
        assert first.endswith(f" {number}")
        assert await read(number) == first
        assert await write(number) == first
        assert await memory.exists(read.cache_key(number)) is False


async def test_a_wrapper_keeps_its_context(memory: CacheManager) -> None:
    """It runs in the task of the caller, as it would without a cache."""
    assert await cache_response(memory, "read")(traced(base))(1) == "traced 1"


def test_an_endpoint_in_a_wrapper_answers(memory: CacheManager) -> None:
    """As it does in FastAPI without a cache."""
    app = FastAPI()
    runs = []

    async def endpoint(number: int) -> int:
        runs.append(number)
        return number

    app.get("/it")(cache_response(memory, "it")(traced(endpoint)))
    client = TestClient(app)
    assert [client.get("/it?number=1").json() for _ in range(2)] == [1, 1]
    assert runs == [1]


def test_a_cached_dependency_in_a_wrapper_is_its_value(memory: CacheManager) -> None:
    """The endpoint that depends on it gets no coroutine."""
    app = FastAPI()
    dependency = cache_response(memory, "it")(traced(base))

    @app.get("/it")
    async def endpoint(value: Annotated[str, Depends(dependency)]) -> str:
        return value

    client = TestClient(app)
    assert [client.get("/it?number=1").json() for _ in range(2)] == ["traced 1"] * 2


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_cancelled_call_leaves_no_coroutine(
    memory: CacheManager, recwarn: pytest.WarningsRecorder, is_first: bool
) -> None:
    """One that a plain function has made meanwhile, or makes afterwards, is closed."""
    started, go_on, made = threading.Event(), threading.Event(), []

    async def inner() -> None: ...

    def plain() -> Any:
        started.set()
        go_on.wait(10)
        made.append(inner())
        return made[-1]

    task = asyncio.ensure_future(cache_response(memory, "plain")(plain)())
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    if is_first:
        go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await eventually(lambda: made and inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED)
    made.clear()
    gc.collect()
    assert [str(each.message) for each in recwarn if "never awaited" in str(each.message)] == []


async def test_an_async_wrapper_around_a_generator_is_a_function(memory: CacheManager) -> None:
    """What counts is what is called, not what it wraps."""

    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    @functools.wraps(numbers)
    async def collected() -> list[int]:
        return [number async for number in numbers()]

    assert await cache_response(memory, "numbers")(collected)() == [1, 2]
    context = cache_response(memory, "context")(asynccontextmanager(numbers))
    assert hasattr(await context(), "__aenter__")


# --- writes that invalidate on success only -------------------------------------------------------


@pytest.mark.parametrize("only_on_success", [True, False])
@pytest.mark.parametrize(
    ("outcome", "is_success"),
    [
        *((1, True), (None, True), (JSONResponse({}, 201), True), (JSONResponse({}, 303), True)),
        *((JSONResponse({}, 409), False), (JSONResponse({}, 500), False), (LookupError(), False)),
        (asyncio.CancelledError(), False),
    ],
    ids=named,
)
async def test_a_write_may_invalidate_on_success_only(
    memory: CacheManager, outcome: Any, is_success: bool, only_on_success: bool
) -> None:
    """An exception, a cancellation and a status of 400 or more are none."""

    @invalidate_cache(memory, "users:*", tags=["users"], only_on_success=only_on_success)
    async def write() -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @cache_response(memory, "tagged", tags=["users"])
    async def tagged() -> list[int]:
        runs.append(1)
        return runs

    runs: list[int] = []
    await memory.set("users:1", 1)
    await tagged()
    if isinstance(outcome, BaseException):
        with pytest.raises(type(outcome)):
            await write()
    else:
        assert await write() is outcome
    await tagged()
    is_gone = is_success or not only_on_success
    assert await memory.exists("users:1") is not is_gone
    assert len(runs) == 1 + is_gone


@pytest.mark.parametrize(("status", "is_success"), [(None, True), (204, True), (409, False)])
@pytest.mark.parametrize("returns_it", [True, False])
async def test_the_response_that_fastapi_hands_over_tells_of_a_failure(
    memory: CacheManager, status: int | None, is_success: bool, returns_it: bool
) -> None:
    """It has no status until one is set."""

    @invalidate_cache(memory, "users:*", only_on_success=True)
    async def write(response: Response) -> Any:
        response.status_code = status  # type: ignore[assignment] # as FastAPI does
        return response if returns_it else {}

    await memory.set("users:1", 1)
    await write(Response())
    assert await memory.exists("users:1") is not is_success

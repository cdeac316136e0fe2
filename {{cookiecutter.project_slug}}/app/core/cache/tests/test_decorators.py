"""The two decorators, over every backend."""

import functools
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, assert_type

import pytest
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from pydantic import BaseModel, Field
from redis import Redis
from starlette.background import BackgroundTask

from .. import CacheManager, cache_response, invalidate_cache
from ..calls import Decorator
from .package import NAME
from .stored.test_codec import Forgetful


class Colour(Enum):
    """An enum."""

    RED = "red"


@dataclass(frozen=True)
class Point:
    """A dataclass with a nested type."""

    x: int
    when: datetime


class Page(BaseModel):
    """A model with nested models, an alias and a default."""

    items: list[Point]
    colour: Colour = Colour.RED
    next_page: int | None = Field(default=None, alias="nextPage")


def counted(decorator: Decorator, results: Iterator[Any]) -> tuple[Any, list[int]]:
    """Decorate a function that returns one of `results` after the other, and list its calls."""
    calls: list[int] = []

    async def function(number: int = 0) -> Any:
        calls.append(number)
        return next(results)

    return decorator(function), calls


async def test_a_second_call_is_a_hit(manager: CacheManager) -> None:
    """The function runs once for the same arguments, and again for others."""
    calls: list[str] = []

    @cache_response(manager, "user_data", expire=300)
    async def get_user_data(user_id: str, limit: int = 10) -> dict[str, Any]:
        calls.append(user_id)
        return {"id": user_id, "limit": limit}

    first = await get_user_data("1")
    assert await get_user_data("1") == first == {"id": "1", "limit": 10}
    assert await get_user_data(user_id="1", limit=10) == first
    assert await get_user_data("2") == {"id": "2", "limit": 10}
    assert await get_user_data("1", 20) == {"id": "1", "limit": 20}
    assert calls == ["1", "2", "1"]


async def test_a_json_response_comes_back_whole(manager: CacheManager) -> None:
    """Class, status, body, media type and headers are those of the first answer."""

    @cache_response(cache_manager=manager, key_prefix="user_data", expire=300)
    async def get_user_data(user_id: str) -> JSONResponse:
        return JSONResponse({"id": user_id, "ü": [1, None]}, 201, {"X-Version": "7"})

    miss, hit = await get_user_data("1"), await get_user_data("1")
    assert hit is not miss
    assert type(hit) is JSONResponse
    assert (hit.status_code, hit.body, hit.media_type) == (201, miss.body, "application/json")
    assert hit.raw_headers == miss.raw_headers
    assert hit.headers["x-version"] == "7"


@pytest.mark.parametrize(
    "response",
    [
        Response(b"\x00\xff\n\n", media_type="application/octet-stream"),
        Response(status_code=204),
        HTMLResponse("<p>ü</p>"),
        PlainTextResponse("line\nline", headers={"Cache-Control": "max-age=60, public"}),
        JSONResponse(None),
    ],
)
async def test_p1_responses_come_back_equal(manager: CacheManager, response: Response) -> None:
    """Whatever the class and the body."""
    function, calls = counted(cache_response(manager, "page"), iter([response]))
    await function()
    hit = await function()
    assert type(hit) is type(response)
    assert vars(hit) | {"_headers": None} == vars(response) | {"_headers": None}
    assert calls == [0]


async def test_repeated_headers_come_back(manager: CacheManager) -> None:
    """A header that stands in a response twice stands in the hit twice, in the same order."""
    response = PlainTextResponse("text")
    response.headers.append("Link", "</1>; rel=next")
    response.headers.append("Link", "</0>; rel=prev")
    function, _ = counted(cache_response(manager, "page"), iter([response]))
    await function()
    assert (await function()).headers.getlist("link") == ["</1>; rel=next", "</0>; rel=prev"]


def with_cookie() -> Response:
    response = JSONResponse({})
    response.set_cookie("session", "1")
    return response


async def stream() -> AsyncIterator[bytes]:
    yield b"part"


@pytest.mark.parametrize(
    "make",
    [
        with_cookie,
        lambda: JSONResponse({}, 503),
        lambda: JSONResponse({}, 404),
        lambda: RedirectResponse("/elsewhere"),
        lambda: JSONResponse({}, headers={"Cache-Control": "no-store"}),
        lambda: JSONResponse({}, headers={"Cache-Control": "max-age=60, Private"}),
        lambda: JSONResponse({}, headers={"Cache-Control": 'private="x-user"'}),
        lambda: JSONResponse({}, background=BackgroundTask(print)),
        lambda: StreamingResponse(stream()),
    ],
)
async def test_p8_such_a_response_is_not_stored(manager: CacheManager, make: Any) -> None:
    """The caller gets it untouched, and the next call runs the function."""
    first, second = make(), make()
    function, calls = counted(cache_response(manager, "page"), iter([first, second]))
    assert await function() is first
    assert await function() is second
    assert calls == [0, 0]


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
async def test_values_that_count_as_false_are_cached(manager: CacheManager, value: Any) -> None:
    """A stored `None` is a hit, not a miss."""
    function, calls = counted(cache_response(manager, "value"), iter([value]))
    assert await function() == value
    hit = await function()
    assert (hit, type(hit)) == (value, type(value))
    assert calls == [0]


async def test_p1_models_of_the_return_annotation_come_back(manager: CacheManager) -> None:
    """Dataclasses, Pydantic models and enums come back as themselves, nested ones too."""
    now = datetime.now(UTC)
    made: list[Page] = []

    @cache_response(manager, "page")
    async def page() -> dict[str, Page] | None:
        made.append(Page(items=[Point(1, now)], nextPage=3))
        return {"page": made[-1]}

    miss, hit = await page(), await page()
    assert len(made) == 1
    assert hit == miss
    assert hit is not None
    assert hit["page"].model_fields_set == {"items", "next_page"}
    assert type(hit["page"].items[0]) is Point
    assert hit["page"].colour is Colour.RED
    assert hit["page"].model_dump_json(by_alias=True) == made[0].model_dump_json(by_alias=True)


async def test_p1_what_cannot_come_back_is_not_stored(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets it, and one warning names the function and says what to do."""
    things = [object(), object()]
    function, calls = counted(cache_response(our_manager, "thing"), iter(things))
    assert [await function(), await function()] == things
    assert calls == [0, 0]
    [warning] = [record.getMessage() for record in caplog.records]
    assert "counted.<locals>.function is not stored" in warning
    assert "builtins.object" in warning
    assert "return plain data" in warning


async def test_p1_a_value_is_read_back_before_it_is_stored(manager: CacheManager) -> None:
    """A class that does not take back its own state is never a hit."""
    made: list[Forgetful] = []

    @cache_response(manager, "forgetful")
    async def forgetful() -> Forgetful:
        made.append(Forgetful(x=7))
        return made[-1]

    assert [(await forgetful()).x, (await forgetful()).x] == [7, 7]
    assert len(made) == 2


@dataclass(slots=True)
class Unset:
    """A dataclass whose field nobody has set."""

    x: int = field(init=False)


@pytest.mark.parametrize("value", [10**5000, Unset()], ids=["huge", "unset"])
async def test_p5_no_value_makes_the_cache_raise(manager: CacheManager, value: Any) -> None:
    """Neither as an argument nor as a result."""

    async def same(value: Any) -> int | Unset:
        result: int | Unset = value
        return result

    for ignore in ((), ("value",)):
        cached = cache_response(manager, "value", ignore=ignore)(same)
        assert await cached(value) is await cached(value) is value


@pytest.mark.parametrize("expire", [60, timedelta(seconds=60), None])
async def test_expire_of_the_decorator_is_the_time_to_live(
    redis_manager: CacheManager, redis_client: Redis, expire: int | timedelta | None
) -> None:
    """Of values and of responses; where there is none, the manager's default holds."""
    function, _ = counted(cache_response(redis_manager, "data", expire), iter([1, JSONResponse(2)]))
    await function(1)
    await function(2)
    longest = 300 if expire is None else 60
    for key in redis_client.scan_iter(f"{redis_manager.key_prefix}:data:*"):
        assert longest - 10 <= redis_client.ttl(key) <= longest


async def test_an_exception_is_not_cached(manager: CacheManager) -> None:
    """It reaches the caller, and the next call runs the function."""
    calls = []

    @cache_response(manager, "failing")
    async def failing() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise LookupError("first")
        return 7

    with pytest.raises(LookupError, match="first"):
        await failing()
    assert [await failing(), await failing()] == [7, 7]
    assert len(calls) == 2


async def test_p2_an_unkeyable_argument_goes_past_the_cache(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a call runs the function, with one warning that names the parameter and a remedy."""
    calls: list[object] = []

    @cache_response(manager, "data")
    async def load(session: object) -> int:
        calls.append(session)
        return len(calls)

    assert [await load(object()), await load(object())] == [1, 2]
    [warning] = [record.getMessage() for record in caplog.records]
    assert "'session'" in warning
    assert "give its class a __cache_key__ method, or name an attribute of it" in warning
    assert warning.endswith(
        'only if session never decides about the result, ignore=("session",): everybody then '
        "shares one entry, whatever session is"
    )


async def test_ignored_parameters_are_no_part_of_the_key(manager: CacheManager) -> None:
    """Two sessions share an entry."""
    calls: list[object] = []

    @cache_response(manager, "data", ignore=("session",))
    async def load(user_id: int, session: object) -> int:
        calls.append(session)
        return user_id

    assert [await load(1, object()), await load(1, session=object())] == [1, 1]
    assert len(calls) == 1


async def test_two_functions_do_not_share_entries(manager: CacheManager) -> None:
    """Not even with the same `key_prefix` and the same arguments."""

    @cache_response(manager, "data")
    async def one(number: int) -> str:
        return f"one {number}"

    @cache_response(manager, "data")
    async def two(number: int) -> str:
        return f"two {number}"

    assert [await one(1), await two(1), await one(1)] == ["one 1", "two 1", "one 1"]


async def test_a_plain_function_runs_in_a_thread(manager: CacheManager) -> None:
    """It does not block the event loop, and its result is cached as any other."""
    threads: list[int] = []

    @cache_response(manager, "sync")
    def blocking(number: int) -> int:
        threads.append(threading.get_ident())
        return number * 2

    assert [await blocking(4), await blocking(4)] == [8, 8]
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


async def test_a_decorated_function_keeps_its_face(manager: CacheManager) -> None:
    """Name, docstring, signature and annotations stay, for FastAPI and for people."""

    async def get_user(user_id: int, *, full: bool = False) -> dict[str, int]:
        """Return a user."""
        return {"id": user_id, "full": full}

    for decorator in (cache_response(manager, "user"), invalidate_cache(manager, "user*")):
        decorated = decorator(get_user)
        assert inspect.iscoroutinefunction(decorated)
        assert inspect.signature(decorated) == inspect.signature(get_user)
        assert decorated.__annotations__ == get_user.__annotations__
        assert (decorated.__name__, decorated.__doc__) == ("get_user", "Return a user.")
        with pytest.raises(TypeError, match=r"get_user\(\) missing 1 required"):
            await decorated()  # type: ignore[call-arg]


async def test_the_type_checker_sees_through(manager: CacheManager) -> None:
    """Parameters and results keep their types; a plain function's result has to be awaited."""

    @cache_response(manager, "typed")
    async def cached(number: int, *, text: str = "") -> list[str]:
        return [text] * number

    @cache_response(manager, "typed")
    def plain(number: int) -> dict[str, int]:
        return {"number": number}

    @invalidate_cache(manager, "typed*")
    async def write(number: int) -> None:
        assert number

    assert_type(await cached(1, text="a"), list[str])
    assert_type(await plain(1), dict[str, int])
    assert_type(await write(1), None)
    with pytest.raises(TypeError):
        await cached("1")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await cached(1, txt="")  # type: ignore[call-arg]


async def test_what_is_done_is_logged(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Misses, stores, hits and invalidations, each with the key or the pattern."""
    caplog.set_level(logging.DEBUG, NAME)
    function, _ = counted(cache_response(our_manager, "logged"), iter([1]))
    await function()
    await function()
    await our_manager.invalidate("logged*")
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split()[0] for message in messages] == ["miss", "stored", "hit", "invalidated"]
    assert all(f"{our_manager.key_prefix}:logged" in message for message in messages)


async def test_why_a_response_is_not_stored_is_logged(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """At the level of debugging where the response says so itself; else it may be a mistake."""
    caplog.set_level(logging.DEBUG, NAME)
    results = iter([JSONResponse({}, 503), StreamingResponse(stream())])
    function, _ = counted(cache_response(our_manager, "a"), results)
    await function()
    await function()
    assert "is not stored: its status is 503" in caplog.text
    assert "is not stored: it is a stream" in caplog.text
    (warning,) = [record for record in caplog.records if record.levelname != "DEBUG"]
    assert "is not stored: it is a stream" in warning.getMessage()


@pytest.mark.parametrize(
    ("arguments", "error", "what"),
    [
        ({"key_prefix": ""}, ValueError, "key_prefix=''"),
        ({"key_prefix": "a*"}, ValueError, r"key_prefix='a\*'"),
        ({"key_prefix": "x" * 101}, ValueError, "100 bytes"),
        ({"key_prefix": "\u00fc" * 51}, ValueError, "100 bytes"),
        ({"key_prefix": 7}, TypeError, "key_prefix=7"),
        ({"expire": b"1"}, TypeError, "expire=b'1'"),
        ({"ignore": ("nobody",)}, ValueError, "'nobody'.*number"),
        ({"ignore": "number"}, TypeError, "ignore='number'"),
        ({"key": 7}, TypeError, "key=7"),
        ({"shared": "no"}, TypeError, "shared='no' must be True or False"),
    ],
)
async def test_wrong_arguments_are_errors_when_decorating(
    our_manager: CacheManager, arguments: dict[str, Any], error: type[Exception], what: str
) -> None:
    """Not at the first call in production."""

    async def function(number: int) -> int:
        return number

    with pytest.raises(error, match=what):
        cache_response(our_manager, **{"key_prefix": "data", **arguments})(function)


def numbers() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("thing", "what"),
    [
        (stream, "stream is a generator"),
        (numbers, "numbers is a generator"),
        (functools.partial(print), "decorate the function itself"),
        (object(), "decorate the function itself"),
    ],
)
async def test_what_is_no_function_is_refused(
    our_manager: CacheManager, thing: Any, what: str
) -> None:
    """A stream has no result that could be stored, and an object no name."""
    for decorator in (cache_response(our_manager, "data"), invalidate_cache(our_manager, "data*")):
        with pytest.raises(TypeError, match=what):
            decorator(thing)

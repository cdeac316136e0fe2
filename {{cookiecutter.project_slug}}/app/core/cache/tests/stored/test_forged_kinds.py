"""A record is of a kind that its function returns (promise P9), and says what a response may say."""

import json
from typing import Annotated, Any

import pytest
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from redis import Redis

from ... import CacheManager, cache_response
from ...testing.redis_server import RedisServer
from ..faults import manager_behind
from ..forging import forged, no_outage, put, standing_at
from ..naming import named
from ..proxy.fault_proxy import Fault, FaultProxy

PAGE = b"<script>alert(1)</script>"
RESPONSE = {
    "class": "HTMLResponse",
    "media_type": "text/html",
    "head": f"200\ncontent-length: {len(PAGE)}\ncontent-type: text/html",
}


async def asked(manager: CacheManager, annotation: Any, result: Any, data: Any) -> list[Any]:
    """Return what a function with this annotation gives, after its record was forged by `data`."""
    runs: list[int] = []

    async def it() -> Any:
        runs.append(1)
        return result

    if annotation is None:
        del it.__annotations__["return"]
    else:
        it.__annotations__["return"] = annotation
    function = cache_response(manager, "it", key="one")(it)
    await function()
    await put(manager, "it:one", data(await standing_at(manager, "it:one")))
    return [await function(), await function(), len(runs)]


def as_response(data: bytes) -> bytes:
    """Return the record of a page that anybody would be sent."""
    return forged(data, kind=b"response", rest=json.dumps(RESPONSE).encode(), payload=PAGE)


def as_value(data: bytes) -> bytes:
    """Return the record of a value."""
    return forged(data, kind=b"value", rest=b"{}", payload=b'{"a":2}')


@pytest.mark.parametrize(
    "annotation",
    [dict, dict[str, int], dict[str, int] | None, "dict[str, int]", object, Any, None, "Unknown"],
    ids=named,
)
async def test_p9_a_page_is_no_value(our_manager: CacheManager, annotation: Any) -> None:
    """A function that says what it returns has no response from its entry; who does not say may."""
    first, second, runs = await asked(our_manager, annotation, {"a": 1}, as_response)
    if annotation in (object, Any, None, "Unknown"):
        assert type(first) is type(second) is HTMLResponse
    else:
        assert (first, second, runs) == ({"a": 1}, {"a": 1}, 2)


@pytest.mark.parametrize("annotation", [Response, JSONResponse, JSONResponse | HTMLResponse])
async def test_p9_a_value_is_no_response(our_manager: CacheManager, annotation: Any) -> None:
    """Who calls the function would stumble over it."""
    first, second, runs = await asked(our_manager, annotation, JSONResponse(1), as_value)
    assert type(first) is type(second) is JSONResponse
    assert runs == 2


class Own(JSONResponse):
    """A class of the application."""


LOCATION: dict[str, Any] = {
    "media_type": None,
    "head": "200\nlocation: https://evil.example\ncontent-length: 0",
}
CLASSES = [Response, JSONResponse, HTMLResponse, PlainTextResponse, RedirectResponse]


@pytest.mark.parametrize(
    ("annotation", "served"),
    [
        (JSONResponse, {JSONResponse}),
        (JSONResponse | HTMLResponse, {JSONResponse, HTMLResponse}),
        (Annotated[JSONResponse, "as said"] | None, {JSONResponse}),
        (Response, {*CLASSES}),
        (Any, {*CLASSES}),
        (None, {*CLASSES}),
    ],
    ids=named,
)
@pytest.mark.parametrize("cls", CLASSES)
async def test_p9_a_response_is_of_a_class_that_the_function_returns(
    our_manager: CacheManager, annotation: Any, served: set[type], cls: type[Response]
) -> None:
    """Nobody is sent elsewhere by a function that says that it returns JSON."""

    def forge(data: bytes) -> bytes:
        rest = json.dumps({**LOCATION, "class": cls.__name__}).encode()
        return forged(data, kind=b"response", rest=rest, payload=b"")

    first, second, runs = await asked(our_manager, annotation, JSONResponse(1), forge)
    is_served = cls in served
    assert type(first) is type(second) is (cls if is_served else JSONResponse)
    assert runs == 2 - is_served


@pytest.mark.parametrize(
    ("annotation", "result"),
    [
        *((JSONResponse, RedirectResponse("/x", 200)), (JSONResponse, HTMLResponse("x"))),
        *((HTMLResponse | Own, Own(1)), (dict[str, int], RedirectResponse("/x", 200))),
        *((dict[str, int] | Own, HTMLResponse("x")), (Response, HTMLResponse("x"))),
    ],
    ids=named,
)
async def test_p1_a_response_of_another_class_than_it_says_has_hits(
    our_manager: CacheManager, annotation: Any, result: Response
) -> None:
    """In the process that has seen what the function returns."""
    first, second, runs = await asked(our_manager, annotation, result, lambda data: data)
    assert type(first) is type(second) is type(result)
    assert runs == 1


async def test_a_function_need_not_do_what_it_says(our_manager: CacheManager) -> None:
    """One that returns a response all the same has hits; other processes learn it by a miss."""
    runs: list[int] = []

    def process() -> Any:
        manager = CacheManager(our_manager.backend)

        @cache_response(manager, "it", key="one")
        async def it() -> dict[str, int]:
            runs.append(1)
            made: Any = JSONResponse({"a": 1})
            return made  # type: ignore[no-any-return] # as many endpoints do

        return it

    one, other = process(), process()
    for function in (one, other, one, other):
        assert [(await function()).body for _ in range(3)] == [b'{"a":1}'] * 3
    assert len(runs) == 2


@pytest.mark.parametrize(
    "change",
    [
        *[{"head": status} for status in ("500", "204", "206", "100", "200.0", "0200", "", " 200")],
        *[{"head": each} for each in (200, None, ["200"], {"200": 1}, True)],
        {"class": "StreamingResponse"},
        {"class": "os.system"},
        {"class": ["JSONResponse"]},
        {"media_type": {"x": 1}},
        *[
            {"head": f"200\n{line}"}
            for line in (
                *("content-length: 3", "content-length: +25", "content-length: \u0662\u0665"),
                "content-length: 25\nContent-Length: 25",
                *("Set-Cookie: a=b", "SET-COOKIE2: a=b", "www-authenticate: Basic"),
                *("Clear-Site-Data: *", "connection: close", "Transfer-Encoding: chunked"),
                *("Keep-Alive: x", "x: a\r\nb: c", "x: a\u0000", "x: \u20ac", "x y: a", ": a"),
                *("x", "x: a\nb", "x:a", "", f"x: {'a' * 70_000}", "\n".join(["x: a"] * 300)),
            )
        ],
    ],
    ids=named,
)
async def test_p9_a_response_says_what_could_have_been_stored(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    """A status, lines and a length that fit, and nothing for one client or one connection."""

    def forge(data: bytes) -> bytes:
        rest = json.dumps({**RESPONSE, **change}).encode()
        return forged(data, rest=rest, payload=PAGE)

    first, second, runs = await asked(our_manager, Response, JSONResponse(1), forge)
    assert (first.body, second.body, runs) == (b"1", b"1", 2)
    assert no_outage(caplog)


async def test_p9_records_of_other_keys_are_no_outage(
    redis_manager: CacheManager, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred of them, one after the other: each is replaced, and nothing is logged."""

    @cache_response(redis_manager, "it", key="{number}")
    async def it(number: int) -> int:
        return number

    await it(0)
    data = await standing_at(redis_manager, "it:0")
    for number in range(1, 101):
        redis_client.set(f"{redis_manager.key_prefix}:it:{number}", data)
    for number in range(101):
        assert await it(number) == number
    assert [await it(number) for number in range(101)] == [*range(101)]
    assert caplog.records == []


async def test_p9_a_reply_that_went_astray_is_logged(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The next answer shows that another record stands there: it was the connection's fault."""
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        manager = manager_behind(proxy, redis_server)

        @cache_response(manager, "it", key="{number}")
        async def it(number: int) -> int:
            return number

        for number in range(5):
            await it(number)
        proxy.inject(Fault("shift", command=b"GET", times=1))
        assert [await it(number) for number in [*range(5)] * 3] == [*range(5)] * 3
        [line] = [record.getMessage() for record in caplog.records]
        assert "a reply that belongs to another command" in line
        proxy.heal()
        await manager.clear()
        await manager.close()

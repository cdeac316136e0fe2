"""A forged record of an exception is a miss, and never an error of its own (promise P9)."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import HTTPException

from ... import CacheManager, MemoryBackend, cache_response
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..forging import forged, no_outage, put, standing_at


def record(given: Any, **about: Any) -> Callable[[bytes], bytes]:
    """Return what forges a record that holds this."""
    told = {"class": "fastapi", "args": 0, **about}
    return lambda data: forged(
        data, rest=json.dumps(told).encode(), payload=json.dumps(given).encode()
    )


FORGED: dict[str, Callable[[bytes], bytes]] = {
    "a status that is not listed": record([403, "no", None]),
    "a status of 200": record([200, "no", None]),
    "a status of a part": record([206, "no", None]),
    "no status": record(["404", "no", None]),
    "a status with a fraction": record([404.0, "no", None]),
    "a list as status": record([[], "no", None]),
    "a line break": record([404, "no", {"a": "b\r\nSet-Cookie: session=1"}]),
    "a line break in a name": record([404, "no", {"a\r\nb": "c"}]),
    "a cookie": record([404, "no", {"Set-Cookie": "session=1"}]),
    "a connection": record([404, "no", {"Transfer-Encoding": "chunked"}]),
    "a length": record([404, "no", {"Content-Length": "1"}]),
    "a number in a header": record([404, "no", {"a": 1}]),
    "headers of 0": record([404, "no", 0]),
    "headers of a list": record([404, "no", [["a", "b"]]]),
    "a text as headers": record([404, "no", ""]),
    "many headers": record([404, "no", {f"x{number}": "" for number in range(300)}]),
    "long headers": record([404, "no", {"a": "b" * 70_000}]),
    "another class": record([404, "no", None], **{"class": "OwnError"}),
    "a list as class": record([404, "no", None], **{"class": []}),
    "a part": record([404, "no"]),
    "more": record([404, "no", None, None], args=4),
    "a number of arguments that is none": record([404, "no", None], args="3"),
    "an object": record({"status_code": 404}),
    "nothing": lambda data: forged(data, rest=b"{}"),
    "no JSON": lambda data: forged(data, payload=b"["),
    "deep": lambda data: forged(data, payload=b"[" * 100_000),
    "huge": record([404, "x" * 2_000_000, None]),
    "compressed from much": record([404, "no", None], zlib=10**12),
    "changes that are none": record([404, "no", None], injected=[None, {"a": ["b\nc"]}, {}]),
    "a status set by hand": record([404, "no", None], injected=[500, {}, {}]),
    "a response": lambda data: forged(data, kind=b"response"),
    "cut": lambda data: data[:-1],
}


@pytest.fixture(params=["memory", "redis", "near"])
async def own(request: pytest.FixtureRequest) -> Any:
    """Lend a manager over each kind of backend in turn, with a near cache too."""
    backend: Any = MemoryBackend()
    if request.param != "memory":
        server: RedisServer = request.getfixturevalue("redis_server")
        backend = redis_backend(server, near_size=100 if request.param == "near" else 0)
    manager = CacheManager(backend)
    manager.max_entry_bytes = 1_000_000
    yield manager
    await manager.clear()
    await manager.close()


async def asked(manager: CacheManager, data: Callable[[bytes], bytes], **options: Any) -> int:
    """Return how often a function ran that was asked twice, after its record was forged."""
    runs: list[int] = []

    @cache_response(manager, "it", key="one", **options)
    async def it() -> dict[str, int]:
        runs.append(1)
        raise HTTPException(404, "own")

    async def ask() -> None:
        with pytest.raises(HTTPException) as caught:
            await it()
        assert caught.value.detail == "own"

    await ask()
    await put(manager, "it:one", data(await standing_at(manager, "it:one")))
    await ask()
    await ask()
    return len(runs)


@pytest.mark.parametrize("options", [{}, {"stale": 60}, {"tags": ["t"]}], ids=str)
@pytest.mark.parametrize("name", FORGED)
async def test_p9_a_forged_record_is_a_miss(
    own: CacheManager, name: str, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The function runs once more, and its own record is there again."""
    assert await asked(own, FORGED[name], cache_status={404, 206}, **options) == 2
    assert no_outage(caplog)


async def test_p9_one_as_it_was_is_a_hit(own: CacheManager) -> None:
    """So the forgeries fail for what they hold."""
    assert await asked(own, record([404, "own", None]), cache_status={404}) == 1
    assert await asked(own, record([404, "own", {"a": "b"}], args=3), cache_status={404}) == 1


async def test_p9_a_function_without_cache_status_raises_nothing_stored(own: CacheManager) -> None:
    """Nor does `get_or_set`."""
    runs: list[int] = []

    @cache_response(own, "it", key="one")
    async def it() -> int:
        runs.append(1)
        return 7

    raised = record([404, "forged", None])
    assert await it() == 7
    await put(own, "it:one", forged(raised(await standing_at(own, "it:one")), kind=b"raised"))
    assert await it() == 7
    assert runs == [1, 1]
    assert await own.get_or_set("two", lambda: 8) == 8
    await put(own, "two", forged(raised(await standing_at(own, "two")), kind=b"raised"))
    assert await own.get_or_set("two", lambda: 9) == 9

"""Unsafe methods that invalidate what is stored for their path: RFC 9111, section 4.4."""

import asyncio
import json
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Response

from ... import CacheManager, CacheMiddleware, MemoryBackend, cache_response
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..endpoints import STATUS, get
from ..faults import WITHIN, eventually
from ..naming import named
from ..package import program
from .test_client_control import Between, routed

__all__ = ["routed"]  # a fixture

UNSAFE = ("POST", "PUT", "PATCH", "DELETE", "PURGE")
METHODS = (*UNSAFE, "OPTIONS", "TRACE")


class Site:
    """An application whose cached endpoint returns how often it has run; others change nothing."""

    def __init__(
        self, manager: CacheManager, *, on: bool = True, within: Any = None, **options: Any
    ) -> None:
        self.runs = 0
        self.running, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()
        self.answer: Callable[[], Response] = Response
        self.app = FastAPI()
        if within is not None:
            self.app.add_middleware(within)
        self.app.add_middleware(CacheMiddleware, "app", invalidate_unsafe=on)
        site = self

        @cache_response(manager, "it", **options)
        async def it(name: str, number: int = 0) -> list[int]:
            site.runs += 1
            runs = site.runs
            site.running.set()
            await site.go_on.wait()
            return [runs]

        async def change(name: str) -> Response:
            return site.answer()

        self.function: Any = it
        self.app.get("/it/{name:path}")(it)
        self.app.api_route("/it/{name:path}", methods=[*METHODS])(change)

    def __cache_key__(self) -> str:
        return "site"

    async def ask(self, path: str = "/it/a", method: str = "GET", **more: Any) -> httpx2.Response:
        """Send a request."""
        return await get(self.app, path, method, **more)

    async def is_hit(self, path: str = "/it/a") -> bool:
        """Whether a request is a hit; if it is none, the next one is."""
        return (await self.ask(path)).headers[STATUS].startswith("app; hit")


@pytest.mark.parametrize("status", [200, 204, 303])
@pytest.mark.parametrize("method", UNSAFE)
async def test_success_invalidates_the_path(
    our_manager: CacheManager, method: str, status: int
) -> None:
    """All entries for it, whatever their query is, and none for another path."""
    site = Site(our_manager)
    places = ("/it/a", "/it/a?number=1", "/it/b", "/it/a/b", "/it/")
    for place in places:
        await site.ask(place)
    site.answer = lambda: Response(status_code=status)
    assert (await site.ask(method=method)).status_code == status
    assert [await site.is_hit(place) for place in places] == [False, False, True, True, True]
    assert [await site.is_hit(place) for place in places] == [True] * 5


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "HEAD"])
async def test_safe_methods_change_nothing(our_manager: CacheManager, method: str) -> None:
    """RFC 9110, section 9.2.1."""
    site = Site(our_manager)
    await site.ask()
    await site.ask(method=method)
    assert await site.is_hit()


def fails() -> Response:
    raise RuntimeError


@pytest.mark.parametrize("status", [None, 304 + 96, 404, 412, 500])
async def test_errors_change_nothing(our_manager: CacheManager, status: int | None) -> None:
    """Nor does an exception that nobody handles."""
    site = Site(our_manager)
    await site.ask()
    site.answer = fails if status is None else lambda: Response(status_code=status)
    if status is None:
        with pytest.raises(RuntimeError):
            await site.ask(method="PUT")
    else:
        await site.ask(method="PUT")
    assert await site.is_hit()


async def test_nothing_is_invalidated_by_default(our_manager: CacheManager) -> None:
    """And entries have no further tag."""
    site = Site(our_manager, on=False)
    await site.ask()
    await site.ask(method="PUT")
    assert await site.is_hit()
    key = f"{our_manager.key_prefix}:{site.function.cache_key('a')}"
    assert b"path" not in (await our_manager.backend.get_bytes(key) or b"path")


async def test_hits_before_routing_are_invalidated(
    our_manager: CacheManager, routed: list[str]
) -> None:
    """They read the nonce of the path, too."""
    site = Site(our_manager)
    for runs in (1, 2):
        for _ in range(4):
            assert (await site.ask()).json() == [runs]
        await site.ask(method="PUT")
    assert len(routed) == 2 + 1 + 1 + 1


async def test_what_no_cache_has_stored_is_invalidated(our_manager: CacheManager) -> None:
    """A renewal has the tag of the path, too."""
    our_manager.client_control = True
    site = Site(our_manager)
    renewed = await site.ask(headers={"cache-control": "no-cache"})
    assert renewed.headers[STATUS] == "app; fwd=request; stored"
    assert await site.is_hit()
    await site.ask(method="PUT")
    assert not await site.is_hit()


async def test_p3_an_unsafe_request_overtakes_a_fill(our_manager: CacheManager) -> None:
    """What is computed meanwhile is for its own caller, and who asks then computes anew."""
    site = Site(our_manager)
    site.go_on.clear()
    first = asyncio.create_task(site.ask())
    await site.running.wait()
    site.running.clear()
    await site.ask(method="PUT")
    second = asyncio.create_task(site.ask())
    await site.running.wait()
    site.go_on.set()
    overtaken = await first
    assert (overtaken.json(), overtaken.headers[STATUS]) == ([1], "app; fwd=miss; detail=overtaken")
    assert (await second).json() == [2]
    assert (await site.ask()).json() == [2]


async def test_p3_near_entries_are_invalidated(redis_server: RedisServer) -> None:
    """Here before the response leaves, and in another process as soon as Redis has told it."""
    backend = redis_backend(redis_server, near_size=100)
    prefix = backend.key_prefix
    here = CacheManager(backend)
    there = CacheManager(redis_backend(redis_server, near_size=100, key_prefix=prefix))
    one, two = Site(here), Site(there)
    try:
        for _ in range(3):
            await one.ask()
        assert (await one.ask()).headers[STATUS].endswith("; detail=near")
        await one.ask(method="PUT")
        assert not await one.is_hit()
        await eventually(lambda: is_near(one))
        await two.ask(method="PUT")
        await eventually(lambda: is_not_near(one))
        assert one.runs == 3
    finally:
        await here.clear()
        for manager in (here, there):
            await manager.close()


async def is_near(site: Site) -> bool:
    return (await site.ask()).headers[STATUS].endswith("; detail=near")


async def is_not_near(site: Site) -> bool:
    return not await is_near(site)


async def test_p3_it_is_done_before_the_response_leaves(our_manager: CacheManager) -> None:
    """Who has the first byte of it reads nothing old."""
    site = Site(our_manager)
    await site.ask()
    statuses: list[str] = []

    async def asking(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append((await site.ask()).headers[STATUS])
            await send(message)

        await site.app(scope, receive, sending)

    transport = httpx2.ASGITransport(asking)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.put("/it/a")
    assert statuses == ["app; fwd=miss; stored"]


ELSEWHERE = """
import asyncio, json, sys
from {package} import CacheManager, RedisBackend
from {package}.tests.http.test_unsafe_methods import Site

async def main():
    options = json.loads(sys.argv[1])
    manager = CacheManager(RedisBackend(**options))
    site = Site(manager)
    for line in sys.stdin:
        response = await site.ask(method=line.strip())
        print(response.status_code, response.headers.get("cache-status", ""), flush=True)
    await manager.close()

asyncio.run(main())
"""


async def test_p3_two_processes(redis_server: RedisServer) -> None:
    """A write in one overtakes hits, early hits and fills in the other, though it has read nothing."""
    backend = redis_backend(redis_server)
    options = {
        **{name: getattr(redis_server, name) for name in ("host", "port", "db", "password")},
        "timeout": WITHIN,
        "operation_timeout": WITHIN,
        "key_prefix": backend.key_prefix,
    }
    manager = CacheManager(backend)
    site = Site(manager)
    there = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program(ELSEWHERE), json.dumps(options)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )

    async def elsewhere(method: str) -> str:
        assert there.stdin is not None
        assert there.stdout is not None
        there.stdin.write(f"{method}\n".encode())
        async with asyncio.timeout(3 * WITHIN):
            return (await there.stdout.readline()).decode().strip()

    try:
        for _ in range(4):
            assert (await site.ask()).json() == [1]
        assert await elsewhere("PUT") == "200"
        assert (await site.ask()).json() == [2]
        await manager.invalidate("it*")
        site.running.clear()
        site.go_on.clear()
        filling = asyncio.create_task(site.ask())
        await site.running.wait()
        assert await elsewhere("DELETE") == "200"
        site.go_on.set()
        assert (await filling).json() == [3]
        assert (await site.ask()).json() == [4]
        assert (await elsewhere("GET")).startswith("200 app; hit")
        await site.ask(method="PATCH")
        assert await elsewhere("GET") == "200 app; fwd=miss; stored"
    finally:
        assert there.stdin is not None
        there.stdin.close()
        await there.wait()
        await manager.clear()
        await manager.close()


@pytest.mark.parametrize("header", ["Location", "content-location"])
@pytest.mark.parametrize(
    ("value", "is_named"),
    [
        ("/it/b%20c", True),
        ("/it/b%20c?x=1#y", True),
        ("b%20c", True),
        ("../it/b%20c", True),
        ("http://test/it/b%20c", True),
        ("https://TEST:444/it/b%20c", True),
        ("//test/it/b%20c", True),
        ("http://other/it/b%20c", False),
        ("//other/it/b%20c", False),
        ("http://[/it/b%20c", False),
        ("javascript:/it/b%20c", False),
        ("/it/*", False),
        ("", False),
    ],
)
async def test_what_the_response_names(
    our_manager: CacheManager, header: str, value: str, is_named: bool
) -> None:
    """On the host of the request."""
    site = Site(our_manager)
    await site.ask("/it/b%20c")
    site.answer = lambda: Response(status_code=201, headers={header: value})
    assert (await site.ask(method="POST")).status_code == 201
    assert await site.is_hit("/it/b%20c") is not is_named


@pytest.mark.parametrize("start", ["", "/api"])
async def test_a_response_may_name_the_root_path(our_manager: CacheManager, start: str) -> None:
    """A proxy has taken it away, and the server has put it in front of the path again, or not."""
    site = Site(our_manager)
    site.answer = lambda: Response(status_code=201, headers={"Location": "/api/it/b"})
    transport = httpx2.ASGITransport(site.app, root_path="/api")
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        statuses = [
            (await client.request(method, f"{start}{path}")).headers.get(STATUS, "")[:8]
            for method, path in (
                *(("GET", "/it/b"), ("GET", "/it/b"), ("POST", "/it/a"), ("GET", "/it/b")),
            )
        ]
    assert statuses == ["app; fwd", "app; hit", "", "app; fwd"]


async def test_p7_a_path_is_no_pattern(our_manager: CacheManager) -> None:
    """Only equal paths are invalidated, also if they are long or odd."""
    site = Site(our_manager)
    odd = [
        "/it/*",
        "/it/a*",
        "/it/%2A",
        "/it/" + "x" * 2000,
        "/it/" + "x" * 1999 + "*",
        "/it/%00%F0",
    ]
    for place in (*odd, "/it/a"):
        await site.ask(place)
    await site.ask("/it/*", "PUT")
    hits = [await site.is_hit(place) for place in (*odd, "/it/a")]
    assert hits == [False, True, True, True, True, True, True]
    for place in odd:
        assert await site.is_hit(place)
        await site.ask(place, "PUT")
        assert not await site.is_hit(place)


async def test_every_manager_of_the_application_is_told(our_manager: CacheManager) -> None:
    """Those of included routers, of mounted applications, and behind decorators, too.

    Another process stores the entries, so this one has to know them by the routes alone.
    """
    managers = [our_manager, *[CacheManager(MemoryBackend()) for _ in range(3)]]
    app, inner, router = FastAPI(), FastAPI(), APIRouter(prefix="/in")
    app.add_middleware(CacheMiddleware, "app", invalidate_unsafe=True)

    def around(function: Any) -> Any:
        @wraps(function, updated=())
        async def called(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

        return called

    async def one() -> int:
        return 1

    places: list[tuple[Any, str]] = [
        (app, "/it"),
        (router, "/it"),
        (inner, "/it"),
        (app, "/around"),
    ]
    for number, (manager, (where, path)) in enumerate(zip(managers, places, strict=True)):
        cached = cache_response(manager, f"it{number}")(one)
        where.get(path)(around(cached) if path == "/around" else cached)
        where.put(path)(one)
    assert (await get(app, "/it", "PUT")).status_code == 200  # before the others are there
    app.include_router(router, prefix="/side")
    app.mount("/mounted", inner)
    elsewhere = FastAPI()
    elsewhere.add_middleware(CacheMiddleware, "app", invalidate_unsafe=True)
    elsewhere.router.routes = app.router.routes
    for path in ("/it", "/side/in/it", "/mounted/it", "/around"):
        statuses = [
            (await get(where, path, method)).headers.get(STATUS, "").partition("; ttl")[0]
            for where, method in (
                *((elsewhere, "GET"), (elsewhere, "GET"), (app, "PUT"), (elsewhere, "GET")),
            )
        ]
        assert statuses == ["app; fwd=miss; stored", "app; hit", "", "app; fwd=miss; stored"]


async def test_a_manager_that_comes_late_is_told(our_manager: CacheManager) -> None:
    """Its endpoint is in a mounted application, which got it after the first unsafe request."""
    app, inner = FastAPI(), FastAPI()
    app.add_middleware(CacheMiddleware, "app", invalidate_unsafe=True)
    app.mount("/mounted", inner)

    async def one() -> int:
        return 1

    inner.put("/it")(one)
    await get(app, "/mounted/it", "PUT")
    inner.get("/it")(cache_response(our_manager, "it")(one))
    for _ in range(2):
        await get(app, "/mounted/it")
    await get(app, "/mounted/it", "PUT")
    assert (await get(app, "/mounted/it")).headers[STATUS] == "app; fwd=miss; stored"


async def test_p6_what_cannot_be_delivered_is_kept(
    our_manager: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response leaves, and until the invalidation is delivered nothing old is served."""
    site = Site(our_manager)
    await site.ask()

    async def away(*_: Any) -> bool:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(type(our_manager.backend), "invalidate_tag_keys", away)
        assert (await site.ask(method="PUT")).status_code == 200
        assert (await site.ask()).json() == [2]
    await our_manager.invalidations.pending.deliver()
    assert (await site.ask()).json() == [3]
    assert await site.is_hit()


async def test_p3_a_cancelled_request_may_have_changed_something(
    our_manager: CacheManager,
) -> None:
    """It has no status, so it counts as if it had succeeded."""
    site = Site(our_manager)
    await site.ask()

    def cancelled() -> Response:
        raise asyncio.CancelledError

    site.answer = cancelled
    with pytest.raises(asyncio.CancelledError):
        await site.ask(method="PUT")
    assert (await site.ask()).json() == [2]
    await eventually(lambda: not len(our_manager.invalidations.pending))
    assert (await site.ask()).json() == [3]
    assert await site.is_hit()


async def test_entries_without_the_tag_are_not_served(our_manager: CacheManager) -> None:
    """Those of a process without the option. That one serves entries with the tag, if it is valid."""
    off, site = Site(our_manager, on=False), Site(our_manager)
    await off.ask()
    assert await off.is_hit()
    assert not await site.is_hit()
    assert await site.is_hit()
    assert await off.is_hit()
    await off.ask(method="PUT")
    assert await site.is_hit()
    await site.ask(method="PUT")
    assert not await off.is_hit()


async def test_calls_by_hand_share_entries_with_requests(our_manager: CacheManager) -> None:
    """They read what has the tag, if it is valid, and what they store is not served to requests."""
    site = Site(our_manager, within=Between)  # so that values are stored
    await site.ask()
    assert await site.function("a") == [1]
    await site.ask(method="PUT")
    assert await site.function("a") == [2]
    assert await site.function("a") == [2]
    assert (await site.ask()).json() == [3]
    assert await site.function("a") == [3]


@pytest.mark.parametrize("tags", [["a", "n:{name}"], ["a", lambda result: ["of"]]], ids=named)
async def test_other_tags_count_as_before(our_manager: CacheManager, tags: Any) -> None:
    """Those that are known before, and those of the result."""
    site = Site(our_manager, tags=tags)
    for tag in ("a", "of" if callable(tags[1]) else "n:a", None):
        await site.ask()
        assert await site.is_hit()
        if tag is None:
            await site.ask(method="PUT")
        else:
            await our_manager.invalidate_tags(tag)
        assert not await site.is_hit()

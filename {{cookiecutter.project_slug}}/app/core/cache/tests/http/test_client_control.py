"""What requests say in `Cache-Control` (RFC 9111, section 5.2.1), where they have a say."""

import asyncio
import dataclasses
import time
from collections.abc import Callable
from typing import Any, Final

import httpx2
import pytest
from fastapi import Depends, FastAPI, Header
from starlette.responses import JSONResponse
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from ... import (
    CacheFactory,
    CacheManager,
    CacheMiddleware,
    MemoryBackend,
    RedisBackend,
    cache_response,
)
from ...calls import Wish
from ...http.client_control import wish_of
from ..endpoints import STATUS, Endpoint, get
from ..faults import eventually
from ..internals import joined

DIRECTIVES: Final = ("no-cache", "no-store", "max-age=0", "max-age=1", "only-if-cached")
ANEW: Final = (
    *(
        {"cache-control": each}
        for each in ("no-cache", "max-age=0", 'max-age="0"', "No-Cache , x=1")
    ),
    {"pragma": "no-cache"},
)
Admits = Callable[[Scope], bool]


class Site:
    """An application with an endpoint, whose result is how often it has run."""

    def __init__(
        self,
        manager: CacheManager,
        *,
        may: bool | None = True,
        admits: Admits | None = None,
        within: Any = None,
        dependencies: Any = (),
        **options: Any,
    ) -> None:
        manager.client_control = bool(may)
        self.endpoint = Endpoint(manager, **options)
        self.app = FastAPI()
        if within is not None:
            self.app.add_middleware(within)
        self.app.add_middleware(CacheMiddleware, "app", client_control=admits)
        self.go_on = asyncio.Event()
        self.go_on.set()
        site = self

        @self.app.get("/it", dependencies=[*dependencies])
        @self.endpoint
        async def it() -> list[int]:
            runs = site.endpoint.runs
            await site.go_on.wait()
            return [runs]

    def __cache_key__(self) -> str:
        return "site"

    async def ask(self, method: str = "GET", **headers: str) -> httpx2.Response:
        """Send a request with these headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await get(self.app, "/it", method, headers=named)

    def has_run(self, times: int) -> Callable[[], bool]:
        """Return what tells whether the function has run so often."""
        return lambda: self.endpoint.runs == times

    def grow_older(self, seconds: float) -> None:
        """Let entries that are made from now on look as if they had been made earlier."""
        calls = self.endpoint.function.calls
        calls.freshness = dataclasses.replace(calls.freshness, now=lambda: time.time() - seconds)


class Between:
    """A middleware within that of the cache, so that values are stored, and not responses."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths of the requests that have come to a router."""
    paths: list[str] = []
    route = Router.__call__

    async def noted(self: Router, scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await route(self, scope, receive, send)

    noted.__module__ = route.__module__  # else the router may look at more than the target
    monkeypatch.setattr(Router, "__call__", noted)
    return paths


@pytest.mark.parametrize("directive", DIRECTIVES)
async def test_nothing_is_heeded_by_default(
    our_manager: CacheManager, directive: str, routed: list[str]
) -> None:
    """A miss is a miss, and a hit is a hit, also one that is answered before routing."""
    assert CacheManager(MemoryBackend()).client_control is False
    site = Site(our_manager, may=False)
    first = await site.ask(cache_control=directive)
    assert (first.status_code, first.headers[STATUS]) == (200, "app; fwd=miss; stored")
    site.grow_older(100)
    for _ in range(3):
        again = await site.ask(cache_control=directive, pragma="no-cache")
        assert again.headers[STATUS].startswith("app; hit; ttl=")
    assert (site.endpoint.runs, len(routed)) == (1, 2)


async def test_no_cache_joins_nothing_that_began_before(our_manager: CacheManager) -> None:
    """Who sends it may know of something that changed meanwhile."""
    site = Site(our_manager)
    site.go_on.clear()
    asking = []
    for runs, headers in enumerate(({}, *ANEW[:2]), 1):
        asking.append(asyncio.create_task(get(site.app, headers=headers)))
        await eventually(site.has_run(runs))
    site.go_on.set()
    assert [response.json() for response in await asyncio.gather(*asking)] == [[1], [2], [3]]
    assert (await site.ask()).json() == [3]


@pytest.mark.parametrize("headers", ANEW, ids=str)
async def test_no_cache_runs_the_function_and_stores(
    our_manager: CacheManager, headers: dict[str, str]
) -> None:
    """Whatever is there, and also where hits are answered before routing."""
    site = Site(our_manager)
    for runs in (1, 2):
        for _ in range(3):
            assert (await site.ask()).json() == [runs]
        if runs == 1:
            anew = await get(site.app, headers=headers)
            assert (anew.json(), anew.headers[STATUS]) == ([2], "app; fwd=request; stored")
    assert site.endpoint.runs == 2


async def test_no_cache_of_a_head_stores_for_get(our_manager: CacheManager) -> None:
    """The function runs, and the next GET has its result."""
    site = Site(our_manager)
    await site.ask()
    anew = await site.ask("HEAD", cache_control="no-cache")
    assert (anew.content, anew.headers[STATUS]) == (b"", "app; fwd=request; stored")
    assert (await site.ask()).json() == [2]


async def test_no_store_is_for_itself(our_manager: CacheManager) -> None:
    """It neither reads what is there nor changes it; if nothing is there, nothing is stored."""
    site = Site(our_manager)
    for runs in (1, 2):
        alone = await site.ask(cache_control="no-store")
        assert (alone.json(), alone.headers[STATUS]) == ([runs], "app; fwd=request")
        assert await site.endpoint.stands() is None
    await site.ask()
    there = await site.endpoint.stands()
    assert (await site.ask(cache_control="max-age=1, no-store")).json() == [4]
    assert await site.endpoint.stands() == there
    assert (await site.ask()).json() == [3]


async def test_max_age_is_the_age_of_the_entry(our_manager: CacheManager) -> None:
    """A younger one is a hit, an older one is computed anew, and so is none."""
    site = Site(our_manager)
    site.grow_older(100)
    first = await site.ask(cache_control="max-age=90")
    assert (first.json(), first.headers[STATUS]) == ([1], "app; fwd=miss; stored")
    young = await site.ask(cache_control="max-age=200")
    assert young.json() == [1]
    assert young.headers[STATUS].startswith("app; hit; ttl=")
    old = await site.ask(cache_control="max-age=200, max-age=90")
    assert (old.json(), old.headers[STATUS]) == ([2], "app; fwd=request; stored")
    site.grow_older(0)
    assert (await site.ask(cache_control="max-age=90")).json() == [3]
    assert (await site.ask(cache_control="max-age=90")).json() == [3]


async def test_max_age_counts_the_age_that_the_response_tells(our_manager: CacheManager) -> None:
    """Another server may have made it earlier."""
    site = Site(our_manager)

    @site.app.get("/old")
    @cache_response(our_manager, "old")
    async def old() -> JSONResponse:
        return JSONResponse({}, headers={"cache-control": "max-age=3600", "age": "100"})

    for most, status in (("200", "miss"), ("200", "hit"), ("90", "request"), ("90", "request")):
        found = await get(site.app, "/old", headers={"cache-control": f"max-age={most}"})
        assert status in found.headers[STATUS]


async def test_p4_too_old_for_many_is_one_computation(our_manager: CacheManager) -> None:
    """An entry that is too old is no reason to run the function for each."""
    site = Site(our_manager)
    site.grow_older(100)
    await site.ask()
    site.grow_older(0)
    site.go_on.clear()
    asking = [asyncio.create_task(site.ask(cache_control="max-age=90")) for _ in range(10)]
    await joined(our_manager, 9)
    site.go_on.set()
    assert {response.content for response in await asyncio.gather(*asking)} == {b"[2]"}
    assert site.endpoint.runs == 2


async def test_p4_an_entry_of_unknown_age_is_too_old(our_manager: CacheManager) -> None:
    """A value does not say when it was made. What was computed since the request came will do."""
    site = Site(our_manager, within=Between)
    await site.ask()
    assert await site.endpoint.kind() == "value"
    assert (await site.ask()).json() == [1]
    for also in ("no-cache", "max-age=0", "max-age=3600"):
        refused = await site.ask(cache_control=f"only-if-cached, {also}")
        assert refused.status_code == 504
    assert (await site.ask(cache_control="max-age=3600")).json() == [2]
    site.go_on.clear()
    asking = [asyncio.create_task(site.ask(cache_control="max-age=3600")) for _ in range(10)]
    await joined(our_manager, 9)
    site.go_on.set()
    assert {response.content for response in await asyncio.gather(*asking)} == {b"[3]"}
    assert site.endpoint.runs == 3


async def test_only_if_cached_never_runs_the_function(our_manager: CacheManager) -> None:
    """It gets the hit, or 504, and leaves nothing at the key."""
    site = Site(our_manager, tags=["a", lambda result: [f"of:{each}" for each in result]])
    for also in ("", ", no-store", ", no-cache", ", max-age=10"):
        none = await site.ask(cache_control=f"only-if-cached{also}")
        assert none.status_code == 504
        assert none.headers[STATUS] == "app; detail=only-if-cached"
        assert none.headers["cache-control"] == "private, no-cache"
    assert (site.endpoint.runs, await site.endpoint.stands()) == (0, None)
    await site.ask()
    for also in ("", ", max-age=10", ", no-store"):
        found = await site.ask(cache_control=f"only-if-cached{also}")
        assert (found.status_code, found.json()) == (200, [1])
        assert found.headers[STATUS].startswith("app; hit; ttl=")
    for also in (", no-store, no-cache", ", no-cache", ", max-age=0"):
        assert (await site.ask(cache_control=f"only-if-cached{also}")).status_code == 504
    await our_manager.invalidate_tags("of:1")
    assert (await site.ask(cache_control="only-if-cached")).status_code == 504
    assert site.endpoint.runs == 1


async def test_only_if_cached_may_be_stale(our_manager: CacheManager) -> None:
    """An entry that others get while it is computed anew will do, and is not computed for this."""
    site = Site(our_manager, expire=10, stale=1000)
    site.grow_older(100)
    await site.ask()
    site.grow_older(0)
    stale = await site.ask(cache_control="only-if-cached")
    assert stale.json() == [1]
    assert stale.headers[STATUS].startswith("app; hit; ttl=-")
    assert (await site.ask(cache_control="only-if-cached, max-age=50")).status_code == 504
    assert site.endpoint.runs == 1


def reads_a_header(x_user: str = Header("")) -> None:
    """Know who asks."""


async def test_p8_only_if_cached_where_there_is_no_entry_ever(our_manager: CacheManager) -> None:
    """An endpoint whose results are private: its function does not run for this, either."""
    site = Site(our_manager, dependencies=[Depends(reads_a_header)])
    assert (await site.ask()).headers[STATUS] == "app; fwd=bypass; detail=dependency"
    assert (await site.ask(cache_control="no-cache")).headers[STATUS] == (
        "app; fwd=bypass; detail=dependency"
    )
    assert (await site.ask(cache_control="only-if-cached")).status_code == 504
    assert site.endpoint.runs == 2


async def test_p3_an_invalidation_overtakes_a_renewal(our_manager: CacheManager) -> None:
    """What `no-cache` computes is not stored if an invalidation comes meanwhile."""
    site = Site(our_manager)
    await site.ask()
    site.go_on.clear()
    renewing = asyncio.create_task(site.ask(cache_control="no-cache"))
    await eventually(site.has_run(2))
    await our_manager.invalidate("it*")
    site.go_on.set()
    overtaken = await renewing
    assert (overtaken.json(), overtaken.headers[STATUS]) == (
        [2],
        "app; fwd=request; detail=overtaken",
    )
    assert (await site.ask()).json() == [3]


async def test_p5_without_redis() -> None:
    """`only-if-cached` is 504, and the others run the function."""
    site = Site(CacheManager(RedisBackend(host="localhost", port=1)))
    assert (await site.ask(cache_control="only-if-cached")).status_code == 504
    for runs, directive in enumerate(("no-cache", "no-store", "max-age=10"), 1):
        assert (await site.ask(cache_control=directive)).json() == [runs]


async def test_a_callable_decides_for_each_request(
    our_manager: CacheManager, routed: list[str]
) -> None:
    """It comes before the setting, and is asked once, if there is something to decide."""
    asked: list[str] = []

    def admits(scope: Scope) -> bool:
        asked.append(scope["method"])
        return (b"x-admin", b"yes") in scope["headers"]

    site = Site(our_manager, may=None, admits=admits)
    for _ in range(3):
        await site.ask(x_admin="yes")
    assert (site.endpoint.runs, asked, len(routed)) == (1, [], 2)
    assert (await site.ask(cache_control="no-cache")).json() == [1]
    assert (asked, len(routed)) == (["GET"], 2)
    assert (await site.ask(cache_control="no-cache", x_admin="yes")).json() == [2]
    assert (asked, len(routed)) == (["GET"] * 2, 3)
    our_manager.client_control = True
    assert (await site.ask("HEAD", pragma="no-cache")).headers[STATUS].startswith("app; hit")
    assert (asked, site.endpoint.runs) == (["GET", "GET", "HEAD"], 2)


async def test_a_callable_that_fails_admits_nobody(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does one that returns anything but `True`."""

    def fails(scope: Scope) -> bool:
        raise LookupError(scope["path"])

    def finds(_: Scope) -> Any:
        return "yes"

    for admits in (fails, finds):
        site = Site(our_manager, admits=admits)
        for _ in range(2):
            assert (await site.ask(cache_control="no-cache")).json() == [1]
        await our_manager.clear()
    assert (
        caplog.messages
        == ["client_control failed, and a request has no say: LookupError('/it')"] * 2
    )


async def asynchronous(_: Scope) -> bool:
    return True


@pytest.mark.parametrize("admits", [asynchronous, True])
def test_what_is_no_plain_function_is_refused(admits: Any) -> None:
    """It would admit everybody."""
    with pytest.raises(TypeError, match="must be a plain function of the scope"):
        CacheMiddleware(FastAPI(), client_control=admits)


async def test_other_methods_have_no_say(our_manager: CacheManager) -> None:
    """An endpoint that is cached for POST goes on as ever."""
    our_manager.client_control = True
    app, endpoint = FastAPI(), Endpoint(our_manager, method="POST")
    app.add_middleware(CacheMiddleware)

    @app.post("/it")
    @endpoint
    async def it() -> int:
        return 1

    for directive in DIRECTIVES:
        assert (await get(app, "/it", "POST", headers={"cache-control": directive})).json() == 1
    assert endpoint.runs == 1


@pytest.mark.parametrize(
    ("lines", "wish"),
    [
        ([], None),
        (["no-transform, foo=bar, min-fresh=5, max-stale"], None),
        (["max-age=5"], Wish(5)),
        (["max-age=5, max-age=3"], Wish(3)),
        (["MAX-AGE=5", "No-Store"], Wish(5, stores=False)),
        (["max-age=99999999999999999999"], Wish(2**31)),
        (["only-if-cached, no-cache"], Wish(0, only_if_cached=True)),
        (["no-cache", ";"], None),
        (["no-cache; max-age=0"], None),
        (["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=x"], None),
        (["max-age=\u00b2"], None),
        (["no-cache, max-age=x"], Wish(0)),
        ([", ,no-cache,,"], Wish(0)),
        (["," * 20_000 + ";"], None),
        (["a" * 20_000 + " " * 20_000 + "=" + " " * 20_000 + ";"], None),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_a_header_wants(lines: list[str], wish: Wish | None) -> None:
    """A broken one wants nothing, and what is not known does not count."""
    given = [(b"cache-control", line.encode("latin-1")) for line in lines]
    assert wish_of([(b"accept", b"*/*"), *given]) == wish


@pytest.mark.parametrize(
    ("control", "pragma", "wish"),
    [
        (None, "no-cache", Wish(0)),
        (None, "x, No-Cache", Wish(0)),
        (None, "no-store", None),
        (None, "no-cache;", None),
        ("max-age=5", "no-cache", Wish(5)),
        ("x", "no-cache", None),
        (";", "no-cache", None),
    ],
)
def test_pragma_counts_without_cache_control(
    control: str | None, pragma: str, wish: Wish | None
) -> None:
    """RFC 9111, section 5.4."""
    given = [] if control is None else [(b"cache-control", control.encode())]
    assert wish_of([(b"pragma", pragma.encode()), *given]) == wish


def test_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is off unless it is set, and reaches the manager."""
    monkeypatch.setenv("CACHE_BACKEND", "memory")
    assert CacheFactory.create_cache_manager().client_control is False
    monkeypatch.setenv("CACHE_CLIENT_CONTROL", "true")
    assert CacheFactory.create_cache_manager().client_control is True
    with pytest.raises(TypeError, match="client_control='yes' must be True or False"):
        CacheManager(MemoryBackend(), client_control="yes")  # type: ignore[arg-type] # wrong

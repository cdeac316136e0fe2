"""Hits before routing and the ordinary way answer alike, byte for byte (promises P1 and P2)."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal
from urllib.parse import quote

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Query
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ... import CachedRoute, CacheManager, CacheMiddleware, cache_response
from ...http import early
from ...http.routed import before_routing
from .internals import Clock, targets_of
from .origin import STATUS, Answer, ask, nothing, only_memory

TIMES = 4


class Color(Enum):
    """Members with values of two types."""

    RED = "red"
    ONE = "1"


async def of_path(name: str, number: int = 0) -> Any:
    return [name, number]


async def of_a_path(rest: str, a: str | None = None) -> Any:
    return [rest, a]


async def of_query(
    a: str = "",
    b: Annotated[list[str] | None, Query()] = None,
    c: Annotated[int | None, Query(ge=0, alias="C")] = None,
    d: bool | int | date | None = None,
    e: Literal["x", "y"] | Color | None = None,
) -> Any:
    return [a, b, c, d, e]


async def of_headers(
    x: Annotated[str, Header()] = "", y: Annotated[int | None, Header()] = None
) -> Any:
    return [x, y]


async def of_nothing() -> Any:
    return "nothing"


PLACES = {
    "/items/{name}": of_path,
    "/files/{rest:path}": of_a_path,
    "/query": of_query,
    "/headers": of_headers,
    "/slash/": of_nothing,
    "/": of_nothing,
}


def application(
    manager: CacheManager, prefix: str = "it", clock: Clock | None = None, *, is_early: bool = True
) -> FastAPI:
    """Make an application with cached endpoints at all these places."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware, name="t")
    add(app.router, manager, prefix, clock, is_early=is_early)
    return app


def add(
    router: APIRouter,
    manager: CacheManager,
    prefix: str,
    clock: Clock | None,
    *,
    is_early: bool,
) -> None:
    """Add the endpoints to a router."""
    for path, function in PLACES.items():
        decorate: Any = cache_response(manager, prefix)
        cached = decorate(function)
        if clock is not None:
            clock.rules(cached)
        guards = [] if is_early else [Depends(nothing)]
        router.get(path, dependencies=guards, response_model=None)(cached)


def whole(manager: CacheManager, prefix: str, clock: Clock, *, is_early: bool) -> FastAPI:
    """Make an application that has them itself, in a router, and in a mounted application."""
    apps = [application(manager, f"{prefix}{each}", clock, is_early=is_early) for each in "12"]
    router = APIRouter(route_class=CachedRoute)
    add(router, manager, f"{prefix}3", clock, is_early=is_early)
    apps[0].include_router(router, prefix="/router")
    apps[0].mount("/mounted", apps[1])
    for app in apps:
        assert {bool(each.why_routed) for each in before_routing(app)} == {not is_early}
    return apps[0]


class Both:
    """Two applications that differ only in whether hits come before routing."""

    def __init__(self, clock: Clock) -> None:
        manager = only_memory()
        self.early = whole(manager, "early", clock, is_early=True)
        self.usual = whole(manager, "usual", clock, is_early=False)
        self.came = 0

    async def compare(self, requests: Sequence[dict[str, Any]]) -> None:
        """Send requests in turn, again and again, to both, and compare the answers."""
        for _ in range(TIMES):
            for request in requests:
                before, self.came = self.came, 0
                expected = await ask(self.usual, **request, is_checked=False)
                assert self.came == 0
                answer = await ask(self.early, **request, is_checked=False)
                assert answer.what == expected.what
                self.came += before


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    """Lend the two, for all examples; some of them came before routing."""
    with pytest.MonkeyPatch.context() as patch:
        both, start_of = Both(Clock(patch)), CacheMiddleware._start_of

        def counted(*arguments: Any) -> Any:
            both.came += 1
            return start_of(*arguments)

        patch.setattr(CacheMiddleware, "_start_of", counted)
        yield both


texts = st.text(st.characters(codec="utf-8"), max_size=6)
encoded = st.one_of(
    texts.map(quote),
    texts.map(lambda text: quote(text, safe="")),
    st.text("ab1%/.+;:@&=~-", max_size=6),
    st.sampled_from(
        ["%2F", "%2f", "%00", "%FF", "a%2Fb", "..", ".", "//", "a/", "%25", "+", "%20"]
    ),
).filter(lambda text: "?" not in text and "#" not in text)
pairs = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "C", "c", "d", "e", "number", "other", "%61", "b[]", ""]),
        st.one_of(encoded, st.sampled_from(["", "1", "true", "x", "red", "2026-01-02", "1e3"])),
        st.sampled_from(["=", "", "=="]),
    ),
    max_size=4,
).map(lambda found: "&".join(f"{name}{sign}{said if sign else ''}" for name, said, sign in found))
paths = st.builds(
    lambda before, path: before + path,
    st.sampled_from(["", "/router", "/mounted"]),
    st.one_of(
        encoded.map(lambda text: f"/items/{text}"),
        encoded.map(lambda text: f"/files/{text}"),
        st.sampled_from(["/query", "/query/", "/headers", "/slash/", "/slash", "/", "", "/no"]),
    ),
).filter(lambda path: path.startswith("/"))
headers = st.lists(
    st.tuples(
        st.sampled_from(["x", "X", "y", "z", "Accept"]), st.sampled_from(["", "1", "2", "\xfc"])
    ),
    max_size=3,
)
requests = st.fixed_dictionaries(
    {
        "target": st.builds(lambda path, query: f"{path}?{query}", paths, pairs),
        "headers": headers,
        "method": st.sampled_from(["GET", "GET", "HEAD"]),
    }
)


@pytest.mark.slow
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(requests, min_size=1, max_size=3))
def test_p2_any_targets(both: Both, requests: list[dict[str, Any]]) -> None:
    """Encodings, keys that come twice, empty values, any order; mounted, included, redirected."""
    asyncio.run(both.compare(requests))


SAME = [
    ["/query?a=1&C=2", "/query?C=2&a=1", "/query?a=1&C=2&other=3", "/query?a=1&c=2"],
    ["/query?b=1&b=2", "/query?b=2&b=1", "/query?b=1", "/query?b=1,2", "/query?b=1&b=1"],
    ["/query?a=", "/query?a", "/query?", "/query", "/query?a=&a=", "/query?=a", "/query?&&"],
    ["/query?a=%2B", "/query?a=+", "/query?a=%20", "/query?a= ", "/query?a=%E2%82%AC"],
    ["/query?a=1&a=2", "/query?a=2&a=1", "/query?a=2", "/query?%61=2", "/query?A=2"],
    ["/query?C=1", "/query?C=01", "/query?C=1.0", "/query?C=-1", "/query?C=x"],
    ["/query?d=1", "/query?d=true", "/query?d=1.0", "/query?d=2026-01-02", "/query?d=01"],
    ["/query?e=x", "/query?e=red", "/query?e=1", "/query?e=z", "/query?e=RED"],
    ["/items/a%2Fb", "/items/a", "/items/a?number=0", "/items/%61", "/items/a/"],
    ["/files/a/b", "/files/a%2Fb", "/files//a/b", "/files/a//b", "/files/a/b/", "/files/"],
    ["/slash/", "/slash", "/slash/?", "/slash?a", "//slash/", "/SLASH/"],
    ["/mounted/query", "/mounted/mounted/query", "/mounted", "/mounted/", "/mounted/slash"],
    ["/router/query?a=1", "/query?a=1", "/mounted/query?a=1", "/router/router/query"],
]


@pytest.mark.parametrize("targets", SAME, ids=lambda each: each[0])
def test_p2_targets_that_are_nearly_the_same(both: Both, targets: list[str]) -> None:
    """Each has the answer of its own call, in any order; most come early in the end."""
    before = both.came
    asyncio.run(both.compare([{"target": each} for each in targets]))
    asyncio.run(both.compare([{"target": each} for each in reversed(targets)]))
    assert both.came > before


@pytest.mark.parametrize("root", ["", "/api", "/mounted", "/items", "/query"])
def test_p2_roots(both: Both, root: str) -> None:
    """The root path of a proxy, with which the path may begin or not."""
    targets = ["/query?a=1", "/items/a", "/mounted/query?a=1", "/slash", "/", "/router/items/a"]
    found = [
        {"target": f"{before}{each}", "root_path": each_root}
        for before in ("", root)
        for each_root in ("", root)
        for each in targets
    ]
    before = both.came
    asyncio.run(both.compare(found))
    assert both.came > before


def test_p2_headers_of_the_key(both: Both) -> None:
    """One target has an answer for each value, for each order of lines, and for none."""
    lines: list[list[tuple[str, str]]] = [
        *([], [("x", "1")], [("x", "2")], [("X", "1")], [("x", "")], [("y", "1")], [("y", "x")]),
        *([("x", "1"), ("x", "2")], [("x", "2"), ("x", "1")], [("x", "1, 2")], [("z", "1")]),
        *([("x", "1"), ("y", "1")], [("y", "1"), ("x", "1")], [("x", " 1")], [("x", "\xfc")]),
    ]
    asyncio.run(both.compare([{"target": "/headers", "headers": each} for each in lines]))


def test_p2_hosts_and_schemes(both: Both) -> None:
    """They are in no key unless `vary=` names them; a redirect names them."""
    found = [
        {"target": target, "headers": {"Host": host}, "scheme": scheme}
        for target in ("/query?a=1", "/slash")
        for host in ("a", "b:81")
        for scheme in ("http", "https")
    ]
    asyncio.run(both.compare(found))


# --- how many targets are remembered ---------------------------------------------------------------


async def many(app: FastAPI, start: int, count: int, times: int) -> list[Answer]:
    """Ask for targets, each of them so many times in a row."""
    return [
        await ask(app, f"/items/{number}")
        for number in range(start, start + count)
        for _ in range(times)
    ]


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_p5_a_flood_of_targets_changes_no_hits(
    exact: CacheManager, clock: Clock, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """So many are remembered and no more; those that are used stay; all others are hits as before."""
    monkeypatch.setattr(early, "MOST", 32)
    app = application(exact)
    hot = [f"/query?a={number}" for number in range(4)]
    for target in hot:
        for _ in range(3):
            answer = await ask(app, target)
        assert answer.is_early
    for start in range(0, 100, 10):
        flood = await many(app, start, 10, times)
        assert [each.is_early for each in flood] == [False, False, True][:times] * 10
        assert len(targets_of(app)) <= 32
        clock.seconds += 2
        for target in hot:
            answer = await ask(app, target)
            assert answer.is_early
            assert (answer.says(STATUS) or "").startswith("t; hit")
    if times == 1:
        assert len(targets_of(app)) == len(hot)
    else:
        again = await many(app, 0, 5, 1)
        assert ["hit" in (each.says(STATUS) or "") for each in again] == [True] * 5
        assert [each.is_early for each in again] == [False] * 5


async def test_p5_a_long_target_is_not_remembered(exact: CacheManager) -> None:
    """It is answered by the ordinary way, as a hit."""
    app = application(exact)
    for length, is_early in ((100, True), (3000, False)):
        for _ in range(4):
            answer = await ask(app, f"/query?a={'a' * length}")
        assert (answer.status, answer.is_early) == (200, is_early)
        assert "hit" in (answer.says(STATUS) or "")
        for _ in range(4):
            answer = await ask(app, "/headers", {"x": "a" * length})
        assert (answer.status, answer.is_early) == (200, is_early)
    assert len(targets_of(app)) == 3


async def test_p5_headers_that_no_key_holds_make_no_targets(exact: CacheManager) -> None:
    """A client cannot make many targets of one by what it sends besides."""
    app = application(exact)
    for number in range(20):
        answer = await ask(app, "/query?a=1", {"User-Agent": f"{number}", "Cookie": f"a={number}"})
        other = await ask(app, "/headers", {"X": "1", "User-Agent": f"{number}"})
    assert answer.is_early
    assert other.is_early
    assert len(targets_of(app)) == 3


async def test_p1_a_target_is_asked_for_anew_after_a_while(
    exact: CacheManager, clock: Clock
) -> None:
    """After a minute it goes the ordinary way once more."""
    app = application(exact)
    answers = [await ask(app, "/") for _ in range(3)]
    clock.seconds += 59
    answers.append(await ask(app, "/"))
    clock.seconds += 2
    answers += [await ask(app, "/") for _ in range(2)]
    assert [each.is_early for each in answers] == [False, False, True, True, False, True]

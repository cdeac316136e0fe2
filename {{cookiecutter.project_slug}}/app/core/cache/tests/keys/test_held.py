"""What a `key=` function has only glanced at is not in the key (promise P8)."""

import asyncio
import hashlib
import random
import re
from collections.abc import Callable
from secrets import randbelow
from typing import Any
from urllib.parse import quote, unquote

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from ... import CacheManager, CacheStatusMiddleware, MemoryBackend, cache_response

HIT, STORED, NOT_STORED = "app; hit", "app; fwd=miss; stored", "app; fwd=miss"
Key = Callable[[Request], object]
AUTH = "authorization"


def authorization(request: Request) -> str:
    return request.headers[AUTH]


def language(request: Request) -> str | None:
    return request.headers.get("accept-language")


def query(request: Request) -> str:
    return request.query_params.get("who", "")


def whole_query(request: Request) -> str:
    return request.url.query


def path(request: Request) -> str:
    return request.url.path


def method(request: Request) -> str:
    return request.method


def name(request: Request) -> str:
    return str(request.path_params["name"])


def url(request: Request) -> str:
    return str(request.url)


GLANCES: dict[str, tuple[Key, Callable[[Request], Any]]] = {
    "whether there is a query": (lambda request: f"{bool(request.query_params)}", query),
    "whether a key is in it": (lambda request: f"{'who' in request.query_params}", query),
    "how long it is": (lambda request: f"{len(request.url.query)}"[:1], query),
    "a value of it": (lambda request: f"k{request.query_params['same']}", query),
    "its names": (lambda request: f"{sorted(request.query_params)}", query),
    "its beginning": (lambda request: request.url.query[:3], query),
    "its end": (lambda request: request.url.query[-1:], query),
    "the beginning of a header": (lambda request: authorization(request)[:3], authorization),
    "a long beginning": (lambda request: f"{authorization(request)[:10]}:1", authorization),
    "its first word": (lambda request: authorization(request).split()[0], authorization),
    "its last letter, in a tuple": (
        lambda request: (authorization(request)[-1:], 1),
        authorization,
    ),
    "whether it is there": (lambda request: f"{AUTH in request.headers}", authorization),
    "how long a header is": (lambda request: f"{len(authorization(request)) > 1}", authorization),
    "in small letters": (lambda request: authorization(request).lower(), authorization),
    "without spaces": (lambda request: authorization(request).replace(" ", ""), authorization),
    "what kind it is": (
        lambda request: "bearer" if authorization(request).startswith("Bearer") else "other",
        authorization,
    ),
    "a constant that some send": (
        lambda request: "Bearer x-alice" if authorization(request) else "",
        authorization,
    ),
    "a number that occurs": (
        lambda request: f"{len(request.headers.get('x-number', ''))}:2",
        lambda request: request.headers["x-number"],
    ),
    "a header, or what it would be": (
        lambda request: f"{request.headers.get('accept-language', 'None')}",
        language,
    ),
    "a header, or none as a text": (
        lambda request: f"{request.headers.get('accept-language')}",
        language,
    ),
    "a header, or a default of a tuple": (
        lambda request: (request.headers.get("accept-language", "None"),),
        language,
    ),
    "a header, or that there is none": (
        lambda request: f"is:{language(request)}" if language(request) else "no",
        language,
    ),
    "a header, or what an empty one stands for": (
        lambda request: request.headers.get("accept-language", "x") or "None",
        language,
    ),
    "beside a letter": (lambda request: f"a{name(request)}", name),
    "beside what it may have": (
        lambda request: f"{request.headers['x-number']}:{authorization(request)}",
        authorization,
    ),
    "the first of a path": (lambda request: path(request)[:2], path),
    "how deep a path is": (lambda request: f"{path(request).count('/')}", path),
    "a part of the path": (lambda request: name(request)[:1], name),
    "of a name, whether it is there": (lambda request: f"{'name' in request.path_params}", name),
    "a part of the address": (lambda request: f"{request.url.scheme}", url),
    "the host alone": (lambda request: f"{request.url.hostname}", url),
    "the address in small letters": (lambda request: url(request).lower(), url),
    "its path": (lambda request: (path(request),), lambda request: [path(request), query(request)]),
    "one of two cookies": (
        lambda request: (request.cookies["same"],),
        lambda request: request.cookies["who"],
    ),
    "all headers, counted": (lambda request: f"{len(request.headers)}", authorization),
    "a part of what is inside": (lambda request: ([authorization(request)[:3]][0],), authorization),
}
HELD: dict[str, tuple[Key, Callable[[Request], Any]]] = {
    "a header": (authorization, authorization),
    "in a tuple": (lambda request: ("me", authorization(request), 1), authorization),
    "twice": (lambda request: (authorization(request), authorization(request)), authorization),
    "a header that may be absent": (lambda request: ("in", language(request)), language),
    "all cookies": (
        lambda request: (request.headers["cookie"],),
        lambda request: request.cookies["who"],
    ),
    "the query": (whole_query, query),
    "the path": (lambda request: (path(request),), path),
    "path and query": (lambda request: (path(request), whole_query(request)), query),
    "method and path": (lambda request: (method(request), path(request)), method),
    "a part of the path": (lambda request: (name(request),), name),
}
IN_A_TEXT: dict[str, tuple[Key, Callable[[Request], Any]]] = {
    "between others": (lambda request: f"me/{authorization(request)}/1", authorization),
    "inside a value": (lambda request: (f"me/{authorization(request)}", 1), authorization),
    "twice": (lambda request: f"{authorization(request)}/{authorization(request)}", authorization),
    "quoted": (lambda request: f"me/{quote(authorization(request))}/", authorization),
    "one that is told from none": (
        lambda request: "no" if language(request) is None else f"is:{language(request)}",
        language,
    ),
    "the query again": (lambda request: f"?{request.query_params}", query),
    "the address": (url, url),
    "beside a part of another": (
        lambda request: (authorization(request), request.url.path[:2]),
        authorization,
    ),
    "a digest": (
        lambda request: hashlib.sha256(authorization(request).encode()).hexdigest(),
        authorization,
    ),
}


def site(key: Any, read: Callable[[Request], Any]) -> TestClient:
    """Return a client of an application with one cached endpoint."""
    app, manager = FastAPI(), CacheManager(MemoryBackend())
    app.add_middleware(CacheStatusMiddleware)

    @cache_response(manager, "x", key=key)
    async def endpoint(request: Request) -> Any:
        return read(request)

    app.add_api_route("/{name}", endpoint)
    return TestClient(app)


def people() -> list[dict[str, Any]]:
    """Return what four people send, of whom some differ in little."""
    found = []
    for who, number, extra in (
        ("alice", "1", {}),
        ("bob", "2", {"Accept-Language": "None"}),
        ("Alice", "3:Bearer", {"Accept-Language": "de"}),
        ("alicf", "12", {"Accept-Language": ""}),
    ):
        headers = {
            "Authorization": f"Bearer x-{who}",
            "Cookie": f"same=1; who={who}",
            "X-Number": number,
        }
        found.append({"url": f"/{who}?same=1&who={who}", "headers": headers | extra})
    return found


def answers(client: TestClient, requests: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Return what each gets, and what the cache did."""
    client.headers.pop("accept-language", None)
    sent = [client.request("GET", **each) for each in requests]
    assert {each.status_code for each in sent} == {200}
    return [(each.headers["cache-status"], each.json()) for each in sent]


@pytest.mark.parametrize("way", GLANCES)
def test_p8_what_a_key_function_glanced_at_is_not_in_the_key(way: str) -> None:
    """Each gets his own, whoever came first, and what is in the key by chance only is not stored."""
    key, read = GLANCES[way]
    uncached = [told for _, told in answers(site(lambda _: "", read), people())]
    for start in range(4):
        order = [*range(start, 4), *range(start)] * 2
        got = answers(site(key, read), [people()[number] for number in order])
        assert [told for _, told in got] == [uncached[number] for number in order]


@pytest.mark.parametrize("way", HELD)
def test_p8_what_stands_whole_in_the_key_is_held(way: str) -> None:
    """Each has an entry of his own."""
    key, read = HELD[way]
    uncached = [told for _, told in answers(site(lambda _: "", read), people())]
    client = site(key, read)
    first, second = answers(client, people()), answers(client, people())
    assert [told for _, told in first] == [told for _, told in second] == uncached
    assert {status for status, _ in second} == {HIT}


@pytest.mark.parametrize("way", IN_A_TEXT)
def test_p8_what_does_not_stand_whole_is_not_held(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Though it may tell all: nothing is stored, and the warning says what to do."""
    key, read = IN_A_TEXT[way]
    uncached = [told for _, told in answers(site(lambda _: "", read), people())]
    for _ in range(2):
        got = answers(client := site(key, read), people())
        assert [told for _, told in got] == uncached
        assert {status for status, _ in answers(client, people())} == {NOT_STORED}
    assert "give a key= that holds a whole header" in caplog.text
    assert "as a part of a tuple" in caplog.text


def header(request: Request, name: str = "x-a") -> str:
    return request.headers.get(name, "")


def by_chance(request: Request) -> object:
    return header(request) if randbelow(2) else "it"


SAID = [
    *("alice", "ALICE", "al ice", "al  ice", "Bearer alice", "alice,bob", "alice;q=1", "al%69ce"),
    *("alice" * 40, "alice" * 41, "anon", "", None, "alic\u00e9", "al-ice", "alice=1", '"alice"'),
]
NEARLY: dict[str, Callable[[Request], object]] = {
    "in small letters": lambda request: header(request).lower(),
    "title": lambda request: (header(request).swapcase().swapcase().capitalize(),),
    "without spaces": lambda request: (header(request).replace(" ", ""),),
    "stripped": lambda request: (" ".join(header(request).split()),),
    "without a scheme": lambda request: header(request).removeprefix("Bearer ") or "x",
    "the last word": lambda request: (header(request).rpartition(" ")[2],),
    "the first of a list": lambda request: header(request).split(",")[0] or "x",
    "without a parameter": lambda request: header(request).partition(";")[0] or "x",
    "decoded": lambda request: (unquote(header(request)),),
    "a beginning": lambda request: header(request)[:5] or "x",
    "a long beginning": lambda request: header(request)[:200] or "x",
    "ASCII": lambda request: (header(request).encode("ascii", "ignore").decode(),),
    "letters": lambda request: (re.sub(r"\W", "", header(request)),),
    "without quotes": lambda request: (header(request).strip('"'),),
    "or a constant": lambda request: header(request) or "anon",
    "a constant for none": lambda request: request.headers.get("x-a", "anon") or "x",
    "or another": lambda request: (header(request) or header(request, "x-b"),),
    "another for none": lambda request: (request.headers.get("x-a", header(request, "x-b")),),
    "by chance": by_chance,
    "one of several": lambda request: (request.headers["x-b"], *request.headers.getlist("x-c")[:1]),
    "of one type or another": lambda request: request.url.path if header(request) else (None,),
}


def asking(*headers: tuple[str, str | None], path: str = "/x") -> Request:
    """Return a request with these headers, of which some may be absent."""
    lines = [
        (name.encode(), value.encode("latin-1")) for name, value in headers if value is not None
    ]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": lines}
    return Request(scope)


def lists(request: Request) -> list[list[str]]:
    """Return all that such a request says."""
    return [request.headers.getlist(name) for name in ("x-a", "x-b", "x-c")]


@pytest.mark.parametrize("way", NEARLY)
@pytest.mark.parametrize("seed", range(5))
async def test_p8_what_is_nearly_whole_is_not_held(way: str, seed: int) -> None:
    """Whoever came first, and whatever others send: nobody gets another's answer."""

    @cache_response(CacheManager(MemoryBackend()), "x", key=NEARLY[way])
    async def read(request: Request) -> list[list[str]]:
        return lists(request)

    sent = [
        asking(("x-a", value), ("x-b", other), ("x-c", third), ("x-c", value))
        for value in SAID
        for other in (None, "alice", "x")
        for third in (None, "alice")
    ]
    random.Random(seed).shuffle(sent)
    for request in sent * 2:
        assert await read(request) == lists(request)


async def test_p8_a_place_in_a_template_holds_a_header_of_one_line() -> None:
    """Not one of several."""
    runs: list[list[str]] = []

    @cache_response(CacheManager(MemoryBackend()), "x", key="{request.headers[x-a]}")
    async def read(request: Request) -> list[str]:
        runs.append(request.headers.getlist("x-a"))
        return runs[-1]

    for said in (["alice"], ["alice-2"], ["alice"], ["bob", "admin"], ["bob", "admin"]):
        assert await read(asking(*[("x-a", each) for each in said])) == said
    assert len(runs) == 4


@pytest.mark.parametrize("path", ["/alice?x", "/alice#x", "/alice"])
async def test_p8_a_path_is_held_as_it_is(path: str) -> None:
    """One that a URL cuts short does not spoil the entry of another."""
    runs: list[str] = []

    @cache_response(CacheManager(MemoryBackend()), "x", key=lambda request: request.url.path)
    async def read(request: Request) -> str:
        runs.append(request.scope["path"])
        return runs[-1]

    assert await read(asking(path=path)) == path
    assert await read(asking(path="/alice")) == await read(asking(path="/alice")) == "/alice"
    assert len(runs) == len({path, "/alice"})


TEXTS = st.text(st.sampled_from("abAB12:/. ~%"), max_size=4).map(str.strip)


@given(one=TEXTS, two=TEXTS, three=TEXTS, four=TEXTS, is_tuple=st.booleans())
def test_p8_no_two_texts_share_an_entry(
    one: str, two: str, three: str, four: str, *, is_tuple: bool
) -> None:
    """Whatever two headers hold, with a key made of both."""

    def both(request: Request) -> object:
        texts = request.headers["x-a"], request.headers["x-b"]
        return texts if is_tuple else ":".join(texts)

    @cache_response(CacheManager(MemoryBackend()), "x", key=both)
    async def read(request: Request) -> list[list[str]]:
        return lists(request)

    async def ask_all() -> None:
        sent = [(one, two), (three, four), (one, two), (f"{one}:{two}", ""), ("", f"{one}:{two}")]
        for a, b in sent:
            assert await read(asking(("x-a", a), ("x-b", b))) == [[a], [b], []]

    asyncio.run(ask_all())

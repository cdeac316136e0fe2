"""What a `key=` function has only glanced at is not in the key (promise P8)."""

import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from app.core.cache import CacheManager, CacheStatusMiddleware, MemoryBackend, cache_response

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
    "between others": (lambda request: f"me/{authorization(request)}/1", authorization),
    "in a tuple": (lambda request: ("me", authorization(request), 1), authorization),
    "inside a value": (lambda request: (f"me/{authorization(request)}", 1), authorization),
    "twice": (lambda request: f"{authorization(request)}/{authorization(request)}", authorization),
    "quoted": (lambda request: f"me/{quote(authorization(request))}/", authorization),
    "quoted, all of it": (lambda request: f"me/{quote(authorization(request), '')}", authorization),
    "a header that may be absent": (lambda request: ("in", language(request)), language),
    "one that is told from none": (
        lambda request: "no" if language(request) is None else f"is:{language(request)}",
        language,
    ),
    "all cookies": (
        lambda request: (request.headers["cookie"],),
        lambda request: request.cookies["who"],
    ),
    "the query": (whole_query, query),
    "the query again": (lambda request: f"?{request.query_params}", query),
    "the path": (lambda request: (path(request),), path),
    "path and query": (lambda request: f"{path(request)}?{whole_query(request)}", query),
    "the method": (lambda request: f"{method(request)} {path(request)}", method),
    "a part of the path": (lambda request: (name(request),), name),
    "one as a text": (lambda request: f"name:{request.path_params['name']}", name),
    "the address": (url, url),
    "the address, and others": (lambda request: (url(request), method(request)), query),
}


def site(key: Key, read: Callable[[Request], Any]) -> TestClient:
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


def test_p8_a_digest_is_no_text(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can tell what it is made of; the warning says what to do."""
    client = site(lambda request: hashlib.sha256(authorization(request).encode()).hexdigest(), url)
    assert {status for status, _ in answers(client, people()[:1] * 2)} == {NOT_STORED}
    assert "give a key= that holds a whole header" in caplog.text


TEXTS = st.text(st.sampled_from("abAB12:/. ~%"), max_size=4).map(str.strip)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_p8_no_two_texts_share_an_entry(one: str, two: str, three: str, four: str) -> None:
    """Whatever two headers hold, with a key made of both."""

    def both(request: Request) -> str:
        return f"{request.headers['x-a']}:{request.headers['x-b']}"

    def read(request: Request) -> list[str]:
        return [request.headers["x-a"], request.headers["x-b"]]

    client = site(both, read)
    sent = [(one, two), (three, four), (one, two), (f"{one}:{two}", ""), ("", f"{one}:{two}")]
    requests = [{"url": "/x", "headers": {"x-a": a, "x-b": b}} for a, b in sent]
    got = [told for _, told in answers(client, requests)]
    assert got == [[a, b] for a, b in sent]

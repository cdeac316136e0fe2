"""Who may see the page, and what may be asked of it: closed by default (promise P8)."""

import re
from typing import Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.middleware.cors import CORSMiddleware

from ... import CacheFactory, CacheManager
from ...ops import audit_cache
from ...ops.counters import counters_of
from ...ops.page import cache_page
from ..naming import named
from .paged import LOCAL, WRITES, application, client_of, invalidate

READS = ("/cache", "/cache/", "/cache/data", "/cache/entries", "/cache/entry?key=user:7")


async def statuses(app: FastAPI, headers: dict[str, str], **options: Any) -> set[int]:
    """Return the statuses of all that the page serves, to requests with these headers."""
    async with client_of(app, **options) as client:
        reads = [(await client.get(path, headers=headers)).status_code for path in READS]
        writes = {**WRITES, **headers}
        reply = await client.post("/cache/invalidate", json={"key": "user:7"}, headers=writes)
    return {*reads, reply.status_code}


# --- who -------------------------------------------------------------------------------------------


def test_p8_a_page_without_a_guard_is_refused(memory: CacheManager) -> None:
    """And nothing is counted for it. The error says what to do."""
    with pytest.raises(ValueError, match=r"dependencies=\[Depends\(admin\)\].*local_only=True"):
        cache_page(memory)
    assert memory.events.listeners == ()


def test_p8_what_is_no_dependency_is_refused(memory: CacheManager) -> None:
    """A function by itself would guard nothing in some versions of FastAPI."""
    with pytest.raises(TypeError, match="no dependency"):
        cache_page(memory, dependencies=[print])  # type: ignore[list-item] # it is wrong on purpose


async def test_p8_a_local_page_answers_to_this_machine(our_manager: CacheManager) -> None:
    """By each of its names, and at any port."""
    await our_manager.set("user:7", 1)
    app = application(our_manager)
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8000"):
        await our_manager.set("user:7", 1)
        assert await statuses(app, {"Host": host}) == {200}
    for client in (("::1", 1), ("127.9.9.9", 1), ("::ffff:127.0.0.1", 1)):
        await our_manager.set("user:7", 1)
        assert await statuses(app, {}, client=client) == {200}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "evil.example:80@localhost"},
        {"Host": "127.0.0.1.nip.io"},
        {"Host": "192.168.1.7:8000"},
        {"Host": "localhost:8000, evil.example"},
        {"Host": ""},
        {"Forwarded": "for=192.0.2.7"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Host": "localhost"},
        {"x-forwarded-anything": ""},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"CF-Connecting-IP": "192.0.2.7"},
        {"True-Client-IP": "192.0.2.7"},
        {"X-Client-IP": "192.0.2.7"},
        {"X-Cluster-Client-IP": "192.0.2.7"},
        {"X-Original-Host": "evil.example"},
        {"X-Envoy-External-Address": "192.0.2.7"},
        {"Fly-Client-IP": "192.0.2.7"},
        {"CDN-Loop": "proxy"},
        {"X_Forwarded_For": "192.0.2.7"},
    ],
    ids=named,
)
async def test_p8_a_local_page_is_for_nobody_else(
    memory: CacheManager, headers: dict[str, str]
) -> None:
    """Not for a name that another site has led here, and not for whom a proxy speaks."""
    assert await statuses(application(memory), headers) == {404}


@pytest.mark.parametrize(
    "client", [("192.0.2.7", 1), ("0.0.0.0", 1), ("::ffff:192.0.2.7", 1), ("testclient", 1), None]
)
async def test_p8_a_local_page_is_for_no_other_machine(
    memory: CacheManager, client: tuple[str, int] | None
) -> None:
    """Whatever it says; nor for a client without an address, as at a Unix socket."""
    assert await statuses(application(memory), {"Host": "localhost"}, client=client) == {404}


async def test_p8_two_hosts_are_none(memory: CacheManager) -> None:
    """The server may have looked at the other one."""
    app, sent = application(memory), []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/cache",
        "query_string": b"",
        "client": LOCAL,
        "headers": [(b"host", b"localhost"), (b"host", b"evil.example")],
    }
    for headers, version, status in (
        (scope["headers"], "1.1", 404),
        ([(b"host", b"localhost")], "1.0", 404),  # a proxy that is not set up for more
        ([(b"host", b"localhost")], "1.1", 200),
    ):
        await app({**scope, "headers": headers, "http_version": version}, receive, send)
        assert sent[-2]["status"] == status


async def test_p8_dependencies_decide(memory: CacheManager) -> None:
    """Of every route, before a body or a parameter is looked at; with `local_only`, of the rest."""

    def admin(who: str = "") -> None:
        if who != "admin":
            raise HTTPException(401)

    guard: dict[str, Any] = {"dependencies": [Depends(admin)]}
    app = application(memory, **guard)
    assert await statuses(app, {}, client=("192.0.2.7", 1)) == {401}
    async with client_of(app, client=("192.0.2.7", 1)) as client:
        refused = await client.post("/cache/invalidate", content=b"{", headers=WRITES)
        assert refused.status_code == 401
        assert (await client.get("/cache/data", params={"who": "admin"})).status_code == 200
    both = application(memory, **guard, local_only=True)
    assert await statuses(both, {}, client=("192.0.2.7", 1)) == {404}
    assert await statuses(both, {}) == {401}


# --- whose requests --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"X-Cache-Page": "0"}, 403),
        ({"X-Cache-Page": ""}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:9000"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8000"}, 200),
        ({"Origin": "http://localhost:8000"}, 200),
        ({"Origin": "http://localhost:9000"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
    ids=named,
)
async def test_p8_a_foreign_page_changes_nothing(
    our_manager: CacheManager, headers: dict[str, str], status: int
) -> None:
    """Only what the page itself can send does."""
    await our_manager.set("user:7", 1)
    reply = await invalidate(application(our_manager), {"key": "user:7"}, **headers)
    assert reply.status_code == status
    assert await our_manager.exists("user:7") is (status != 200)


async def test_p8_a_foreign_page_is_granted_nothing(memory: CacheManager) -> None:
    """Not by a preflight, and not if the service lets other origins in."""
    await memory.set("user:7", 1)
    app = application(memory)
    foreign = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    asks = {**foreign, "Access-Control-Request-Headers": "x-cache-page,content-type"}
    async with client_of(app) as client:
        reply = await client.options("/cache/invalidate", headers=asks)
    assert reply.status_code == 404
    assert not [name for name in reply.headers if name.startswith("access-control")]
    app = application(memory)
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_headers=["*"])
    assert await statuses(app, foreign) == {200, 403}
    async with client_of(app) as client:
        for path in READS[2:]:
            assert (await client.get(path, headers=foreign)).status_code == 403
    assert await memory.exists("user:7")


def guards() -> dict[str, Any]:
    """Return dependencies that raise for nobody, and what they do instead."""

    def factory(role: str = "") -> Any:
        def guard() -> None:
            raise HTTPException(403)

        return guard

    return {"false": lambda: False, "a factory": factory}


@pytest.mark.parametrize("name", guards())
async def test_p8_a_guard_that_does_not_raise_lets_nobody_in(
    memory: CacheManager, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """If it says no in another way, or was named by mistake; the log says so."""
    app = FastAPI()
    page = cache_page(memory, dependencies=[Depends(guards()[name])])
    app.include_router(page, prefix="/cache")
    async with client_of(app) as client:
        for path in READS:
            assert (await client.get(path)).status_code == 403
        reply = await client.post("/cache/invalidate", headers=WRITES, json={"pattern": "*"})
        assert reply.status_code == 403
    assert "it has to raise; nobody is let in" in caplog.text


@pytest.mark.parametrize(
    "scheme", [HTTPBearer(auto_error=False), APIKeyHeader(name="key", auto_error=False)]
)
def test_p8_a_scheme_that_asks_for_nothing_is_refused(memory: CacheManager, scheme: Any) -> None:
    """It would let in whoever brings no credentials."""
    with pytest.raises(ValueError, match="auto_error=False"):
        cache_page(memory, dependencies=[Depends(scheme)])


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_p8_nobody_learns_that_there_is_a_page(memory: CacheManager, method: str) -> None:
    """To all but this machine each method of each path is a 404, as where nothing is."""
    async with client_of(application(memory)) as client:
        for path in ("", "/", "/data", "/data/", "/entries", "/invalidate", "/other/path"):
            reply = await client.request(method, f"/cache{path}", headers={"Host": "evil.example"})
            assert reply.status_code == 404
            assert "allow" not in reply.headers


async def test_p8_nothing_is_changed_by_get(our_manager: CacheManager) -> None:
    """Nor by any method that a page is asked with."""
    await our_manager.set("user:7", 1)
    async with client_of(application(our_manager)) as client:
        for path in READS:
            assert (await client.get(path)).status_code == 200
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            reply = await client.request(method, "/cache/invalidate?key=user:7", headers=WRITES)
            assert reply.status_code == 404
    assert await our_manager.exists("user:7")


# --- the document ----------------------------------------------------------------------------------


def _policy(reply: httpx2.Response) -> dict[str, str]:
    directives = reply.headers["content-security-policy"].split("; ")
    return {each.partition(" ")[0]: each.partition(" ")[2] for each in directives}


async def test_p9_the_document_allows_nothing_from_outside(memory: CacheManager) -> None:
    """Its one style and its one script are known by their hashes; nothing else is run or loaded."""
    async with client_of(application(memory)) as client:
        reply = await client.get("/cache")
        policy, text = _policy(reply), reply.text
    assert policy["default-src"] == "'none'"
    for name in ("style-src", "script-src"):
        assert re.fullmatch(r"'sha256-[\w+/]{43}='", policy[name])
    assert (policy["connect-src"], policy["frame-ancestors"]) == ("'self'", "'none'")
    assert policy["require-trusted-types-for"] == "'script'"
    assert (text.count("<script"), text.count("<style")) == (1, 1)
    assert not re.search(r"<[^>]*\s(on\w+|style|src)=", text)
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)
    assert "innerHTML" not in text


async def test_p8_nothing_of_it_is_kept(our_manager: CacheManager) -> None:
    """Neither by browsers nor by the cache's own middleware; nor may another page frame it."""
    await our_manager.set("user:7", 1)
    async with client_of(application(our_manager)) as client:
        for path in (*READS, "/cache/entry?key=nothing", "/cache/invalidate"):
            replies = [await client.get(path) for _ in range(2)]
            for reply in replies:
                if reply.status_code != 404:
                    assert reply.headers["cache-control"] == "no-store"
                    assert reply.headers["x-frame-options"] == "DENY"
                    assert reply.headers["x-content-type-options"] == "nosniff"
                assert "etag" not in reply.headers
                assert "cache-status" not in reply.headers
    async with client_of(application(our_manager), client=("192.0.2.7", 1)) as client:
        assert (await client.get("/cache")).headers["cache-control"] == "no-store"


async def test_a_page_is_no_part_of_the_service(memory: CacheManager) -> None:
    """Its schema does not have it, and the audit has nothing to say; any prefix will do."""
    app = application(memory, "/admin/of/cache")
    assert app.openapi()["paths"] == {}
    audit = audit_cache(app, level="error")
    assert (audit.findings, audit.routes) == ((), ())
    async with client_of(app) as client:
        assert (await client.get("/admin/of/cache/data")).status_code == 200


async def test_a_page_is_of_the_shared_cache(
    memory: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless told otherwise."""
    monkeypatch.setattr(CacheFactory, "_manager", memory)
    app = application(None)
    async with client_of(app) as client:
        state = (await client.get("/cache/data")).json()
    assert state["own"] == counters_of(memory).now().id

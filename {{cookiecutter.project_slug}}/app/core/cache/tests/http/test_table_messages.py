"""`Vary`, methods, header lines, ranges, status codes and `Cache-Status`: one table."""

from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Cookie, Depends, Header, HTTPException, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from ... import CacheManager
from .internals import Clock
from .origin import (
    BODY,
    Case,
    Endpoint,
    Expected,
    Step,
    case,
    responds,
    returns,
    sets,
    takes,
    value,
    wrong_in,
)

MISS, HIT = "t; fwd=miss; stored", "t; hit; ttl=60"
Text = Annotated[str | None, Header()]


def status(said: Any, **more: Any) -> Expected:
    """Return what is expected of `Cache-Status`, and of other headers."""
    return {"cache-status": said, **more}


def stored(**more: Any) -> dict[str, Any]:
    """Return what is expected of a miss and of the hits after it."""
    return {"has": status(HIT, **more), "first": status(MISS, **more)}


def not_stored(why: str, **more: Any) -> dict[str, Any]:
    """Return what is expected of all answers if nothing is stored."""
    return {"has": status(f"t; fwd=miss; detail={why}", **more)}


async def _two(b_lang: Text = None, a: Annotated[str | None, Header(alias="X-A")] = None) -> str:
    return f"{b_lang} {a}"


async def _several(x: Annotated[list[str], Header()]) -> list[str]:
    return x


two, several = Endpoint(_two), Endpoint(_several)
LANG, LANGS = {"B-Lang": "de"}, {"vary": ("Accept-Language",)}
OTHERS = {"vary": ("b", "A", "accept-encoding")}

VARY: list[Case] = [
    case("no header", value, has={"vary": None}),
    case("headers that are parameters", two, LANG, **stored(vary="b-lang, x-a"), body=b'"de None"'),
    case("a header of vary=", value, cached=LANGS, **stored(vary="accept-language")),
    case("several of vary=", value, cached=OTHERS, **stored(vary="a, accept-encoding, b")),
    case("its own is in the key", responds({"Vary": "Accept-Encoding"}), cached=OTHERS, **stored(vary="Accept-Encoding, a, b")),
    case("its own is all of the key", responds({"Vary": "ACCEPT-LANGUAGE"}), cached=LANGS, **stored(vary="ACCEPT-LANGUAGE")),
    case("its own, of two lines", responds([("Vary", "A"), ("Vary", "b")]), cached=OTHERS, **stored(vary="A, b, accept-encoding")),
    case("its own is not in the key", responds({"Vary": "Origin"}), **not_stored("response", vary="Origin")),
    case("its own is not in the key, set", sets({"Vary": "Origin"}), early=False, **not_stored("response", vary="Origin")),
    case("its own is any", responds({"Vary": "*"}), cached=LANGS, **not_stored("response", vary="*")),
    case("a cookie", takes(int, Annotated[str | None, Cookie()]), target="/it?x=1", early=False, has={"vary": "cookie"}, body=b'{"x":1,"y":null}'),
    case("the host", value, cached={"vary": ("host",)}, **stored(vary="host")),
    case("a 304", value, {"If-None-Match": "*"}, 304, {"vary": "accept-language"}, cached=LANGS),
    case("HEAD", value, cached=LANGS, method="HEAD", **stored(vary="accept-language")),
    case("for everybody, by a parameter", two, LANG, cached={"shared": True}, **stored(vary="b-lang, x-a"), body=b'"de None"'),
    case("for everybody, by vary=", value, cached={**LANGS, "shared": True}, **stored(vary="accept-language")),
    case(
        "each value has an entry",
        two,
        steps=[
            Step({"B-Lang": "de"}, has=status(MISS), body=b'"de None"'),
            Step({"B-Lang": "en"}, has=status(MISS), body=b'"en None"'),
            Step(has=status(MISS), body=b'"None None"'),
            Step({"B-Lang": ""}, has=status(MISS), body=b'" None"'),
            Step({"X-A": "de"}, has=status(MISS), body=b'"None de"'),
            Step({"B-Lang": "de"}, has=status(HIT), body=b'"de None"', times=3),
            Step({"B-Lang": "en"}, has=status(HIT), body=b'"en None"', times=3),
            Step(has=status(HIT), body=b'"None None"', times=3),
            Step({"B-Lang": ""}, has=status(HIT), body=b'" None"', times=3),
            Step({"X-A": "de"}, has=status(HIT), body=b'"None de"', times=3),
            Step({"X-A": "de", "X-B": "x", "User-Agent": "x"}, has=status(HIT), body=b'"None de"'),
        ],
    ),
    case(
        "lines have an order",
        several,
        steps=[
            Step([("X", "1"), ("X", "2")], has=status(MISS), body=b'["1","2"]'),
            Step([("X", "2"), ("X", "1")], has=status(MISS), body=b'["2","1"]'),
            Step([("X", "1,2")], has=status(MISS), body=b'["1,2"]'),
            Step([("X", "1"), ("X", "2")], has=status(HIT), body=b'["1","2"]', times=3),
            Step([("X", "1"), ("Y", "3"), ("X", "2")], has=status(HIT), body=b'["1","2"]', times=3),
            Step([("X", "2"), ("X", "1")], has=status(HIT), body=b'["2","1"]', times=3),
            Step([("X", "1,2")], has=status(HIT), body=b'["1,2"]', times=3),
        ],
    ),
    case(
        "the name of vary= is of any case",
        value,
        cached=LANGS,
        steps=[
            Step({"ACCEPT-LANGUAGE": "de"}, has=status(MISS)),
            Step({"accept-language": "de"}, has=status(HIT), times=3),
            Step({"accept-language": "DE"}, has=status(MISS)),
        ],
    ),
]  # fmt: skip

HOPS = {"Connection": "x-a, close", "X-A": "1", "Keep-Alive": "timeout=5", "X-B": "2"}
PROXY = {"Proxy-Authenticate": "Basic", "TE": "x", "Trailer": "x", "Upgrade": "h2c", "X-B": "2"}
GONE = dict.fromkeys(("connection", "x-a", "keep-alive", "te", "trailer", "upgrade"))
LINES: list[Case] = [
    case("hop by hop", responds(HOPS), has={**GONE, "x-b": "2"}, first={"x-b": "2"}, early=True),
    case("hop by hop, of a proxy", responds(PROXY), has={**GONE, "proxy-authenticate": None, "x-b": "2"}, first={"x-b": "2"}),
    case("hop by hop, set", sets(HOPS), has={**GONE, "x-b": "2"}, first={"x-b": "2"}, early=False),
    case("Connection names what all need", responds({"Connection": "etag", "ETag": '"a"'}), **not_stored("response")),
    case("several lines", responds([("Link", "<a>"), ("X", "1"), ("Link", "<b>")]), **stored(link="<a>, <b>")),
    case("not ASCII", responds({"X-Text": "\xfc \xff"}), **stored(**{"x-text": "\xfc \xff"})),
    case("an empty one", responds({"X-Text": ""}), **stored(**{"x-text": ""})),
    case("a language", responds({"Content-Language": "de"}), **stored(**{"content-language": "de"})),
    case("a place", responds({"Content-Location": "/a"}), {"If-None-Match": "*"}, 304, {"content-location": "/a"}),
    case("a 304 has the rest", responds({"X-Own": "1"}), {"If-None-Match": "*"}, 304, {"x-own": "1", "content-type": None}),
    case("a 412 has little", responds({"X-Own": "1"}), {"If-Match": '"a"'}, 412, {"x-own": None, "cache-control": None, "etag": "{tag}", "content-length": "0", "cache-status": ...}),
    case("a cookie", responds({"Set-Cookie": "a=b"}), **not_stored("response", **{"set-cookie": "a=b"})),
    case("a cookie that it sets", sets({"Set-Cookie": "a=b"}), **not_stored("response", **{"set-cookie": "a=b"}), early=False),
    case("a challenge", responds({"WWW-Authenticate": "Basic"}), **not_stored("response")),
    case("data to be cleared", responds({"Clear-Site-Data": "*"}), **not_stored("response")),
    case("Cache-Status of one before", responds({"Cache-Status": "up; hit"}), has=status("up; hit, t; hit; ttl=60"), first=status("up; hit, t; fwd=miss; stored")),
    case("a date", responds({"Date": "Wed, 21 Oct 2195 07:28:00 GMT"}), **stored(date="Wed, 21 Oct 2195 07:28:00 GMT")),
    case("a tag by a name in capitals", responds({"ETAG": '"a"'}), {"If-None-Match": '"a"'}, 304, {"etag": '"a"'}),
]  # fmt: skip

WHOLE = {"content-range": None, "content-length": "7"}
RANGES: list[Case] = [
    *[
        case(f"a range: {said}", value, {"Range": said, **more}, **stored(**WHOLE))
        for said, more in [
            ("bytes=0-3", {}),
            ("bytes=3-", {}),
            ("bytes=-2", {}),
            ("bytes=0-1,3-4", {}),
            ("bytes=100-200", {}),
            ("bytes=3-1", {}),
            ("lines=1-2", {}),
            ("bytes=0-2", {"If-Range": "{tag}"}),
            ("bytes=0-4", {"If-Range": '"other"'}),
            ("bytes=0-5", {"If-Match": "{tag}"}),
        ]
    ],
    case("a range of what is known", value, {"Range": "bytes=0-3", "If-None-Match": "{tag}"}, 304),
    case("a range, not met", value, {"Range": "bytes=0-3", "If-Match": '"a"'}, 412),
    case("a range, by HEAD", value, {"Range": "bytes=0-3"}, method="HEAD", **stored(**WHOLE)),
    case("a part of its own", responds({"Content-Range": "bytes 0-6/9"}, 206), {"Range": "bytes=0-6"}, 206, **not_stored("response", **{"content-range": "bytes 0-6/9"})),
    case("a part of its own, without a range", responds(status=206), status=206, **not_stored("response")),
    case("no part of its own", responds({"Content-Range": "bytes */9"}, 416), status=416, body=BODY, **not_stored("response")),
]  # fmt: skip


async def _redirects() -> RedirectResponse:
    return RedirectResponse("/there", 308)


async def _raises() -> None:
    raise HTTPException(403, headers={"X-Own": "1"})


async def _streams() -> StreamingResponse:
    return StreamingResponse(iter([b"one", b"two"]))


async def _reads(request: Request) -> str:
    return request.headers.get("x-user", "")


async def _schedules(tasks: BackgroundTasks) -> int:
    tasks.add_task(int)
    return 1


async def _unstorable() -> Any:
    return Response(b"x", media_type="a/b", background=None, headers={"Content-Length": "1"})


def _gate(authorization: Annotated[str, Header()] = "") -> None:
    """Let nobody pass, or everybody; the key does not know."""


async def _guarded(user: Annotated[None, Depends(_gate)]) -> int:
    return 1


redirects, raises, streams = Endpoint(_redirects), Endpoint(_raises), Endpoint(_streams)
reads, schedules, guarded = Endpoint(_reads), Endpoint(_schedules), Endpoint(_guarded)
both = returns()._replace(methods=("GET", "POST"))
posted = returns()._replace(methods=("POST",))
FORBIDDEN = b'{"detail":"Forbidden"}'
LISTED = {"cache_status": (301, 302, 308, 404, 410, 451, 501)}
NOTHING = {"cache-control": None, "etag": None, "vary": None, "age": None}

STATUSES: list[Case] = [
    *[case(f"status {code}", responds(status=code), status=code, **stored(etag="{tag}")) for code in (200, 201, 202, 203, 207, 226, 299)],
    *[
        case(f"status {code}, not stored", responds(status=code), status=code, body=BODY, **not_stored("response", etag=None))
        for code in (300, 301, 302, 303, 307, 400, 401, 403, 404, 405, 410, 414, 418, 451, 500, 501, 502, 503, 599)
    ],
    *[
        case(f"status {code}, stored", responds(status=code), status=code, body=BODY, cached=LISTED, **stored(etag=None))
        for code in LISTED["cache_status"]
    ],
    case("status 206, told to be stored", responds(status=206), status=206, cached={"cache_status": (206,)}, **not_stored("response")),
    case("no content", responds(status=204, content=b""), steps=[Step(status=204, has=status(...), times=2)]),
    case("a redirect", redirects, status=308, cached={"cache_status": (308,)}, **stored(location="/there")),
    case("what is raised", raises, status=403, body=FORBIDDEN, has=status("t; fwd=miss; detail=raised", **{**NOTHING, "cache-control": "private, no-cache", "x-own": "1"})),
    case("what is raised, and known", raises, {"If-None-Match": "*"}, 403, body=FORBIDDEN),
]  # fmt: skip

TOLD: list[Case] = [
    case("a stream", streams, has=status("t; fwd=miss; detail=response", etag=None)),
    case("who asks", reads, early=False, **not_stored("unkeyed")),
    case("a task", schedules, **not_stored("response")),
    case("a dependency", guarded, early=False, has=status("t; fwd=bypass; detail=dependency")),
    case("a large one", returns("x" * 400), manager={"max_entry_bytes": 300}, **not_stored("size")),
    case("a tag that cannot be derived", value, cached={"tags": (lambda _: 1,)}, early=False, **not_stored("tags")),
    case("no key", value, cached={"key": lambda: 1}, early=False, has=status("t; fwd=bypass; detail=key")),
    case("a name of its own", value, middleware={"name": "shop.example"}, has=status("shop.example; hit; ttl=60"), first=status("shop.example; fwd=miss; stored")),
    case("a name with blanks", value, middleware={"name": 'my "shop"'}, has=status('"my \\"shop\\""; hit; ttl=60'), first=status('"my \\"shop\\""; fwd=miss; stored')),
    case("a name with a number first", value, middleware={"name": "1"}, has=status('"1"; hit; ttl=60'), first=status('"1"; fwd=miss; stored')),
    case("the key", value, cached={"key": "k"}, middleware={"name": "t", "show_keys": True}, has={"cache-status": ...}),
]  # fmt: skip

METHODS: list[Case] = [
    case("HEAD", value, method="HEAD", **stored(etag="{tag}", **{"content-length": "7", "content-type": "application/json"})),
    case("HEAD of a response", responds(), method="HEAD", **stored(**{"content-length": "7"})),
    case("HEAD of what is raised", raises, status=403, method="HEAD", has={"content-length": str(len(FORBIDDEN))}),
    case("HEAD of a stream", streams, method="HEAD", has={"etag": None}),
    case("HEAD of who asks", reads, method="HEAD", early=False, **not_stored("unkeyed")),
    case("HEAD after GET, and GET after HEAD", value, steps=[Step(has=status(MISS)), Step(method="HEAD", has=status(HIT), times=3), Step(has=status(HIT), times=3)]),
    case("GET after HEAD", value, steps=[Step(method="HEAD", has=status(MISS)), Step(has=status(HIT), times=3)]),
    case("HEAD without what it needs", takes(int), status=422, method="HEAD", has={"cache-status": None}),
    case("HEAD of one for HEAD too", value._replace(methods=("GET", "HEAD")), method="HEAD", **stored()),
    case("POST to a GET", value, method="POST", status=405, has={"cache-status": None}, body=b'{"detail":"Method Not Allowed"}'),
    case("POST beside GET", both, method="POST", has=status("t; fwd=method", **NOTHING)),
    case("POST beside GET, if none matches", both, {"If-None-Match": "*"}, method="POST", has=status("t; fwd=method", **NOTHING)),
    case("POST beside GET, if another matches", both, {"If-Match": '"a"'}, method="POST", has=status("t; fwd=method", **NOTHING)),
    case("POST beside GET, between hits", both, steps=[Step(times=3), Step(method="POST", has=status("t; fwd=method")), Step(has=status(HIT), times=2)]),
    case("a cached POST", posted, method="POST", cached={"method": "POST"}, early=False, body=BODY, **stored(etag=None)),
    case("a cached POST, known", posted, {"If-None-Match": "*"}, method="POST", cached={"method": "POST"}, early=False, body=BODY, **stored()),
]  # fmt: skip


@pytest.mark.slow
async def test_p8_vary(exact: CacheManager, clock: Clock) -> None:
    """Each header that the key holds is named, and each value of it has an entry of its own."""
    assert await wrong_in(VARY, exact, clock) == []


async def test_p1_header_lines(exact: CacheManager, clock: Clock) -> None:
    """What is for one connection or one client is not repeated, and all else is."""
    assert await wrong_in(LINES, exact, clock) == []


async def test_p1_ranges(exact: CacheManager, clock: Clock) -> None:
    """A range is answered with the whole, which is always right: RFC 9110, section 14.2."""
    assert await wrong_in(RANGES, exact, clock) == []


async def test_p1_statuses(exact: CacheManager, clock: Clock) -> None:
    """Responses with 2xx are stored, and those that are listed."""
    assert await wrong_in(STATUSES, exact, clock) == []


async def test_p10_cache_status(exact: CacheManager, clock: Clock) -> None:
    """`Cache-Status` tells in one word why something was not stored."""
    assert await wrong_in(TOLD, exact, clock) == []


async def test_p1_methods(exact: CacheManager, clock: Clock) -> None:
    """HEAD is answered as GET is; a method that may change something always gets through."""
    assert await wrong_in(METHODS, exact, clock) == []

"""What responses say of their freshness, by the cases of RFC 9111 and RFC 5861: one table."""

from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import Cookie, Depends, Header, HTTPException, Request
from fastapi.security import APIKeyCookie, HTTPBasic, HTTPBearer

from ... import CacheManager
from .internals import Clock
from .origin import (
    Endpoint,
    Expected,
    Step,
    case,
    responds,
    sets,
    takes,
    value,
    wrong_in,
)

CC = "Cache-Control"
STALE = "max-age=60, stale-while-revalidate=30, stale-if-error=30"
X = b'{"x":"1","y":null}'
SECRET = "private, max-age=60"
UNNAMED = "private, no-cache"
"""Nothing in `Vary` tells one user of a browser from the next one."""
FOREVER = "Thu, 01 Dec 2044 16:00:00 GMT"
tenant: ContextVar[str] = ContextVar("tenant", default="")


def says(control: str | None, **more: Any) -> Expected:
    """Return what is expected of `Cache-Control`, and of other headers."""
    return {"cache-control": control, **more}


async def _reads(request: Request) -> str:
    return request.headers.get("x-user", "")


async def _missing() -> None:
    raise HTTPException(404)


async def _by_request(request: Request) -> str:
    return "same"


reads, missing, by_request = Endpoint(_reads), Endpoint(_missing), Endpoint(_by_request)
dated = responds({"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"})


def user_of(authorization: Annotated[str, Header()] = "") -> str:
    """Find the user, by a dependency of one's own."""
    return authorization


def _of(call: Any) -> Any:
    return Annotated[Any, Depends(call)]


async def _authorization(authorization: Annotated[str, Header()] = "") -> str:
    return authorization


authorization = Endpoint(_authorization)


def key_of(request: Request) -> tuple[str, ...]:
    """Make a key of what a request holds."""
    return (request.headers.get("x-user", ""),)


CONTROL = [
    case("max-age is what is left", value, has=says("max-age=60")),
    case("max-age of a minute and a half", value, cached={"expire": 90}, has=says("max-age=90")),
    case("max-age of a response", responds(), has=says("max-age=60")),
    case("max-age of HEAD", value, method="HEAD", has=says("max-age=60")),
    case("no-cache", value, cached={"cache_control": "no-cache"}, has=says("no-cache")),
    case("nothing", value, cached={"cache_control": "none"}, has=says(None)),
    case("immutable", value, cached={"cache_control": "immutable"}, has=says("max-age=60, immutable")),
    case("max-age, said", value, cached={"cache_control": "max-age"}, has=says("max-age=60")),
    case("no-cache by the setting", value, manager={"cache_control": "no-cache"}, has=says("no-cache")),
    case("nothing by the setting", value, manager={"cache_control": "none"}, has=says(None)),
    case(
        "immutable by the setting",
        value,
        manager={"cache_control": "immutable"},
        has=says("max-age=60, immutable"),
    ),
    case(
        "the parameter before the setting",
        value,
        manager={"cache_control": "none"},
        cached={"cache_control": "max-age"},
        has=says("max-age=60"),
    ),
    case("stale", value, cached={"stale": 30}, has=says(STALE)),
    case(
        "stale, and immutable",
        value,
        cached={"stale": 30, "cache_control": "immutable"},
        has=says(f"{STALE}, immutable"),
    ),
    case(
        "stale, and no-cache",
        value,
        cached={"stale": 30, "cache_control": "no-cache"},
        has=says("no-cache"),
    ),
    case("its own max-age", responds({CC: "max-age=5"}), has=says("max-age=5")),
    case("its own longer max-age", responds({CC: "max-age=600"}), has=says("max-age=600")),
    case("its own, in capitals", responds({"CACHE-CONTROL": "MAX-AGE=5"}), has=says("MAX-AGE=5")),
    case("its own, of two lines", responds([(CC, "public"), (CC, "max-age=5")]), has=says("public, max-age=5")),
    case("its own s-maxage", responds({CC: "s-maxage=5"}), has=says("s-maxage=5")),
    case("its own public", responds({CC: "public"}), has=says("public")),
    case("its own no-transform", responds({CC: "no-transform"}), has=says("no-transform")),
    case("its own must-revalidate", responds({CC: "must-revalidate"}), has=says("must-revalidate")),
    case("its own immutable", responds({CC: "immutable, max-age=9"}), has=says("immutable, max-age=9")),
    case("its own extension", responds({CC: 'a="b,c", d'}), has=says('a="b,c", d')),
    case("its own, though none is said", responds({CC: "max-age=5"}), cached={"cache_control": "none"}, has=says("max-age=5")),
    case("its own, though no-cache is said", responds({CC: "max-age=5"}), cached={"cache_control": "no-cache"}, has=says("max-age=5")),
    case("its own by the response handed in", sets({CC: "max-age=5"}), early=False, has=says("max-age=5")),
    case("its own no-store", responds({CC: "no-store"}), has={"cache-control": "no-store", "cache-status": "t; fwd=miss; detail=response"}),
    case("its own private", responds({CC: "private"}), has={"cache-control": "private", "cache-status": "t; fwd=miss; detail=response"}),
    case("its own no-cache", responds({CC: "no-cache"}), has={"cache-control": "no-cache", "cache-status": "t; fwd=miss; detail=response"}),
    case("its own private of a field", responds({CC: 'private="x-a"'}), has={"cache-control": 'private="x-a"', "cache-status": "t; fwd=miss; detail=response"}),
    case("its own max-age of 0", responds({CC: "max-age=0"}), has={"cache-control": "max-age=0", "cache-status": "t; fwd=miss; detail=response"}),
    case("its own, not to be parsed", responds({CC: "max-age=x"}), has={"cache-control": "max-age=x", "cache-status": "t; fwd=miss; detail=response"}),
    case("its own Expires", responds({"Expires": FOREVER}), has=says(None, expires=FOREVER)),
    case("its own Expires, past", responds({"Expires": "0"}), has={"cache-control": None, "cache-status": "t; fwd=miss; detail=response"}),
    case("its own Pragma", responds({"Pragma": "x"}), has=says(None, pragma="x")),
    case("its own Pragma, no-cache", responds({"Pragma": "no-cache"}), has={"cache-control": None, "cache-status": "t; fwd=miss; detail=response"}),
    case("its own date of change", dated, has=says("max-age=60")),
    case("what is not stored", reads, early=False, has=says("private, no-cache")),
    case("what is never stored", value, cached={"expire": 0}, has=says("private, no-cache")),
    case("what sets a cookie", responds({"Set-Cookie": "a=b"}), has=says("private, no-cache")),
    case("what is raised", missing, status=404, has=says("private, no-cache"), body=b'{"detail":"Not Found"}'),
    case("what is not found", responds(status=404), status=404, has=says("private, no-cache"), body=b'{"n":1}'),
    case("what is not found, and stored", responds(status=404), status=404, has=says("max-age=60", etag=None), body=b'{"n":1}', cached={"cache_status": (404,)}),
    case("what fails", responds(status=503), status=503, has=says("private, no-cache"), body=b'{"n":1}'),
]  # fmt: skip

PRIVATE = {
    "a bearer token": (takes(_of(HTTPBearer(auto_error=False))), "authorization"),
    "a password": (takes(_of(HTTPBasic(auto_error=False))), "authorization"),
    "a key in a cookie": (takes(_of(APIKeyCookie(name="k", auto_error=False))), "cookie"),
    "a user of a dependency": (takes(_of(user_of)), "authorization"),
}
IDENTITY = [
    *[
        case(name, endpoint, {}, has=says(SECRET, vary=vary), early=False)
        for name, (endpoint, vary) in PRIVATE.items()
    ],
    case("a cookie", takes(Annotated[str, Cookie()]), {"Cookie": "x=1"}, has=says(SECRET, vary="cookie"), body=X, early=False),
    case("an authorization header", authorization, has=says(SECRET, vary="authorization")),
    case("vary=authorization", value, cached={"vary": ("Authorization",)}, has=says(SECRET)),
    case("vary=cookie", value, cached={"vary": ("Cookie",)}, has=says(SECRET, vary="cookie")),
    case("vary=a variable", value, cached={"vary": (tenant,)}, early=False, has=says(UNNAMED)),
    case("a key= of the request", by_request, cached={"key": key_of}, early=False, has=says(UNNAMED)),
    case("another header", takes(Annotated[str, Header()]), {"X": "1"}, has=says("max-age=60", vary="x"), body=X),
    case("a number", takes(int), target="/it?x=1", body=b'{"x":1,"y":null}', has=says("max-age=60")),
    case("a private one, no-cache", authorization, cached={"cache_control": "no-cache"}, has=says("private, no-cache")),
    case("a private one, nothing", authorization, cached={"cache_control": "none"}, has=says(None)),
    case("a private one, immutable", authorization, cached={"cache_control": "immutable"}, has=says("private, max-age=60, immutable")),
    case("a private one, stale", authorization, cached={"stale": 30}, has=says(f"private, {STALE}")),
    case("a shared one behind a gate", authorization, cached={"shared": True}, has=says("private, max-age=60")),
]  # fmt: skip


@pytest.mark.slow
async def test_p1_cache_control(exact: CacheManager, clock: Clock) -> None:
    """`Cache-Control` says how long the entry is fresh, unless somebody else says it."""
    assert await wrong_in(CONTROL, exact, clock) == []


LATER = [
    case(
        "max-age is less and less",
        value,
        steps=[
            Step(has=says("max-age=60")),
            Step(has=says("max-age=60", age=None)),
            Step(after=10, has=says("max-age=50", age=None)),
            Step(after=10.5, has=says("max-age=39"), times=2),
            Step(after=39, has=says("max-age=0"), method="HEAD"),
        ],
    ),
    case(
        "its own max-age has an age",
        responds({CC: "max-age=600"}),
        steps=[
            Step(has={"age": None}),
            Step(has={"age": None}),
            Step(after=7.9, has={"age": "7", "cache-control": "max-age=600"}, times=2),
            Step(after=1, has={"age": "8"}, method="HEAD", times=3),
            Step({"If-None-Match": "*"}, 304, {"age": "8", "cache-control": "max-age=600"}),
        ],
    ),
    *[
        case(f"an age, by {name}", responds(headers), steps=[Step(times=2), Step(after=7, has={"age": "7"}, times=2)])
        for name, headers in {
            "s-maxage": {CC: "s-maxage=600"},
            "max-age in capitals": {CC: "Public, Max-Age=600"},
            "Expires": {"Expires": FOREVER},
        }.items()
    ],
    *[
        case(f"no age, by {name}", endpoint, cached=cached, steps=[Step(times=2), Step(after=7, has={"age": None}, times=2)])
        for name, endpoint, cached in [
            ("no-transform", responds({CC: "no-transform"}), {}),
            ("Pragma", responds({"Pragma": "x"}), {}),
            ("nothing", value, {"cache_control": "none"}),
            ("no-cache", value, {"cache_control": "no-cache"}),
        ]
    ],
    case("its own age is added up", responds({CC: "max-age=600", "Age": "30"}), steps=[Step(has={"age": "30"}), Step(after=7, has={"age": "37"}, times=3)]),
    *(
        case(f"its own age, {what}", responds({CC: "max-age=60", "Age": age}), steps=[Step(has={"age": told}), Step(after=7, has={"age": then}, times=3)])
        for what, age, told, then in (
            ("no number", "old", "0", "7"),
            ("a negative one", "-30", "0", "7"),
            ("with a fraction", "30.5", "0", "7"),
            ("words before it", "x 30", "0", "7"),
            ("none", "", "0", "7"),
            ("the first of two", "30, 9", "30", "37"),
            ("with what may come", "30; x=1", "30", "37"),
        )
    ),
    case("its own age, more than it lives", responds({CC: "max-age=60", "Age": "60"}), has={"cache-status": "t; fwd=miss; detail=response"}),
    case(
        "an entry is due before it expires",
        value,
        cached={"stale": 600},
        steps=[
            Step(has=says("max-age=60, stale-while-revalidate=600, stale-if-error=600")),
            Step(times=2),
            Step(after=61, has={"cache-status": "t; fwd=stale; stored", "cache-control": ...}),
            Step(has={"cache-status": "t; hit; ttl=60"}, times=2),
            Step(after=59, has={"cache-status": "t; hit; ttl=1"}, times=2),
        ],
    ),
    case(
        "its own max-age, and stale",
        responds({CC: "max-age=10"}),
        cached={"stale": 600},
        steps=[
            Step(times=3, first={"cache-status": "t; fwd=miss; stored"}, has={"cache-status": "t; hit; ttl=10"}),
            Step(after=11, has={"cache-status": "t; fwd=stale; stored", "age": None}),
            Step(after=9, has={"cache-status": "t; hit; ttl=1", "age": "9"}, times=2),
        ],
    ),
]  # fmt: skip
REQUESTS = [
    case(f"a request that says {name}: {said}", value, {name: said}, has={"cache-status": "t; hit; ttl=60"}, first={"cache-status": "t; fwd=miss; stored"})
    for name, said in [
        (CC, "no-cache"),
        (CC, "no-store"),
        (CC, "max-age=0"),
        (CC, "min-fresh=100"),
        (CC, "max-stale=100"),
        (CC, "only-if-cached"),
        ("Pragma", "no-cache"),
    ]
]  # fmt: skip


@pytest.mark.slow
async def test_p8_identity(exact: CacheManager, clock: Clock) -> None:
    """No cache that others share may keep what was made for one who is known."""
    assert await wrong_in(IDENTITY, exact, clock) == []


@pytest.mark.slow
async def test_p1_age(exact: CacheManager, clock: Clock) -> None:
    """As time passes, `max-age` falls, or else `Age` rises; what is due is computed again."""
    assert await wrong_in(LATER, exact, clock) == []


async def test_p1_an_origin_decides_itself(exact: CacheManager, clock: Clock) -> None:
    """What a request says of caches is for those between, RFC 9111, 5.2.1: no client can force a miss."""
    assert await wrong_in(REQUESTS, exact, clock) == []

"""What a response says of itself decides whether it is stored, and for how long (promise P8)."""

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from fastapi.responses import JSONResponse, Response
from hypothesis import given
from hypothesis import strategies as st

from ... import CacheManager, MemoryBackend, cache_response
from ...stored.responses import why_not_stored
from ...stored.stated import Stated, stated

Lines = list[tuple[str, str]]


def response(*lines: tuple[str, str], status: int = 200) -> Response:
    """Return a response with these header lines, whatever they hold."""
    made = JSONResponse({}, status)
    more = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines]
    made.raw_headers = [*made.raw_headers, *more]
    return made


def cc(*values: str) -> Lines:
    """Return lines of `Cache-Control`."""
    return [("Cache-Control", value) for value in values]


A_DAY = 86_400
"""The tables are made when the tests are collected, long before the last of them runs."""


def in_seconds(seconds: float) -> str:
    """Return a date from now, as headers have it."""
    return formatdate(time.time() + seconds, usegmt=True)


STORED: dict[str, Lines] = {
    "nothing": [],
    "max-age": cc("max-age=60"),
    "public": cc("public"),
    "odd case": cc("Max-Age=60"),
    "quoted number": cc('max-age="60"'),
    "for us only": cc("max-age=0, s-maxage=60"),
    "both lines": cc("max-age=0", "s-maxage=60"),
    "must-revalidate": cc("max-age=60, must-revalidate"),
    "unknown": cc("immutable, x=y, x"),
    "empty": cc("", " , ,"),
    "in quotes": cc('x="no-store, private", max-age=60'),
    "a huge number": cc("max-age=" + "9" * 5000),
    "max-age before Expires": [*cc("max-age=60"), ("Expires", "0")],
    "Expires to come": [("Expires", in_seconds(A_DAY))],
    "Expires after Date": [("Date", in_seconds(-5)), ("Expires", in_seconds(A_DAY))],
    "Age below max-age": [*cc("max-age=60"), ("Age", "59")],
    "Vary of the key": [("Vary", "Accept-Language")],
    "Vary of nothing": [("Vary", ""), ("Vary", " , ")],
    "Pragma of another kind": [("Pragma", "x")],
    "hop by hop": [("Connection", "close, X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5")],
}
NOT_STORED: dict[str, Lines] = {
    "no-store": cc("no-store"),
    "private": cc("private"),
    "private fields": cc('private="set-cookie, x"'),
    "no-cache": cc("no-cache"),
    "no-cache fields": cc('no-cache="x"'),
    "shouted": cc("NO-STORE"),
    "with spaces": cc(" max-age=60 ,\tno-store "),
    "with a value": cc("no-store=1"),
    "with a space before =": cc('private ="x"'),
    "second line": cc("max-age=60", "No-Cache"),
    "max-age=0": cc("max-age=0"),
    "quoted zero": cc('max-age="0"'),
    "s-maxage=0": cc("max-age=60, s-maxage=0"),
    "two that differ": cc("max-age=60, max-age=0"),
    "negative": cc("max-age=-1"),
    "a fraction": cc("max-age=1.5"),
    "no number": cc("max-age=soon"),
    "no value": cc("max-age"),
    "empty value": cc("max-age="),
    "other digits": cc("max-age=\xb2"),
    "underlined": cc("max-age=1_0"),
    "signed": cc("max-age=+10"),
    "half a quote": cc('x="a, no-store'),
    "half a quoted number": cc('max-age=60"'),
    "semicolon": cc("no-store; max-age=60"),
    "colon": cc("max-age: 60"),
    "Pragma": [("Pragma", "no-cache")],
    "Pragma beside others": [("pragma", "x, No-Cache"), *cc("max-age=60")],
    "Expires in the past": [("Expires", in_seconds(-1))],
    "Expires now": [("Date", in_seconds(0)), ("Expires", in_seconds(0))],
    "Expires is 0": [("Expires", "0")],
    "Expires is -1": [("Expires", "-1")],
    "Expires is empty": [("Expires", "")],
    "Expires is no date": [("Expires", "Mon, 99 Foo 9999999999 99:99:99 GMT")],
    "Expires, one of two": [("Expires", in_seconds(A_DAY)), ("Expires", "0")],
    "Age above max-age": [*cc("max-age=60"), ("Age", "60")],
    "Expires, another zone": [("Expires", in_seconds(A_DAY).replace("GMT", "UTC"))],
    "Expires, no zone": [("Expires", in_seconds(A_DAY).removesuffix(" GMT"))],
    "Expires, no comma": [("Expires", in_seconds(A_DAY).replace(",", ""))],
    "Expires, dashes": [("Expires", in_seconds(A_DAY).replace(" 20", "-20"))],
    "Expires, periods": [("Expires", in_seconds(A_DAY).replace(":", "."))],
    "Expires, two dates": [("Expires", f"{in_seconds(A_DAY)}, {in_seconds(A_DAY)}")],
    "Age of several, the first": [*cc("max-age=60"), ("Age", "60, 0")],
    "Age in two lines, the first": [*cc("max-age=60"), ("Age", "60"), ("Age", "0")],
    "Date long ago": [*cc("max-age=60"), ("Date", in_seconds(-61))],
    "Vary *": [("Vary", "*")],
    "Vary of more": [("Vary", "accept-language, authorization")],
    "Vary in a second line": [("Vary", "accept-language"), ("Vary", "Cookie")],
    "Vary * among others": [("Vary", "accept-language,*")],
    "Set-Cookie": [("Set-Cookie", "a=b")],
    "Set-Cookie2": [("set-cookie2", "a=b")],
    "Clear-Site-Data": [("Clear-Site-Data", '"cookies"')],
    "WWW-Authenticate": [("WWW-Authenticate", "Negotiate oYH")],
    "Authentication-Info": [("Authentication-Info", "nextnonce=1")],
    "DPoP-Nonce": [("DPoP-Nonce", "1")],
    "Content-Range": [("Content-Range", "bytes 0-1/2")],
    "Connection names content": [("Connection", "Content-Type")],
    "Connection names cookies": [("Connection", "set-cookie"), ("Set-Cookie", "a=b")],
    "a line break": [("X", "a\r\nSet-Cookie: b=c")],
    "no name": [("X Y", "a")],
    "too long": [("X", "a" * 70_000)],
    "too many": [("X", "a")] * 300,
}


@pytest.mark.parametrize("lines", STORED.values(), ids=list(STORED))
def test_p8_such_a_response_is_for_everybody(lines: Lines) -> None:
    """Where the key holds the header by which it varies."""
    assert why_not_stored(response(*lines), varied=("accept-language",)) is None


@pytest.mark.parametrize("lines", NOT_STORED.values(), ids=list(NOT_STORED))
def test_p8_such_a_response_is_not_stored(lines: Lines) -> None:
    """Whatever forbids it, and whatever cannot be read."""
    assert why_not_stored(response(*lines), varied=("accept-language",)) is not None


@pytest.mark.parametrize("status", [206, 304])
def test_p8_an_answer_in_part_is_never_stored(status: int) -> None:
    """Not even if it is listed."""
    assert why_not_stored(response(status=status), (status,)) == f"its status is {status}"


@pytest.mark.parametrize("lines", NOT_STORED.values(), ids=list(NOT_STORED))
async def test_p8_a_function_with_such_a_response_runs_each_time(lines: Lines) -> None:
    """The caller has the response as it is."""
    runs: list[int] = []

    @cache_response(CacheManager(MemoryBackend()), "page")
    async def page() -> Response:
        runs.append(1)
        return response(*lines)

    for _ in range(2):
        assert (await page()).raw_headers == response(*lines).raw_headers
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], Stated(None)),
        (cc("max-age=60"), Stated(60)),
        (cc("max-age=10, s-maxage=60"), Stated(60, may_be_stale=False)),
        (cc("s-maxage=60, stale-while-revalidate=9"), Stated(60)),
        (cc("max-age=60, must-revalidate"), Stated(60, may_be_stale=False)),
        (cc("Proxy-Revalidate"), Stated(None, may_be_stale=False)),
        (cc("max-age=60", "max-age=70"), Stated(60)),
        (cc("max-age=99999999999999999999"), Stated(2**31)),
        (cc("max-age=x"), Stated(0)),
        (cc('max-age="'), Stated(0, may_be_stale=False)),
        ([*cc("max-age=60"), ("Age", "20")], Stated(40)),
        ([*cc("max-age=60"), ("Age", "70")], Stated(-10)),
    ],
)
def test_p8_a_response_tells_how_long_it_is_fresh(lines: Lines, expected: Stated) -> None:
    """Of the words for everybody before those for browsers, less the age that it has."""
    assert stated(response(*lines)) == expected


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([("Expires", 100)], 100),
        ([("Date", -10), ("Expires", 100)], 100),
        ([("Date", -10), ("Expires", 100), ("Age", "30")], 80),
        ([("Date", -10), *cc("max-age=60")], 50),
        ([("Date", 1000), ("Expires", 1100)], 100),
    ],
)
def test_p8_dates_tell_it_as_well(lines: list[tuple[str, str | int]], seconds: float) -> None:
    """From its own date on, or from now; a number here is that of seconds from now."""
    said = [(name, value if isinstance(value, str) else in_seconds(value)) for name, value in lines]
    fresh_for = stated(response(*said)).fresh_for
    assert fresh_for is not None
    assert seconds - 15 < fresh_for < seconds + 15


names = st.sampled_from(["cache-control", "expires", "date", "age", "vary", "pragma", "connection"])
texts = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=40),
    st.lists(
        st.sampled_from([*'",=\\ \t;*0', "max-age", "private", "close", "Mon, 01 Jan", "9" * 30])
    ).map("".join),
)


@given(st.lists(st.tuples(names, texts), max_size=4))
def test_p8_no_header_makes_it_raise(lines: Lines) -> None:
    """They are text that anybody may have written."""
    made = response(*lines)
    fresh_for = stated(made).fresh_for
    if why_not_stored(made) is None:
        assert fresh_for is None or fresh_for > 0


@pytest.mark.parametrize(
    "value",
    [
        " " * 60_000,
        "a" * 60_000,
        "a=" + " " * 60_000 + "(",
        '"' * 60_000,
        "a " * 30_000,
        '"\\' * 30_000,
    ],
    ids=["spaces", "name", "value", "quotes", "words", "escapes"],
)
@pytest.mark.parametrize("name", ["cache-control", "expires", "age", "vary", "date"])
def test_p8_a_long_header_takes_no_time(name: str, value: str) -> None:
    """Linear in its length."""
    began = time.perf_counter()
    for _ in range(3):
        why_not_stored(response((name, value)))
    assert time.perf_counter() - began < 1.5


@pytest.mark.parametrize(
    "lines",
    [
        [("Connection", "close")],
        [("connection", "keep-alive"), ("Keep-Alive", "timeout=5")],
        [("Connection", "X-Hop, X-Other"), ("x-hop", "1"), ("X-OTHER", "2")],
        [("Transfer-Encoding", "chunked")],
        [("TE", "trailers"), ("Trailer", "x"), ("Upgrade", "h2c")],
        [("Proxy-Authenticate", "Basic"), ("Proxy-Connection", "close")],
    ],
)
@pytest.mark.parametrize("kind", ["returned", "injected"])
async def test_what_is_about_a_connection_is_not_repeated(
    our_manager: CacheManager, lines: Lines, kind: str
) -> None:
    """A hit is there, without these lines."""
    runs: list[int] = []
    added = (*lines, ("X-Kept", "yes"))
    whole = response(*added)
    run: Callable[..., Any]

    async def returned() -> Response:
        runs.append(1)
        return whole

    async def injected(response: Response) -> int:
        runs.append(1)
        for name, value in added:
            response.headers.append(name, value)
        return 1

    if kind == "returned":
        run = cache_response(our_manager, "page", key="one")(returned)
        assert await run() is whole
        assert (await run()).raw_headers == [*whole.raw_headers[:2], (b"X-Kept", b"yes")]
    else:
        run = cache_response(our_manager, "page", key="one")(injected)
        sent = [(name.lower(), value) for name, value in whole.raw_headers[2:]]
        for expected in (sent, [(b"x-kept", b"yes")]):
            given_out = Response()
            del given_out.headers["content-length"]
            await run(given_out)
            assert given_out.raw_headers == expected
    assert len(runs) == 1

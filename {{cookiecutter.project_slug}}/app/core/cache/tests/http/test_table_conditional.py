"""Conditional requests, by the cases of RFC 9110, section 13: one table (promise P1)."""

import pytest
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel

from ... import CacheManager
from .internals import Clock
from .origin import (
    Case,
    Endpoint,
    Headers,
    case,
    responds,
    returns,
    sets,
    value,
    wrong_in,
)

SAID = "Wed, 21 Oct 2015 07:28:00 GMT"
BEFORE, AFTER = "Wed, 21 Oct 2015 07:27:59 GMT", "Wed, 21 Oct 2015 07:28:01 GMT"
IM, INM, IMS, IUS = "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"

TAGGED: dict[str, tuple[Headers, int]] = {
    "none-match: the tag": ({INM: "{tag}"}, 304),
    "none-match: the tag, weak": ({INM: "W/{tag}"}, 304),
    "none-match: another": ({INM: '"other"'}, 200),
    "none-match: a list with it": ({INM: '"a", {tag}, "b"'}, 304),
    "none-match: a list with it, weak": ({INM: '"a",W/{tag}'}, 304),
    "none-match: a list without": ({INM: '"a", W/"b"'}, 200),
    "none-match: any": ({INM: "*"}, 304),
    "none-match: any, and white space": ({INM: " * "}, 304),
    "none-match: any beside others": ({INM: "*, {tag}"}, 200),
    "none-match: empty members": ({INM: ", {tag} ,,"}, 304),
    "none-match: nothing": ({INM: ""}, 200),
    "none-match: the empty tag": ({INM: '""'}, 200),
    "none-match: unquoted": ({INM: "other"}, 200),
    "none-match: unquoted beside it": ({INM: "other, {tag}"}, 200),
    "none-match: not closed": ({INM: '{tag}, "'}, 200),
    "none-match: in single quotes": ({INM: "'other'"}, 200),
    "none-match: small w": ({INM: "w/{tag}"}, 200),
    "none-match: a comma in a tag": ({INM: '"a,b", {tag}'}, 304),
    "none-match: it in another": ({INM: '"a {tag}'}, 200),
    "none-match: tabs": ({INM: '"a"\t,\t{tag}\t'}, 304),
    "none-match: the second line": ([(INM, '"a"'), (INM, "{tag}")], 304),
    "none-match: two lines without": ([(INM, '"a"'), (INM, '"b"')], 200),
    "none-match: wins over since": ({INM: '"other"', IMS: AFTER}, 200),
    "match: the tag": ({IM: "{tag}"}, 200),
    "match: any": ({IM: "*"}, 200),
    "match: another": ({IM: '"other"'}, 412),
    "match: the tag, weak": ({IM: "W/{tag}"}, 412),
    "match: a list with it": ({IM: '"a", {tag}'}, 200),
    "match: a list without": ({IM: '"a", "b"'}, 412),
    "match: unquoted": ({IM: "other"}, 412),
    "match: nothing": ({IM: ""}, 412),
    "match, and none-match": ({IM: "{tag}", INM: "{tag}"}, 304),
    "match fails before none-match": ({IM: '"other"', INM: "{tag}"}, 412),
    "modified since, without a date": ({IMS: AFTER}, 200),
    "unmodified since, without a date": ({IUS: BEFORE}, 200),
}
DATED: dict[str, tuple[Headers, int]] = {
    "modified since that date": ({IMS: SAID}, 304),
    "modified since a later one": ({IMS: AFTER}, 304),
    "modified since an earlier one": ({IMS: BEFORE}, 200),
    "modified since one of RFC 850": ({IMS: "Wednesday, 21-Oct-15 07:28:00 GMT"}, 304),
    "modified since an asctime": ({IMS: "Wed Oct 21 07:28:00 2015"}, 304),
    "modified since the future": ({IMS: "Wed, 21 Oct 2195 07:28:00 GMT"}, 304),
    "modified since no date": ({IMS: "yesterday"}, 200),
    "modified since a number": ({IMS: "1445412480"}, 200),
    "modified since another zone": ({IMS: "Wed, 21 Oct 2015 07:28:00 CET"}, 200),
    "modified since, twice": ([(IMS, SAID), (IMS, SAID)], 200),
    "modified since, and another tag": ({IMS: SAID, INM: '"other"'}, 200),
    "modified since an earlier one, and the tag": ({IMS: BEFORE, INM: "{tag}"}, 304),
    "unmodified since that date": ({IUS: SAID}, 200),
    "unmodified since a later one": ({IUS: AFTER}, 200),
    "unmodified since an earlier one": ({IUS: BEFORE}, 412),
    "unmodified since no date": ({IUS: "yesterday"}, 200),
    "unmodified since, twice": ([(IUS, BEFORE), (IUS, BEFORE)], 200),
    "unmodified since an earlier one, and the tag": ({IUS: BEFORE, IM: "{tag}"}, 200),
    "unmodified since that date, and another tag": ({IUS: SAID, IM: '"other"'}, 412),
    "unmodified and not modified": ({IUS: SAID, IMS: SAID}, 304),
}
OWN: dict[str, tuple[str, Headers, int]] = {
    "its own tag": ('"own"', {INM: '"own"'}, 304),
    "its own tag, another": ('"own"', {INM: '"other"'}, 200),
    "its own tag, weak": ('W/"own"', {INM: '"own"'}, 304),
    "its own tag, weak and weak": ('W/"own"', {INM: 'W/"own"'}, 304),
    "its own tag, weak, is not matched": ('W/"own"', {IM: 'W/"own"'}, 412),
    "its own tag, matched": ('"own"', {IM: '"own"'}, 200),
    "its own tag, unquoted": ("own", {INM: '"own"'}, 200),
    "its own tag, unquoted, any": ("own", {INM: "*"}, 304),
    "its own tag, not ASCII": ('"\xfc"', {INM: '"\xfc"'}, 304),
}


class Model(BaseModel):
    """A response model that leaves something out."""

    n: int


async def _streamed() -> StreamingResponse:
    return StreamingResponse(iter([b"one", b"two"]), headers={"ETag": '"own"'})


async def _untagged_stream() -> StreamingResponse:
    return StreamingResponse(iter([b"one", b"two"]))


streamed, untagged_stream = Endpoint(_streamed), Endpoint(_untagged_stream)


KINDS: dict[str, Endpoint] = {
    "a value": value,
    "a response model": returns({"n": 1, "secret": 2}, response_model=Model),
    "no content": returns(None),
    "an empty text": returns("", response_class=PlainTextResponse),
    "a page": returns("<b>ü</b>", response_class=HTMLResponse),
    "a large value": returns(["x" * 100] * 1000),
    "a status of the route": returns(status_code=201),
    "a response": responds(),
    "a response with a header": responds({"X-Own": "yes"}),
    "HEAD of its own": returns()._replace(methods=("GET", "HEAD")),
    "a header that it sets": sets({"X-Own": "yes"}),
}

_modified = responds({"Last-Modified": SAID})

CASES: list[Case] = [
    *[case(name, value, *each) for name, each in TAGGED.items()],
    *[case(f"HEAD, {n}", value, *each, method="HEAD") for n, each in [*TAGGED.items()][::4]],
    *[
        case(name, _modified, *each, {"last-modified": SAID, "etag": "{tag}"})
        for name, each in DATED.items()
    ],
    *[
        case(name, responds({"ETag": tag}), headers, status, {"etag": tag})
        for name, (tag, headers, status) in OWN.items()
    ],
    *[
        case(
            f"{name}, {'again' if status == 304 else 'once' if status == 200 else 'not met'}",
            register,
            headers,
            plain if status == 200 else status,
            {"etag": "{tag}"},
            early="sets" not in name,
        )
        for name, register in KINDS.items()
        for plain in [201 if "status" in name else 200]
        for headers, status in [({}, 200), ({INM: "{tag}"}, 304), ({IM: '"other"'}, 412)]
    ],
    case(
        "a compressed one",
        KINDS["a large value"],
        {INM: "{tag}"},
        304,
        manager={"compress_over": 99},
    ),
    case("a tag that it sets", sets({"ETag": '"own"'}), {INM: '"own"'}, 304, {}, early=False),
    case("a date that it sets", sets({"Last-Modified": SAID}), {IMS: SAID}, 304, early=False),
    case("a cookie for everybody", responds({"Set-Cookie": "a=b"}), {INM: "{tag}"}, 304),
    case("a stream", streamed, {INM: '"other"'}, 200),
    case("a stream that is known", streamed, {INM: '"own"'}, 304, {"etag": '"own"'}),
    case("a stream that is not met", streamed, {IM: '"other"'}, 412),
    case("a stream without a tag", untagged_stream, {INM: '"own"'}, 200, {"etag": None}),
    case("a stream without a tag, any", untagged_stream, {INM: "*"}, 304),
    case("not found, any", responds(status=404), {INM: "*"}, 404, {"etag": None}, body=b'{"n":1}'),
    case("not found, not met", responds(status=404), {IM: '"a"'}, 404, body=b'{"n":1}'),
    case(
        "not found, and stored",
        responds({"ETag": '"own"'}, 404),
        {INM: '"own"'},
        404,
        body=b'{"n":1}',
        cached={"cache_status": (404,)},
    ),
]


@pytest.mark.slow
async def test_p1_preconditions(exact: CacheManager, clock: Clock) -> None:
    """Miss, hit, and hit before routing answer in the same way."""
    assert await wrong_in(CASES, exact, clock) == []

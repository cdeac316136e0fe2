"""Preconditions and the lines of a 304: RFC 9110, sections 5.6.7, 8.8.3, 13 and 15.4.5.

A request and an answer are written as they are sent: one header in a line.
"""

import re
from datetime import UTC, datetime
from time import thread_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ...http.conditional import failed_condition, not_modified

Lines = list[tuple[bytes, bytes]]

DATE = "Sat, 29 Oct 1994 19:43:31 GMT"
ANSWER = f'ETag: "xyzzy"\nLast-Modified: {DATE}'
SAME, OTHER = 'if-none-match: "xyzzy"', 'if-none-match: "r2d2xxxx"'
EARLIER, LATER = DATE.replace(":31", ":30"), DATE.replace(":31", ":32")
SIGNS = "!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
SINCE, UNTIL = "if-modified-since: ", "if-unmodified-since: "


def lines_of(text: str) -> Lines:
    """Return the header lines of a text."""
    pairs = [line.partition(":") for line in text.split("\n") if line]
    return [(name.encode(), value[1:].encode("latin-1")) for name, _, value in pairs]


def judged(request: str, method: str = "GET", answer: str = ANSWER) -> int | None:
    """Return what the preconditions of a request decide."""
    return failed_condition(lines_of(request), method, lines_of(answer))


def year_from_now(years: int) -> int:
    """Return a year; its June is at least `years` - 1 and at most `years` + 1 years away."""
    return datetime.now(UTC).year + years


FUTURE = f"Sat, 29 Oct {year_from_now(40)} 19:43:31 GMT"

IF_MATCH = {
    "without it": ("", None),
    "one tag": ('if-match: "xyzzy"', None),
    "a list": ('if-match: "xyzzy", "r2d2xxxx", "c3piozzzz"', None),
    "the last of a list": ('if-match: "r2d2xxxx", "xyzzy"', None),
    "in the second line": ('if-match: "r2d2xxxx"\nif-match: "xyzzy"', None),
    "any": ("if-match: *", None),
    "any, with white space": ("if-match:  * \t", None),
    "another tag": ('if-match: "r2d2xxxx"', 412),
    "other tags": ('if-match: "r2d2xxxx", "c3piozzzz"', 412),
    "a weak tag is no strong one": ('if-match: W/"xyzzy"', 412),
    "a weak tag, then the strong one": ('if-match: W/"xyzzy", "xyzzy"', None),
    "no list member": ("if-match: ", 412),
    "unquoted": ("if-match: xyzzy", 412),
    "any, quoted, is a tag": ('if-match: "*"', 412),
    "any beside a tag": ('if-match: *, "r2d2xxxx"', 412),
    "any beside the tag": ('if-match: *, "xyzzy"', 412),
    "any twice": ("if-match: *\nif-match: *", 412),
}

IF_NONE_MATCH = {
    "one tag": (SAME, 304),
    "a weak tag": ('if-none-match: W/"xyzzy"', 304),
    "a list": ('if-none-match: "xyzzy", "r2d2xxxx", "c3piozzzz"', 304),
    "a list of weak tags": ('if-none-match: W/"r2d2xxxx", W/"xyzzy", W/"c3piozzzz"', 304),
    "any": ("if-none-match: *", 304),
    "another tag": (OTHER, None),
    "other weak tags": ('if-none-match: W/"r2d2xxxx", W/"c3piozzzz"', None),
    "a longer tag": ('if-none-match: "xyzzy-gzip"', None),
    "another case": ('if-none-match: "XYZZY"', None),
    "in the second line": (f"{OTHER}\n{SAME}", 304),
    "in the first line": (f"{SAME}\n{OTHER}", 304),
    "no member beside it": (f"if-none-match: \n{SAME}", 304),
    "no white space": ('if-none-match: "r2d2xxxx","xyzzy"', 304),
    "tabs": ('if-none-match: \t"r2d2xxxx"\t,\t"xyzzy"\t', 304),
    "members that are empty": ('if-none-match: , ,, "r2d2xxxx",, ,"xyzzy" ,', 304),
    "no list member": ("if-none-match: ", None),
    "members that are all empty": ("if-none-match: ,, ,", None),
    "any, quoted, is a tag": ('if-none-match: "*"', None),
    "any beside the tag": ('if-none-match: *, "xyzzy"', None),
    "any after the tag": ('if-none-match: "xyzzy", *', None),
    "any twice": ("if-none-match: *, *", None),
    "any and the tag in two lines": (f"if-none-match: *\n{SAME}", None),
    "unquoted": ("if-none-match: xyzzy", None),
    "unquoted beside the tag": ('if-none-match: r2d2xxxx, "xyzzy"', None),
    "a second line that is none": (f"{SAME}\nif-none-match: r2d2xxxx", None),
    "not closed": ('if-none-match: "xyzzy', None),
    "not opened": ('if-none-match: xyzzy"', None),
    "not closed after the tag": ('if-none-match: "xyzzy", "', None),
    "no comma between": ('if-none-match: "r2d2xxxx" "xyzzy"', None),
    "nothing between": ('if-none-match: "r2d2xxxx""xyzzy"', None),
    "between two that are broken": ('if-none-match: a"xyzzy"b', None),
    "a small w": ('if-none-match: w/"xyzzy"', None),
    "a small w beside the tag": ('if-none-match: w/"r2d2xxxx", "xyzzy"', None),
    "a space after the weakness, beside the tag": ('if-none-match: W/ "r2", "xyzzy"', None),
    "a space after the weakness": ('if-none-match: W/ "xyzzy"', None),
    "weak twice": ('if-none-match: W/W/"xyzzy"', None),
    "single quotes": ("if-none-match: 'xyzzy'", None),
    "semicolons": ('if-none-match: "r2d2xxxx"; "xyzzy"', None),
}

TAGS = {
    "a comma": ('"xy,zzy"', 'if-none-match: "r2d2xxxx", "xy,zzy"', 304),
    "the parts around a comma": ('"xyzzy"', 'if-none-match: "a,"xyzzy","b"', None),
    "a tag in a tag": ('"b"', 'if-none-match: "a,W/","b"', 304),
    "two lines are not joined": ('"xy,zzy"', 'if-none-match: "xy\nif-none-match: zzy"', None),
    "empty": ('""', 'if-none-match: ""', 304),
    "empty, and another": ('""', SAME, None),
    "a backslash is no escape": (r'"a\"', r'if-none-match: "a\"', 304),
    "an escaped quote ends it": (r'"a\"b"', r'if-none-match: "a\"b"', None),
    "obs-text": ('"\xe9\x80\xff"', 'if-none-match: "\xe9\x80\xff"', 304),
    "a space": ('"a b"', 'if-none-match: "a b"', None),
    "a delete": ('"a\x7f"', 'if-none-match: "a\x7f"', None),
    "all other characters": (f'"{SIGNS}"', f'if-none-match: "{SIGNS}"', 304),
    "weak and strong": ('W/"1"', 'if-none-match: "1"', 304),
    "both weak": ('W/"1"', 'if-none-match: W/"1"', 304),
    "two weak ones": ('W/"1"', 'if-none-match: W/"2"', None),
    "weak, compared strongly": ('W/"1"', 'if-match: W/"1"', 412),
    "weak and strong, compared strongly": ('W/"1"', 'if-match: "1"', 412),
    "weak, and any": ('W/"1"', "if-match: *", None),
    "white space around": (' "1"\t', 'if-none-match: "1"', 304),
    "unquoted": ("1", 'if-none-match: "1", W/"1"', None),
    "unquoted in both": ("1", "if-none-match: 1", None),
    "any is no tag": ("*", 'if-none-match: "*"', None),
    "a list is no tag": ('"1", "2"', 'if-none-match: "1"', None),
}

SINCE_A_DATE = {
    "the same date": (SINCE + DATE, 304),
    "a second later": (SINCE + LATER, 304),
    "a second earlier": (SINCE + EARLIER, None),
    "in the future": (SINCE + FUTURE, 304),
    "RFC 850": (f"{SINCE}Saturday, 29-Oct-94 19:43:31 GMT", 304),
    "RFC 850, earlier": (f"{SINCE}Saturday, 29-Oct-94 19:43:30 GMT", None),
    "RFC 850, less than 50 years ahead": (
        f"{SINCE}Monday, 15-Jun-{year_from_now(49) % 100:02} 19:43:31 GMT",
        304,
    ),
    "RFC 850, more than 50 years ahead": (
        f"{SINCE}Monday, 15-Jun-{year_from_now(51) % 100:02} 19:43:31 GMT",
        None,
    ),
    "asctime": (f"{SINCE}Sat Oct 29 19:43:31 1994", 304),
    "asctime, earlier": (f"{SINCE}Sat Oct 29 19:43:30 1994", None),
    "asctime, one digit": (f"{SINCE}Sun Nov  6 08:49:37 1994", 304),
    "asctime, one digit, earlier": (f"{SINCE}Thu Oct  6 08:49:37 1994", None),
    "another day of the week": (f"{SINCE}Mon, 29 Oct 1994 19:43:31 GMT", 304),
    "white space around": (f"{SINCE} {DATE}\t", 304),
    "a leap second": (f"{SINCE}Sat, 31 Dec 2016 23:59:60 GMT", 304),
    "two lines": (f"{SINCE}{DATE}\n{SINCE}{DATE}", None),
    "two dates": (f"{SINCE}{DATE}, {DATE}", None),
    "with a length": (f"{SINCE}{DATE}; length=12", None),
    "no date": (f"{SINCE}yesterday", None),
    "empty": (SINCE, None),
    "a number": (f"{SINCE}783459811", None),
    "another zone": (f"{SINCE}{DATE.replace('GMT', 'EST')}", None),
    "an offset": (f"{SINCE}{DATE.replace('GMT', '+0000')}", None),
    "no zone": (f"{SINCE}{DATE.removesuffix(' GMT')}", None),
    "small letters": (f"{SINCE}{DATE.lower()}", None),
    "one digit of a day": (f"{SINCE}Sun, 6 Nov 1994 08:49:37 GMT", None),
    "no day of the week": (f"{SINCE}29 Oct 1994 19:43:31 GMT", None),
    "a day that is none": (f"{SINCE}Sat, 31 Nov 1994 19:43:31 GMT", None),
    "an hour that is none": (f"{SINCE}Sat, 29 Oct 1994 24:43:31 GMT", None),
    "RFC 850, a day that is none": (f"{SINCE}Saturday, 31-Nov-94 19:43:31 GMT", None),
    "ISO 8601": (f"{SINCE}1994-10-29T19:43:31Z", None),
}

UNTIL_A_DATE = {
    "the same date": (UNTIL + DATE, None),
    "a second later": (UNTIL + LATER, None),
    "a second earlier": (UNTIL + EARLIER, 412),
    "RFC 850": (f"{UNTIL}Saturday, 29-Oct-94 19:43:30 GMT", 412),
    "asctime": (f"{UNTIL}Sat Oct 29 19:43:30 1994", 412),
    "two lines": (f"{UNTIL}{EARLIER}\n{UNTIL}{EARLIER}", None),
    "two dates": (f"{UNTIL}{EARLIER}, {EARLIER}", None),
    "no date": (f"{UNTIL}never", None),
    "a year that is a zero": (f"{UNTIL}Mon, 01 Jan 0069 00:00:00 GMT", None),
}

ORDER = {
    "a true If-Match, and a date that fails": (f'if-match: "xyzzy"\n{UNTIL}{EARLIER}', None),
    "any, and a date that fails": (f"{UNTIL}{EARLIER}\nif-match: *", None),
    "a false If-Match, and a date that is true": (f'if-match: "1"\n{UNTIL}{LATER}', 412),
    "a false If-Match before If-None-Match": (f'{SAME}\nif-match: "1"', 412),
    "a true If-Match, then If-None-Match": (f'if-match: "xyzzy"\n{SAME}', 304),
    "a failed date before If-None-Match": (f"{SAME}\n{UNTIL}{EARLIER}", 412),
    "a true date, then If-None-Match": (f"{UNTIL}{DATE}\n{SAME}", 304),
    "a date that is none, then If-None-Match": (f"{UNTIL}never\n{SAME}", 304),
    "another tag, and the same date": (f"{OTHER}\n{SINCE}{DATE}", None),
    "the same tag, and an earlier date": (f"{SINCE}{EARLIER}\n{SAME}", 304),
    "a broken list, and the same date": (f"if-none-match: xyzzy\n{SINCE}{DATE}", None),
    "an empty list, and the same date": (f"if-none-match: \n{SINCE}{DATE}", None),
    "a true If-Match, then a date": (f'if-match: "xyzzy"\n{SINCE}{DATE}', 304),
    "both dates": (f"{UNTIL}{DATE}\n{SINCE}{DATE}", 304),
    "both dates, one failed": (f"{SINCE}{DATE}\n{UNTIL}{EARLIER}", 412),
    "If-Range is no condition of these": (f"range: bytes=0-1\nif-range: {EARLIER}", None),
    "all of them": (f'if-match: "xyzzy"\n{UNTIL}{EARLIER}\n{OTHER}\n{SINCE}{DATE}', None),
}

METHODS = {
    "HEAD": ("HEAD", SAME, 304),
    "HEAD, by date": ("HEAD", SINCE + DATE, 304),
    "HEAD, failed": ("HEAD", 'if-match: "1"', 412),
    "PUT": ("PUT", SAME, 412),
    "PUT, any": ("PUT", "if-none-match: *", 412),
    "PUT, another tag": ("PUT", OTHER, None),
    "POST, by date": ("POST", SINCE + DATE, None),
    "DELETE, failed": ("DELETE", 'if-match: "1"', 412),
    "PATCH, by date, failed": ("PATCH", UNTIL + EARLIER, 412),
    "methods have a case": ("get", SINCE + DATE, None),
    "OPTIONS": ("OPTIONS", 'if-match: "1"', None),
    "TRACE": ("TRACE", SAME, None),
    "CONNECT": ("CONNECT", "if-none-match: *", None),
}

ANSWERS = {
    "names in small letters": (ANSWER.lower().replace(DATE.lower(), DATE), SAME, 304),
    "names in capitals": (f"LAST-MODIFIED: {DATE}", SINCE + DATE, 304),
    "no tag": (f"Last-Modified: {DATE}", SAME, None),
    "no tag, and an If-Match": (f"Last-Modified: {DATE}", 'if-match: "xyzzy"', 412),
    "nothing, and any": ("", "if-none-match: *", 304),
    "nothing, and any that has to be": ("", "if-match: *", None),
    "two tags": ('ETag: "1"\nETag: "xyzzy"', SAME, None),
    "two equal tags": ('ETag: "xyzzy"\nETag: "xyzzy"', 'if-match: "xyzzy"', 412),
    "no date": ('ETag: "xyzzy"', SINCE + DATE, None),
    "no date, and one that would fail": ('ETag: "xyzzy"', UNTIL + EARLIER, None),
    "two dates": (f"Last-Modified: {DATE}\nLast-Modified: {DATE}", SINCE + DATE, None),
    "a date that is none": ("Last-Modified: now", f"{SINCE}now", None),
    "a date in RFC 850": ("Last-Modified: Saturday, 29-Oct-94 19:43:31 GMT", SINCE + DATE, 304),
    "a date in asctime": ("Last-Modified: Sat Oct 29 19:43:31 1994", SINCE + EARLIER, None),
    "a date that is a zero": ("Last-Modified: Mon, 01 Jan 0001 00:00:00 GMT", UNTIL + DATE, None),
    "a date in the future": (f"Last-Modified: {FUTURE}", SINCE + FUTURE, 304),
}


@pytest.mark.parametrize(("request_", "expected"), IF_MATCH.values(), ids=IF_MATCH)
def test_if_match(request_: str, expected: int | None) -> None:
    """Is false, unless a tag of its list is that of the answer; it compares strongly."""
    assert judged(request_) == expected


@pytest.mark.parametrize(("request_", "expected"), IF_NONE_MATCH.values(), ids=IF_NONE_MATCH)
def test_if_none_match(request_: str, expected: int | None) -> None:
    """Is true, unless a tag of its list is that of the answer; it compares weakly."""
    assert judged(request_) == expected


@pytest.mark.parametrize(("tag", "request_", "expected"), TAGS.values(), ids=TAGS)
def test_entity_tags(tag: str, request_: str, expected: int | None) -> None:
    """Have quotes, and what is between them is not read."""
    assert judged(request_, answer=f"ETag: {tag}") == expected


@pytest.mark.parametrize(("request_", "expected"), SINCE_A_DATE.values(), ids=SINCE_A_DATE)
def test_if_modified_since(request_: str, expected: int | None) -> None:
    """Is false for the date of the answer, and later ones; what is no date is ignored."""
    assert judged(request_) == expected


@pytest.mark.parametrize(("request_", "expected"), UNTIL_A_DATE.values(), ids=UNTIL_A_DATE)
def test_if_unmodified_since(request_: str, expected: int | None) -> None:
    """Is false for dates before that of the answer; what is no date is ignored."""
    assert judged(request_) == expected


@pytest.mark.parametrize(("request_", "expected"), ORDER.values(), ids=ORDER)
def test_conditions_have_an_order(request_: str, expected: int | None) -> None:
    """Tags before dates, and what must be before what must not be, whatever came first."""
    assert judged(request_) == expected
    backwards = "\n".join(reversed(request_.split("\n")))
    assert judged(backwards) == expected


@pytest.mark.parametrize(("method", "request_", "expected"), METHODS.values(), ids=METHODS)
def test_methods(method: str, request_: str, expected: int | None) -> None:
    """Only GET and HEAD have a 304, and some have no conditions at all."""
    assert judged(request_, method) == expected


@pytest.mark.parametrize(("answer", "request_", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_answers(answer: str, request_: str, expected: int | None) -> None:
    """May lack validators; one that is not valid, or not the only one, is none."""
    assert judged(request_, answer=answer) == expected


KEPT = [
    *("Content-Location: /a", "Date: " + DATE, 'ETag: "xyzzy"', "Vary: Accept"),
    *("Cache-Control: max-age=60", "Expires: " + DATE, "Last-Modified: " + DATE, "Age: 3"),
    *("Set-Cookie: a=1", "Set-Cookie: b=2", "Cache-Status: app; hit", "Link: </b>; rel=next"),
    *("Strict-Transport-Security: max-age=9", "Access-Control-Allow-Origin: *"),
    *("Content-Security-Policy: default-src 'self'", "Content-Disposition: inline"),
    *("Server: a", "X-Content-Type: a", "Connection: close"),
]
REMOVED = [
    *("Content-Length: 12", "Content-Type: text/plain", "Content-Encoding: gzip"),
    *("Content-Language: en", "Content-Range: bytes 0-1/2", "Transfer-Encoding: chunked"),
    *("Trailer: Expires", "Content-Digest: a=:b:", "Repr-Digest: a=:b:", "Digest: a=b"),
    "Content-MD5: a",
]


@pytest.mark.parametrize("line", KEPT)
def test_a_304_has_what_is_not_of_the_content(line: str) -> None:
    """Six headers of these it must have."""
    assert not_modified(lines_of(line)) == lines_of(line)
    assert not_modified(lines_of(line.lower())) == lines_of(line.lower())


@pytest.mark.parametrize("line", REMOVED)
def test_a_304_has_nothing_of_the_content(line: str) -> None:
    """It has none."""
    assert not_modified(lines_of(line)) == []
    assert not_modified(lines_of(line.lower())) == []
    assert not_modified(lines_of(line.upper())) == []


def test_the_lines_of_a_304_keep_their_order() -> None:
    """And come as often as before."""
    both = [line for pair in zip(KEPT, KEPT[:2] + REMOVED * 2, strict=False) for line in pair]
    kept = [line for line in both if line not in REMOVED]
    assert not_modified(lines_of("\n".join(both))) == lines_of("\n".join(kept))


conditions = st.sampled_from(
    [b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"]
)
validators = st.sampled_from([b"etag", b"ETag", b"last-modified"])
parts = st.sampled_from([*'",*W/ \t', '"a"', "a", "\xe9", "\0", ", ", DATE, "Sat, 29", "9" * 5000])
values = st.binary(max_size=30) | st.lists(parts).map(lambda each: "".join(each).encode("latin-1"))


@given(
    st.lists(st.tuples(conditions | st.binary(max_size=9), values), max_size=5),
    st.sampled_from(["GET", "HEAD", "PUT", "OPTIONS", ""]),
    st.lists(st.tuples(validators | st.binary(max_size=9), values), max_size=4),
)
@example([(b"if-modified-since", b"Sat, 29 Oct 1994 99:99:99 GMT")], "GET", lines_of(ANSWER))
def test_no_bytes_make_it_raise(request_: Lines, method: str, answer: Lines) -> None:
    """And what it says is one of three."""
    assert failed_condition(request_, method, answer) in {None, 304, 412}
    assert set(not_modified(answer)) <= set(answer)


def members(line: str) -> list[str] | None:
    """Return the entity tags of a list, or `None` if it is none; read from one sign to the next."""
    found, is_next, rest = [], True, line
    while rest := rest.lstrip(" \t"):
        if rest[0] == ",":
            is_next, rest = True, rest[1:]
            continue
        weak = "W/" if rest.startswith("W/") else ""
        start, quote, after = rest.removeprefix("W/").partition('"')
        opaque, end, rest = after.partition('"')
        if start or not quote or not end or not is_next or re.search(r"[\0-\x20\x7f]", opaque):
            return None
        found.append(f'{weak}"{opaque}"')
        is_next = False
    return found


signs = st.text(st.sampled_from('""",,W/ a\t*\xe9'), max_size=12)
tags = st.sampled_from(['"a"', 'W/"a"', '""', '"a,a"', 'W/"W/"', '"\xe9"', '","'])
lists = st.lists(tags | st.just(""), max_size=4).map(" , ".join) | signs


@given(st.lists(lists, min_size=1, max_size=3), tags, st.booleans())
@example(['"a', 'a"'], '"a,a"', True)
def test_lists_are_read_as_by_a_plain_reader(texts: list[str], tag: str, is_weak: bool) -> None:
    """Sign by sign; one line that is none makes nothing equal."""
    read = [members(text) for text in texts]
    named = [each for line in read for each in line or []] if None not in read else []
    if is_weak:
        is_named = tag.removeprefix("W/") in [each.removeprefix("W/") for each in named]
    else:
        is_named = tag.startswith('"') and tag in named
    is_named = is_named or [text.strip(" \t") for text in texts] == ["*"]
    name = "if-none-match" if is_weak else "if-match"
    said = judged("\n".join(f"{name}: {text}" for text in texts), answer=f"ETag: {tag}")
    assert said == ((304 if is_named else None) if is_weak else (None if is_named else 412))


FORMATS = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
dates = st.datetimes(datetime(year_from_now(-48), 1, 1), datetime(year_from_now(48), 1, 1))  # noqa: DTZ001 - UTC


@given(dates, dates, st.sampled_from(FORMATS), st.sampled_from(FORMATS))
def test_all_formats_mean_the_same(one: datetime, two: datetime, form: str, as_: str) -> None:
    """They are compared as times, to the second."""
    is_later = one.replace(microsecond=0) > two.replace(microsecond=0)
    answer, date = f"Last-Modified: {one.strftime(form)}", two.strftime(as_)
    assert judged(SINCE + date, answer=answer) == (None if is_later else 304)
    assert judged(UNTIL + date, answer=answer) == (412 if is_later else None)


def seconds(request: Lines) -> float:
    """Return the time that judging a request takes, without that of other threads and processes."""
    began = thread_time()
    failed_condition(request, "GET", lines_of(ANSWER))
    return thread_time() - began


def takes_linear_time(short: Lines, long: Lines) -> bool:
    """Whether a request that is 16 times as long takes less than 64 times as long, not 256 times.

    The least times count. On a busy machine they may take more than five looks.
    """
    took = []
    for looks in range(1, 21):
        took.append((seconds(short), seconds(long)))
        least, most = map(min, zip(*took, strict=True))
        if looks >= 5 and most < 64 * least:
            return True
    return False


HOSTILE = [
    ",",
    '"',
    '"",',
    '"" ',
    '"a',
    'W/"a" , ',
    " ",
    ", ",
    "\t,",
    "W/",
    "\xff",
    '","',
    "*,",
    "9",
]


@pytest.mark.parametrize("end", ["", "x", '"'])
@pytest.mark.parametrize("part", HOSTILE)
@pytest.mark.parametrize("name", ["if-match", "if-none-match", "if-modified-since"])
def test_hostile_lines_take_linear_time(name: str, part: str, end: str) -> None:
    """They may hold anything, over and over."""
    texts = [f"{name}: {part * (size // len(part))}{end}" for size in (8_000, 128_000)]
    assert takes_linear_time(*map(lines_of, texts))


@pytest.mark.parametrize("value", ['"a"', ",", "x", DATE])
@pytest.mark.parametrize("name", ["if-none-match", "if-modified-since"])
def test_many_lines_take_linear_time(name: str, value: str) -> None:
    """There may be as many as a server lets through."""
    texts = [f"{name}: {value}\n" * size for size in (500, 8_000)]
    assert takes_linear_time(*map(lines_of, texts))

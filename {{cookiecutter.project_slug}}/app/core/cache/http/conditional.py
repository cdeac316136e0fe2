"""The preconditions of a request, and the header lines of a 304: RFC 9110, sections 13 and 15.4.5.

Two things are left to who calls. Preconditions count only for an answer that is 2xx. And those of a
method that changes something have to be judged before it runs.
"""

import re
from collections.abc import Collection, Mapping
from math import nan

from ..stored import by_name, http_date

Lines = Collection[tuple[bytes, bytes]]
"""Header lines, as ASGI has them."""

_CONDITIONS = frozenset(
    {b"if-match", b"if-unmodified-since", b"if-none-match", b"if-modified-since"}
)
_VALIDATORS = frozenset({b"etag", b"last-modified"})
_READING = frozenset({"GET", "HEAD"})
_SELECTING_NOTHING = frozenset({"CONNECT", "OPTIONS", "TRACE"})  # RFC 9110, section 13.2.1

_OF_THE_CONTENT = frozenset(
    {
        *(b"content-length", b"content-type", b"content-encoding", b"content-language"),
        *(b"content-range", b"content-digest", b"repr-digest", b"digest", b"content-md5"),
        *(b"transfer-encoding", b"trailer"),
    }
)

_TAG = r'(?:W/)?"[!#-~\x80-\xff]*"'  # RFC 9110, section 8.8.3: nothing is escaped
_TAGS = rf"[ \t,]*(?:{_TAG}[ \t]*(?:,[ \t,]*|\Z))*"


def failed_condition(request: Lines, method: str, answer: Lines) -> int | None:
    """Return 304 or 412 if the preconditions of a request decide so, or `None`. Never raises.

    `answer` has the lines of the 2xx that would be sent. A failed `If-None-Match` is a 304 for GET
    and HEAD, and a 412 for others. The order is that of RFC 9110, section 13.2.2.

    `If-Match` and `If-None-Match` match nothing if a line of theirs is no list of entity tags: if one
    is not quoted or has a space, for example, or if there is `*` beside others. They still count as
    present. An answer whose `ETag` is not valid, or comes twice, has none. A date header that is no
    HTTP-date, or that comes twice, is ignored.
    """
    given = conditions_of(request)
    if not given or method in _SELECTING_NOTHING:
        return None
    if len(given) == 1 and given[0][0] == b"if-none-match" and method in _READING:  # as most have
        tags = [value for name, value in answer if name.lower() == b"etag"]
        if tags == [given[0][1]] and re.fullmatch(_TAG, tags[0].decode("latin-1")):
            return 304
    return _failed(by_name(given), method, answer)


def conditions_of(request: Lines) -> list[tuple[bytes, bytes]]:
    """Return the lines of a request that are preconditions."""
    return [line for line in request if line[0] in _CONDITIONS]


def _failed(asked: Mapping[str, list[str]], method: str, answer: Lines) -> int | None:
    has = by_name(line for line in answer if line[0].lower() in _VALIDATORS)
    tags, modified = has.get("etag", []), has.get("last-modified", [])
    is_read = method in _READING
    if "if-match" in asked:
        if not _names(asked["if-match"], tags, weakly=False):
            return 412
    elif _later_by(modified, asked.get("if-unmodified-since", [])) > 0:
        return 412
    if "if-none-match" in asked:
        is_named = _names(asked["if-none-match"], tags, weakly=True)
        return (304 if is_read else 412) if is_named else None
    if is_read and _later_by(modified, asked.get("if-modified-since", [])) <= 0:
        return 304
    return None


def not_modified(answer: Lines) -> list[tuple[bytes, bytes]]:
    """Return the lines of a 304 for a 200 with these lines (RFC 9110, 15.4.5).

    All lines stay but those that describe or frame the content. A 304 must have six of the 200's
    headers (`ETag`, `Vary`, `Cache-Control` and others), and should have no more of the metadata of
    its representation. Other headers are none: cookies, CORS and security count for a 304, too.
    nginx and Go also remove a few and keep the rest; Starlette's `StaticFiles` keeps the six only.
    `Last-Modified` stays, as in nginx: a cache may guess the freshness by it.
    """
    return [line for line in answer if line[0].lower() not in _OF_THE_CONTENT]


def _names(values: list[str], tags: list[str], *, weakly: bool) -> bool:
    """Whether the lines of a condition name the entity tag of an answer; `*` names any, and none.

    Each line is a list by itself. Joined, two broken ones could make a tag that nobody sent.
    """
    values = [value.strip(" \t") for value in values]
    if values == ["*"]:
        return True
    if len(tags) != 1 or not all(re.fullmatch(_TAGS, value) for value in values):
        return False
    tag = tags[0].strip(" \t")  # one that is not valid is never equal to those of a list
    named = [each for value in values for each in re.findall(_TAG, value)]
    if weakly:
        return tag.removeprefix("W/") in [each.removeprefix("W/") for each in named]
    return tag in named and not tag.startswith("W/")


def _later_by(modified: list[str], asked: list[str]) -> float:
    """Return how many seconds the first date is later, or NaN if one is none.

    No comparison with NaN is true, so no condition with it fails.
    """
    return _date(modified) - _date(asked) if asked else nan


def _date(values: list[str]) -> float:
    """Return a date in seconds since 1970, or NaN if there is not one HTTP-date."""
    return http_date(values[0], nan) if len(values) == 1 else nan

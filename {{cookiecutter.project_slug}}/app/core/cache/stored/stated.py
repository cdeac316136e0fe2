"""What the headers of a response tell a shared cache: RFC 9111.

The headers may come from anywhere. A value that cannot be parsed counts as the strictest one, but
for `Age` and `Date`: those count for nothing (RFC 9111, section 5.1).
"""

import re
import time
from collections.abc import Collection
from math import inf
from typing import NamedTuple

from starlette.responses import Response

from . import headers
from .dates import http_date
from .headers import ByName

_FORBIDDING = ("no-store", "private", "no-cache")
_DIGITS, _LATEST = 10, 2**31  # seconds; larger values count as this one: RFC 9111, section 1.2.2
_SECONDS = re.compile(r"[0-9]+")
_AGE = re.compile(r"[ \t]*([0-9]+)[ \t]*(?:[,;]|\Z)")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a token: RFC 9110, section 5.6.2
_VALUE = rf'=[ \t]*(?:({_WORD}|"[^"\\]*")[ \t]*)?'
# No possessive quantifiers: Python 3.11.0 to 3.11.4 match some of them wrongly (gh-106052).
_DIRECTIVE = rf"[ \t,]*(?:\Z|({_WORD})[ \t]*(?:{_VALUE})?(?:,|\Z))"

Directives = dict[str, list[str | None]]
"""The directives of `Cache-Control`: for each name its values, `None` for one without."""


class Stated(NamedTuple):
    """How long a response says that it is fresh.

    `fresh_for` is in seconds from now; `None` if the response does not say, zero or less if it is
    already stale. Unless `may_be_stale`, it must not be served after that.
    """

    fresh_for: float | None = None
    may_be_stale: bool = True


def stated(response: Response) -> Stated:
    """Return how long a response says that it is fresh. Never raises.

    `s-maxage` comes before `max-age`, and that before `Expires`. Of several values the shortest
    counts. A value that is not a number of seconds counts as 0.
    """
    lines = headers.by_name(response.raw_headers)
    directives = directives_of(lines.get("cache-control", []))
    if directives is None:
        return Stated(0.0, may_be_stale=False)
    may_be_stale = _may_be_stale(directives)
    lifetime = _lifetime(directives, lines)
    if lifetime is None:
        return Stated(None, may_be_stale)
    return Stated(lifetime - _age(lines), may_be_stale)


def why_not_shared(response: Response, varied: Collection[str] = ()) -> str | None:
    """Return why a response must not be stored for everybody, or `None`. Never raises.

    `varied` are the names of request headers, in lower case, that the key of the call holds.
    """
    lines = headers.by_name(response.raw_headers)
    for line in lines.get("cache-control", []):
        directives = directives_of([line])
        if directives is None or not directives.keys().isdisjoint(_FORBIDDING):
            return f"its Cache-Control is {line!r}"
    if any("no-cache" in line.lower() for line in lines.get("pragma", [])):
        return "its Pragma is 'no-cache'"
    more = sorted(_varying(lines) - set(varied))
    if more:
        return f"it has Vary: {', '.join(more)}, of which the key holds nothing"
    fresh_for = stated(response).fresh_for
    if fresh_for is not None and fresh_for <= 0:
        return "it says that it is stale already"
    return None


def _varying(lines: ByName) -> set[str]:
    names = ",".join(lines.get("vary", [])).lower().split(",")
    return {name.strip() for name in names} - {""}


def directives_of(lines: list[str]) -> Directives | None:
    """Parse lines of `Cache-Control`; `None` if they cannot be parsed. Never raises."""
    found: Directives = {}
    directive = re.compile(_DIRECTIVE)  # which `re` keeps; at import it would cost everybody
    for line in lines:
        place = 0
        while place < len(line):
            match = directive.match(line, place)
            if match is None:
                return None
            place = match.end()
            if match[1]:
                found.setdefault(match[1].lower(), []).append(match[2])
    return found


def _may_be_stale(directives: Directives) -> bool:
    """Whether it may be served stale. With `s-maxage` only if a `stale-*` directive allows it."""
    if "must-revalidate" in directives or "proxy-revalidate" in directives:
        return False
    says_how_long = "stale-while-revalidate" in directives or "stale-if-error" in directives
    return says_how_long or "s-maxage" not in directives


def _lifetime(directives: Directives, lines: ByName) -> float | None:
    for name in ("s-maxage", "max-age"):
        if name in directives:
            return min(seconds_of(value) for value in directives[name])
    expires = lines.get("expires")
    if not expires:
        return None
    made = http_date(lines.get("date", [""])[0], any_case=True)
    return min(http_date(each, -inf, any_case=True) for each in expires) - (made or time.time())


def _age(lines: ByName) -> float:
    """Return the age in seconds; another server may have made the response earlier."""
    made = http_date(lines.get("date", [""])[0], any_case=True)
    return max(0.0, time.time() - made if made else 0.0, told_age(lines))


def told_age(lines: ByName) -> float:
    """Return the age that `Age` tells, in seconds: of several the first, and 0 for what is none."""
    told = _AGE.match(lines.get("age", [""])[0])
    return seconds_of(told[1]) if told else 0.0


def seconds_of(text: str | None, otherwise: float = 0.0) -> float:
    """Return the number of seconds that a directive has, or `otherwise` if it has none."""
    digits = text or ""
    if len(digits) > 1 and digits[0] == digits[-1] == '"':
        digits = digits[1:-1]
    if not _SECONDS.fullmatch(digits):
        return otherwise
    return float(_LATEST if len(digits) > _DIGITS else min(int(digits), _LATEST))

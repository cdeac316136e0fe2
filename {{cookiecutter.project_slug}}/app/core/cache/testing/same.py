"""A hit is what the miss was: status, headers and body."""

import re
from collections import defaultdict
from collections.abc import Collection
from typing import Any, Final

from .asking import asked, insist, shown, status_of

MAY_DIFFER: Final = frozenset({"age", "cache-status", "date"})
"""Headers that tell of this one response."""

_SECONDS: Final = re.compile(r"\b(max-age|s-maxage)=\d+")


def assert_same_on_hit(
    client: Any, path: str, *, may_differ: Collection[str] = (), **options: Any
) -> Any:
    """Assert that an endpoint is cached, and that a hit is what the miss was; return the hit.

    It asks three times, as a hit after the first one may be answered before routing. Status, body
    and headers must be equal, but for `Age`, `Date` and `Cache-Status`, the seconds of `max-age` and
    `s-maxage`, and the headers in `may_differ`, such as a request id. `options` are what
    `client.request` gets besides, such as `headers`. There must be no entry before: use the fixture
    `cache`.
    """
    __tracebackhide__ = True
    request = f"{options.get('method', 'GET')} {path}"
    miss = asked(client, path, options)
    first = status_of(miss, request)
    insist(
        not first.is_hit,
        f"the first answer to {request} is a hit already ({first.text}): ask with an empty cache, as "
        f"that of the fixture `cache`",
    )
    hit = miss
    for turn in ("second", "third"):
        hit = asked(client, path, options)
        said = status_of(hit, request)
        insist(
            said.is_hit,
            f"the {turn} answer to {request} is no hit: the first said {first.text!r}, status "
            f"{miss.status_code}, this one {said.text!r}; see what keeps it from being stored: "
            f"`detail=` of CacheMiddleware, and the warning in the log, say why",
        )
        different = _differences(miss, hit, {*MAY_DIFFER, *(name.lower() for name in may_differ)})
        insist(
            not different,
            f"the {turn} answer to {request}, a hit, differs from the miss: {'; '.join(different)}. "
            f"Let the endpoint itself set what a hit has to repeat, and name in may_differ= what "
            f"belongs to one request",
        )
    return hit


def _differences(miss: Any, hit: Any, ignored: Collection[str]) -> list[str]:
    """Return in what two responses differ."""
    found = []
    if miss.status_code != hit.status_code:
        found.append(f"status {hit.status_code} instead of {miss.status_code}")
    before, after = _lines(miss), _lines(hit)
    found += [
        f"header {name} {after[name]} instead of {before[name]}"
        for name in sorted({*before, *after} - {*ignored})
        if before[name] != after[name]
    ]
    if miss.content != hit.content:
        found.append(f"body {shown(hit)} instead of {shown(miss)}")
    return found


def _lines(response: Any) -> defaultdict[str, list[str]]:
    """Return the values of each header, in order."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in response.headers.multi_items():
        told = _SECONDS.sub(r"\1", value) if name.lower() == "cache-control" else value
        lines[name.lower()].append(told)
    return lines

"""What the response of a cached endpoint says to other caches: RFC 9110, 9111, 9211 and 5861.

What the endpoint says itself stays, and the rest is added.
"""

import re
from collections.abc import Iterable

from ..calls import Exchange
from ..coherence import Outcome
from ..stored import FOR_ONE, by_name, entity_tag, told_age

Lines = list[tuple[bytes, bytes]]

_ENTRY = (Outcome.HIT, Outcome.STALE, Outcome.STORED)
"""Outcomes for which an entry is in the cache. A result that was overtaken may be old already.

Whoever shares the result of another caller does not know whether it was overtaken.
"""
_OWN = (b"cache-control", b"expires", b"pragma")
"""Headers by which an endpoint says for itself how long its response is fresh."""
_FOR_ONE = frozenset(name.encode() for name in FOR_ONE)
_DETAILS = {None: "raised", Outcome.AWAY: "unavailable", Outcome.OVERTAKEN: "overtaken"}
_FORWARDED = ("method", "request")
"""Words of RFC 9211 for why a request went past the cache."""
_OWN_LIFETIME = re.compile(rb"(max-age|s-maxage)[ \t]*=", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")


def with_control(
    exchange: Exchange,
    status: int,
    given: Iterable[tuple[bytes, bytes]],
    body: bytes | None,
    now: int,
) -> Lines:
    """Return header lines with `Cache-Control`, `Age`, `Vary`, and for a 2xx the `ETag`.

    `now` is in milliseconds. A `body` of `None` is not known: then only an entry has a tag.
    """
    lines, rendered = list(given), exchange.rendered
    names = {name.lower() for name, _ in lines}
    if names.isdisjoint(_OWN):
        control = _control(exchange, now, is_for_one=not names.isdisjoint(_FOR_ONE))
        if control:
            lines.append((b"cache-control", control.encode()))
    elif rendered is not None and exchange.outcome in _ENTRY:
        lines = _aged(lines, now - rendered.made)
    varying = exchange.standing.varying
    if varying:
        lines = _varied(lines, varying)
    if b"etag" not in names and 200 <= status < 300:
        tag = rendered.etag if rendered is not None else ""
        if tag or body is not None:
            lines.append((b"etag", (tag or entity_tag(lines, body or b"")).encode()))
    return lines


def not_met(lines: Lines) -> Lines:
    """Return the lines of a 412 in place of a response: it is not to be cached, and has no body."""
    kept = [
        line for line in lines if line[0].lower() in (b"etag", b"last-modified", b"cache-status")
    ]
    return [*kept, (b"content-length", b"0")]


def _control(exchange: Exchange, now: int, *, is_for_one: bool) -> str:
    """Return the value of `Cache-Control`; empty for none.

    `is_for_one` says that the response has headers for one client, which a dependency has set.
    """
    calls, rendered = exchange.calls, exchange.rendered
    said = calls.cache_control if calls is not None else "none"
    is_entry = rendered is not None and exchange.outcome in _ENTRY
    if calls is None or said == "none":
        return ""
    may_hold = calls.may_hold_a_request and not calls.is_shared
    # A shared result, too: a dependency may refuse who asks, and a proxy does not run it.
    is_for_all = rendered is not None or exchange.outcome in (*_ENTRY, Outcome.SHARED)
    is_for_one = is_for_one or exchange.may_be_changed
    is_private = not is_for_all or is_for_one or exchange.standing.is_private or may_hold
    directives = ["private"] if is_private else []
    # A client may have several users: what they differ in has to be in `Vary`, or it asks each time.
    is_named = not (is_for_one or calls.may_hold_a_request) and exchange.standing.is_named
    if rendered is None or not is_entry or said == "no-cache" or not is_named:
        return ", ".join([*directives, "no-cache"])
    fresh = rendered.until - now
    directives.append(f"max-age={max(0, fresh // 1000)}")
    stale = (calls.freshness.stale + min(0, fresh)) // 1000
    if stale > 0:
        directives += [f"stale-while-revalidate={stale}", f"stale-if-error={stale}"]
    return ", ".join(directives + (["immutable"] if said == "immutable" else []))


def _aged(lines: Lines, age: int) -> Lines:
    """Return lines with the age of the entry, in milliseconds, added to the one that they tell."""
    says = [value for name, value in lines if name.lower() == b"cache-control"]
    has_expiry = any(name.lower() == b"expires" for name, _ in lines)
    if not (has_expiry or any(map(_OWN_LIFETIME.search, says))):
        return lines
    told = [value for name, value in lines if name.lower() == b"age"]
    before = int(told_age(by_name((b"age", value) for value in told)))
    others = [line for line in lines if line[0].lower() != b"age"]
    seconds = before + max(0, age) // 1000
    return [*others, (b"age", b"%d" % seconds)] if seconds or told else lines


def _varied(lines: Lines, names: Iterable[str]) -> Lines:
    """Return lines with a `Vary` of these names, too."""
    told = [value.decode("latin-1") for name, value in lines if name.lower() == b"vary"]
    known = {each.strip().lower() for value in told for each in value.split(",")}
    more = sorted(set(names) - known)
    if "*" in known or not more:
        return lines
    others = [line for line in lines if line[0].lower() != b"vary"]
    value = "*" if any(name.startswith("*") for name in more) else ", ".join([*told, *more])
    return [*others, (b"vary", value.encode("latin-1"))]


def status_of(exchange: Exchange, name: str, now: int, *, with_key: bool = False) -> str:
    """Return the value of `Cache-Status`: RFC 9211. `now` is in milliseconds."""
    outcome, rendered = exchange.outcome, exchange.rendered
    parts = [name if _TOKEN.fullmatch(name) else _quoted(name)]
    if outcome in (Outcome.HIT, Outcome.STALE):
        parts.append("hit")
        if rendered is not None and rendered.made:
            parts.append(f"ttl={(rendered.until - now) // 1000}")
        detail = "near" if exchange.is_near else ""
    elif outcome is None and exchange.wish is not None and exchange.wish.only_if_cached:
        detail = "only-if-cached"  # nothing was forwarded
    else:
        forwarded = "stale" if exchange.was_due else "miss"
        if outcome is Outcome.BYPASS:
            forwarded = exchange.why if exchange.why in _FORWARDED else "bypass"
        elif exchange.is_refused:
            forwarded = "request"
        parts.append(f"fwd={forwarded}")
        if outcome in (Outcome.SHARED, Outcome.STORED):
            parts.append("collapsed" if outcome is Outcome.SHARED else "stored")
        detail = "" if outcome in _ENTRY else exchange.why or _DETAILS.get(outcome, "")
    if with_key and exchange.key:
        parts.append(f"key={_quoted(exchange.key)}")
    return "; ".join([*parts, f"detail={detail}"] if detail and detail not in _FORWARDED else parts)


def _quoted(text: str) -> str:
    """Return a text as a string of a structured field: RFC 8941, section 3.3.3."""
    shown = "".join([each if " " <= each <= "~" else "?" for each in text])
    return '"{}"'.format(shown.replace("\\", "\\\\").replace('"', '\\"'))

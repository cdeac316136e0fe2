"""What the response of a cached endpoint says to other caches: RFC 9110, 9111, 9211 and 5861.

What the endpoint says itself stays, and the rest is added.
"""

import re
from collections.abc import Iterable

from ..calls import Exchange
from ..coherence import Outcome
from ..stored import RenderedResponse, entity_tag

Lines = list[tuple[bytes, bytes]]

_ENTRY = frozenset({Outcome.HIT, Outcome.STALE, Outcome.STORED})
"""Outcomes for which an entry is in the cache. A result that was overtaken may be old already.

Whoever shares the result of another caller does not know whether it was overtaken.
"""
_OWN_LIFETIME = re.compile(rb"(max-age|s-maxage)[ \t]*=", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")


def dressed(
    exchange: Exchange, status: int, given: Iterable[tuple[bytes, bytes]], now: int
) -> Lines:
    """Return header lines with `Cache-Control`, `Age` and `Vary`; `now` is in milliseconds."""
    lines = list(given)
    names = {name.lower() for name, _ in lines}
    if names.isdisjoint((b"cache-control", b"expires", b"pragma")):
        control = _control(exchange, status, now)
        if control:
            lines.append((b"cache-control", control.encode()))
    elif exchange.rendered is not None and exchange.outcome in _ENTRY:
        lines = _aged(lines, now - exchange.rendered.made)
    varying = _varying(exchange)
    return _varied(lines, varying) if varying else lines


def tagged(lines: Lines, rendered: RenderedResponse | None, body: bytes) -> Lines:
    """Return header lines with an `ETag`: that of the entry, or else one of the body."""
    if any(name.lower() == b"etag" for name, _ in lines):
        return lines
    tag = (rendered.etag if rendered is not None else "") or entity_tag(lines, body)
    return [*lines, (b"etag", tag.encode())]


def not_met(lines: Lines) -> Lines:
    """Return the lines of a 412 in place of a response: it is not to be cached, and has no body."""
    kept = [
        line for line in lines if line[0].lower() in (b"etag", b"last-modified", b"cache-status")
    ]
    return [*kept, (b"content-length", b"0")]


def _control(exchange: Exchange, status: int, now: int) -> str:
    """Return the value of `Cache-Control`; empty for none."""
    calls, rendered = exchange.calls, exchange.rendered
    said = calls.cache_control if calls is not None else "none"
    is_entry = rendered is not None and exchange.outcome in _ENTRY
    if calls is None or said == "none" or not (is_entry or 200 <= status < 300):
        return ""
    is_private = exchange.standing.is_private or calls.may_hold_a_request
    is_private = rendered is None or (is_private and not calls.is_shared)
    directives = ["private"] if is_private else []
    if rendered is None or not is_entry or said == "no-cache":
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
    before = int(told[0]) if len(told) == 1 and told[0].isdigit() and len(told[0]) < 10 else 0
    others = [line for line in lines if line[0].lower() != b"age"]
    seconds = before + max(0, age) // 1000
    return [*others, (b"age", b"%d" % seconds)] if seconds or told else lines


def _varying(exchange: Exchange) -> frozenset[str]:
    """Return the headers that the key holds; those of who asks count only if they matter."""
    standing, calls = exchange.standing, exchange.calls
    if calls is None or not calls.is_shared:
        return standing.varying
    return standing.headers.union(calls.vary.headers, standing.varying & {"cookie"})


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
    else:
        forwarded = "stale" if exchange.was_due else "miss"
        if outcome is Outcome.BYPASS:
            forwarded = exchange.why if exchange.why == "method" else "bypass"
        parts.append(f"fwd={forwarded}")
        if outcome in (Outcome.SHARED, Outcome.STORED):
            parts.append("collapsed" if outcome is Outcome.SHARED else "stored")
        detail = "" if outcome in _ENTRY else exchange.why or ("" if outcome else "raised")
    if with_key and exchange.key:
        parts.append(f"key={_quoted(exchange.key)}")
    return "; ".join([*parts, f"detail={detail}"] if detail and detail != "method" else parts)


def _quoted(text: str) -> str:
    """Return a text as a string of a structured field: RFC 8941, section 3.3.3."""
    shown = "".join([each if " " <= each <= "~" else "?" for each in text])
    return '"{}"'.format(shown.replace("\\", "\\\\").replace('"', '\\"'))

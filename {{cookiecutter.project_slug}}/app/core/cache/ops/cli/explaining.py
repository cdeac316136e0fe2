"""`explain`: why an entry, or the answer to a request, is served from the cache, or is not."""

from dataclasses import asdict
from typing import Any, NamedTuple

from ...calls import CachedCalls, Made
from ...manager import CacheManager
from ..audit import audit_cache
from ..counters import published
from ..endpoints import Use, is_cached
from ..entries import Entry, entry_at
from ..findings import Finding, name_of_call
from ..keys_of_paths import Answer, answers, key_of, takes
from .application import Application, load_default
from .looking import argument, facts_of, hint_for
from .output import span_in_words
from .session import DONE, NOT_DONE, Session


class Verdict(NamedTuple):
    """Whether an entry is served, and why."""

    is_served: bool
    why: str


async def explain(session: Session, *, what: str, method: str) -> int:
    """Explain a key; or a path, which begins with a slash."""
    if what.startswith("/"):
        return await _explain_path(session, what, method.upper())
    session.insist_on("entries")
    session.find_prefix()
    key = argument(what)
    return await _explain_key(session, session.manager, key, {"key": key})


_NOT_SERVED = {
    "foreign": "another program has put something there; a call replaces it",
    "unreadable": "it is damaged, too large, of another key or of another version; a call replaces it",
}


def verdict(entry: Entry | None) -> Verdict:
    """Return whether an entry is served by a process that has no invalidation to deliver."""
    if entry is None:
        why = "nothing stands there: it was never stored, has expired, was evicted, or was invalidated"
        return Verdict(False, why)
    if entry.kind == "computing":
        left = span_in_words(entry.expires_in)
        why = f"somebody computes it now, and others wait; its lease ends in {left} unless renewed"
        return Verdict(False, why)
    if entry.kind in _NOT_SERVED:
        return Verdict(False, _NOT_SERVED[entry.kind])
    if not entry.is_current:
        why = "one of its tags was invalidated, or the nonce of a tag is gone; a call replaces it"
        return Verdict(False, why)
    why = "it is there, and none of its tags was invalidated"
    if entry.is_stale:
        why = "it is past its expire=, and served by stale= while one caller computes it again"
    return Verdict(True, why)


async def _explain_key(
    session: Session, manager: CacheManager, key: str, named: dict[str, Any]
) -> int:
    """Tell what stands at a key; `named` is what JSON says besides."""
    entry = await entry_at(manager, key, managers=session.managers)
    said = verdict(entry)
    waiting = [
        f"{each.host}, process {each.pid}" for each in await published(manager) if each.pending
    ]
    out = session.out
    out.json(
        **named,
        is_served=said.is_served,
        why=said.why,
        kind=entry and entry.kind,
        function=entry and entry.function,
        tags=[*entry.tags] if entry else [],
        with_pending_invalidations=waiting,
    )
    style = "green" if said.is_served else "yellow"
    out.line((key, "bold"))
    out.line(("served: " if said.is_served else "not served: ", style), said.why)
    if entry is None and hint_for(manager, key):
        out.line((hint_for(manager, key).removeprefix("; "), "dim"))
    if entry is not None:
        for name, value in facts_of(entry):
            out.line((f"{name:>8}  ", "dim"), value)
    for each in waiting:
        out.line(
            (f"{each} has invalidations to deliver, and does not serve what they cover", "yellow")
        )
    return DONE if said.is_served else NOT_DONE


async def _explain_path(session: Session, target: str, method: str) -> int:
    app = session.app = session.app or load_default()
    path, _, query = target.partition("?")
    found = answers(app.places, path, method)
    if not found or not takes(found[0].place, method):
        session.out.note(_unanswered(app, found, path, method))
        return NOT_DONE
    answer = found[0]
    uses = [use for use in app.uses if use.place is answer.place]
    findings, why_routed = _audited(app, answer, uses)
    made = _made(uses, method)
    key, why = (None, "") if made is None else key_of(made, answer, query)
    named = {
        "method": method,
        "path": path,
        "route": answer.path,
        "endpoint": name_of_call(answer.place.endpoint),
        "is_cached": made is not None,
        "why_routed": why_routed or None,
        "findings": [asdict(each) for each in findings],
        "key": key,
        "why_no_key": why or None,
    }
    _tell_of_route(session, app, answer, made, uses)
    if made is not None and why_routed is not None:
        early = f"no, {why_routed}" if why_routed else "its hits are answered there"
        session.out.line(f"before routing: {early}")
    for finding in findings:
        session.out.line((f"{finding.kind}: ", "red"), f"{finding.what}; {finding.mend}")
    if made is None or key is None:
        return _without_key(session, made, named, why)
    return await _explain_entry(session, made, key, named)


def _unanswered(app: Application, found: list[Answer], path: str, method: str) -> str:
    """Return why no route answers a request."""
    if not found:
        return f"no route of {app.name} has the path {path}"
    taken = ", ".join(sorted({each for answer in found for each in answer.place.methods or ()}))
    return f"no route takes {method} {path}; those with this path take {taken}"


def _audited(app: Application, answer: Answer, uses: list[Use]) -> tuple[list[Finding], str | None]:
    """Return what the audit finds at a route, and why its hits are not answered before routing.

    That is empty if they are, and `None` if the route is not cached.
    """
    audit, place = audit_cache(app.app), answer.place
    where = {use.where for use in uses} | {place.where(place.endpoint)}
    findings = [each for each in audit.findings if each.where in where]
    told = [each.why_routed for each in audit.routes if each.path == answer.path]
    return findings, told[0] if told else None


def _made(uses: list[Use], method: str) -> Made | None:
    """Return how the endpoint was cached for requests by this method; `None` if it is not."""
    wanted = {method, "GET"} if method == "HEAD" else {method}
    for use in uses:
        if use.is_endpoint and is_cached(use.made) and use.made.given["method"] in wanted:
            return use.made
    return None


def _tell_of_route(
    session: Session, app: Application, answer: Answer, made: Made | None, uses: list[Use]
) -> None:
    endpoint, out = name_of_call(answer.place.endpoint), session.out
    out.line((answer.path, "bold"), f" of {app.name} answers, by {endpoint}")
    if made is None:
        out.line(("its endpoint is not cached for this method", "yellow"))
    for use in uses:
        if not use.is_endpoint:
            out.line(f"it calls {name_of_call(use.made.below)}, which is decorated")


def _without_key(session: Session, made: Made | None, named: dict[str, Any], why: str) -> int:
    """Tell what is known of the keys if the one of this request is not."""
    below = None
    if made is not None and isinstance(made.calls, CachedCalls):
        start = made.calls.keys.start.removeprefix(f"{made.manager.key_prefix}:")
        below = f"{start}*"
        session.out.line(f"its key is not known: {why}; its keys are those of {below}")
    session.out.json(**named, keys=below)
    return NOT_DONE


async def _explain_entry(session: Session, made: Made, key: str, named: dict[str, Any]) -> int:
    manager = made.manager
    if not manager.backend.connects:
        session.out.json(**named)
        session.out.line(
            f"key: {manager.key_prefix}:{key}; its cache is in the process that serves it"
        )
        return DONE
    session.opened.append(manager)
    return await _explain_key(session, manager, key, named)

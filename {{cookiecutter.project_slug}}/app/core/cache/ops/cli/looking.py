"""`keys` and `show`: what is in the cache."""

import time
from typing import Any

from ...manager import CacheManager
from ..entries import Entry, entries_of, entry_at
from .output import finite, size_in_words, span_in_words, time_in_words
from .refused import RefusedError
from .session import DONE, NOT_DONE, Session

_WIDTHS = "{:<19} {:>7} {:>7} {:>9}  "
_HEADINGS = ("TYPE", "AGE", "LEFT", "SIZE")
_STYLES = {"unreadable": "red", "foreign": "red", "computing": "yellow"}
_STEP = 500  # keys between two words of progress


async def keys(session: Session, *, pattern: str, limit: int | None) -> int:
    """List entries, each on a line, as they are found."""
    out, found = session.out, 0
    before = f"{session.manager.key_prefix}:"
    pattern = argument(pattern)
    with out.progress(f"looking for {before}{pattern}") as progress:
        listed = entries_of(session.manager, pattern, most=limit, managers=session.managers)
        async for entry in listed:
            if not found:
                out.line((_WIDTHS.format(*_HEADINGS) + "KEY, TAGS", "dim"))
            found += 1
            if found % _STEP == 0:
                progress.tell(f"looking for {before}{pattern}: {found} entries")
            _list(session, entry)
    if found:
        return DONE
    out.note(f"no key matches {before}{pattern}")
    return NOT_DONE


def _list(session: Session, entry: Entry) -> None:
    columns = _WIDTHS.format(
        state_of(entry),
        span_in_words(_age(entry)),
        span_in_words(entry.expires_in),
        size_in_words(entry.size),
    )
    tags = f"  [{', '.join(entry.tags)}]" if entry.tags else ""
    style = _STYLES.get(entry.kind, "" if entry.is_current else "yellow")
    session.out.line((columns, style), entry.key, (tags, "cyan"))
    session.out.json(**_named(entry))


async def show(session: Session, *, key: str) -> int:
    """Show one entry, with who wrote it, when, and what it holds."""
    out, key = session.out, argument(key)
    entry = await entry_at(session.manager, key, managers=session.managers)
    if entry is None:
        out.note(nothing_at(session.manager, key))
        return NOT_DONE
    out.json(**_named(entry), headers=[[*each] for each in entry.headers], content=entry.content)
    out.line((entry.key, "bold"))
    for name, value in facts_of(entry):
        out.line((f"{name:>8}  ", "dim"), value)
    for name, value in entry.headers:
        out.line(("  header  ", "dim"), f"{name}: {value}")
    out.line()
    out.line(entry.content, keeps="\n\t")
    if entry.function.startswith("unknown function") and not session.app:
        out.note("functions have names with --app package.module:name")
    return DONE


def facts_of(entry: Entry) -> list[tuple[str, str]]:
    """Return what is known of an entry, as names and texts."""
    facts = [("type", state_of(entry))]
    if entry.status is not None:
        facts.append(("status", str(entry.status)))
    facts.append(("by", entry.function or "-"))
    if entry.written is not None:
        age = span_in_words(_age(entry))
        facts.append(("written", f"{time_in_words(entry.written)}, {age} ago"))
    facts += [("left", span_in_words(entry.expires_in)), ("size", size_in_words(entry.size))]
    return [*facts, ("tags", ", ".join(entry.tags))] if entry.tags else facts


def state_of(entry: Entry) -> str:
    """Return the kind of an entry, and whether it is served."""
    if entry.kind in ("computing", "unreadable", "foreign"):
        return entry.kind
    if not entry.is_current:
        return f"{entry.kind}, invalid"
    return f"{entry.kind}, stale" if entry.is_stale else entry.kind


def nothing_at(manager: CacheManager, key: str) -> str:
    """Return that nothing is at a key, with what may be meant."""
    return f"there is nothing at {manager.key_prefix}:{key}{hint_for(manager, key)}"


def hint_for(manager: CacheManager, key: str) -> str:
    """Return what may be meant by a key with nothing at it; empty if that is not known."""
    before = f"{manager.key_prefix}:"
    if not key.startswith(before):
        return ""
    return f"; the prefix stands in front of each key anyway: did you mean {key[len(before) :]}?"


def argument(text: str) -> str:
    """Return a key, a pattern or a tag as the shell has given it, as a cache has it.

    Raises `RefusedError` if it is empty, or its bytes are no text that a key can have.
    """
    if not text:
        raise RefusedError("a key, a pattern or a tag must not be empty")
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogatepass")
    except UnicodeError:
        raise RefusedError("a key, a pattern or a tag must be text in UTF-8") from None


def _age(entry: Entry) -> float | None:
    return None if entry.written is None else max(0.0, time.time() - entry.written)


def _named(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "kind": entry.kind,
        "size": entry.size,
        "expires_in": finite(entry.expires_in),
        "written": entry.written,
        "function": entry.function,
        "tags": [*entry.tags],
        "is_current": entry.is_current,
        "is_stale": entry.is_stale,
        "status": entry.status,
    }

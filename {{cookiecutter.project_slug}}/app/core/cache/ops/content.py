"""Text from outside, for people: nothing in it can steer a terminal, and a long one is cut."""

import json
from contextlib import suppress

from pydantic_core import from_json

MOST_SHOWN = 20_000
"""The most characters of a content."""
_MOST_BYTES = 512
_MOST_INDENTED = 16 * 1024
"""A content with more bytes is shown as it is: to write it with indents would hold up the event loop."""
_A_LINE = 16


def visible(text: str, *, keeps: str = "") -> str:
    """Return a text with escapes for what is not printed: control characters and half characters.

    Characters in `keeps` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        [each if each.isprintable() or each in keeps else ascii(each)[1:-1] for each in text]
    )


def content_of(data: bytes) -> str:
    """Return what bytes hold as text of several lines: JSON indented, text, or hexadecimal numbers."""
    try:
        text = data.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return _as_numbers(data)
    if len(data) <= _MOST_INDENTED:
        with suppress(
            ValueError, RecursionError
        ):  # no JSON, or too deep to be written with indents
            text = json.dumps(from_json(data, allow_inf_nan=False), indent=2, ensure_ascii=False)
    shown = visible(text[:MOST_SHOWN], keeps="\n\t")
    return shown if len(text) <= MOST_SHOWN else f"{shown}{_more(len(text))}"


def cut(text: str) -> str:
    """Return a text of at most `MOST_SHOWN` characters, and then how long it is."""
    if len(text) <= MOST_SHOWN:
        return text
    return f"{text[:MOST_SHOWN]}{_more(len(text))}"


def _more(length: int) -> str:
    return f"\n... the first {MOST_SHOWN} of {length} characters"


def _as_numbers(data: bytes) -> str:
    shown = data[:_MOST_BYTES]
    lines = [shown[at : at + _A_LINE].hex(" ") for at in range(0, len(shown), _A_LINE)]
    more = f"... the first {len(shown)} of {len(data)} bytes" if len(data) > len(shown) else ""
    return "\n".join([*lines, *filter(None, [more])])

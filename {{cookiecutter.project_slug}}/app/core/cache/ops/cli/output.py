"""What the commands print: lines for people, or JSON for scripts.

Text that comes from Redis passes through here, and control characters never reach the terminal.
"""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.status import Status
from rich.text import Text

from ..content import visible

Part = str | tuple[str, str]
"""A text, or one with a style of `rich`."""
ENTRIES = ("entry", "entries")
_NAMES = ("B", "kB", "MB", "GB", "TB")
_SPANS = ((86_400, "d"), (3600, "h"), (60, "min"))


class _Pipe(Console):
    """A console that lets its user decide what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        """Raise `BrokenPipeError`; by default a console ends the process."""
        raise BrokenPipeError


class Output:
    """Where a command prints. With `is_json`, lines for people are left out."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # not of a test
                stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
        self.console = _Pipe(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.errors = _Pipe(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def line(self, *parts: Part, keeps: str = "") -> None:
        """Print a line for people; characters in `keeps` are no control characters here."""
        if self.is_json:
            return
        text = _text(parts, keeps)
        if self.console.color_system is None:
            sys.stdout.write(f"{text.plain}\n")  # a listing takes half the time
            sys.stdout.flush()
        else:
            self.console.print(text)

    def json(self, **named: Any) -> None:
        """Print an object of JSON in ASCII on a line, if scripts want it."""
        if self.is_json:
            typer.echo(json.dumps(named, allow_nan=False))

    def error(self, text: str) -> None:
        """Print why something was not done."""
        self.errors.print(_text([("error: ", "bold red"), text], "\n"))

    def note(self, text: str) -> None:
        """Print something for people that is no part of the result, on stderr."""
        self.errors.print(_text([text], ""))

    @contextmanager
    def progress(self, text: str) -> Iterator["Progress"]:
        """Show that something is under way, on stderr, if that is a terminal."""
        if not sys.stderr.isatty():
            yield Progress(None)
            return
        with self.errors.status(Text(visible(text))) as status:
            yield Progress(status)


class Progress:
    """What is told of something that is under way."""

    def __init__(self, status: Status | None) -> None:
        self._status = status

    def tell(self, text: str) -> None:
        """Replace what is told."""
        if self._status is not None:
            self._status.update(Text(visible(text)))


def _text(parts: tuple[Part, ...] | list[Part], keeps: str) -> Text:
    text = Text()
    for part in parts:
        words, style = (part, "") if isinstance(part, str) else part
        text.append(visible(words, keeps=keeps), style)
    return text


def number_of(number: int, word: str, words: str = "") -> str:
    """Return a number with its word: `1 entry`, `1,200 entries`."""
    return f"{number:,} {word if number == 1 else words or f'{word}s'}"


def size_in_words(size: float) -> str:
    """Return a number of bytes in at most 8 characters: `830 B`, `12.4 kB`."""
    place = 0
    while size >= 999.5 and place < len(_NAMES) - 1:  # 1000 would be the next unit
        size, place = size / 1000, place + 1
    return f"{size:.0f} {_NAMES[place]}" if place == 0 else f"{size:.1f} {_NAMES[place]}"


def span_in_words(seconds: float | None) -> str:
    """Return a time in few characters: `45 s`, `12 min`, `no end`; `-` if it is not known."""
    if seconds is None:
        return "-"
    if math.isinf(seconds):
        return "no end"
    for unit, name in _SPANS:
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(0.0, seconds):.0f} s"


def time_in_words(seconds: float) -> str:
    """Return a time since 1970 as a date and a time in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def finite(seconds: float | None) -> float | None:
    """Return seconds for JSON, which has no infinity: `None` stands for no end."""
    return None if seconds is None or math.isinf(seconds) else round(seconds, 3)

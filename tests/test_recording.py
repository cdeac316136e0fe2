"""The picture of the first minute shows what happens."""

import html
import re
from pathlib import Path

import record_demo

from tests.baked import environment, free_port


def test_the_picture_shows_what_happens(tmp_path: Path) -> None:
    """The commands print today what they print in the picture, but for what differs by its nature.

    If they do not: `uv run scripts/record_demo.py`.
    """
    recorded = record_demo.record(free_port(), tmp_path, environment())
    assert lines_of(record_demo.pictured(recorded)) == lines_of(record_demo.PICTURE.read_text())


def lines_of(svg: str) -> list[str]:
    """Return the text of a picture, line by line."""
    lines: dict[float, str] = {}
    for top, text in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>(.*?)</text>', svg):
        lines[float(top)] = lines.get(float(top), "") + html.unescape(text)
    return [line.rstrip() for _, line in sorted(lines.items())]

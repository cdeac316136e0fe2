"""The results as a picture: SVG, without a library, for light and dark pages.

A bar is as long as its contender is fast; 1 × is the measure of the work.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Final

from .contenders import OURS

Json = dict[str, Any]

SHOWN: Final = (
    *("hit", "crowd", "miss", "uvicorn-2k"),
    *("endpoint-2k", "endpoint-2k-typed", "endpoint-100k", "endpoint-100k-typed"),
)

_COLUMN, _GAP, _MARGIN = 420, 40, 24
_NAME, _VALUE = 175, 50  # what stands left and right of the longest bar
_BAR, _STEP = 13, 19
_HEAD = 46
_WIDTH: Final = 2 * _MARGIN + 2 * _COLUMN + _GAP

_STYLE: Final = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.title { font-size: 13px; font-weight: 600 }
.small { font-size: 11px; fill: #59636e }
.ours-name { font-weight: 600 }
.page { fill: #ffffff; stroke: #d1d9e0 }
.bar { fill: #afb8c1 }
.measure { fill: #6e7781 }
.ours { fill: #1a7f5a }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .page { fill: #0d1117; stroke: #3d444d }
  .bar { fill: #484f58 }
  .measure { fill: #8b949e }
  .ours { fill: #3fb98a }
}
""".strip()


def write(everything: Json, file: Path) -> None:
    """Draw the works that are shown, two beside each other."""
    by_name = {work["name"]: work for work in everything["works"]}
    works = [by_name[name] for name in SHOWN if name in by_name]
    parts, top = [], _MARGIN
    for pair in (works[place : place + 2] for place in range(0, len(works), 2)):
        for column, work in enumerate(pair):
            left = _MARGIN + column * (_COLUMN + _GAP)
            parts.append(f'<g transform="translate({left} {top})">{"".join(_panel(work))}</g>')
        top += _HEAD + _STEP * max(len(_bars(work)) for work in pair) + _MARGIN
    parts += _foot(everything, top)
    height = top + 36
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">\n'
        f"<title>How fast each contender is, against the measure of each work</title>\n"
        f"<style>\n{_STYLE}\n</style>\n"
        f'<rect class="page" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="6"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _bars(work: Json) -> list[tuple[str, float]]:
    """Return how fast each contender is, the fastest first; 0 for those who cannot do the work."""
    speeds = {
        each["name"]: each["ratio"] if work["more_is_better"] else 1 / each["ratio"]
        for each in work["contenders"]
    }
    return sorted({**speeds, **dict.fromkeys(work["cannot"], 0.0)}.items(), key=lambda bar: -bar[1])


def _panel(work: Json) -> Iterator[str]:
    bars = _bars(work)
    scale = (_COLUMN - _NAME - _VALUE) / bars[0][1]
    yield f'<text class="title" y="12">{escape(work["title"])}</text>'
    yield f'<text class="small" y="29">1 × is {escape(work["baseline"])}</text>'
    for place, (name, speed) in enumerate(bars):
        kind = "measure" if name == work["baseline"] else "bar"
        kind = "ours" if name in [each.name for each in OURS] else kind
        top, width = _HEAD - 4 + place * _STEP, speed * scale
        line, value = f'y="{top + _BAR - 3}"', f"{speed:.2g} ×" if speed else "cannot"
        at_its_end = f'x="{_NAME - 8}" text-anchor="end"'
        yield f'<text class="{kind}-name" {at_its_end} {line}>{escape(name)}</text>'
        size = f'width="{width:.1f}" height="{_BAR}" rx="2"'
        yield f'<rect class="{kind}" x="{_NAME}" y="{top}" {size}/>'
        yield f'<text class="{kind}-name" x="{_NAME + width + 6:.1f}" {line}>{value}</text>'


def _foot(everything: Json, top: int) -> Iterator[str]:
    where, versions = everything["machine"], everything["versions"]
    line = (
        f"Longer is faster. {everything['date']}, {where['processor']}, {where['cores']} cores, "
        f"{where['Python']}, {everything['loop']}, Redis {versions['Redis server']}, "
        f"redis-py {versions['redis']}, FastAPI {versions['fastapi']}."
    )
    yield f'<text class="small" x="{_MARGIN}" y="{top + 8}">{escape(line)}</text>'

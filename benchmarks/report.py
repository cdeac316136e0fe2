"""The results as JSON, and from that as Markdown."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from .contenders import OURS
from .measure import Effort, Work
from .runner import Result, quartiles

Json = dict[str, Any]

_HOW: Final = """
In each round every contender has its turn. Figures are medians of the
rounds, with quartiles behind them. `×` is the median against that of the first line of the table,
the measure of the work, and its quartiles are those of the ratios within the rounds. The commands
that a call sends to Redis are counted by `MONITOR`. Where one caller and Redis take turns, both are
held on one core, if the system can do that: otherwise chance decides, and doubles the figures.

Each library is used as its documentation shows, with what it does by default and the redis-py that
it asks for. What a contender cannot do is told below the table, in its own words where it has some.
""".strip()


def as_json(work: Work, results: list[Result], effort: Effort) -> Json:
    """Return what is kept of a work. Its first contender is the baseline, whose ratio is 1."""
    baseline = results[0]
    if baseline.reason:
        raise RuntimeError(f"{work.title}: {baseline.name} {baseline.reason}")
    return {
        "name": work.name,
        "title": work.title,
        "note": work.note,
        "unit": work.unit,
        "more_is_better": work.more_is_better,
        "rounds": effort.rounds,
        "baseline": baseline.name,
        "contenders": [
            _contender(each, baseline.samples, work) for each in results if not each.reason
        ],
        "cannot": {each.name: each.reason for each in results if each.reason},
    }


def _contender(result: Result, baseline: list[float], work: Work) -> Json:
    lower, median, upper = quartiles(result.samples)
    within_rounds = [mine / its for mine, its in zip(result.samples, baseline, strict=True)]
    lowest, _, highest = quartiles(within_rounds)
    return {
        "name": result.name,
        "median": _rounded(median),
        "quartiles": [_rounded(lower), _rounded(upper)],
        "best": _rounded((max if work.more_is_better else min)(result.samples)),
        "ratio": _rounded(median / quartiles(baseline)[1]),
        "ratio_quartiles": [_rounded(lowest), _rounded(highest)],
        "commands": result.commands,
    }


def write_json(everything: Json, file: Path) -> None:
    """Write the results for programs."""
    file.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")


def write_markdown(everything: Json, file: Path) -> None:
    """Write the results for people."""
    parts = [
        "# Benchmarks",
        measured(everything),
        "![How fast each contender is, against the measure of each work](results.svg)",
        _HOW,
        "## In short",
        summary(everything),
        *(_work(work) for work in everything["works"]),
    ]
    file.write_text("\n\n".join(parts) + "\n")


def measured(everything: Json) -> str:
    """Tell where and with what it was measured."""
    where = everything["machine"]
    start, end = everything["load_average"]
    versions = ", ".join(_versions(everything))
    quick = ", quickly" if everything["quick"] else ""
    return (
        f"Measured on {everything['date']} by `make bench` in {everything['seconds']} s{quick}, on "
        f"{where['processor']} with {where['cores']} cores, {where['system']}, {where['Python']} "
        f"on {everything['loop']}, with Redis on the same machine, whose load average was {start} "
        f"at the beginning and {end} at the end.\n\n{versions}."
    )


def _versions(everything: Json) -> Iterator[str]:
    for name, number in everything["versions"].items():
        yield f"{name} {number}"
    for name, versions in everything["peers"].items():
        other = versions["redis"] != everything["versions"]["redis"]
        yield f"{name} {versions['peer']}" + (f" with redis {versions['redis']}" if other else "")


def summary(everything: Json) -> str:
    """Return one line for each work: the module against the baseline, and the others."""
    lines = [
        "| work | the measure, 1 × | this module | the others |",
        "|---|---|---|---|",
    ]
    for work in everything["works"]:
        ratios = {each["name"]: each["ratio"] for each in work["contenders"]}
        ratios.pop(work["baseline"])
        ours = [
            f"{said}**{_times(ratios.pop(kind.name))}**"
            for kind, said in zip(OURS, ("", "near cache ", "routed ", "routed near "), strict=True)
            if kind.name in ratios
        ]
        best_first = sorted(
            ratios.items(), key=lambda item: item[1], reverse=work["more_is_better"]
        )
        others = ", ".join(f"{name} {_times(ratio)}" for name, ratio in best_first)
        measure = f"{work['baseline']}, in {work['unit']}"
        lines.append(f"| {work['title']} | {measure} | {', '.join(ours) or 'cannot'} | {others} |")
    return "\n".join(lines)


def _work(work: Json) -> str:
    better = "more" if work["more_is_better"] else "less"
    counted = any(each["commands"] is not None for each in work["contenders"])
    heads = ["", work["unit"], "quartiles", "best", "×", "quartiles", *["commands"] * counted]
    rows = [heads, ["---"] * len(heads)]
    for each in work["contenders"]:
        row = [each["name"], _number(each["median"]), _range(each["quartiles"])]
        row += [_number(each["best"]), _times(each["ratio"]), _range(each["ratio_quartiles"])]
        if counted:
            row.append(str(each["commands"]) if each["commands"] else "none")
        rows.append(row)
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    parts = [
        f"## {work['title']}",
        f"{work['note']} {better.capitalize()} is better.".strip(),
        table,
    ]
    parts += [f"{name} cannot: {why.removesuffix('.')}." for name, why in work["cannot"].items()]
    return "\n\n".join(parts)


def _times(ratio: float) -> str:
    return f"{_number(ratio)} ×"


def _range(quartiles: list[float]) -> str:
    return " to ".join(_number(each) for each in quartiles)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")

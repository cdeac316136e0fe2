"""What it costs to build the key of a call, in microseconds: the median of many rounds."""

import statistics
import sys
import timeit
from pathlib import Path

from pydantic import BaseModel

TEMPLATE = Path(__file__).resolve().parent.parent / "{{cookiecutter.project_slug}}"
sys.path.insert(0, str(TEMPLATE))

from app.core.cache.keys import KeyBuilder, Parameters

CALLS = 20_000
ROUNDS = 9


class Filter(BaseModel):
    """A model among the arguments."""

    name: str
    limit: int = 10


async def function(number: int, name: str, tags: object = None, more: object = None) -> None:
    """Stand for a cached function of four parameters."""


WORK: dict[str, dict[str, object]] = {
    "int, str": {"number": 7, "name": "ada"},
    "int, str, list of 3 str": {"number": 7, "name": "ada", "tags": ["a", "b", "c"]},
    "int, str, list, model": {
        "number": 7,
        "name": "ada",
        "tags": ["a", "b", "c"],
        "more": Filter(name="x"),
    },
}


def main() -> None:
    """Measure each kind of call in turn, round by round, and print a table."""
    builder = KeyBuilder(function, Parameters.of(function), start="app:data", identity=b"")
    times: dict[str, list[float]] = {kind: [] for kind in WORK}
    for _ in range(ROUNDS):
        for kind, arguments in WORK.items():
            timer = timeit.Timer(lambda arguments=arguments: builder.key((), arguments))
            times[kind].append(timer.timeit(CALLS) / CALLS * 1e6)
    print("| arguments of the call | median µs | least µs |")
    print("|---|---|---|")
    for kind, rounds in times.items():
        print(f"| {kind} | {statistics.median(rounds):.2f} | {min(rounds):.2f} |")


if __name__ == "__main__":
    main()

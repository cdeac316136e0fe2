"""The benchmarks run, and the cache module is no slower than it was, beside redis-py."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from redis_server import RedisServer

from tests.baked import ROOT, UV, run

pytestmark = pytest.mark.alone

MARGIN = 2
TRIALS = 3  # the machine may be busy with something else

# How the module compared with what stands behind it, in the same run: in time, and in calls.
LESS_IS_BETTER = {
    "hit": (0.48, "redis-py + orjson"),
    "near": (7.6, "a dict"),
    "miss": (1.65, "redis-py + orjson"),
    "key-of_two": (0.2, "json and BLAKE2b"),
    "key-new-of_two": (0.6, "json and BLAKE2b"),
    "key-of_three": (0.62, "json and BLAKE2b"),
    "key-of_four": (0.75, "json and BLAKE2b"),
    "key-of_five": (0.66, "json and BLAKE2b"),
    "import-time": (0.055, "FastAPI and redis-py"),
    "import-memory": (0.046, "FastAPI and redis-py"),
}
MORE_IS_BETTER = {
    "crowd": (6.0, "redis-py, pool of 10"),
    "endpoint-2k": (1.3, "the bytes of one GET"),
    "endpoint-2k-typed": (1.3, "the bytes of one GET"),
    "endpoint-100k": (1.2, "the bytes of one GET"),
    "endpoint-100k-typed": (1.2, "the bytes of one GET"),
}

Bench = Callable[[Collection[str]], Path]


@pytest.fixture(scope="module")
def bench(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return what measures works, quickly and without the peers, and returns the results' folder.

    The benchmarks start a Redis of their own; where they cannot, they are given this one.
    """

    def measure(works: Collection[str]) -> Path:
        folder = tmp_path_factory.mktemp("benchmarks")
        command = ("run", "--quiet", "--only-group", "bench", "python", "-m", "benchmarks")
        options = ["--quick", "--without-peers", "--output", str(folder), "--only", *works]
        where = {"TEST_REDIS": "url", "TEST_REDIS_URL": redis_server.url}
        run(UV, *command, *options, cwd=ROOT, **where)
        return folder

    return measure


@pytest.fixture(scope="module")
def results(bench: Bench) -> Path:
    """Return the folder with the results of all works that are compared here."""
    return bench([*LESS_IS_BETTER, *MORE_IS_BETTER])


def too_slow(results: Path) -> dict[str, float]:
    """Return the works that took twice as long as they did, and how the module compares now.

    The best rounds are compared, for they were disturbed the least.
    """
    slow = {}
    for work in json.loads((results / "results.json").read_text())["works"]:
        best = {each["name"]: each["best"] for each in work["contenders"]}
        name = work["name"]
        was, measure = (MORE_IS_BETTER if work["more_is_better"] else LESS_IS_BETTER)[name]
        ours = best.get("this module") or best.get("this module, near", 0.0)
        now = ours / best[measure]
        if (now < was / MARGIN) if work["more_is_better"] else (not 0 < now <= was * MARGIN):
            slow[name] = now
    return slow


def test_no_work_takes_twice_as_long_as_it_did(results: Path, bench: Bench) -> None:
    """Beside its measure, each work is at least half as fast as when its ratio was noted here."""
    slow = too_slow(results)
    for _ in range(TRIALS - 1):
        if slow:
            slow = too_slow(bench(slow))
    assert not slow


def test_the_results_are_written_for_people_too(results: Path) -> None:
    """The table has a line for each work, and the chart is a picture."""
    works = json.loads((results / "results.json").read_text())["works"]
    table = (results / "results.md").read_text()
    assert all(f"\n| {work['title']} | {work['baseline']}" in table for work in works)
    svg = ET.parse(results / "results.svg")  # noqa: S314, it is ours
    assert svg.getroot().tag == "{http://www.w3.org/2000/svg}svg"

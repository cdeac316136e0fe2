"""The soak, for a minute, or for as many seconds as `SOAK_SECONDS` says; `make soak` is this."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from redis_server import RedisServer

from tests.baked import BakedProject
from tests.soak import MUST_NOT_BE, soak

pytestmark = pytest.mark.alone

SECONDS: Final = float(os.environ.get("SOAK_SECONDS") or 60)
SEED: Final = os.environ.get("TEST_SEED") or secrets.token_hex(4)
BUGS: Final = {
    "stale within a process": "lose_what_cannot_be_delivered",
    "stale between processes": "store_over_whatever_stands_there",
    "wrong values": "take_an_older_answer",
    "errors": "let_callers_see_failures",
    "swallowed cancellations": "go_on_when_cancelled",
    "complaints": "neglect_tasks",
    "tasks left": "neglect_tasks",
    "connections left": "keep_connections",
}
"""What the soak counts, and a bug that makes it happen."""


def test_p5_p6_nothing_goes_wrong_while_everything_does(
    installed: BakedProject,
    redis_server: RedisServer,
    tmp_path: Path,
    report: Callable[[str], None],
) -> None:
    """However Redis fails, values are right and fresh, no caller sees it, and nothing is left."""
    found = soak(installed, redis_server, tmp_path, seconds=SECONDS, seed=SEED)
    report(f"Soak of {SECONDS:g} s, seed {SEED}: {found}")
    assert {what: found.counts[what] for what in MUST_NOT_BE} == dict.fromkeys(MUST_NOT_BE, 0), (
        "\n".join(found.examples)
    )
    blocks, peak = found.growth
    assert blocks < 0.01
    assert peak < 0.1
    assert found.highest["seconds of a stall"] < 5
    assert found.highest["log lines in a second"] < 300
    # Otherwise there was nothing that could have gone wrong.
    assert found.counts["reads"] > 50 * SECONDS
    assert found.counts["served: hit"] > 20 * SECONDS
    assert found.counts["asked at once"] > 20 * SECONDS
    for happened in (
        "writes held back",
        "journals delivered",
        "cancelled calls",
        "messages harmed",
    ):
        assert found.counts[happened] > SECONDS / 10, happened


def test_the_soak_finds_bugs(
    installed: BakedProject,
    redis_server: RedisServer,
    tmp_path: Path,
    report: Callable[[str], None],
) -> None:
    """Its counts are not zero by chance: a cache with a bug of each kind is found out."""
    bugs = [*dict.fromkeys(BUGS.values()), "keep_what_was_seen"]
    found = soak(installed, redis_server, tmp_path, seconds=15, seed=SEED, bugs=bugs)
    report(f"Soak of a cache with bugs, seed {SEED}: {found}")
    assert {what: found.counts[what] > 0 for what in BUGS} == dict.fromkeys(BUGS, True)
    assert found.growth[0] > 0.01

"""The benchmarks run, and nothing has become slower by an order of magnitude."""

import re

from tests.baked import ROOT, run

KEY_OF_AN_INT_A_STRING_AND_A_LIST = 6.0  # microseconds, the goal


def test_building_a_key_is_fast() -> None:
    """A key of an int, a string and a small list costs less than ten times its goal."""
    table = run("make", "bench", cwd=ROOT)
    rows = dict(re.findall(r"^\| (.+?) \| ([\d.]+) \|", table, re.MULTILINE))
    assert set(rows) == {"int, str", "int, str, list of 3 str", "int, str, list, model"}
    assert float(rows["int, str, list of 3 str"]) < 10 * KEY_OF_AN_INT_A_STRING_AND_A_LIST

"""The rooms of the cache module are no larger than they may be."""

import subprocess
import sys

from tests.baked import ROOT

SIZE = ROOT / "scripts" / "size.py"


def test_no_room_has_grown() -> None:
    """`make size` prints each room, and fails where one has more lines than it may have."""
    done = subprocess.run(
        [sys.executable, SIZE], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout
    assert "coherence" in done.stdout


def test_the_readme_has_the_lines_of_what_may_be_deleted() -> None:
    """`scripts/size.py --write` has nothing to change."""
    code = "import size; text = size.README.read_text(); print(text == size.with_deletable(text))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SIZE.parent,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == "True\n"


def test_what_counts_as_a_line_of_code() -> None:
    """No blank, no comment, no docstring; a text over several lines is each of them."""
    source = """
# a comment
'''A docstring
of two lines.'''

X = 1  # with a comment
'''What X is.'''

def function():
    '''Another.'''
    return (
        X,

        '''a
        text''',
    )
"""
    code = f"import size; print(size.lines_of_code({source!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SIZE.parent, capture_output=True, check=True
    )
    assert int(done.stdout) == 7

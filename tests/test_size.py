"""The cache module and its parts are no larger than they may be."""

import sys

import size

from tests.baked import ROOT, run


def test_no_room_has_grown() -> None:
    """`make size` prints each room, and fails where one has more lines than it may have."""
    assert "coherence" in run(sys.executable, ROOT / "scripts" / "size.py", cwd=ROOT)


def test_nothing_is_too_long() -> None:
    """Neither a file, a class, a function nor a file of tests."""
    parts = [*size.parts()]
    assert {part.kind for part in parts} == {*size.MOST_LINES}
    assert [part for part in parts if part.lines > size.MOST_LINES[part.kind]] == []


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
    assert size.lines_of_code(source) == 7

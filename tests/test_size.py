"""The cache module and its parts are no larger than they may be."""

import sys
from typing import Final

import size

from tests.baked import ROOT, run

TOO_LONG: Final = {
    "backends/redis.py",
    "calls/cached_calls.py",
    "calls/cached_calls.py: CachedCalls",
    "calls/filling.py",
    "coherence/fence.py: Fence.run",
    "coherence/leases.py",
    "decorators.py: cache_response",
    "manager.py",
    "manager.py: CacheManager",
    "tests/cache/calls/test_closed_by_default.py",
}
"""What is longer than it may be. This list may shrink, and never grows."""


def test_no_room_has_grown() -> None:
    """`make size` prints each room, and fails where one has more lines than it may have."""
    assert "coherence" in run(sys.executable, ROOT / "scripts" / "size.py", cwd=ROOT)


def test_nothing_is_too_long_but_what_is_listed() -> None:
    """Neither a file, a class nor a function. What is short enough, or gone, leaves the list."""
    parts = [*size.parts()]
    assert {part.kind for part in parts} == {*size.MOST_LINES}
    long = {part.name for part in parts if part.lines > size.MOST_LINES[part.kind]}
    assert sorted(long - TOO_LONG) == [], "too long"
    assert sorted(TOO_LONG - long) == [], "no longer too long: take them off the list"


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

"""Members of sets and keys of dicts that come from outside: they must not collide.

The hashes of texts differ in each process, those of numbers can be chosen by whoever writes them down.
"""

from itertools import groupby
from typing import Any

_STRINGS = frozenset({str})
_MOST_ALIKE = 16
"""Members of a set that may have one hash; chance makes two, and 100,000 would take minutes."""


def hashable(members: list[Any]) -> list[Any]:
    """Return what is to be hashed; raises `ValueError` for members that collide."""
    if len(members) > _MOST_ALIKE and not _STRINGS.issuperset(map(type, members)):
        hashes = sorted(map(hash, members))  # a set of them would be as slow as that of the members
        if max(len(list(alike)) for _, alike in groupby(hashes)) > _MOST_ALIKE:
            raise ValueError("too many members have one hash")
    return members

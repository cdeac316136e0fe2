"""A check that members of sets and keys of dicts from Redis do not collide.

The hashes of texts are random in each process. Those of numbers can be chosen by an attacker.
"""

from itertools import groupby
from typing import Any

_STRINGS = frozenset({str})
_MOST_ALIKE = 16
"""The most members with the same hash. By chance there are two; 100,000 would take minutes."""


def hashable(members: list[Any]) -> list[Any]:
    """Return `members`; raises `ValueError` if too many have the same hash."""
    if len(members) > _MOST_ALIKE and not _STRINGS.issuperset(map(type, members)):
        hashes = sorted(map(hash, members))  # sorted, because a set would be slow, too
        if max(len(list(alike)) for _, alike in groupby(hashes)) > _MOST_ALIKE:
            raise ValueError("too many members have one hash")
    return members

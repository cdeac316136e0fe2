"""Shapes of keys and tags: what all texts of a template have in common, and whether two have one in common."""

import string
from functools import lru_cache
from typing import Any, NamedTuple

from ..calls import Made


class Letters(NamedTuple):
    """One letter of a shape, or, with `is_run`, any number of such letters."""

    of: str
    """A letter, or "any", "value" (which has no colon) or "hex"."""
    is_run: bool = False
    is_own: bool = False
    """Whether it is one of the name of a function, which no value is."""


_SETS = ("any", "value", "hex")
ANY, VALUE = Letters("any", is_run=True), Letters("value", is_run=True)
DIGEST = (Letters("hex"), Letters("hex", is_run=True))
Shape = tuple[Letters, ...]


@lru_cache(maxsize=4096)
def shape_of(template: str, *, has_wildcards: bool) -> Shape:
    """Return the shape of the texts that a template makes; `*` may be the wildcard of patterns."""
    found: list[Letters] = []
    for literal, field, _, _ in string.Formatter().parse(template):
        found += [ANY if has_wildcards and each == "*" else Letters(each) for each in literal]
        found += [] if field is None else [VALUE]
    return tuple(found)


def meet(one: Shape, other: Shape) -> bool:
    """Whether some text has both shapes."""
    waiting, seen = [(0, 0)], {(0, 0)}
    while waiting:
        place = i, j = waiting.pop()
        mine, yours = one[i] if i < len(one) else None, other[j] if j < len(other) else None
        if mine is None and yours is None:
            return True
        steps = []
        if mine is not None and mine.is_run:
            steps.append((i + 1, j))
        if yours is not None and yours.is_run:
            steps.append((i, j + 1))
        if mine is not None and yours is not None and _have_one(mine, yours):
            steps.append((i + (not mine.is_run), j + (not yours.is_run)))
        for step in steps:
            if step != place and step not in seen:
                seen.add(step)
                waiting.append(step)
    return False


def _have_one(one: Letters, other: Letters) -> bool:
    """Whether there is a letter that both have."""
    if one.of not in _SETS and other.of not in _SETS:
        return one.of == other.of
    if one.of in _SETS and other.of in _SETS:
        return True
    kind, letter = (one, other) if one.of in _SETS else (other, one)
    if kind.of == "value":
        return letter.of != ":" and not letter.is_own
    return kind.of == "any" or letter.of in "0123456789abcdef"


def key_shape(made: Made) -> Shape:
    """Return the shape of the keys of a cached function, without the prefix of all keys."""
    calls: Any = made.calls
    key, begun = made.given["key"], tuple(map(Letters, f"{made.given['key_prefix']}:"))
    if key is not None:
        return (*begun, *(shape_of(key, has_wildcards=False) if isinstance(key, str) else (ANY,)))
    name = calls.keys.start.removeprefix(f"{made.manager.key_prefix}:")[len(begun) :]
    return (*begun, *(Letters(each, is_own=True) for each in name), *DIGEST)


def fields_of(text: str) -> list[str]:
    """Return the fields of a template."""
    return [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]


def name_in(field: str) -> str:
    """Return the parameter that a field names, or of which it names an attribute."""
    return field.partition(".")[0].partition("[")[0]

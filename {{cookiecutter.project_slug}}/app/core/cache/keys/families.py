"""What the keys of the decorated functions look like, and patterns that cover none of them."""

import logging
from collections.abc import Callable, Collection
from typing import Any, Protocol

from .patterns import WILDCARD, KeyPattern
from .templates import Template

_ANY, _ONE, _VALUE, _NAME = "any text", "a value's first", "a value's rest", "name "
_MOST = 10_000  # kinds of keys that are known; of more, nothing is told
Shape = tuple[str, ...]
"""The characters of a key in turn; `_ANY` for what is not known, `_ONE` and `_VALUE` for a value,
which has no colon. Those of a function's name have `_NAME` in front: no value is meant to be that."""


class Manager(Protocol):
    """What is needed of a cache manager."""

    key_prefix: str
    families: dict[Shape, str]


def expect_keys(
    manager: Manager, key_prefix: str, family: KeyPattern, own: Template | None
) -> None:
    """Note what the keys of a decorated function look like, and its `key_prefix`."""
    before = f"{manager.key_prefix}:{key_prefix}:"
    name = family.literals[0].removeprefix(before)
    end = [*(_NAME + each for each in name), _ANY] if own is None else _shape(own)
    if len(manager.families) <= _MOST:
        manager.families[(*before, *end)] = key_prefix


def tell_of_void(
    manager: Manager,
    func: Callable[..., Any],
    templates: Collection[Template],
    logger: logging.Logger,
) -> None:
    """Warn of keys that cover no entry of the functions whose `key_prefix` they name."""
    for template in templates if len(manager.families) <= _MOST else ():
        pattern = (*manager.key_prefix, ":", *_shape(template))
        if any(_meet(pattern, family) for family in manager.families):
            continue
        if template.text.startswith(f"{manager.key_prefix}:"):
            logger.warning(
                "keys=%r of %s.%s begins with the prefix of all keys, which stands in front of it "
                "anyway, so that it covers nothing; did you mean %r?",
                template.text,
                func.__module__,
                func.__qualname__,
                template.text.removeprefix(f"{manager.key_prefix}:"),
            )
        for key_prefix in dict.fromkeys(manager.families.values()):
            if f"{template.text}:".startswith(f"{key_prefix}:"):
                logger.warning(
                    "keys=%r of %s.%s covers no entry of the functions that have the key_prefix %r, "
                    "only what is set by hand; did you mean %r?",
                    template.text,
                    func.__module__,
                    func.__qualname__,
                    key_prefix,
                    f"{key_prefix}:*",
                )


def _shape(template: Template) -> Shape:
    shape = [_ANY if each == WILDCARD else each for each in template.literals[0]]
    for literal in template.literals[1:]:
        shape += [_ONE, _VALUE, *(_ANY if each == WILDCARD else each for each in literal)]
    return tuple(shape)


def _meet(one: Shape, two: Shape) -> bool:
    """Whether there is a key of both shapes, by all pairs of places that can be reached."""
    reached, todo = {(0, 0)}, [(0, 0)]
    while todo:
        i, j = todo.pop()
        if i == len(one) and j == len(two):
            return True
        left, right = one[i : i + 1], two[j : j + 1]
        steps = []
        if left and left[0] in (_ANY, _VALUE):
            steps += [(i + 1, j), *([(i, j + 1)] if _takes(left[0], right) else [])]
        if right and right[0] in (_ANY, _VALUE):
            steps += [(i, j + 1), *([(i + 1, j)] if _takes(right[0], left) else [])]
        if left and right and _is_one(left[0], right) | _is_one(right[0], left):
            steps.append((i + 1, j + 1))
        new = set(steps) - reached
        reached |= new
        todo += new
    return False


def _is_one(place: str, other: Shape) -> bool:
    """Whether a place is for just one character, and this may be it."""
    if place == _ONE:
        return _takes(place, other)
    return place.removeprefix(_NAME) == other[0].removeprefix(_NAME)


def _takes(wild: str, other: Shape) -> bool:
    """Whether what stands for a text may have this in it."""
    return bool(other) and (wild == _ANY or not other[0].startswith((":", _NAME)))

"""Keys that several functions have, and a `key_prefix` that was taken over by mistake."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

from ..calls import Made
from .coverage import shown_keys, tags_of
from .findings import Finding, short_name
from .shapes import key_shape


def shared_prefixes(functions: list[Made], where: Callable[[Made], str]) -> Iterator[Finding]:
    """Find functions whose keys may be equal, and a `key_prefix` that was taken over by mistake."""
    for place, one in enumerate(functions):
        for other in functions[place + 1 :]:
            if one.manager is not other.manager or one.below is other.below:
                continue
            names = short_name(one.below), short_name(other.below)
            if _have_equal_keys(one, other):
                text = shown_keys(one)
                yield Finding(
                    "prefix",
                    where(other),
                    f"its keys, {shown_keys(other)!r}, are also those of {names[0]} in "
                    f"{one.below.__module__}, {text!r}: each takes the other's entries away",
                    f"give {names[1]} a key_prefix= of its own",
                )
            elif stranger := _stranger(one, other):
                owner = other if stranger is one else one
                prefix = owner.given["key_prefix"]
                yield Finding(
                    "prefix",
                    where(stranger),
                    f"key_prefix={prefix!r} is that of {short_name(owner.below)} in "
                    f"{owner.below.__module__}: keys={prefix + ':*'!r} removes the entries of both",
                    f"give {short_name(stranger.below)} a key_prefix= of its own, and name that where "
                    f"it is invalidated; if it is meant, let both use one decorator, or one tag",
                )


def _have_equal_keys(one: Made, other: Made) -> bool:
    """Whether two templates make the same keys of the same values."""
    if not (isinstance(one.given["key"], str) and isinstance(other.given["key"], str)):
        return False
    return key_shape(one) == key_shape(other) and not _is_made_again(one, other)


def _is_made_again(one: Made, other: Made) -> bool:
    codes = [getattr(each.below, "__code__", each) for each in (one, other)]
    return codes[0] is codes[1]


def _stranger(one: Made, other: Made) -> Made | None:
    """Return the one of two functions that seems to have its `key_prefix` from the other's module.

    It is one of another module, in whose name, and in that of the function, the prefix does not
    occur. Who uses the same decorator, the same constant or the same tag means it.
    """
    prefix, modules = one.given["key_prefix"], {one.below.__module__, other.below.__module__}
    if prefix != other.given["key_prefix"] or len(modules) < 2:
        return None
    if (
        one.given is other.given
        or any(tag in tags_of(other) for tag in tags_of(one))
        or all(prefix in _constants(name) for name in modules)
    ):
        return None
    named = [_is_named_for(each, prefix) for each in (one, other)]
    if named[0] == named[1]:
        return None
    return other if named[0] else one


def _constants(module: str) -> list[Any]:
    return [each for each in vars(sys.modules.get(module, object)).values() if type(each) is str]


def _is_named_for(made: Made, prefix: str) -> bool:
    """Whether a key prefix occurs in the name of the function, or in that of its module."""
    word = prefix.replace("-", "_").lower().removesuffix("s")
    own = f"{made.below.__module__.rpartition('.')[2]}.{short_name(made.below)}".lower()
    return word in own

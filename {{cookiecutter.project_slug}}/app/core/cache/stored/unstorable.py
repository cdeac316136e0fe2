"""What is refused: values that cannot be stored, with what to do instead, and members that collide.

The hashes of texts are random in each process. Those of numbers can be chosen by an attacker.
"""

from dataclasses import is_dataclass
from enum import Enum
from itertools import groupby
from typing import Any

from pydantic import BaseModel

from ..values import SECRETS, TEXTS, KnownClasses, has_text, is_instrumented, is_named_tuple

_STRINGS = frozenset({str})
_MOST_ALIKE = 16
"""The most members with the same hash. By chance there are two; 100,000 would take minutes."""


class UnstorableError(TypeError):
    """A value would not come back from JSON equal in value and type."""


def advice(value: object, classes: KnownClasses) -> str:
    """Return why a value is not stored, and what to do, for a decorator or for `set`."""
    cls, give = type(value), "return" if classes.is_of_function else "store"
    name = f"{cls.__module__}.{cls.__qualname__}"
    if is_instrumented(cls):
        return f"a {name} is a row of an ORM; {give} what is made of it, by model_dump() for one"
    what = f"a {name} does not come back from JSON as it was"
    if isinstance(value, SECRETS):
        return f"{what}: it is secret, and Redis would show it; {give} what may be seen"
    can_be_named = isinstance(value, (BaseModel, Enum)) or is_dataclass(value)
    if can_be_named or is_named_tuple(cls) or cls in TEXTS:
        if classes.is_of_function:
            return f"{what}; name the class in the return annotation of the cached function"
        return f"{what}; store plain data, what model_dump(), asdict() or str() makes of it"
    more = ", a dataclass or a Pydantic model" if classes.is_of_function else ""
    return f"{what}; {give} plain data{', str(value) for one' if has_text(cls) else ''}{more}"


def hashable(members: list[Any]) -> list[Any]:
    """Return members of a set, or keys of a dict, from Redis; raises `ValueError` if too many have the same hash."""
    if len(members) > _MOST_ALIKE and not _STRINGS.issuperset(map(type, members)):
        hashes = sorted(map(hash, members))  # sorted, because a set would be slow, too
        if max(len(list(alike)) for _, alike in groupby(hashes)) > _MOST_ALIKE:
            raise ValueError("too many members have one hash")
    return members

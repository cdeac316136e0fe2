"""What the decorators have made, for those who examine it before any traffic.

All is kept weakly: what nobody can call any more is forgotten.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from ..reads import steps

if TYPE_CHECKING:
    from ..manager import CacheManager
    from .cached_calls import CachedCalls
    from .invalidating import InvalidatingCalls

_MARK = "__made_by_cache__"


class Made:
    """A `function` that a decorator has made of the one `below`, and what the decorator was `given`."""

    def __init__(  # noqa: PLR0917 - what a decorator knows
        self,
        decorator: str,
        manager: "CacheManager",
        function: Callable[..., Any],
        below: Callable[..., Any],
        calls: "CachedCalls | InvalidatingCalls",
        given: Mapping[str, Any],
    ) -> None:
        self.decorator = decorator
        self.manager = manager
        self.function = function
        self.below = below
        self.calls = calls
        self.given = given


_made: WeakSet[Made] = WeakSet()
_above: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def note_made(made: Made) -> None:
    """Note what a decorator has made; it is known for as long as the function lives."""
    vars(made.function)[_MARK] = made
    _made.add(made)
    for each in steps(made.below):
        with suppress(TypeError):  # it has no hash, or no weak references
            _above.setdefault(each, set()).add(made.decorator)


def made_of(function: Any) -> Made | None:
    """Return how a function was made; `None` if it is no decorator's, but a wrapper of one."""
    found = getattr(function, "__dict__", {}).get(_MARK)
    return found if isinstance(found, Made) and found.function is function else None


def made_with(managers: list["CacheManager"]) -> list[Made]:
    """Return all that decorators have made with these managers, in the order of their names."""
    found = [each for each in _made if any(each.manager is manager for manager in managers)]
    return sorted(found, key=lambda each: (each.below.__module__, each.below.__qualname__))


def decorators_above(function: Any) -> set[str]:
    """Return the decorators of the cache that were put above this very function."""
    try:
        return set(_above.get(function, ()))
    except TypeError:  # as in `note_made`
        return set()

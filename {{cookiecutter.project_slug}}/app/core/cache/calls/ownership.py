"""What the records of one function bear, and that no other function has its place among the keys."""

from collections.abc import Callable
from typing import Any

from ..keys import (
    MOST_OF_A_NAME,
    Begun,
    OfFunctions,
    advice,
    begin,
    compared,
    is_same,
    owner,
)
from ..values import Captures, text
from .warn import Warnings

_SHARES_NOT = "shares no entries with other processes"
_DECORATE_ONCE = (
    "if the function around it runs for each request, decorate this one once, outside, and pass as "
    "arguments what it captured"
)
_MADE_AGAIN = (
    f"more than {MOST_OF_A_NAME} functions of this name have captured different values, and the first "
    f"of them are forgotten; {_DECORATE_ONCE}"
)

Functions = OfFunctions[Callable[..., Any]]


class Ownership:
    """What the records of a function bear; it takes a place among the keys when it is made.

    `who` is its identity, and `place` begins its keys. With `shared`, the answer is the same for
    everybody, whatever was captured. Raises `ValueError` where a different function has the place.
    """

    _begun: Begun
    """What its records bear, since it was called first."""

    def __init__(
        self,
        functions: Functions,
        func: Callable[..., Any],
        who: bytes,
        place: str,
        own: str | None,
        *,
        shared: bool,
        warnings: Warnings,
    ) -> None:
        self._func, self._warnings = func, warnings
        self.owner = owner(func, who, shared=shared)
        self._captured = None if shared else Captures.of(func)
        """What it captured, until it is called first."""
        taken = text(place) + (who if own is None else text(own))
        if _claim(functions, func, taken, shared=shared):
            warnings.once("is made again and again", _MADE_AGAIN)
        if self._captured is not None and self._captured.unknown:
            warnings.once(_SHARES_NOT, advice(self._captured.unknown))

    def begin(self) -> bytes:
        """Return what the records bear from the first call on: what was captured may have changed."""
        then, self._captured = self._captured, None
        if then is not None:
            self._begun = begin(self._func, self.owner, then)
            self.owner = self._begun.owner
            if self._begun.told and self._begun.func is self._func:
                self._warnings.once(_SHARES_NOT, self._begun.told)
        return self.owner


def _claim(functions: Functions, func: Callable[..., Any], place: bytes, *, shared: bool) -> bool:
    """Take a place among the keys for `func`; refuse one that a different function has.

    Return whether there are too many of its name, for the first time.
    """
    other = functions.get(place)
    if other is None:
        return functions.keep(func, place, func)
    if is_same(func, other, shared=shared):
        return False
    unknown = compared(func, other)
    is_made_again = getattr(func, "__code__", None) is getattr(other, "__code__", func)
    why = f"; {advice(unknown)}; {_DECORATE_ONCE}" if unknown else ""
    if not unknown and is_made_again:
        why = f"; what the first one captured has changed since; {_DECORATE_ONCE}"
    raise ValueError(
        f"{func.__module__}.{func.__qualname__} would share its entries with another function: "
        f"one of the same name, whose captured values cannot be told apart, or of the same "
        f"key=; give each its own key_prefix= or key={why}"
    )

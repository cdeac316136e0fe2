"""The places of functions among the keys: two different functions never have the same."""

from collections.abc import Callable
from typing import Any

from ..keys import MOST_OF_A_NAME, Identity, OfFunctions
from .warn import Warnings

SHARES_NOT = "shares no entries with other processes"
_DECORATE_ONCE = (
    "if the function around it runs for each request, decorate this one once, outside, and pass as "
    "arguments what it captured"
)
_MADE_AGAIN = (
    f"more than {MOST_OF_A_NAME} functions of this name have captured different values, and the first "
    f"of them are forgotten; {_DECORATE_ONCE}"
)


def take_place(
    functions: OfFunctions[Identity],
    func: Callable[..., Any],
    place: bytes,
    identity: Identity,
    warnings: Warnings,
) -> None:
    """Take a place for a function; raise `ValueError` if a different function has it."""
    other = functions.get(place)
    if other is not None and not identity.is_same(other):
        raise ValueError(
            f"{func.__module__}.{func.__qualname__} would share its entries with another "
            f"function: one of the same name, or of the same key=; give each its own key_prefix= "
            f"or key=; {_DECORATE_ONCE}"
        )
    if functions.keep(func, place, identity):
        warnings.once("is made again and again", _MADE_AGAIN)
    if other is None and identity.told:
        warnings.once(SHARES_NOT, f"{identity.told}; {_DECORATE_ONCE}")

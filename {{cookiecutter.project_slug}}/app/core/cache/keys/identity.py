"""Which function it is: what keeps the entries of two functions apart that have one name.

A function is known by its module and qualified name, by the shape of what it returns, and by what
it captured if it is a closure. A factory of routers makes many functions of one name; they differ in
what they captured: a class, settings, another function.

Its records bear more: the code of a function that was made inside another one, and a token of each
object without identity that it captured, as a client or an engine. That may decide about the result,
and nobody can tell in another process whether it is the same there. So such records are of use to no
other function and to no other process; the keys are the same, so that an invalidation finds them all.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from secrets import token_bytes
from types import CellType, MethodType
from typing import Any, TypeVar
from weakref import ref

from ..values import FILLED_LATER, Captures, KnownClasses, text

_TOKEN_BYTES = 16
MOST_OF_A_NAME = 1000
"""So many functions of one name are known at a time."""

_MOST_ALIKE = 100  # functions that are looked at for one with the same variables

T = TypeVar("T")


def identity(func: Callable[..., object], classes: KnownClasses) -> bytes:
    """Return what tells `func` from other functions, the same in every process."""
    return text(classes.fingerprint()) + Captures.of(func).written


def is_same(
    one: Callable[..., object], other: Callable[..., object], *, shared: bool = False
) -> bool:
    """Whether two functions are surely the same: same code, and same captures at this moment.

    With `shared`, objects without identity count as the same.
    """
    if one is other:
        return True
    if getattr(one, "__code__", None) != getattr(other, "__code__", None):
        return False
    first, second = Captures.of(one), Captures.of(other)
    if first.written != second.written or len(first.objects) != len(second.objects):
        return False
    pairs = zip(first.objects, second.objects, strict=True)
    return shared or all(mine is yours for mine, yours in pairs)


def compared(func: Callable[..., object], other: Callable[..., object]) -> dict[str, object]:
    """Return what `func` captured that is not the same object as in `other`, by its place."""
    mine, yours = Captures.of(func), Captures.of(other).objects
    found = zip(mine.places, mine.objects, yours, strict=False)
    return {place: each for place, each, another in found if each is not another}


class Begun:
    """What the records of a function bear from its first call on, and what is to be told of it."""

    def __init__(self, func: Callable[..., object], owner: bytes, told: str = "") -> None:
        self.func, self.owner, self.told = func, owner, told


_BEGUN: dict[bytes, list[ref[Begun]]] = {}
"""Of all managers: those that were called, by what their records bore at their decoration."""


def begin(func: Callable[..., object], owner: bytes, then: Captures) -> Begun:
    """Return what the records of `func` bear, which bore `owner` when it was decorated.

    What it captured may have changed since: a dict was filled, a variable got its value. Then nobody
    knows what it is elsewhere, and its records are of use to this function only, and to those that
    have the very same variables.
    """
    others = [each for known in _BEGUN.get(owner, ()) if (each := known()) is not None]
    changed, begun = _changed(func, then), Begun(func, owner)
    if changed is not None:
        for other in others:
            if _have_one_closure(func, other.func):
                return other
        begun = Begun(func, owner + token_bytes(_TOKEN_BYTES), _advice_of_changes(changed, then))
    if len(_BEGUN) >= MOST_OF_A_NAME and not others:
        for bears, known in list(_BEGUN.items()):
            if all(each() is None for each in known):
                _BEGUN.pop(bears, None)
    _BEGUN[owner] = [*map(ref, others[-_MOST_ALIKE:]), ref(begun)]
    return begun


def _advice_of_changes(changed: list[str], then: Captures) -> str:
    """Return what to do about variables; nothing of those that were told of at once."""
    told = {_variable(place) for place in then.unknown}
    names = [name for name in changed if _variable(name) not in told]
    if not names:
        return ""
    return (
        f"it captured {' and '.join(names)}, changed between its decoration and its first call; "
        f"give it its value before the decorator, pass it as an argument, or say shared=True, if the "
        f"answer is the same for everybody whatever it is"
    )


def _changed(func: Callable[..., object], then: Captures) -> list[str] | None:
    """Return the variables that have changed; `None` where nothing has.

    Those of a decorator are not named: they are no concern of who wrote the function.
    """
    if not (then.code or then.variables):  # there is one of its name only
        return None
    try:
        now = Captures.of(func)
    except Exception:  # of a class that is no ordinary one any more
        now = Captures()
    changed = [
        place
        for place, (written, objects) in then.variables.items()
        if not _is_unchanged(written, objects, now.variables.get(place))
    ]
    if not changed and _is_unchanged(then.captured, then.private, (now.captured, now.private)):
        return None
    return [name for name in changed if not any(each.endswith(f" of {name}") for each in changed)]


def _variable(place: str) -> str:
    return place.partition(" of ")[0]


def _have_one_closure(one: Any, other: Any) -> bool:
    """Whether two functions have the same variables: not equal ones, but the very same."""
    if isinstance(one, MethodType) and isinstance(other, MethodType):
        return one.__self__ is other.__self__ and one.__func__ is other.__func__
    mine, yours = (getattr(each, "__closure__", None) or () for each in (one, other))
    pairs = zip(mine, yours, strict=False)
    return len(mine) == len(yours) > 0 and all(
        cell is another or _content(cell) is _content(another) for cell, another in pairs
    )


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # it has none, and is itself then
        return cell


def _is_unchanged(
    written: bytes, objects: list[object], now: tuple[bytes, list[object]] | None
) -> bool:
    if now is None or written != now[0] or len(objects) != len(now[1]):
        return False
    return all(mine is yours for mine, yours in zip(objects, now[1], strict=True))


def advice(unknown: dict[str, object]) -> str:
    """Return a sentence that says what was captured without an identity, and what to do."""
    which = " and ".join(f"{name}, {_what(value)}" for name, value in unknown.items())
    return (
        f"it captured {which}, without an identity that outlives the process; pass it as an "
        f"argument, capture plain data instead (a name, a URL), give its class a __cache_key__ "
        f"method, or say shared=True, if the answer is the same for everybody whatever it is"
    )


def _what(value: object) -> str:
    cls = type(value)
    if cls is CellType:
        return "which has no value yet (define it further up)"
    name = f"{cls.__module__}.{cls.__qualname__}"
    return f"an empty {name}, to be filled later" if cls in FILLED_LATER else f"a {name}"


class Tokens:
    """A random token for each object, as long as that lives: its address will be another's."""

    def __init__(self) -> None:
        self._tokens: dict[int, tuple[ref[object], bytes]] = {}

    def of(self, value: object) -> bytes:
        """Return the token of an object; a new one each time, where it cannot be watched."""
        place = id(value)
        known = self._tokens.get(place)
        if known is not None and known[0]() is value:
            return known[1]
        token = token_bytes(_TOKEN_BYTES)
        with suppress(TypeError):  # of what cannot be referred to weakly
            self._tokens[place] = ref(value, lambda _: self._tokens.pop(place, None)), token
        return token


_TOKENS = Tokens()  # of all managers: the same object in two of them is the same


def owner(func: Callable[..., object], who: bytes, *, shared: bool = False) -> bytes:
    """Return what the records of `func` bear, if `who` is its identity.

    With `shared`, the answer is the same for everybody, whatever was captured.
    """
    captures = Captures.of(func)
    tokens = [] if shared else map(_TOKENS.of, captures.private)
    return who + captures.code + b"".join(tokens)


class OfFunctions(dict[bytes, T]):
    """What is known of each function, of those of one name only of the last ones.

    A function that is decorated anew at each call of another one, with other captured values, would
    take ever more room. What is forgotten is not compared with those that come; its records bear
    what it is all the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[str, deque[bytes]] = {}
        self._full: set[str] = set()

    def keep(self, func: Any, place: bytes, value: T) -> bool:
        """Keep a value at a place, unless it has one; return whether now the first has to go."""
        if place in self:
            return False
        name = f"{func.__module__}.{func.__qualname__}"
        places = self._places.setdefault(name, deque())
        self[place] = value
        places.append(place)
        if len(places) <= MOST_OF_A_NAME:
            return False
        del self[places.popleft()]
        is_first = name not in self._full
        self._full.add(name)
        return is_first

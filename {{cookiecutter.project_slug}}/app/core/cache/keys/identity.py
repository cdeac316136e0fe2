"""Which function it is: what keeps the entries of two functions apart that have one name.

A function is known by its module and qualified name, by the shape of what it returns, and by what
it captured if it is a closure. A factory of routers makes many functions of one name; they differ in
what they captured: settings, a text, another function.

Its records bear more: the code of a function that was made inside another one, and a token of each
object without identity that it captured, as a client or an engine. That may decide about the result,
and nobody can tell in another process whether it is the same there. So such records are of use to
functions with the same object only; the keys are the same, so that an invalidation finds them all.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from secrets import token_bytes
from types import CellType
from typing import Any, TypeVar
from weakref import ref

from ..values import FILLED_LATER, Captures, KnownClasses, text

_TOKEN_BYTES = 16
_MOST_TOKENS = 10_000
MOST_OF_A_NAME = 1000
"""So many functions of one name are known at a time."""

T = TypeVar("T")


class Tokens:
    """A random token for each object, as long as that lives: its address will be another's.

    What cannot be watched, a list for one, is kept. Of too many, the first are forgotten.
    """

    def __init__(self) -> None:
        self._tokens: dict[int, tuple[Callable[[], object], bytes]] = {}

    def of(self, value: object) -> bytes:
        """Return the token of an object."""
        known = self._tokens.get(id(value))
        if known is not None and known[0]() is value:
            return known[1]
        if len(self._tokens) >= _MOST_TOKENS:
            self._tokens.pop(next(iter(self._tokens)), None)
        try:
            there: Callable[[], object] = ref(value)
        except TypeError:

            def there() -> object:
                return value

        token = token_bytes(_TOKEN_BYTES)
        self._tokens[id(value)] = there, token
        return token


_TOKENS = Tokens()  # of all managers: the same object in two of them is the same


class Identity:
    """What tells a function that is being decorated from others.

    `who` is part of its keys, and the same in every process. `owner` is what its records bear, and
    `told` what is to be said of that. With `shared`, the answer is the same for everybody, whatever
    was captured; `ignored` are the parameters that are no part of its keys.
    """

    def __init__(
        self,
        func: Callable[..., object],
        classes: KnownClasses,
        ignored: Collection[str] = (),
        *,
        shared: bool = False,
    ) -> None:
        self._func, self._ignored = func, ignored
        self._captures = captures = Captures(func, ignored)
        self._may_be_several = captures.is_local or shared
        """Whether another function may have captured other objects: its records tell them apart."""
        self._may_change = captures.has_more and not shared
        """Whether what it captured is to be looked at once more."""
        self.who = text(classes.fingerprint()) + captures.written
        self.owner = self.who
        self.told = ""
        if captures.is_local:
            self._bear_captures()

    def _bear_captures(self) -> None:
        """Let the records bear the code, and what was captured, unless that says nothing."""
        self.owner += self._captures.code
        objects = self._captures.objects if self._may_change else []
        self.owner += b"".join(map(_TOKENS.of, objects))
        self.told = advice(self._captures) if objects else ""

    def is_same(self, other: "Identity") -> bool:
        """Whether two functions of one place have the same code, and captured the same."""
        mine, yours = self._captures, other._captures
        if (mine.written, mine.code) != (yours.written, yours.code):
            return False
        return self._may_be_several or not mine.changed(yours)

    def settle(self) -> str:
        """See, at the first call, whether what was captured has changed; return what is to be told.

        If it has, nobody knows what it is elsewhere, and the records are of use to nobody else.
        """
        if not self._may_change:
            return ""
        then, told = self._captures, self.told
        now = Captures(self._func, self._ignored, then)
        changed = then.changed(now) if now.is_local else []
        if now.is_local and not then.is_local:  # others may have its name after all
            self._bear_captures()
        if changed:
            self.owner += token_bytes(_TOKEN_BYTES)
        self._may_change = False  # at last: another thread may call meanwhile
        filled = [each.name for each in then.variables if any(map(_is_filled, each.objects))]
        names = dict.fromkeys([*changed, *filled])
        if not now.is_local or self.told or not names:
            return "" if told else self.told
        return (
            f"it captured {' and '.join(names)}, changed between its decoration and its first call; "
            f"give it its value before the decorator, pass it as an argument, or say shared=True, if "
            f"the answer is the same for everybody whatever it is"
        )


def _is_filled(value: object) -> bool:
    return type(value) in FILLED_LATER and bool(value)


def advice(captures: Captures) -> str:
    """Return a sentence that says what was captured without an identity, and what to do.

    Nothing of what is empty yet, for it is told once it is filled, nor of iterators, which the first
    call uses up.
    """
    found = {
        variable.name: f"{variable.name}, {_what(each, variable.name)}"
        for variable in captures.variables
        for each in variable.objects
        if not isinstance(each, (*FILLED_LATER, Iterator))
    }
    if not found:
        return ""
    return (
        f"it captured {' and '.join(found.values())}, without an identity that outlives the process; pass it "
        f"as an argument, capture plain data instead (a name, a URL), give its class a __cache_key__ "
        f"method, or say shared=True, if the answer is the same for everybody whatever it is"
    )


def _what(value: object, name: str) -> str:
    if name == "'__class__'":
        return "the class that it is a method of (define that at the top of its module)"
    if isinstance(value, CellType):
        return "which has no value yet (define it further up)"
    if isinstance(value, type):
        return f"the class {value.__qualname__} (define it at the top of its module)"
    return f"a {type(value).__module__}.{type(value).__qualname__}"


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

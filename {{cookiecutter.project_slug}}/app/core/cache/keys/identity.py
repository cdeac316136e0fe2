"""The identity of a function. It keeps apart the entries of functions that have the same name.

It consists of module and qualified name, the fields of the classes that the function returns, and
the variables that a closure captured. A factory of routers makes many functions with one name; they
differ in what they captured: settings, a text, another function.

Records name an owner. Of a function that was made inside another one, it also holds the code and a
random token for each captured object without an identity, such as a client or an engine. The result
may depend on that object, and other processes may have a different one. So only functions with the
same object use these records. The keys are the same, so an invalidation removes them all.
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
"""The most functions with the same name that are known at a time."""

T = TypeVar("T")


class Tokens:
    """A random token for each object. An address would not do: it is reused after the object dies.

    Objects without weak references, such as lists, are kept alive. The oldest tokens are dropped.
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
            there: Callable[[], object] = ref(value)  # pyright: ignore[reportRedeclaration]
        except TypeError:

            def there() -> object:
                return value

        token = token_bytes(_TOKEN_BYTES)
        self._tokens[id(value)] = there, token
        return token


_TOKENS = Tokens()  # shared by all managers, so that an object has one token


class Identity:
    """Distinguishes a function that is being decorated from others.

    `who` is part of its keys, and the same in every process. `owner` is named in its records.
    `told` is a warning about `owner`, or empty. `shared` says that the answer is the same for
    everybody, whatever was captured. `ignored` are the parameters that are not in the keys.
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
        """Whether functions may share the keys: records name the owner, or `shared` is given."""
        self._may_change = captures.has_more and not shared
        """Whether the first call must compare the captured variables again."""
        self.who = text(classes.fingerprint()) + captures.written
        self.owner = self.who
        self.told = ""
        if captures.is_local:
            self._bear_captures()

    def _bear_captures(self) -> None:
        """Add the code and a token of each captured object to the owner of the records."""
        self.owner += self._captures.code
        objects = self._captures.objects if self._may_change else []
        self.owner += b"".join(map(_TOKENS.of, objects))
        self.told = advice(self._captures) if objects else ""

    def is_same(self, other: "Identity") -> bool:
        """Whether two functions with the same keys have the same code and captures."""
        mine, yours = self._captures, other._captures
        if (mine.written, mine.code) != (yours.written, yours.code):
            return False
        return self._may_be_several or not mine.changed(yours)

    def settle(self) -> str:
        """Check at the first call whether captured variables have changed; return a warning, or "".

        If so, other processes may have other values, so a random owner makes the records private.
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
        self._may_change = False  # last, because another thread may call at the same time
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

    It leaves out empty containers, about which `settle` warns when they are filled, and iterators,
    which the first call uses up.
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
    """A value for each function; of functions with the same name, only the last ones are kept.

    A function that is decorated again at each call of another one, with other captured values,
    would take more and more memory. A forgotten function is no longer compared with new ones, but
    its records still name their owner.
    """

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[str, deque[bytes]] = {}
        self._full: set[str] = set()

    def keep(self, func: Any, place: bytes, value: T) -> bool:
        """Keep a value at a free place; return whether its name is full for the first time."""
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

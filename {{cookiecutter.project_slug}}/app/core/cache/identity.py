"""Which function it is: what keeps the entries of two functions apart that have one name.

A function is known by its module and qualified name, by the shape of what it returns, and by what
it captured if it is a closure. A factory of routers makes many functions of one name; they differ in
what they captured: a class, settings, another function.

Its records bear more: the code of a function that was made inside another one, and a token of each
object without identity that it captured, as a client or an engine. That may decide about the result,
and nobody can tell in another process whether it is the same there. So such records are of use to no
other function and to no other process; the keys are the same, so that an invalidation finds them all.
"""

from collections.abc import Callable
from contextlib import suppress
from secrets import token_bytes
from types import CellType
from weakref import ref

from .canonical import text
from .captures import Captures
from .classes import KnownClasses

_TOKEN_BYTES = 16


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


def unidentified(func: Callable[..., object]) -> dict[str, object]:
    """Return what `func` captured that has no identity, by the name of the variable."""
    return Captures.of(func).unknown


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
    return f"a {cls.__module__}.{cls.__qualname__}"


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
            self._tokens[place] = ref(value), token
        return token


_TOKENS = Tokens()  # of all managers: the same object in two of them is the same


def owner(func: Callable[..., object], who: bytes, *, shared: bool = False) -> bytes:
    """Return what the records of `func` bear, if `who` is its identity.

    With `shared`, the answer is the same for everybody, whatever was captured.
    """
    captures = Captures.of(func)
    tokens = [] if shared else map(_TOKENS.of, captures.private)
    return who + captures.code + b"".join(tokens)

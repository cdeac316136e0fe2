"""Whether one result is kept, and for how long: `expire`, `store_if` and `exceptions`."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from ..coherence import Freshness, is_plain
from ..expiry import Expire, milliseconds
from ..stored import Raised, class_name

if TYPE_CHECKING:
    from ..keys import Parameters

EXCEPTION_MS = 10_000
"""For how long an exception is kept if its class has no time of its own."""

Lifetime = Callable[..., Expire | None]
"""A function of a result, and of arguments by their names."""
Predicate = Callable[[Any], object]
Exceptions = Collection[type[Exception]] | Mapping[type[Exception], Expire]


class Keeping:
    """What the decorator of one function says of how its results are kept.

    Without a `lifetime`, `freshness` holds for each result. Raises `TypeError` or `ValueError` for
    functions that cannot be called with a result, and for classes whose exceptions may hold more
    than is known.
    """

    def __init__(
        self,
        parameters: "Parameters",
        freshness: Freshness,
        *,
        lifetime: Lifetime | None,
        store_if: Predicate | None,
        exceptions: Exceptions,
    ) -> None:
        self._freshness, self._lifetime, self._store_if = freshness, lifetime, store_if
        _check_takes_a_result("store_if", store_if)
        self.names = () if lifetime is None else _names_of(lifetime, parameters)
        """The arguments that the lifetime takes besides the result."""
        self._pick = parameters.picking(self.names)
        times = exceptions if isinstance(exceptions, Mapping) else dict.fromkeys(exceptions)
        most = freshness.expire if lifetime is None else EXCEPTION_MS
        self._times = {
            cls: _checked(cls, time, min(most, EXCEPTION_MS)) for cls, time in times.items()
        }
        self.exceptions = {class_name(cls): cls for cls in times}
        """The classes of exceptions that are stored, by the names that records give them."""
        if len(self.exceptions) < len(times):
            raise ValueError(f"exceptions={[*times]!r} has two classes of one name: rename one")
        self.is_plain = lifetime is None and store_if is None
        """Whether each result is kept, and for the same time."""

    def wants(self, value: object) -> bool:
        """Whether a result is to be stored; raises what `store_if` raises, and for an awaitable."""
        if self._store_if is None or isinstance(value, Raised):
            return True
        said = self._store_if(value)
        if inspect.isawaitable(said):
            getattr(said, "close", lambda: None)()
            raise TypeError("store_if= returned an awaitable; it must be a plain function")
        return bool(said)

    def freshness(
        self, value: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Freshness:
        """Return how a result ages. Raises what `expire=` raises, and as `milliseconds`."""
        own = self._freshness
        if isinstance(value, Raised):
            if isinstance(value.error, HTTPException):
                return own
            return replace(own, expire=self._times[type(value.error)], stale=0, early=0.0)
        if self._lifetime is None:
            return own
        named = dict(zip(self.names, self._pick(*args, **kwargs), strict=True))
        time = self._lifetime(value, **named)
        return own if time is None else replace(own, expire=milliseconds(time))


def _names_of(lifetime: Lifetime, parameters: "Parameters") -> tuple[str, ...]:
    """Return the names of the arguments that a function of a result takes besides that.

    One with a default that the decorated function does not have keeps its default.
    """
    _check_takes_a_result("expire", lifetime)
    given = _parameters_of(lifetime)
    there = parameters.signature.parameters
    more = [each for each in given[1:] if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    unknown = [each for each in more if each.name not in there and each.default is each.empty]
    unknown += [each for each in more if each.kind is each.POSITIONAL_ONLY]
    if unknown:
        raise ValueError(
            f"expire={lifetime!r} takes {', '.join(repr(each.name) for each in unknown)}, which the "
            f"function does not have, or not by name; besides the result it may take "
            f"{', '.join(map(repr, there)) or 'nothing'}"
        )
    return tuple([each.name for each in more if each.name in there])


def _check_takes_a_result(name: str, function: object) -> None:
    """Raise `TypeError` unless `function` is `None`, or plain and called with a result."""
    if function is None:
        return
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise TypeError(f"{name}={function!r} must be a plain function of the result")
    given = _parameters_of(function)
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not given or given[0].kind not in (*by_place, inspect.Parameter.VAR_POSITIONAL):
        raise TypeError(f"{name}={function!r} must take the result as its first argument")
    others = [each for each in given[1:] if each.kind in by_place and each.default is each.empty]
    if name == "store_if" and others:
        raise TypeError(f"{name}={function!r} must take the result, and nothing else")


def _parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:  # some of Python's own, such as `bool`, tell nothing
        return [inspect.Parameter("result", inspect.Parameter.POSITIONAL_ONLY)]


def _checked(cls: Any, time: Expire | None, otherwise: int) -> int:
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        raise TypeError(f"exceptions= has {cls!r}, which is no class of exceptions")
    if issubclass(cls, HTTPException):
        raise TypeError(
            f"exceptions= has {cls.__qualname__}, an HTTPException: such are stored by cache_status=, "
            f"and only those of FastAPI's own class; raise one, or an exception of another kind"
        )
    if not is_plain(cls):
        raise TypeError(
            f"exceptions= has {cls.__qualname__}, whose objects may hold more than is known: it must "
            f"keep its state in args and in attributes"
        )
    return otherwise if time is None else milliseconds(time, f"exceptions[{cls.__qualname__}]")

"""Keys that a `key=` function makes: `key=lambda user_id, page: ("user", user_id, page)`.

It gets the arguments of the cached function, with the defaults filled in, so that one call has one
key however it is written. Decoration checks that it accepts every call of the cached function, and
that it reads every parameter.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..reads import function_of, looked_up, may_read_all, parameters_used
from ..values import UnkeyableError
from .parameters import compiled
from .templates import escape, tame

KeyFunction = Callable[..., object]
_PLACED, _NAMED = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
_Way = tuple[list[inspect.Parameter], list[inspect.Parameter]]
"""The parameters that are passed by position, and those that are passed by name."""


class OwnKey:
    """A `key=` function, adapted to the signature of one cached function.

    It gets all arguments by name or, if it does not accept that, by position. The constructor
    raises `TypeError` for a function that is asynchronous, is a generator, or does not accept every
    call of the cached function.
    """

    def __init__(
        self, make: KeyFunction, signature: inspect.Signature, of: str, extra: Collection[str]
    ) -> None:
        if _is_asynchronous(make):
            raise TypeError(
                f"key= of {of} is asynchronous or a generator, and a key is needed at once: give a "
                f"plain function, and look up in the function or a dependency what it wants to know"
            )
        self._make, own = make, _signature_of(make)
        parameters = list(signature.parameters.values())
        for way in _ways(parameters, own):
            taken = _taken(way, own)
            if taken is not None:
                break
        else:
            also = f" ({', '.join(extra)} is handed to it, too)" if extra else ""
            raise TypeError(
                f"key= of {of} takes {own}, and has to take every call of "
                f"{of}({', '.join(map(str, parameters))}){also}; give it the same parameters: "
                f"key=lambda {', '.join(map(_starred, parameters))}: ..."
            )
        placed, named = way
        by_place = "".join([f"{_starred(each)}, " for each in placed])
        by_name = ", ".join([_as_item(each) for each in named])
        self._bind = compiled(signature, f"(({by_place}), {{{by_name}}})")
        is_known = own is not None and not may_read_all(make)
        names = set(signature.parameters)
        self.names = names & self._read(taken, parameters) if is_known else set()
        """The parameters of the cached function that it reads, under any name."""
        self.unread = names - self.names if is_known else set()
        """Those that it certainly does not read; both sets are empty if its code is not visible."""

    def key(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Return the key of a call; raises `UnkeyableError` if the function makes none."""
        made = self.made(args, kwargs)
        if isinstance(made, tuple) and made:
            return ":".join(map(escape, made))
        if isinstance(made, str) and made:
            return tame(made)
        if inspect.isawaitable(made):
            getattr(made, "close", lambda: None)()  # else Python warns that it was never awaited
            raise UnkeyableError("key= returned an awaitable, and a key is needed at once")
        what = "an empty string" if made == "" else f"a value of type {type(made).__qualname__}"
        raise UnkeyableError(
            f"key= returned what makes no key: {what}; return a tuple, or a string with a text in it"
        )

    def made(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
        """Return the result of the `key=` function; raises `UnkeyableError` if that raises."""
        placed, named = self._bind(*args, **kwargs)
        try:
            return self._make(*placed, **named)
        except Exception as error:
            raise UnkeyableError(f"key= raised {type(error).__qualname__}: {error}") from error

    def _read(self, taken: Mapping[str, Any], parameters: list[inspect.Parameter]) -> set[str]:
        """Return which parameters it reads; of its `*args` and `**kwargs`, the items looked up."""
        read: set[str] = set()
        for name in taken.keys() & parameters_used(self._make):
            names = taken[name]
            looked = None if isinstance(names, str) else looked_up(self._make, name)
            if looked is None:  # it is used as a whole
                read.update([names] if isinstance(names, str) else names)
                continue
            if not isinstance(names, dict):
                names = dict(enumerate(names)) | dict(enumerate(names, -len(names)))
            starred = {each.name for each in parameters if each.kind in (_PLACED, _NAMED)}
            read |= {names[key] for key in looked & names.keys()} - starred  # pyright: ignore[reportArgumentType]
        return read


def _ways(parameters: list[inspect.Parameter], own: inspect.Signature | None) -> list[_Way]:
    """Return the ways to pass the arguments, the best one first."""
    placed = [each for each in parameters if each.kind is not _NAMED]
    by_place = placed, [each for each in parameters if each.kind is _NAMED]
    if own is None or any(each.kind is _PLACED for each in parameters):
        return [by_place]
    return [([], parameters), by_place]


def _taken(way: _Way, own: inspect.Signature | None) -> dict[str, Any] | None:
    """Return which arguments each parameter of `key=` gets, or `None` if they do not fit."""
    if own is None:  # a built-in without a signature: a wrong call raises later
        return {}
    placed, named = way
    stars = {each.kind for each in (*placed, *named)} & {_PLACED, _NAMED}
    if not stars.issubset(each.kind for each in own.parameters.values()):
        return None
    by_name = {each.name: each.name for each in named}
    try:
        return own.bind(*[each.name for each in placed], **by_name).arguments
    except TypeError:
        return None


def _starred(parameter: inspect.Parameter) -> str:
    stars: dict[Any, str] = {_PLACED: "*", _NAMED: "**"}
    return stars.get(parameter.kind, "") + parameter.name


def _as_item(parameter: inspect.Parameter) -> str:
    is_several = parameter.kind is _NAMED
    return _starred(parameter) if is_several else f"{parameter.name!r}: {parameter.name}"


def _is_asynchronous(make: Any) -> bool:
    function = function_of(make)
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isgeneratorfunction(function)
    )


def _signature_of(make: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(make)
    except (TypeError, ValueError):
        return None

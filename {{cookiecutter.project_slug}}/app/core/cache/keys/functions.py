"""Keys that a function of one's own makes: `key=lambda user_id, page: ("user", user_id, page)`.

It gets the arguments as the cached function would, defaults filled in, so that one call has one key
however it is written. Whether it takes every such call is seen when the function is decorated.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..reads import looked_up, may_read_all, parameters_used
from ..values import UnkeyableError
from .templates import escape, tame

KeyFunction = Callable[..., object]
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class OwnKey:
    """A `key=` function, as it is called for the calls of one cached function.

    Raises `TypeError` when it is made, for a function that is asynchronous or a generator, and for
    one that does not take every call of the cached function.
    """

    def __init__(
        self, make: KeyFunction, signature: inspect.Signature, of: str, extra: Collection[str]
    ) -> None:
        self._make, self._of = make, of
        self._parameters = list(signature.parameters.values())
        self._names: frozenset[str] = frozenset()
        """The parameters that are given by name; the others are by place."""
        self._is_by_name = False
        if _is_asynchronous(make):
            raise TypeError(
                f"key= of {of} is asynchronous or a generator, and a key is needed at once: give a "
                f"plain function, and look up in the function or a dependency what it wants to know"
            )
        self._own = own = _signature_of(make)
        if own is None:  # a built-in function, of which nothing is known: it is told at the call
            return
        takes_all = any(each.kind is each.VAR_KEYWORD for each in own.parameters.values())
        by_name = {name for name, each in own.parameters.items() if each.kind in _BY_NAME}
        names = frozenset(
            each.name
            for each in self._parameters
            if each.kind in _BY_NAME and (takes_all or each.name in by_name)
        )
        ways = [
            names,
            frozenset(each.name for each in self._parameters if each.kind is _BY_NAME[1]),
        ]
        for way in ways:
            self._names = way
            if self._fits(own):
                self._is_by_name = len(way) == len(self._parameters)
                return
        taken = ", ".join(map(str, self._parameters))
        also = f" ({', '.join(extra)} is handed to it, too)" if extra else ""
        raise TypeError(
            f"key= of {of} takes {own}, and has to take every call of {of}({taken}){also}; "
            f"give it the same parameters: key=lambda {_written(self._parameters)}: ..."
        )

    def __call__(self, arguments: Mapping[str, Any]) -> str:
        """Return the key of a call; raises `UnkeyableError` where it makes none."""
        made = self.made(arguments)
        if isinstance(made, tuple):
            made = ":".join(map(escape, made))
        if not isinstance(made, str) or not made:
            if inspect.isawaitable(made):
                getattr(made, "close", lambda: None)()  # or Python says that nobody awaited it
                raise UnkeyableError("key= returned an awaitable, and a key is needed at once")
            what = "an empty string" if made == "" else f"a value of type {type(made).__qualname__}"
            raise UnkeyableError(
                f"key= returned what makes no key: {what}; return a tuple, or a string with a text in it"
            )
        return tame(made)

    def made(self, arguments: Mapping[str, Any]) -> object:
        """Return what the function makes of a call; raises `UnkeyableError` for what it raises."""
        try:
            if self._is_by_name:
                return self._make(**arguments)
            args, kwargs = self._split(arguments)
            return self._make(*args, **kwargs)
        except Exception as error:
            raise UnkeyableError(f"key= raised {type(error).__qualname__}: {error}") from error

    def unread(self) -> set[str]:
        """Return the parameters of the cached function that it does not read, as far as can be seen."""
        if self._own is None or may_read_all(self._make):
            return set()
        args, kwargs = self._example()
        read: set[str] = set()
        for name, held in self._own.bind(*args, **kwargs).arguments.items():
            if name not in parameters_used(self._make):
                continue
            kind = self._own.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                from_the_end = dict(enumerate(held, -len(held)))
                read |= self._looked_up(name, dict(enumerate(held)) | from_the_end)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                read |= self._looked_up(name, held)
            else:
                read.add(held)
        return {each.name for each in self._parameters} - read

    def _looked_up(self, name: str, held: Mapping[Any, str]) -> set[str]:
        """Return which parameters are read of those that it takes together, in its `*` or `**`."""
        keys = looked_up(self._make, name)
        if keys is None:
            return set(held.values())
        several = {each.name for each in self._parameters if each.kind not in _PLAIN}
        return {held[key] for key in keys & held.keys()} - several

    def _example(self) -> tuple[list[Any], dict[str, Any]]:
        """Return a call in which each argument is the name of its parameter."""
        given: dict[str, Any] = {each.name: each.name for each in self._parameters}
        for each in self._parameters:
            if each.kind is each.VAR_POSITIONAL:
                given[each.name] = (each.name,)
            elif each.kind is each.VAR_KEYWORD:
                given[each.name] = {each.name: each.name}
        return self._split(given)

    def _split(self, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        args, kwargs = list[Any](), dict[str, Any]()
        for each in self._parameters:
            value = arguments[each.name]
            if each.kind is each.VAR_POSITIONAL:
                args += value
            elif each.kind is each.VAR_KEYWORD:
                kwargs |= value
            elif each.name in self._names:
                kwargs[each.name] = value
            else:
                args.append(value)
        return args, kwargs

    def _fits(self, own: inspect.Signature) -> bool:
        """Whether the function takes whatever the other does."""
        kinds = {each.kind for each in own.parameters.values()}
        for each in self._parameters:
            if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) and each.kind not in kinds:
                return False
        args, kwargs = self._example()
        try:
            own.bind(*args, **kwargs)
        except TypeError:
            return False
        return True


_PLAIN = (inspect.Parameter.POSITIONAL_ONLY, *_BY_NAME)


def is_coroutine_function(thing: Any) -> bool:
    """Whether calling a thing returns a coroutine: partials, wrappers and objects are seen through."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    thing = inspect.unwrap(thing)
    call = getattr(type(thing), "__call__", None)  # noqa: B004 - its own `__call__` is wanted
    return inspect.iscoroutinefunction(thing) or inspect.iscoroutinefunction(call)


def _is_asynchronous(make: Any) -> bool:
    while isinstance(make, functools.partial):
        make = make.func
    candidates = [inspect.unwrap(make), getattr(type(make), "__call__", None)]  # noqa: B004 - likewise
    return is_coroutine_function(make) or any(
        inspect.isasyncgenfunction(each) or inspect.isgeneratorfunction(each) for each in candidates
    )


def _signature_of(make: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(make)
    except (TypeError, ValueError):
        return None


def _written(parameters: list[inspect.Parameter]) -> str:
    stars: dict[Any, str] = {
        inspect.Parameter.VAR_POSITIONAL: "*",
        inspect.Parameter.VAR_KEYWORD: "**",
    }
    return ", ".join(stars.get(each.kind, "") + each.name for each in parameters)

"""What type checkers know of decorated functions."""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, overload

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class CachedFunction(Protocol[P, R_co]):
    """A function that `cache_response` has decorated, with functions that handle its entries.

    On a method they are bound like the method: `thing.method.invalidate(1)` is the same as
    `Class.method.invalidate(thing, 1)`. Arguments that are no part of the key may be left out.
    """

    __name__: str
    __wrapped__: Callable[P, Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Return what the function returned for this call before, or run it."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...

    @overload
    def __get__(
        self: "CachedFunction[Concatenate[S, Q], R_co]", instance: S, owner: Any
    ) -> "CachedFunction[Q, R_co]": ...

    def cache_key(self, *args: Any, **kwargs: Any) -> str:
        """Return the key of a call, as `get`, `delete`, `exists` and `invalidate` take it.

        Raises `TypeError` for a call that does not fit, and for one that has no key.
        """

    async def invalidate(self, *args: Any, **kwargs: Any) -> bool:
        """Remove the entry of this call, and no other; return whether that was done.

        Raises `TypeError` for a call that does not fit, and for one that has no key.
        """

    async def invalidate_all(self) -> bool:
        """Remove every entry of this function; return whether that was done.

        If the function has a `key=`, these are all entries below its `key_prefix`.
        """

    async def refresh(self, *args: Any, **kwargs: Any) -> R_co:
        """Run the function and store its result, whatever is stored for this call now."""


class CacheDecorator(Protocol):
    """Turns a function into a cached one of the same parameters, name and docstring."""

    @overload
    def __call__(self, func: Callable[P, Coroutine[Any, Any, R]], /) -> CachedFunction[P, R]: ...

    @overload
    def __call__(self, func: Callable[P, R], /) -> CachedFunction[P, R]: ...


class Decorator(Protocol):
    """Turns a function into a coroutine function of the same parameters, name and docstring."""

    @overload
    def __call__(
        self, func: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(self, func: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
